"""All of QEMU's options (case 31): each acts, or has no effect, or is refused with the reason."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from gossamer.base.errors import ConfigError
from gossamer.control.vm import Vm
from gossamer.devices.fwcfg import BOOT_DEVICE, FwCfg
from gossamer.machines.config import Config, Logging
from gossamer.machines.option_help import help_text, page
from gossamer.machines.option_table import OPTIONS
from gossamer.machines.options import parse

from .refusal import assert_refused

DOCS: Final = Path(__file__).parents[2] / "docs"
MiB: Final = 1 << 20
#: What `qemu-system-ppc -help` of QEMU 7.2 lists.
QEMU: Final = (
    "-h", "-help", "-version", "-machine", "-M", "-cpu", "-accel", "-smp", "-numa", "-add-fd",
    "-set", "-global", "-boot", "-m", "-mem-path", "-mem-prealloc", "-k", "-audio-help", "-audio",
    "-audiodev", "-device", "-name", "-uuid", "-fda", "-fdb", "-hda", "-hdb", "-hdc", "-hdd",
    "-cdrom", "-blockdev", "-drive", "-mtdblock", "-sd", "-snapshot", "-fsdev", "-virtfs",
    "-iscsi", "-usb", "-usbdevice", "-display", "-nographic", "-spice", "-portrait", "-rotate",
    "-vga", "-full-screen", "-g", "-vnc", "-netdev", "-nic", "-net", "-chardev", "-tpmdev",
    "-bios", "-pflash", "-kernel", "-append", "-initrd", "-dtb", "-compat", "-fw_cfg", "-serial",
    "-parallel", "-monitor", "-qmp", "-qmp-pretty", "-mon", "-debugcon", "-pidfile",
    "-singlestep", "-preconfig", "-S", "-overcommit", "-gdb", "-s", "-d", "-D", "-dfilter",
    "-seed", "-L", "-enable-kvm", "-no-reboot", "-no-shutdown", "-action", "-loadvm",
    "-daemonize", "-option-rom", "-rtc", "-icount", "-watchdog-action", "-echr", "-incoming",
    "-only-migratable", "-nodefaults", "-chroot", "-runas", "-prom-env", "-sandbox",
    "-readconfig", "-no-user-config", "-trace", "-plugin", "-async-teardown", "-msg",
    "-dump-vmstate", "-enable-sync-profile", "-object",
)  # fmt: skip
#: Ours, and those that QEMU has without showing them in its help.
OURS: Final = ("-no-repair", "-qtest", "-qtest-log", "-web")


def test_table_has_every_option_and_no_other() -> None:
    assert set(OPTIONS) == {*QEMU, *OURS}
    for name, option in OPTIONS.items():
        ways = (option.act is not None, bool(option.without), bool(option.refused))
        assert sum(ways) == (name not in ("-h", "-help", "-version", "-readconfig")), name
        assert bool(option.text) == (not option.without and not option.refused), name


@pytest.mark.interop
def test_list_is_that_of_qemu_7_2() -> None:
    qemu = shutil.which("qemu-system-ppc")
    if qemu is None:
        pytest.skip("no qemu-system-ppc")
    text = subprocess.run([qemu, "-help"], capture_output=True, text=True, check=True).stdout
    if "version 7.2" not in text:
        pytest.skip("qemu-system-ppc is not 7.2")
    named = re.findall(r"^--?[a-zA-Z][\w-]*|(?<=^-h or )-help|(?<=^-fda/)-fdb", text, re.MULTILINE)
    named += re.findall(r"^-hda/(-hdb)|^-hdc/(-hdd)", text, re.MULTILINE)[0]
    found = {"-" + name.lstrip("-") for name in named if name}
    assert found <= set(QEMU)
    assert set(QEMU) - found <= {"-M", "-fdb", "-hdb", "-hdd", "-help", "-set"}


def test_page_of_the_docs_is_the_table() -> None:
    remedy = "python -m gossamer.machines.option_help > docs/options.md writes it"
    assert (DOCS / "options.md").read_text(encoding="utf-8") == page(), remedy


def test_help_is_a_line_for_each_and_breaks_no_name() -> None:
    lines = help_text().splitlines()
    assert max(map(len, lines)) < 80
    for name, option in OPTIONS.items():
        if option.text:
            assert any(re.search(rf"(^  |, ){name}( |,|$)", line) for line in lines), name


def files(config: Config) -> list[tuple[int, str, str | None, bool]]:
    return [(d.index, str(d.file), d.format, d.readonly) for d in config.drives]


def test_images_may_have_file_before_their_names() -> None:
    c = parse(["-hda", "file:a:b", "-drive", "file=file:c,format=raw", "-cdrom", "d:e"])
    assert files(c) == [
        (0, "a:b", None, False), (1, "c", "raw", False), (2, "d:e", None, True)
    ]  # fmt: skip
    assert_refused("-hda nbd:localhost:1", "-hda: nbd: images are files of this host, got 'nbd:lo")


LIBVIRT: Final = (
    ("-name", "guest=mac,debug-threads=on", "-S"),
    ("-object", '{"qom-type":"secret","id":"masterKey0","format":"raw","file":"/x/key.aes"}'),
    ("-machine", "g3beige,usb=off,dump-guest-core=off,memory-backend=ppc_heathrow.ram"),
    ("-accel", "tcg", "-m", "size=131072k"),
    ("-object", '{"qom-type":"memory-backend-ram","id":"ppc_heathrow.ram","size":134217728}'),
    ("-overcommit", "mem-lock=off", "-smp", "1,sockets=1,cores=1,threads=1"),
    ("-uuid", "12345678-1234-1234-1234-1234567890ab", "-display", "none"),
    ("-no-user-config", "-nodefaults"),
    ("-chardev", "socket,id=charmonitor,fd=18,server=on,wait=off"),
    ("-mon", "chardev=charmonitor,id=monitor"),
    ("-rtc", "base=utc", "-no-shutdown", "-boot", "strict=on"),
    ("-blockdev", '{"driver":"file","filename":"/x/disk.qcow2","node-name":"libvirt-1-storage",'
     '"auto-read-only":true,"discard":"unmap"}'),
    ("-blockdev", '{"node-name":"libvirt-1-format","read-only":false,"driver":"qcow2",'
     '"file":"libvirt-1-storage","backing":null}'),
    ("-device", '{"driver":"ide-hd","bus":"ide.0","unit":0,"drive":"libvirt-1-format",'
     '"id":"ide0-0-0"}'),
    ("-add-fd", "set=0,fd=17,opaque=serial0-source"),
    ("-chardev", "file,id=charserial0,path=/dev/fdset/0,append=on"),
    ("-serial", "chardev:charserial0"),
    ("-audio", "none"),
    ("-audiodev", '{"id":"audio1","driver":"none"}'),
    ("-sandbox", "off", "-msg", "timestamp=on"),
    ("-sandbox", "on,obsolete=deny,elevateprivileges=children,spawn=deny,resourcecontrol=deny"),
)  # fmt: skip


def test_command_line_of_libvirt() -> None:
    c = parse([word for group in LIBVIRT for word in group])
    assert files(c) == [(0, "/x/disk.qcow2", "qcow2", False)]
    assert (c.name, c.ram_size, c.start, c.shutdown) == ("mac", 128 * MiB, False, False)
    assert c.monitors == ("fd:18,server=on,wait=off",)
    assert c.serials == ("file:/dev/fd/17,append=on",)
    assert sorted(c.inherited_fds) == [17, 18]
    assert (c.drives[0].device, c.drives[0].name) == ("ide0-0-0", "libvirt-1-format")


def test_terminal_that_is_shared_by_name() -> None:
    shared = "-chardev stdio,mux=on,id=c -serial chardev:c -mon chardev=c,mode=readline"
    c = parse(shared.split())
    assert (c.serials, c.monitors) == (("mon:stdio",), ())
    assert_refused(shared.replace("mux=on,", ""), "-mon: chardev c is used by -serial; mux=on sha")


def test_boot_once_is_over_after_a_reset(tmp_path: Path) -> None:
    def device(vm: Vm) -> str:
        fw_cfg = vm.machine.part("fw_cfg")
        assert isinstance(fw_cfg, FwCfg)
        return chr(fw_cfg.entries[BOOT_DEVICE][0])

    line = "-M g3beige -m 4 -bios builtin -icount 5,sleep=off -boot order=c,once=d"
    vm = Vm(parse(line.split()))
    assert device(vm) == "d"
    vm.save(tmp_path / "before")
    vm.reset()
    assert device(vm) == "c"
    vm.save(tmp_path / "after")
    assert [device(Vm.load(tmp_path / name)) for name in ("before", "after")] == ["d", "c"]
    again = Vm(parse(line.split()))
    again.restore(tmp_path / "after")
    assert device(again) == "c"


def test_entries_of_the_firmware_configuration(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\0content")
    line = "-M mac99 -m 4 -bios builtin -fw_cfg opt/a,string=b,,c -fw_cfg"
    vm = Vm(parse([*line.split(), f"name=opt/f,file={tmp_path}/f"]))
    fw_cfg = vm.machine.part("fw_cfg")
    assert isinstance(fw_cfg, FwCfg)
    assert (fw_cfg.files["opt/a"], fw_cfg.files["opt/f"]) == (b"b,c", b"\0content")
    vm.save(tmp_path / "s")
    again = Vm.load(tmp_path / "s", files={"fw_cfg:opt/f": tmp_path / "f"})
    assert again.machine.part("fw_cfg").files == fw_cfg.files  # type: ignore[attr-defined]


def test_options_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "c").write_text(
        '# by hand\n[machine]\n type = "mac99"\n via = "pmu"\n\n[memory]\n  size = "64"\n'
        f'[drive "d"]\n if = "none"\n file = "{tmp_path}/a,b"\n'
        '[device "x"]\n  driver = "ide-hd"\n  drive = "d"\n'
    )
    c = parse(["-readconfig", str(tmp_path / "c")])
    assert (c.machine, c.properties["via"], c.ram_size) == ("mac99", "pmu", 64 * MiB)
    assert (str(c.drives[0].file), c.drives[0].device) == (f"{tmp_path}/a,b", "x")
    for text, message in (
        ("[frob]", "unknown group in -readconfig"),
        ('size = "1"', "line 1: size stands before the first group"),
        ("[memory]\nsize 1", "line 2: expected"),
    ):
        (tmp_path / "c").write_text(text)
        with pytest.raises(ConfigError, match=message):
            parse(["-readconfig", str(tmp_path / "c")])


def test_what_is_recorded() -> None:
    assert parse(["-d", "guest_errors,unimp", "-D", "f"]).log == Logging(Path("f"), ("*",))
    assert parse(["-trace", "macio/*,file=g"]).log == Logging(Path("g"), ("macio/*",))


WRONG: Final = {
    "-boot once=z": "-boot: once must be letters of a, c, d, n, got 'z'",
    "-chardev vc,id=a": "-chardev: vc: there is no window for a console",
    "-chardev null": "-chardev: null: needs id=",
    "-chardev socket,id=a": "-chardev socket: needs path=, host= and port=, or fd=",
    "-chardev null,id=a -chardev null,id=a": "-chardev: id=a is given twice",
    "-serial chardev:a": "unknown -chardev for -serial 'a' (there are none)",
    "-blockdev {": "-blockdev: not JSON: ",
    '-blockdev {"driver":[]}': "-blockdev: driver: expected a text, number or switch",
    "-blockdev driver=nbd,node-name=a": "unknown value for -blockdev: driver 'nbd'",
    "-blockdev driver=raw,node-name=a,file=b": "unknown node for -blockdev a: file 'b'",
    "-machine memory-backend=m": "unknown memory backend 'm'",
    "-object memory-backend-ram,id=m,size=64M -M g3beige,memory-backend=m -m 32":
        "-m: expected the 67108864 bytes of m",
    "-object iothread,id=a": "unknown value for -object 'iothread' (there is: authz-simple,",
    "-add-fd fd=3": "-add-fd: needs fd= and set=",
    "-serial file:/dev/fdset/1": "/dev/fdset/1: no -add-fd has set=1",
    "-set device.a.b=c": "unknown -device for -set 'a'",
    "-set drive.a.b=c": "-set: drive: give it where it is made; there is device",
    "-fw_cfg opt/a": "-fw_cfg: opt/a: needs file= or string=",
    "-audiodev pa,id=a": "-audiodev: pa: there is no sound; none is accepted",
    "-overcommit mem-lock=on": "-overcommit: mem-lock=on is not supported; leave it out",
    "-sandbox on,spawn=maybe": "unknown value for -sandbox: spawn 'maybe'",
    "-sandbox on,network=deny": "unknown part of -sandbox 'network'",
    "-action reboot=pause": "unknown value for -action: reboot 'pause'",
    "-d in_asm": "-d: in_asm: `gossamer verify` and the monitor look into a CPU",
    "-d frob": "unknown value for -d 'frob' (there is: guest_errors, unimp)",
    "-echr 65": "-echr must be a number from 1 to 31, got '65'",
    "-k de": "-k: keys come by name (sendkey), so that no layout is needed",
    "-smb x": "unknown option '-smb'",
    "-daemonize -serial stdio": "-daemonize: the terminal is given away; name no stdio",
    "-device {\"driver\":\"VGA\",\"x\":1.5}": "-device: x: expected a text, number or switch",
}  # fmt: skip


@pytest.mark.parametrize("options", WRONG)
def test_wrong_value_is_refused_in_one_line(options: str) -> None:
    assert_refused(options, WRONG[options])
