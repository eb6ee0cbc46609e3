"""QEMU's options: what is understood, and one clear line for everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError
from gossamer.machines.config import Config
from gossamer.machines.option_table import OPTIONS
from gossamer.machines.options import parse

from .refusal import assert_refused

MiB = 1 << 20


def test_without_options_a_g3_on_this_terminal() -> None:
    c = parse([])
    assert (c.full_name, c.cpu, c.ram_size, c.vga, c.nic) == (
        "g3beige-1.1", "750", 128 * MiB, "std", True,
    )  # fmt: skip
    assert (c.serials, c.monitors) == (("mon:stdio",), ())
    assert c.icount is None
    assert c.start
    assert c.vmdesc


def test_everything_together() -> None:
    line = (
        "-M g3beige-1.0,suppress-vmdesc=on,accel=tcg --cpu G3 -m 256 -bios rom.bin -L a -L b "
        "-prom-env auto-boot?=false -prom-env boot-args=-v -nographic -serial null "
        "-serial file:out,,put -monitor unix:/run/m,server=on,wait=off -icount shift=7,sleep=off "
        "-S -kernel k -initrd i -append root=/dev/hda -boot d -hda disk.img -cdrom cd.iso "
        "-snapshot -rtc base=2001-09-09T01:46:40,clock=vm -nic none -vga none -no-reboot "
        "-no-shutdown -name guest=mac -uuid 12345678-1234-1234-1234-1234567890AB "
        "-pidfile p -dump-vmstate v.json -incoming tcp:0:4444 -g 1024x768x8 -smp 1"
    )
    c = parse(line.split())
    assert (c.cpu, c.ram_size, c.bios) == ("750", 256 * MiB, "rom.bin")
    assert c.firmware_folders == (Path("a"), Path("b"))
    assert c.prom_env == ("auto-boot?=false", "boot-args=-v")
    assert (c.graphic, c.resolution) == (False, (1024, 768, 8))
    assert c.serials == ("null", "file:out,,put")
    assert c.monitors == ("unix:/run/m,server=on,wait=off",)
    assert (c.icount, c.icount_sleep) == (7, False)
    assert (c.start, c.reboot, c.shutdown, c.nic, c.vga) == (False, False, False, False, "none")
    assert (c.kernel, c.initrd, c.append, c.boot) == (
        Path("k"), Path("i"), "root=/dev/hda", "d",
    )  # fmt: skip
    assert c.rtc_base == 1_000_000_000
    assert c.uuid == "12345678-1234-1234-1234-1234567890ab"
    assert (c.name, c.incoming, c.pidfile) == ("mac", "tcp:0:4444", Path("p"))
    assert c.dump_vmstate == Path("v.json")
    assert not c.vmdesc
    hard, cd = c.drives
    assert (hard.index, hard.media, hard.file, hard.snapshot) == (0, "disk", Path("disk.img"), True)
    assert (cd.index, cd.media, cd.readonly) == (2, "cdrom", True)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("128", 128 * MiB),
        ("128M", 128 * MiB),
        ("1G", 1024 * MiB),
        ("size=64m", 64 * MiB),
        ("65536k", 64 * MiB),
        ("67108864b", 64 * MiB),
        ("128.5", 128 * MiB + MiB // 2),
        ("2047", 2047 * MiB),
        ("4", 4 * MiB),
    ],
)
def test_memory_sizes(text: str, size: int) -> None:
    assert parse(["-m", text]).ram_size == size


@pytest.mark.parametrize(
    ("options", "serials", "monitors"),
    [
        ("-nographic", ("mon:stdio",), ()),
        ("-nographic -monitor none", ("stdio",), ()),
        ("-nographic -monitor stdio", ("null",), ("stdio",)),
        ("-nographic -serial null", ("null",), ("stdio",)),
        ("-nographic -serial stdio", ("stdio",), ()),
        ("-nographic -serial mon:stdio", ("mon:stdio",), ()),
        ("-serial stdio", ("stdio",), ()),
        ("-display none", ("null",), ()),
        ("-display none -serial stdio", ("stdio",), ()),
        ("-nodefaults", ("null",), ()),
        ("-serial none -monitor stdio", ("none",), ("stdio",)),
        ("-monitor unix:m,server", ("stdio",), ("unix:m,server",)),
    ],
)
def test_who_has_the_terminal(
    options: str, serials: tuple[str, ...], monitors: tuple[str, ...]
) -> None:
    c = parse(options.split())
    assert (c.serials, c.monitors) == (serials, monitors)


@pytest.mark.parametrize(
    "options",
    [
        "-drive file=a,readonly=on,media=disk",
        "-drive file=a,readonly=on,snapshot=on",
        "-drive if=none,id=d,file=a,readonly=on -device ide-hd,drive=d",
        "-blockdev driver=file,node-name=d,filename=a,read-only=on -device ide-hd,drive=d",
    ],
)
def test_case_32_a_read_only_hard_disk_is_refused(options: str) -> None:
    with pytest.raises(ConfigError, match=r"a: a hard disk cannot be read-only; snapshot=on"):
        parse(options.split())


def test_drives_get_places() -> None:
    c = parse(["-drive", "file=a,,b.qcow2,format=qcow2,id=x", "-hdb", "b", "c.img",
               "-drive", "media=cdrom,bus=1,unit=1"])  # fmt: skip
    # The plain argument is the first disk, as in QEMU; the -drive without place comes after.
    assert [(d.index, str(d.file), d.media, d.format, d.readonly, d.name) for d in c.drives] == [
        (0, "c.img", "disk", None, False, "ide0-hd0"),
        (1, "b", "disk", None, False, "ide0-hd1"),
        (2, "a,b.qcow2", "disk", "qcow2", False, "x"),
        (3, "None", "cdrom", None, True, "ide1-cd1"),
    ]
    assert c.drive(1) == c.drives[1]
    assert parse([]).drive(0) is None


WRONG = {
    "-M g3biege": "unknown machine 'g3biege'; did you mean g3beige? "
    "(there is: bare, g3beige, mac99, none, pseries, ref405ep)",
    "-M g3beige-9.9": "unknown version of g3beige '9.9' (there is: 1.0, 1.1)",
    "-M g3beige,via=pmu": "unknown property of g3beige 'via' (there is: accel, append, dump-",
    "-M g3beige,graphics=maybe": "unknown value for -machine: graphics 'maybe' (there is: off, on)",
    "-cpu 601": "unknown CPU for g3beige '601' (there is: 603e, 604e, 7400, 7447a, 7455, 7",
    "-cpu 750,x=y": "-cpu: 750 has no properties",
    "-m 3": "-m: g3beige needs at least 4 MiB of RAM, got 3 MiB",
    "-m 2048": "-m: g3beige takes at most 2047 MiB of RAM, got 2048 MiB",
    "-m 1000000000000000000000": "-m: expected a size such as 128, 128M or 1G, got '10000",
    "-m lots": "-m: expected a size such as 128, 128M or 1G, got 'lots'",
    "-m -5": "-m: expected a size such as 128, 128M or 1G, got '-5'",
    "-m 64,slots=2": "-m: slots: memory cannot be added to a running machine",
    "-m 64,color=red": "unknown part of -m 'color' (there is: size)",
    "-m 5000001b": "-m: RAM must be a multiple of 64 KiB, got 5000001 bytes",
    "-m": "-m needs a value",
    "-serail stdio": "unknown option '-serail'; did you mean -serial? (gossamer run ",
    "--frob": "unknown option '--frob'",
    "-serial null -serial null -serial null": "-serial: g3beige has 2 serial ports, got 3",
    "-serial stdio -monitor stdio": "stdio and stdio: only one can have the terminal",
    "-prom-env auto-boot": "-prom-env: expected name=value, got 'auto-boot'",
    "-icount auto": "-icount: shift=auto follows the host's speed; give 0 to 10",
    "-icount 11": "-icount: shift must be 0 to 10, got '11'",
    "-icount sleep=on": "-icount: needs shift=N",
    "-icount 1,align=on": "-icount: align=on is not supported",
    "-icount 1,rr=record": "-icount: rr: record and replay are not supported here",
    "-icount 1,sleep=maybe": "unknown value for -icount: sleep 'maybe' (there is: off, on)",
    "-rtc base=tomorrow": "-rtc: base: expected utc, localtime, YYYY-MM-DD or",
    "-rtc base=2001-02-30": "-rtc: base: '2001-02-30' is no date from 1904 to 2040",
    "-smb x": "unknown option '-smb' (gossamer run --help lists them)",
    "-rtc clock=sun": "unknown value for -rtc: clock 'sun' (there is: host, rt, vm)",
    "-rtc driftfix=slew": "-rtc: driftfix=slew: no tick is ever lost that it could repeat",
    "-boot z": "-boot: order must be letters of a, c, d, n, got 'z'",
    "-boot a": "-boot: g3beige starts from c, d, got 'a'",
    "-boot menu=on": "-boot: menu=on: these firmwares have no menu",
    "-display gtk": "-display: gtk: there is no window; -vnc shows the screen",
    "-display frob": "unknown value for -display 'frob' (there is: none)",
    "-vga cirrus": "unknown display adapter for g3beige 'cirrus' (there is: none, std)",
    "-g big": "-g: expected WIDTHxHEIGHT[xDEPTH], got 'big'",
    "-g 800x600x24": "-g: up to 4096x4096, depth 8, 15 or 32, got '800x600x24'",
    "-smp 2": "-smp: g3beige has one CPU, got 2",
    "-M pseries -smp 9": "-smp: pseries takes 1 to 8 CPUs, got 9",
    "-M pseries -smp 0": "-smp: cpus must be 1 to 65536, got '0'",
    "-M pseries -smp 2,maxcpus=4": "-smp: no CPU can be added later: expected maxcpus=2, got 4",
    "-M pseries -smp 4,threads=2": "-smp: a core here has one thread, got threads=2",
    "-M pseries -smp 4,cores=3": "-smp: sockets and cores must make 4 CPUs, got '4,cores=3'",
    "-M pseries -smp dies=2": "unknown value for -smp 'dies'",
    "-accel kvm": "-accel: kvm: there is tcg, gossamer's own engine",
    "-M g3beige,accel=kvm:hvf": "-accel: kvm, hvf: there is tcg",
    "-drive file=x,if=scsi": "-drive: if=scsi: g3beige has no scsi; pseries has",
    "-drive file=x,if=sd": "-drive: if=sd: the machines here have if=ide, scsi or virtio",
    "-M pseries -drive file=x,index=28": "-drive: index must be a number from 0 to 27, got '28'",
    "-M pseries -device scsi-hd": "-device scsi-hd: needs drive=, the id of a -drive if=none",
    "-drive file=x,index=7": "-drive: index must be a number from 0 to 3, got '7'",
    "-drive file=x,index=1,bus=1": "-drive: give index, or bus and unit, not both",
    "-drive file=x,format=vmdk": "unknown value for -drive: format 'vmdk' (there is: qcow2, raw)",
    "-drive filename=x": "unknown part of -drive 'filename'; did you mean file?",
    "-drive media=disk": "-drive: a disk needs file=",
    "-drive file=x,file=y": "-drive: file is given twice",
    "-hda x -hda y": "-drive: index 0 is taken by x",
    "a b": "-drive: index 0 is taken by a",
    "-hda a -hdb b -hdc c -hdd d -drive file=e": "-drive: g3beige has 4 IDE places, got index 4",
    "-append quiet": "-append needs -kernel",
    "-initrd x": "-initrd needs -kernel",
    "-M bare -kernel x -hda y": "-drive: bare has 0 IDE places, got index 0",
    "-loadvm a -incoming defer": "-loadvm and -incoming exclude each other",
    "-uuid 1234": "-uuid: expected 8-4-4-4-12 hexadecimal digits, got '1234'",
    "-name guest=a,shape=round": "unknown part of -name 'shape'",
}


@pytest.mark.parametrize("options", WRONG)
def test_wrong_option_is_refused_in_one_line(options: str) -> None:
    assert_refused(options, WRONG[options])


@pytest.mark.parametrize("option", sorted(n for n, o in OPTIONS.items() if o.refused))
def test_option_of_qemu_that_is_refused_says_why(option: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse([option, "x"])
    assert str(caught.value) == f"{option}: {OPTIONS[option].refused}"


@pytest.mark.parametrize(
    "option", sorted(n for n, o in OPTIONS.items() if o.value and not o.refused)
)
def test_every_option_with_a_value_wants_one(option: str) -> None:
    with pytest.raises(ConfigError, match=f"^{option} needs a value$"):
        parse([option])


def test_bare_machine_has_its_own_defaults() -> None:
    assert parse(["-M", "bare", "-kernel", "x"]).kernel == Path("x")
    c = parse(["-M", "bare"])
    assert (c.ram_size, c.vga, c.nic) == (16 * MiB, "none", False)
    assert isinstance(c, Config)
