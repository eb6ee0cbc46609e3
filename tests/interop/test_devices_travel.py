"""Machines made with -device: the same sections as QEMU 7.2's, and on their way to it and back."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gossamer.block import create
from gossamer.devices.usb.tablet import UsbTablet
from gossamer.machines.build import build
from gossamer.machines.options import parse
from gossamer.migrate.channels import Limits, Listener
from gossamer.migrate.inspect import open_stream
from gossamer.verify.hops.command import COMMON, GossamerStation
from gossamer.verify.hops.qemu import QemuStation

MiB = 1 << 20
Start = Callable[..., QemuStation]
LIMITS = Limits(meet=10.0, stall=10.0, total=60.0)
pytestmark = pytest.mark.usefixtures("openbios")

COMPOSITIONS = [
    "-M mac99 -vga none",
    "-M mac99 -nodefaults",
    "-M mac99,usb=off",
    "-M mac99,via=pmu -device usb-tablet,port=3",
    "-M mac99 -device usb-mouse,serial=x -usbdevice tablet -device usb-kbd,id=k,port=3",
    "-M mac99 -device VGA,vgamem_mb=32 -nic none -device sungem -device ne2k_pci,addr=1f.3",
    "-M mac99 -nic model=ne2k_pci -net nic,model=sungem,macaddr=52:54:00:00:00:09",
    "-M g3beige,usb=on -device usb-kbd -usbdevice mouse",
    "-M g3beige -device VGA,addr=5 -device sungem -device ide-cd -device ide-cd",
    "-M g3beige -vga std -global VGA.vgamem_mb=64 -global ne2k_pci.mac=52:54:00:12:34:99",
    "-M g3beige -global ne2k_pci.mac=52:54:00:12:34:99 -device ne2k_pci -nic mac=52:54:00:1:2:3",
    "-M g3beige -device nec-usb-xhci,id=x -device usb-kbd -device usb-hub -device usb-kbd,port=2.1",
    "-M mac99,via=pmu -device qemu-xhci,id=x -device usb-tablet -device usb-mouse,bus=usb-bus.0",
    "-M g3beige -device loader,addr=0x4000,data=0x1234,data-len=3 -vga none",
]
NOT_OURS = {"ram", "slirp", "globalstate"}


@pytest.mark.parametrize("options", COMPOSITIONS)
def test_the_same_options_give_the_same_machine(
    options: str, start_qemu: Start, folder: Path
) -> None:
    """Sections with instance ids in order, RAM blocks with sizes, names in the tree, addresses."""
    words = ["-m", "64", *options.split()]
    machine = build(parse(words))
    qemu = start_qemu("-S", machine=tuple(words))
    qemu.migrate(f"exec:cat > {folder}/m")
    blocks: set[tuple[str, int]] = set()

    def list_blocks(_section: object, record: object) -> None:
        blocks.update((b.name, b.length) for b in getattr(record, "blocks", ()))

    stream = open_stream(io.BytesIO((folder / "m").read_bytes()), on_ram=list_blocks)
    found = dict.fromkeys((s.idstr, s.instance_id) for s in stream.sections)
    assert [(p.idstr, p.instance) for p in machine.sections] == [
        s for s in found if s[0] not in NOT_OURS
    ]
    assert {(b.name, b.size) for b in machine.arena.blocks} == blocks
    tree = qemu.monitor("info qtree")
    kinds = (
        "usb-hub|nec-usb-xhci|qemu-xhci|usb-kbd|usb-mouse|usb-tablet|VGA|ne2k_pci|sungem|pci-ohci"
    )
    theirs = re.findall(rf'dev: ((?:{kinds}), id ".*")', tree)
    assert sorted(p.known_as for p in machine.parts if p.known_as) == sorted(theirs)
    macs = {
        bytes(getattr(p.device, "mac", b"") or p.device.ne2000.mac).hex(":")
        for p in machine.parts
        if p.known_as.startswith(("sungem", "ne2k_pci"))
    }
    assert macs == set(re.findall(r'mac = "(.*)"', tree))


@pytest.fixture
def options(folder: Path) -> tuple[str, ...]:
    create(folder / "d", "raw", 8 << 20)
    line = (
        f"-M mac99 -m 128 -prom-env auto-boot?=false -device usb-tablet,id=t,serial=T1 "
        f"-drive if=none,id=d,file={folder}/d,format=raw "
        f"-device ide-hd,drive=d,bus=ide.0,serial=ABC,model=Disk,ver=7,wwn=0x5000c50011223344 "
        f"-device VGA,vgamem_mb=32 -device ne2k_pci,mac=52:54:00:aa:bb:cc"
    )
    return tuple(line.split())


def station(options: tuple[str, ...]) -> GossamerStation:
    return GossamerStation(parse([*options, *COMMON, "-icount", "shift=5,sleep=off"]))


def computes(at: GossamerStation | QemuStation) -> None:
    seen = len(at.output)
    at.type(b"2a 3 * .\r")
    at.expect(b"7e  ok", 20.0, seen)


def tablet(at: GossamerStation) -> UsbTablet:
    found = at.vm.machine.part("pci/usb/tablet")
    assert isinstance(found, UsbTablet)
    return found


def test_added_devices_go_to_qemu_and_come_back(
    options: tuple[str, ...], start_qemu: Start, folder: Path
) -> None:
    """The pointer's events wait in its queue, there and back; the disk is found where it was."""
    ours = station(options)
    ours.expect(b"0 > ", 60.0)
    ours.run(1_000_000)
    for n in range(3):
        tablet(ours).point(0x1000 * (n + 1), 0x2000, n & 1)
    assert tablet(ours).hid.n == 3
    ours.vm.disks.at[0].image.write(3584, b"ours")
    qemu = start_qemu("-incoming", f"unix:{folder}/m", machine=options)
    ours.vm.migrate(f"unix:{folder}/m", profile="qemu-7.2")
    assert qemu.wait_loaded() == "running"
    computes(qemu)
    tree = qemu.monitor("info qtree")
    assert 'dev: usb-tablet, id "t"' in tree
    assert 'serial = "ABC"' in tree
    back = station(("-incoming", "defer", *options))
    listener = Listener(f"unix:{folder}/b", LIMITS)
    qemu.command("migrate", uri=listener.uri)
    back.vm.incoming(listener)
    qemu.wait_sent()
    computes(back)
    came = tablet(back)
    assert (came.hid.n, came.hid.queue[came.hid.head].xdx) == (3, 0x1000)
    assert back.vm.disks.at[0].image.read(3584, 4) == b"ours"
    assert back.vm.machine.part("macio/ide0").bus.drives[0].serial == "ABC"
    back.vm.close()
    ours.vm.close()


def test_the_firmware_sees_the_same_devices(options: tuple[str, ...], start_qemu: Start) -> None:
    """OpenBIOS's own list of what it found."""

    def listed(at: GossamerStation | QemuStation) -> list[str]:
        at.expect(b"0 > ", 60.0)
        seen = len(at.output)
        at.type(b"show-devs\r")
        at.expect(b"0 > ", 30.0, seen + 10)
        text = bytes(at.output[seen:]).decode()
        return re.findall(r"^[0-9a-f]+ (/\S+)", text, re.MULTILINE)

    theirs = start_qemu(machine=options)
    qemu = listed(theirs)
    theirs.close()
    ours = station(options)
    assert listed(ours) == qemu
    assert len(qemu) > 40
    ours.vm.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_linux_finds_the_same_devices(shared: Path, start_qemu: Start, folder: Path) -> None:
    """What the drivers of a real Linux read from the devices, here and under QEMU."""
    kernel = folder / "vmlinux"
    kernel.write_bytes(gzip.decompress((shared / "guests" / "vmlinux.gz").read_bytes()))
    create(folder / "d", "raw", MiB)
    create(folder / "e", "raw", MiB)
    boot = ("-kernel", str(kernel), "-append", "console=ttyPZ0",
            "-initrd", str(shared / "guests" / "initramfs.cpio.gz"))  # fmt: skip
    looks = (
        "cd /sys/bus/usb/devices; cat */product */serial 1-1:1.0/*/report_descriptor | od -c; cd /",
        "cat /sys/class/net/*/address",
        "cat /sys/block/s*/device/model /sys/block/s*/device/rev /sys/block/sda/device/wwid",
        "od -An -tx1 /sys/block/sda/device/vpd_pg80 /sys/block/sda/device/vpd_pg83",
        "cat /sys/bus/pci/devices/*/vendor /sys/bus/pci/devices/*/resource",
    )

    def options(disk: str) -> tuple[str, ...]:
        line = (
            "-M mac99 -m 256 -device usb-tablet,serial=T1 -device usb-mouse "
            f"-device ne2k_pci,mac=52:54:00:aa:bb:cc "
            f"-drive if=none,id=d,file={folder}/{disk},format=raw -device ide-hd,drive=d,"
            "bus=ide.0,serial=SER1,model=MyDisk,ver=9.9,wwn=0x5000c50011223344 "
            "-device ide-cd,model=MyCD,ver=8"
        )
        return (*line.split(), *boot)

    def seen(at: GossamerStation | QemuStation) -> list[str]:
        at.expect(b"guest# ", 120.0)
        start = len(at.output)
        at.type(b"dmesg -n 1; sleep 3\r")  # drivers that come late speak no more
        at.expect(b"guest# ", 60.0, start + 19)
        found = []
        for look in looks:
            start = len(at.output)
            at.type(look.encode() + b"\r")
            at.expect(b"guest# ", 60.0, start + len(look) + 2)
            found.append(bytes(at.output[start:]).decode())
        return found

    theirs = start_qemu(machine=options("e"))
    qemu = seen(theirs)
    theirs.close()
    ours = station(options("d"))
    mine = seen(ours)
    ours.vm.close()
    assert mine == qemu
    text = "".join(mine)
    for word in ("T 1", "52:54:00:aa:bb:cc", "MyDisk", "naa.5000c50011223344", "9.9"):
        assert word.replace(" ", "") in re.sub(r"\s+", "", text)
