"""-device, -global, -nic, -machine: what is understood, what is refused, what is built."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError
from gossamer.block import create
from gossamer.cli import main
from gossamer.control import look
from gossamer.control.vm import Vm
from gossamer.devices.fwcfg import FwCfg
from gossamer.devices.ide import identify
from gossamer.devices.ne2000 import Ne2000
from gossamer.devices.sungem import SunGem
from gossamer.devices.usb.tablet import UsbTablet
from gossamer.devices.vga.card import Vga
from gossamer.front.hmp import texts
from gossamer.machines.build import build
from gossamer.machines.config import Config
from gossamer.machines.device_table import DRIVERS
from gossamer.machines.drives_attach import drive_at
from gossamer.machines.machine import Machine
from gossamer.machines.options import parse
from tests.front.fakes import ask

from .refusal import assert_refused

MiB = 1 << 20
SMALL = ("-m", "8", "-bios", "builtin", "-nographic", "-serial", "null")


def machine(line: str) -> Machine:
    return build(parse([*SMALL, *line.split()]))


def titles(m: Machine) -> list[str]:
    return [p.title for p in m.sections]


# --- what is built --------------------------------------------------------------------------------


def test_devices_stand_at_the_first_free_place() -> None:
    m = machine(
        "-M mac99 -device usb-tablet -device usb-kbd,port=3 -device sungem -device ne2k_pci"
    )
    assert titles(m)[-4:] == [
        "pci.2:0d.0/1/usb-ptr", "pci.2:0d.0/3/usb-kbd", "pci.2:10.0/sungem", "pci.2:11.0/ne2000",
    ]  # fmt: skip
    assert isinstance(m.mouse, UsbTablet)
    assert m.keyboard is m.part("pci/usb/keyboard")
    m = machine("-M g3beige -vga none -nic model=ne2k_pci,addr=5 -usb -usbdevice mouse")
    assert titles(m)[-5:] == [
        "adb_kbd", "adb_mouse", "pci.0:01.0/ohci", "fw_cfg", "pci.0:01.0/1/usb-ptr",
    ]  # fmt: skip
    assert "pci.0:05.0/ne2000" in titles(m)


@pytest.mark.parametrize("spelled", ["0x1f", "1F", "001f.0", "0x1f.0x0"])
def test_places_are_spelled_as_in_qemu(spelled: str) -> None:
    (added,) = parse(["-M", "mac99", "-device", f"sungem,addr={spelled}"]).devices
    assert added.values["addr"] == 0x1F << 3


def test_addresses_of_cards_are_counted() -> None:
    m = machine(
        "-M g3beige -nic model=sungem -nic mac=52:54:00:12:34:57 -device sungem "
        "-device sungem,mac=02-0-0-0-0-1 -device ne2k_pci"
    )
    cards = [p.device for p in m.parts if isinstance(p.device, SunGem | Ne2000)]
    macs = [c.mac if isinstance(c, SunGem) else c.ne2000.mac for c in cards]
    assert [mac.hex()[-4:] for mac in macs] == ["3456", "3457", "3458", "0001", "3459"]
    assert macs[3] == bytes([2, 0, 0, 0, 0, 1])


def test_globals_reach_built_in_and_added_devices_and_own_values_win() -> None:
    m = machine("-M mac99,via=pmu -vga std -global VGA.vgamem_mb=3 -global usb-kbd.serial=G")
    vga, keyboard = m.part("pci/vga"), m.keyboard
    assert isinstance(vga, Vga)
    assert vga.vram.size == 4 * MiB, "rounded up to a power of two"
    assert keyboard is not None
    assert keyboard.serial == "G"
    m = machine(
        "-M mac99 -device usb-kbd,serial=own -device usb-mouse "
        "-global driver=usb-mouse,property=serial,value=a.b -global usb-kbd.serial=G"
    )
    assert m.part("pci/usb/keyboard").serial == "own"
    assert m.part("pci/usb/mouse").serial == "a.b"


def test_display_as_asked() -> None:
    m = machine("-M g3beige -device VGA,vgamem_mb=32,xres=1024,yres=768,addr=05")
    vga = m.part("pci/vga")
    assert isinstance(vga, Vga)
    assert (vga.idstr, vga.vram.size) == ("pci.0:05.0/vga", 32 * MiB)
    detail = vga.monitor[54:72]
    assert (detail[2] | (detail[4] & 0xF0) << 4, detail[5] | (detail[7] & 0xF0) << 4) == (1024, 768)
    blind = machine("-M g3beige -device VGA,edid=off").part("pci/vga")
    assert isinstance(blind, Vga)
    assert not any(blind.monitor)


def test_drives_say_what_they_were_given(tmp_path: Path) -> None:
    create(tmp_path / "d", "raw", MiB)
    config = parse([
        "-M", "mac99", "-bios", "builtin",
        "-drive", f"if=none,id=d,file={tmp_path}/d,format=raw,werror=stop",
        "-device", "ide-hd,drive=d,serial=AB,model=Disk,ver=7,wwn=0x5000c50011223344,id=h,"
        "rerror=ignore",
        "-device", "ide-cd,bus=ide.0,unit=1", "-global", "ide-cd.serial=CD",
    ])  # fmt: skip
    hard, cd = config.drive(2), config.drive(1)
    assert hard is not None
    assert cd is not None
    assert (hard.name, hard.device, hard.rerror, hard.werror) == ("d", "h", "ignore", "stop")
    assert (cd.media, cd.readonly, cd.serial) == ("cdrom", True, "CD")
    assert not config.cd_drive
    m = build(config)
    drive = drive_at(m, 2)
    data = identify.disk(drive)
    swapped = bytes(data[n ^ 1] for n in range(512))
    assert swapped[20:40] == b"AB".ljust(20)
    assert swapped[46:54] == b"7".ljust(8)
    assert swapped[54:94] == b"Disk".ljust(40)
    assert swapped[216:224].hex() == "5000c50011223344"
    assert (int.from_bytes(data[168:170], "little"), drive_at(m, 1).serial) == (0x4100, "CD")
    text = texts.tree(look.tree(m))
    assert 'ide.1 unit 0: dev ide-hd, id "h", serial "AB", model "Disk", ver "7"' in text
    assert 'ide.0 unit 1: dev ide-cd, id "", serial "CD", model "QEMU DVD-ROM"' in text


def test_tree_shows_what_was_added() -> None:
    made = machine("-M mac99 -device usb-tablet,id=t -device loader,id=l,addr=64,data=1,data-len=1")
    text = texts.tree(look.tree(made))
    assert 'pci/usb/tablet: UsbTablet  section "pci.2:0d.0/1/usb-ptr" version 1' in text
    assert 'dev usb-tablet, id "t"' in text
    assert 'loader: dev loader, id "l"' in text


def test_machine_properties_are_options_in_disguise(tmp_path: Path) -> None:
    c = parse(
        ["-M", "mac99,usb=off,memory=64,firmware=builtin,kernel=k,initrd=i,append=x,mem-merge=off"]
    )
    assert (c.usb, c.ram_size, c.bios, c.kernel) == (False, 64 * MiB, "builtin", Path("k"))
    assert (c.initrd, c.append) == (Path("i"), "x")
    assert not parse(["-M", "mac99", "-nodefaults"]).usb
    assert parse(["-M", "mac99", "-nodefaults", "-usb"]).usb
    assert not parse(["-M", "g3beige"]).usb


def test_save_file_builds_the_same_machine_again(tmp_path: Path) -> None:
    create(tmp_path / "d", "raw", MiB)
    line = (
        f"-M mac99 -icount shift=5,sleep=off -vga none -device usb-tablet,id=t,serial=s "
        f"-nic model=ne2k_pci,mac=52:54:00:00:00:07 -device VGA,vgamem_mb=32 "
        f"-drive if=none,id=d,file={tmp_path}/d,format=raw -device ide-hd,drive=d,serial=S "
        f"-device loader,addr=0x4000,data=0x11223344,data-len=4 -global usb-mouse.serial=m"
    )
    vm = Vm(parse([*SMALL, *line.split()]))
    vm.run_to(100_000)
    tablet = vm.machine.mouse
    assert isinstance(tablet, UsbTablet)
    tablet.point(0x111, 0x222, 1)
    vm.save(tmp_path / "s")
    hash_, tree = vm.state_hash(), ask(vm, "info qtree")
    vm.close()
    again = Vm.load(tmp_path / "s", files={"drive2": tmp_path / "d"})
    assert (again.state_hash(), ask(again, "info qtree")) == (hash_, tree)
    assert again.machine.part("pci/ne2000").ne2000.mac.hex() == "525400000007"
    assert again.read_physical(0x4000, 4).hex() == "44332211"
    again.close()


# --- loader ---------------------------------------------------------------------------------------


def test_loader_puts_bytes_numbers_and_the_pc_and_again_at_reset(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"abcdef")
    m = machine(
        f"-M g3beige -device loader,file={tmp_path}/raw,addr=0x2000 "
        "-device loader,addr=0x3000,data=0x1122334455667788,data-len=3 "
        "-device loader,addr=0x3010,data=0x1122334455667788,data-len=3,data-be=on "
        "-device loader,addr=0x2004,cpu-num=0"
    )
    for _ in range(2):
        assert m.memory.read(0x2000, 7) == b"abcdef\0"
        assert m.memory.read(0x3000, 4).hex() == "88776600"
        assert m.memory.read(0x3010, 4).hex() == "11223300"
        assert m.cpu.block.get("nia") == 0x2004
        m.memory.write(0x2000, bytes(0x1100))
        m.cpu.block.set("nia", 0)
        m.reset()


def test_loader_on_the_bare_machine_and_raw_elf(tmp_path: Path) -> None:
    (tmp_path / "e").write_bytes(b"\x7fELFjunk")
    m = build(
        parse(["-M", "bare", "-device", f"loader,file={tmp_path}/e,addr=64,force-raw=on,cpu-num=0"])
    )
    assert m.memory.read(64, 8) == b"\x7fELFjunk"
    assert m.cpu.block.get("nia") == 64


def elf(entry: int, *segments: tuple[int, bytes]) -> bytes:
    """A big-endian PowerPC program with the given segments."""
    table, at = b"", 52 + 32 * len(segments)
    for ra, data in segments:
        table += struct.pack(">8I", 1, at, ra, ra, len(data), len(data), 7, 4)
        at += len(data)
    head = struct.pack(
        ">4s5B7xHHIIIIIHHHHHH", b"\x7fELF", 1, 2, 1, 0, 0, 2, 20, 1, entry, 52, 0, 0, 52, 32,
        len(segments), 40, 0, 0,
    )  # fmt: skip
    return head + table + b"".join(data for _, data in segments)


def test_loader_reads_elf_and_leaves_out_what_lies_nowhere(tmp_path: Path) -> None:
    """As QEMU: the notes that a linker puts at 256 MiB do no harm; a program there is refused."""
    program = tmp_path / "p"
    program.write_bytes(elf(0x1004, (0x1000, b"program!"), (0x1000_00B4, b"note")))
    m = machine(f"-M g3beige -device loader,file={program},cpu-num=0")
    for _ in range(2):
        assert (m.memory.read(0x1000, 8), m.cpu.block.get("nia")) == (b"program!", 0x1004)
        m.memory.write(0x1000, bytes(8))
        m.reset()
    program.write_bytes(elf(0x1000_0000, (0x1000_0000, b"program!")))
    with pytest.raises(ConfigError, match=r"loader: 0x10000000..0x10000008 is not all RAM"):
        machine(f"-M g3beige -device loader,file={program},cpu-num=0")


# --- errors ---------------------------------------------------------------------------------------

D = "-drive if=none,id=d,file=x"
WRONG = {
    "-device usb-tabletop": "unknown device 'usb-tabletop'; did you mean usb-tablet? (there is: "
    "VGA, ide-cd, ide-hd, loader, ne2k_pci, nec-usb-xhci, pci-ohci, qemu-xhci, scsi-cd, scsi-hd, "
    "spapr-vlan, spapr-vscsi, sungem, usb-hub, usb-kbd, usb-mouse, usb-tablet, virtio-blk-pci, "
    "virtio-net-pci, virtio-scsi-pci)",
    "-device id=x": "-device: expected DRIVER[,property=value], got 'id=x'",
    "-device usb-kbd,colour=red": "unknown property of usb-kbd 'colour' "
    "(there is: port, serial, usb_version)",
    "-device VGA,vgamem_mb=lots": "-device: VGA.vgamem_mb must be a number from 1 to 256, got 'lot",
    "-device VGA,edid=1": "unknown value for -device: VGA.edid '1' (there is: off, on)",
    "-device VGA,romfile=x": "-device: VGA.romfile: the option ROM is the one that is found (-L)",
    "-device sungem,mac=52:54": "-device: sungem.mac must be six bytes as 52:54:00:12:34:56",
    "-device usb-kbd,id=1a": "-device: usb-kbd.id must be a letter and letters, digits, '-', '.' o",
    "-device usb-kbd,port=": "-device: usb-kbd.port must be the number of a port, as 3 or 3.1, got",
    "-M mac99 -nic model=sungem,mac=01:00:5e:00:00:01": "-nic: mac: 01:00:5e:00:00:01 is a group's",
    "-drive if=none,id=d,file=x -device ide-hd,drive=d -device ide-hd,drive=d": "-device ide-hd: d"
    "rive=d is another device's already",
    "-drive file=x,id=1": "-drive: id must be a letter and letters, digits, '-', '.' or '_', at mo",
    "-drive file=x,cache=foo": "unknown value for -drive: cache 'foo' (there is: directsync, none,",
    "-device sungem,addr=20": "-device: sungem.addr must be slot or slot.function",
    "-device sungem,netdev=n": "unknown -netdev for -device sungem 'n' (there are none)",
    "-netdev user": "-netdev: needs id=",
    "-netdev bridge,id=n": "-netdev: bridge: its helper needs rights; tap,fd= takes an open tap",
    "-netdev spice,id=n": "unknown value for -netdev 'spice' (there is: dgram, passt, so",
    "-netdev user,id=n,foo=1": "unknown property of -netdev user 'foo'",
    "-netdev user,id=n,smb=/x": "-netdev: user: smb: the network's process starts no program",
    "-netdev user,id=n,hostfwd=80": "-netdev: hostfwd: expected [tcp|udp]:[hostaddr]:hostport-",
    "-netdev user,id=n,net=10.0.0.0/30": "-netdev: user: net: 10.0.0.0/30 has no room for a rout",
    "-netdev user,id=n,dns=1.2.3.4": "-netdev: user: dns: 1.2.3.4 is not in 10.0.2.0/24",
    "-netdev stream,id=n": "-netdev: stream: needs addr.type=inet, unix or fd",
    "-netdev stream,id=n,addr.type=inet,addr.host=h": "-netdev: stream: addr.port is needed",
    "-netdev dgram,id=n,local.type=unix,local.path=a": "-netdev: dgram: needs remote.type=inet",
    "-netdev socket,id=n": "-netdev: socket: needs one of fd=, listen=, connect=, mcast=, udp=",
    "-netdev tap,id=n,ifname=x": "-netdev: tap: needs fd=, a tap that the launcher has opened",
    "-netdev user,id=n -netdev user,id=n": "-netdev: id=n is given twice",
    "-netdev user,id=n -device sungem,netdev=n -device ne2k_pci,netdev=n": "-device ne2k_pci: netd"
    "ev=n is another card's already",
    "-device sungem,id=a -device ne2k_pci,id=a": "-device ne2k_pci: id=a is given twice",
    "-device ide-hd": "-device ide-hd: needs drive=, the id of a -drive if=none",
    "-device ide-hd,drive=q": "unknown drive of if=none for -device ide-hd 'q' (there are none)",
    f"{D} -device ide-hd,drive=dd": "unknown drive of if=none for -device ide-hd 'dd'; did you mea",
    f"{D} -device ide-hd,drive=d,unit=2": "-device: ide-hd.unit must be a number from 0 to 1, got",
    f"{D} -device ide-hd,drive=d -device ide-cd,unit=0": "-device ide-cd: unit 0 of ide.1 is taken",
    "-device ide-cd -device ide-cd -device ide-cd": "-device ide-cd: ide.1 is full; bus=ide.0 is t",
    "-device ide-cd,bus=ide.2": "unknown bus for -device ide-cd 'ide.2'; did you mean ide.1? (ther",
    f"{D} -device ide-hd,drive=d,serial=123456789012345678901": "-device: ide-hd.serial must be at "
    "most 20 ASCII characters, got",
    f"{D} -device ide-hd,drive=d,logical_block_size=4096": "-device: ide-hd.logical_block_size mus",
    f"{D} -device ide-hd,drive=d,bootindex=x": "-device: ide-hd.bootindex must be a number from 0",
    f"{D} -device ide-hd,drive=d,bootindex=-2": "-device: ide-hd.bootindex must be a number from 0",
    f"{D} -hda y": "-drive: no -device has drive=d",
    f"{D} {D} -device ide-hd,drive=d": "-drive: id=d is given twice",
    "-drive if=none,file=x": "-drive: if=none needs id=, which a -device names",
    "-drive file=x,serial=1": "-drive: serial: give it to the device: -device ide-hd,drive=ID,seri",
    "-drive file=x,copy-on-read=on": "-drive: copy-on-read=on: what is read is not copied",
    "-drive file=x,iops=7": "-drive: iops: the speed of a disk is the emulated drive's",
    "-drive file=x,if=virtio": "-drive: if=virtio: g3beige has no virtio; pseries has",
    "-nic bridge": "-nic: bridge: its helper needs rights; tap,fd= takes an open tap",
    "-net user": "-net: user: give -nic or -netdev, or model= for a card without a cable",
    "-net nic,model=e1000": "unknown network card 'e1000' (there is: ne2k_pci, sungem)",
    "-nic model=sungem,mac=1": "-nic: mac must be six bytes as 52:54:00:12:34:56, got '1'",
    "-nic model=sungem,speed=9": "unknown part of -nic 'speed' (there is: addr, id, mac, model, n",
    "-M bare -nic model=sungem": "-nic: bare has no PCI bus for a network card",
    "-usbdevice disk": "unknown value for -usbdevice 'disk' (there is: keyboard, mouse, tablet)",
    "-M bare -usb": "unknown property of bare 'usb'",
    "-global VGA": "-global: expected DRIVER.PROPERTY=VALUE, got 'VGA'",
    "-global cirrus.x=1": "unknown device 'cirrus' (there is: VGA, ",
    "-global VGA.x=1": "unknown property of VGA 'x' (there is: addr, edid, global-vmstate,",
    "-global VGA.vgamem_mb=0": "-global: VGA.vgamem_mb must be a number from 1 to 256, got '0'",
    "-M mac99,dumpdtb=x": "-machine: dumpdtb: the firmware makes the device tree, in the guest's m",
    "-M mac99,memory-backend=m": "unknown memory backend 'm' (there are none)",
    "-M mac99,usb=maybe": "unknown value for -machine: usb 'maybe' (there is: off, on)",
    "-device loader,bus=pci.0": "unknown property of loader 'bus'",
}


@pytest.mark.parametrize("options", WRONG)
def test_wrong_option_is_refused_in_one_line(options: str) -> None:
    assert_refused(options, WRONG[options])


NOT_BUILT = {
    "-M g3beige -device usb-kbd": "-device usb-kbd: g3beige has no USB bus; -M usb=on gives it one",
    "-M bare -device usb-kbd": "-device usb-kbd: bare has no USB bus",
    "-M bare -device VGA": "-device VGA: bare has no PCI bus",
    "-M mac99 -device usb-kbd,port=4": "-device usb-kbd: port 4 is not free (free are: 1, 2, 3)",
    "-M mac99 -device usb-kbd -device usb-mouse,port=1": "-device usb-mouse: port 1 is not free",
    "-M mac99 -device usb-kbd,bus=usb-bus.1": "-device usb-kbd: no bus 'usb-bus.1' (there is: usb-",
    "-M mac99,via=pmu -device usb-kbd,port=3 -device usb-kbd": "-device usb-kbd: every USB port is",
    f"-M mac99 {' '.join(['-device usb-hub'] * 8)} -device usb-hub,port=1.1.1.1.1.1": "-device usb",
    "-M mac99 -device sungem,bootindex=1 -device ne2k_pci,bootindex=1": "-device: bootindex=1 is g",
    "-M mac99 -vga std -device VGA": "-device VGA: there is a display already; -vga none leaves it",
    "-M mac99 -device sungem,addr=c": "-device sungem: addr=0c.0 is taken by macio-newworld",
    "-M mac99 -device sungem,bus=pci.1": "-device sungem: no bus 'pci.1' (there is: pci.2)",
    "-M mac99 -device VGA,addr=0xb": "-device VGA: addr=0b.0 is taken by the host bridge",
    "-M mac99 -device sungem,addr=d.1": "-device sungem: addr=0d.1: 0d.0 is taken, and no device h",
    "-M mac99 -device sungem,addr=0x1e.1 -device sungem,addr=1e": "-device sungem: addr=1e.0: 1e.1",
    "-M g3beige -device loader": "-device loader: give file=, or data= and data-len=, or addr= and",
    "-M g3beige -device loader,addr=64": "-device loader: addr= alone is a PC, which needs cpu-num",
    "-M g3beige -device loader,addr=66,cpu-num=0": "-device loader: a PC is a multiple of 4 below",
    "-M g3beige -device loader,addr=64,cpu-num=1": "-device loader: cpu-num: the machines here hav",
    "-M g3beige -device loader,addr=64,data=1": "-device loader: data needs data-len=",
    "-M g3beige -device loader,data=1,data-len=1,file=x": "-device loader: a file and data exclude",
    "-M g3beige -device loader,force-raw=on": "-device loader: force-raw needs file=",
    "-M g3beige -device loader,file=/nowhere": "/nowhere: no such file",
    "-M g3beige -device loader,addr=0x7fffff,data=1,data-len=2": "-device loader: "
    "0x7fffff..0x800001 is not all RAM",
}


@pytest.mark.parametrize("options", NOT_BUILT)
def test_device_that_finds_no_place_says_so(options: str) -> None:
    bare = options.startswith("-M bare")
    with pytest.raises(ConfigError) as caught:
        build(parse([*(() if bare else SMALL), *options.split()]))
    assert str(caught.value).startswith(NOT_BUILT[options])


def test_two_files_in_one_place_are_refused(tmp_path: Path) -> None:
    (tmp_path / "u").write_bytes(b"\x27\x05\x19\x56")
    (tmp_path / "h").write_bytes(b":0100000000FF\n:00000001FF\n")
    (tmp_path / "r").write_bytes(bytes(16))
    for name, text in (("u", "is a U-Boot image"), ("h", "is Intel HEX")):
        with pytest.raises(ConfigError, match=text):
            machine(f"-M g3beige -device loader,file={tmp_path}/{name}")
    with pytest.raises(ConfigError, match=r"loader: 0x8..0x18 overlaps .*/r"):
        machine(
            f"-M g3beige -device loader,file={tmp_path}/r -device loader,file={tmp_path}/r,addr=8"
        )


# --- the table and help ---------------------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
def test_defaults_in_the_table_are_values_that_the_property_takes(driver: str) -> None:
    for name, p in DRIVERS[driver].properties.items():
        if p.shown:
            assert p.read(name, p.shown) == p.default
    assert not set(DRIVERS[driver].refused) & set(DRIVERS[driver].properties)


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ("-device help", ['name "usb-tablet", bus usb-bus, desc "USB tablet"', "Input devices:"]),
        ("-device ?", ['name "loader", desc']),
        ("-device VGA,help", ["VGA options:", "  vgamem_mb=<uint32>", "(default: 16)"]),
        ("-M help", ["mac99 ", "g3beige-1.1", "(default)"]),
        ("-machine mac99,help", ["mac99 options:", "  via=<cuda/pmu/pmu-adb>", "  usb=<on/off>"]),
        ("-M mac99 -cpu help", ["PowerPC 7400 (also 7400_v2.9, g4)", "PowerPC 750"]),
        ("-cpu help -M g3beige", ["PowerPC 750"]),
        ("-nic model=help", ["Supported NIC models:\nne2k_pci\nsungem\n"]),
        ("-vga help", ["std\nnone\n"]),
        ("-accel help", ["tcg"]),
    ],
)
def test_help_lists_and_ends_well(
    line: str, texts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *line.split()]) == 0
    printed = capsys.readouterr().out
    for text in texts:
        assert text in printed


def test_help_about_nothing_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-device", "warp,help"]) == 2
    assert "unknown device 'warp'" in capsys.readouterr().err


def test_manual_names_every_device_and_property() -> None:
    manual = (Path(__file__).resolve().parents[2] / "docs" / "usage.md").read_text()
    for driver, known in DRIVERS.items():
        line = next(line for line in manual.splitlines() if line.startswith(f"| `{driver}` |"))
        for name in known.properties:
            assert f"`{name}`" in line, (driver, name)


def test_a_config_made_by_hand_has_the_usual_devices() -> None:
    m = build(Config(machine="mac99", ram_size=8 * MiB, bios="builtin", serials=("null",)))
    assert titles(m)[-5:-2] == ["pci.2:0d.0/ohci", "pci.2:0e.0/vga", "pci.2:0f.0/sungem"]


# --- case 28: a third USB device, and bootindex ---------------------------------------------------


def test_command_line_of_utm_gives_what_qemu_makes_of_it(tmp_path: Path) -> None:
    """Case 28: the names of the sections, a hub on the last free port, the order to boot in."""
    create(tmp_path / "d", "raw", MiB)
    m = machine(
        "-nodefaults -vga none -device VGA -M mac99,via=pmu -usb -device usb-tablet "
        "-device usb-mouse -device usb-kbd -device ide-hd,bus=ide.0,drive=d0,bootindex=0 "
        f"-drive if=none,id=d0,format=raw,file={tmp_path}/d"
    )
    names = [title for title in titles(m) if "usb-" in title]
    assert names == [
        "pci.2:0d.0/1/usb-kbd",
        "pci.2:0d.0/2/usb-ptr",
        "pci.2:0d.0/3/usb-hub",
        "pci.2:0d.0/3.1/usb-ptr",
        "pci.2:0d.0/3.2/usb-ptr",
        "pci.2:0d.0/3.3/usb-kbd",
    ]
    assert m.keyboard is m.part("pci/usb/keyboard@3.3")
    assert boot_order(m) == b"/pci@f2000000/mac-io@c/ata-3@20000/disk\0"


def test_hub_after_hub_when_ports_run_out() -> None:
    m = machine("-M mac99 " + "-device usb-mouse " * 12)
    places = [title.split("/")[1] for title in titles(m) if "/usb-" in title]
    assert places == ["1", "2", "3", *(f"3.{n}" for n in range(1, 9)), "3.8.1", "3.8.2", "3.8.3"]


def test_port_behind_a_hub_is_named_with_a_dot() -> None:
    m = machine("-M mac99 -device usb-hub,port=2 -device usb-kbd,port=2.4")
    assert "pci.2:0d.0/2.4/usb-kbd" in titles(m)


def boot_order(m: Machine) -> bytes:
    fw_cfg = m.part("fw_cfg")
    assert isinstance(fw_cfg, FwCfg)
    return fw_cfg.files["bootorder"]


def test_boot_order_is_written_as_qemu_writes_it(tmp_path: Path) -> None:
    """Case 28: the file that QEMU 7.2 gives for the same options, read over qtest."""
    create(tmp_path / "d", "raw", MiB)
    drives = f"-drive if=none,id=d0,format=raw,file={tmp_path}/d -drive if=none,id=c0,media=cdrom "
    m = machine(
        f"-M mac99,via=pmu -nic none {drives} -device ide-hd,bus=ide.0,drive=d0,bootindex=2 "
        "-device ide-cd,bus=ide.1,unit=1,drive=c0,bootindex=1 -device sungem,bootindex=0"
    )
    assert boot_order(m) == (
        b"/pci@f2000000/ethernet@f\n/pci@f2000000/mac-io@c/ata-3@21000/cdrom\n"
        b"/pci@f2000000/mac-io@c/ata-3@20000/disk\0"
    )
    m = machine(
        f"-M g3beige {drives} -device ide-hd,bus=ide.1,drive=d0,bootindex=0 "
        "-device ide-cd,bus=ide.0,unit=1,drive=c0,bootindex=1 -device ne2k_pci,bootindex=7"
    )
    assert boot_order(m) == (
        b"/pci@80000000/mac-io@10/ata-3@21000/disk\n/pci@80000000/mac-io@10/ata-3@20000/cdrom\n"
        b"/pci@80000000/ethernet@3\0"
    )
    assert boot_order(machine("-M g3beige -device ne2k_pci,bootindex=-1")) == b""
