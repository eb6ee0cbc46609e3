"""Virtio on the pseries: Linux on a disk, here and in QEMU 7.2, moved while it is mounted."""

from __future__ import annotations

import lzma
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from struct import pack, unpack_from

import pytest

from gossamer.control.network import Network
from gossamer.control.vm import Vm
from gossamer.devices.spapr.fdt import unflatten
from gossamer.machines.build import build
from gossamer.machines.options import parse
from gossamer.verify.hops.qemu import QemuStation
from tests.interop.pseries import CAPS, changed_sections
from tests.interop.test_pseries import AT, CALLER, OURS, QEMU, kernel, qemu64, start
from tests.waiting import until

__all__ = ["qemu64", "start"]


@pytest.fixture(scope="module")
def files(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = shared / "pseries" / "guest" / "ppc64"
    if not folder.is_dir():
        pytest.skip("the shared folder has no pseries")
    path = tmp_path_factory.mktemp("guest") / "vmlinux"
    path.write_bytes(lzma.decompress((folder / "vmlinux.xz").read_bytes()))
    return ["-kernel", str(path), "-initrd", str(folder / "initramfs.cpio.gz")]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.truncate(8 << 20)
    return path


class Guest:
    """A Linux here; `ask` types a line and gives what it says until the prompt comes back."""

    def __init__(self, vm: Vm) -> None:
        self.vm, self.said = vm, bytearray()
        self.network: Network | None = None
        vm.machine.serials[0].transmit = self.said.extend

    def connect(self) -> None:
        """Serve its network from now on."""
        self.network = Network(self.vm)

    def close(self) -> None:
        if self.network is not None:
            self.network.close()
        self.vm.close()

    def step(self) -> None:
        """Go on; with a network as at a console, by the host's clock, which its answers go by."""
        if self.network is None:
            self.vm.run(instructions=1_000_000)
            return
        idle = self.vm.idle_until_ns
        wait = max(0, idle - time.monotonic_ns()) if idle is not None else 0
        poller = select.poll()
        for fd, mask in self.network.events().items():
            poller.register(fd, mask)
        for fd, mask in poller.poll(min(wait / 1e6, 10)):
            self.network.handle(fd, mask)
        self.vm.run_slice(10_000_000)
        self.network.pump()

    def until(self, text: bytes) -> str:
        until(lambda: text in self.said, self.step, saw=lambda: self.said[-500:], pause=0)
        found = self.said.decode()
        del self.said[:]
        return found

    def ask(self, line: str) -> str:
        port = self.vm.machine.serials[0]
        for byte in f"{line}; echo done:$?\r".encode():
            while not port.room():
                self.vm.run(instructions=100_000)
            port.receive(byte)
        return self.until(b"\r\ndone:")


PING = "until ping -c 1 -W 2 10.0.2.2; do :; done"
"""Until one is answered: the first may get lost while the link comes up."""


def asked(station: QemuStation, line: str) -> str:
    """Type a line at QEMU's guest; what it says until its prompt comes back."""
    start = len(station.output)
    station.type(f"{line}; echo '<'$?'>'\r".encode())
    station.expect(b"<0>", start=start)
    station.expect(b"guest# ", start=station.output.index(b"<0>", start))
    return station.output[start:].decode()


BUID = (0x0800_0000, 0x2000_0000)
READ, WRITE, QUERY_IRQ, CHANGE = 0x2016, 0x2017, 0x2018, 0x2019
DDW_QUERY, DDW_CREATE, DDW_REMOVE, DDW_RESET = 0x2026, 0x2027, 0x2028, 0x2029
#: Token, arguments, number of results.
SERVICES = [
    *((READ, (at, *BUID, size), 2) for at, size in [(n, 4) for n in range(0, 0x100, 4)]),
    *((READ, (at, *BUID, size), 2) for at, size in ((0, 3), (1, 2), (2, 2), (0x3D, 1), (0xFE, 4))),
    *((READ, (at, *BUID, 4), 2) for at in (0x800, 0x1_0000, 0x1000_0000, 0x100)),
    (READ, (0, 0, 0, 4), 2),
    *((WRITE, (at, *BUID, 4, 0xFFFF_FFFF), 1) for at in (0x10, 0x14, 0x20, 0x24, 0x30, 0x98, 0x40)),
    *((READ, (at, *BUID, 4), 2) for at in (0x10, 0x14, 0x20, 0x24, 0x30, 0x98, 0x40)),
    *((WRITE, (at, *BUID, 4, 0), 1) for at in (0x10, 0x14, 0x20, 0x24, 0x30, 0x98)),
    (WRITE, (0x800, *BUID, 4, 0), 1),
    (WRITE, (4, *BUID, 2, 0xFFFF), 1),
    (READ, (4, *BUID, 4), 2),
    (QUERY_IRQ, (0, *BUID, 0), 3),
    (CHANGE, (0, *BUID, 1, 1, 7), 4),
    (CHANGE, (0, *BUID, 4, 9, 7), 4),
    (CHANGE, (0, *BUID, 4, 0, 7), 4),
    (CHANGE, (0, *BUID, 9, 1, 7), 4),
    (CHANGE, (0x800, *BUID, 4, 1, 7), 4),
    (CHANGE, (0, *BUID, 3, 2, 7), 4),
    (CHANGE, (0, *BUID, 4, 2, 7), 4),
    *((QUERY_IRQ, (0, *BUID, n), 3) for n in (0, 1, 2)),
    (QUERY_IRQ, (0x800, *BUID, 0), 3),
    (CHANGE, (0, *BUID, 0, 4, 8), 4),
    *((QUERY_IRQ, (0, *BUID, n), 3) for n in (0, 3, 4)),
    (CHANGE, (0, *BUID, 4, 0, 9), 4),
    (CHANGE, (0, *BUID, 4, 0, 9), 3),
    (DDW_QUERY, (0, *BUID), 5),
    (DDW_QUERY, (0, *BUID), 6),
    (DDW_QUERY, (0, 1, 2), 5),
    (DDW_CREATE, (0, *BUID, 13, 28), 4),
    (DDW_CREATE, (0, *BUID, 16, 12), 4),
    (DDW_CREATE, (0, *BUID, 24, 28), 4),
    (DDW_QUERY, (0, *BUID), 6),
    (DDW_CREATE, (0, *BUID, 24, 28), 4),
    (DDW_REMOVE, (0x8000_0000,), 1),
    (DDW_REMOVE, (0x8000_0000,), 1),
    (DDW_REMOVE, (5,), 1),
    (DDW_CREATE, (0, *BUID, 16, 28), 4),
    (DDW_REMOVE, (0x8000_0001,), 1),
    (DDW_QUERY, (0, *BUID), 6),
    (DDW_RESET, (0, *BUID), 1),
    (DDW_QUERY, (0, *BUID), 6),
    (0x2021, (0, *BUID, 1), 2),
]
BLOCKS, BLOCK = 0x5_0000, 64


@pytest.mark.parametrize("version", ["4.1", "5.0", "6.0", "7.2"])
def test_services_for_pci_answer_alike(
    tmp_path: Path, start: Callable[..., QemuStation], version: str
) -> None:
    image = bytearray(0x6_0000)
    image[: len(CALLER)] = CALLER
    image[0x8000:0x8008] = len(SERVICES).to_bytes(8, "big")
    for n, (token, arguments, results) in enumerate(SERVICES):
        at = BLOCKS + BLOCK * n
        cells = (token, len(arguments), results, *arguments, *[0x7777_7777] * results)
        image[at : at + 4 * len(cells)] = pack(f">{len(cells)}I", *cells)
        row = (0xF000, AT + at, *[0] * 7)
        image[0x1_0000 + 72 * n : 0x1_0048 + 72 * n] = pack(">9Q", *row)
    path = kernel(tmp_path, bytes(image))
    card = () if version == "4.1" else ("-device", "virtio-net-pci")
    options = ("-kernel", str(path), *card)
    m = build(parse([*OURS, "-M", f"pseries-{version}", *options]))
    m.processor.run(40 * len(SERVICES) + 100)
    mine = m.memory.read(AT, len(image))
    assert mine[0x800F] == 1
    machine = f"pseries-{version},x-vof=on,{CAPS['970mp_v1.1']}"
    station = start("-M", machine, *options)
    out = tmp_path / "memory"
    end = time.monotonic() + 60
    theirs = bytes(len(image))
    while not theirs[0x800F] and time.monotonic() < end:
        time.sleep(0.02)
        station.command("pmemsave", val=AT, size=len(image), filename=str(out))
        theirs = out.read_bytes()
    assert theirs[0x800F] == 1
    differs = []
    for n, (token, arguments, results) in enumerate(SERVICES):
        at = BLOCKS + BLOCK * n + 12 + 4 * len(arguments)
        want, got = (unpack_from(f">{results}i", one, at) for one in (theirs, mine))
        if want != got:
            differs.append((hex(token), [hex(a) for a in arguments], want, got))
    assert not differs, "\n".join(map(str, differs))


def test_the_nodes_of_functions_are_qemus(tmp_path: Path, qemu64: Path, disk: Path) -> None:
    path, blob = kernel(tmp_path, CALLER), tmp_path / "blob"
    devices = ["-drive", f"if=virtio,file={disk},format=raw", "-device", "virtio-net-pci"]
    options = (*QEMU, "-nodefaults", "-nographic", "-serial", "null", "-monitor", "none")
    command = [str(qemu64), *options, *devices, "-kernel", str(path)]
    command += ["-machine", f"dumpdtb={blob}"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    theirs, _ = unflatten(blob.read_bytes())
    m = build(parse([*OURS, *devices, "-kernel", str(path)]))
    firmware = m.part("spapr").firmware  # type: ignore[attr-defined]
    bridge = "/pci@800000020000000"
    want, got = theirs.find(bridge), firmware.root.find(bridge)
    assert want is not None
    assert [one.name for one in want.children] == [one.name for one in got.children]
    for a, b in zip(want.children, got.children, strict=True):
        assert list(a.properties.items()) == list(b.properties.items()), a.name


@pytest.mark.parametrize("version", ["4.2", "5.2", "7.2"])
def test_a_mounted_disk_moves_both_ways(
    files: list[str], disk: Path, tmp_path: Path, start: Callable[..., QemuStation], version: str
) -> None:
    drive = ["-drive", f"if=virtio,file={disk},format=raw"]
    card = ["-device", "virtio-net-pci"]
    cable = ["-device", "virtio-net-pci,netdev=n0", "-netdev", "user,id=n0"]
    ours = [*OURS, "-M", f"pseries-{version}", "-icount", "3,sleep=off", *drive, *card]
    machine = f"pseries-{version},x-vof=on,{CAPS['970mp_v1.1']}"
    vm = Vm(parse([*ours, *files, "-append", "console=hvc0"]))
    guest = Guest(vm)
    guest.until(b"guest# ")
    guest.ask("mke2fs /dev/vda && mount /dev/vda /mnt && echo here > /mnt/first; sync")
    guest.ask("ifconfig eth0 10.0.2.15 up")
    sent = vm.migrate(f"file:{tmp_path}/stream", profile="qemu-7.2")
    assert sent.lost == ()
    station = start("-M", machine, "-incoming", f"exec:cat {tmp_path}/stream", *drive, *cable)
    station.wait_loaded()
    if station.status != "running":
        station.command("cont")
    station.type(
        b"ping -c 1 10.0.2.2; cat /mnt/first; echo there > /mnt/second; sync; echo ok:$?\r"
    )
    station.expect(b"\r\nok:0", 20.0)
    assert b"\r\nhere\r\n" in station.output
    assert b"1 packets received" in station.output
    station.command("stop")
    station.migrate(f"exec:cat > {tmp_path}/back")
    station.close()
    again = Vm(parse(ours))
    again.incoming(f"file:{tmp_path}/back")
    guest = Guest(again)
    again.cont()
    assert guest.vm.machine.part("pci/virtio-net@00.0").queues[0].last >= 2  # type: ignore[attr-defined]
    assert "\r\nhere\r\nthere\r\n" in guest.ask("cat /mnt/first /mnt/second; umount /mnt")
    again.close()


@pytest.mark.parametrize("version", ["2.7", "3.1", "4.0"])
def test_devices_of_early_versions_in_use_come_and_go_back(
    files: list[str], disk: Path, tmp_path: Path, start: Callable[..., QemuStation], version: str
) -> None:
    """Booted there by SLOF: without it Linux has no addresses for PCI before 4.2, there as here."""
    disc = tmp_path / "disc"
    disc.write_bytes(b"on the disc".ljust(1 << 16, b"."))
    devices = [
        *("-drive", f"if=virtio,file={disk},format=raw"),
        *("-drive", f"if=none,id=c,file={disc},format=raw,media=cdrom,readonly=on"),
        *("-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=c"),
        *("-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0"),
    ]
    machine = f"pseries-{version},x-vof=off,{CAPS['970mp_v1.1']}"
    station = start("-M", machine, *devices, *files, "-append", "console=hvc0")
    station.expect(b"guest# ")
    asked(station, "mke2fs /dev/vda && mount /dev/vda /mnt && echo there > /mnt/1 && sync")
    said = asked(station, f"ifconfig eth0 10.0.2.15 up; {PING}")
    assert "1 packets received" in said
    station.command("stop")
    station.migrate(f"exec:cat > {tmp_path}/stream")
    station.close()
    ours = [*OURS, "-M", f"pseries-{version}", "-icount", "3", *devices]
    changed = changed_sections((tmp_path / "stream").read_bytes(), tuple(ours), live=True)
    assert changed <= {"globalstate", "slirp"}
    vm = Vm(parse(ours))
    vm.incoming(f"file:{tmp_path}/stream")
    guest = Guest(vm)
    vm.cont()
    guest.connect()
    said = guest.ask("cat /mnt/1; echo here > /mnt/2; sync; head -c 11 /dev/sr0; echo")
    assert "\r\nthere\r\n" in said
    assert "on the disc" in said
    assert "1 packets received" in guest.ask(PING)
    sent = vm.migrate(f"file:{tmp_path}/back", profile="qemu-7.2")
    assert all("virtual processor" in lost for lost in sent.lost)
    guest.close()
    again = start("-M", machine, *devices, "-incoming", f"exec:cat {tmp_path}/back")
    again.wait_loaded()
    if again.status != "running":
        again.command("cont")
    said = asked(again, f"cat /mnt/1 /mnt/2; {PING}")
    assert "there\r\nhere\r\n" in said
    assert "1 packets received" in said
    # The kernel says that the disk is gone wherever it likes.
    assert "on the disc" in asked(again, "head -c 11 /dev/sr0; umount /mnt")
