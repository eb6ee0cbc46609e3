"""Virtio on the pseries: Linux on a disk, here and in QEMU 7.2, moved while it is mounted."""

from __future__ import annotations

import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from gossamer.control.vm import Vm
from gossamer.machines.options import parse
from gossamer.verify.hops.qemu import QemuStation
from tests.interop.test_pseries import OURS, qemu64, start

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
        vm.machine.serials[0].transmit = self.said.append

    def until(self, text: bytes, most: int = 400_000_000) -> str:
        end = self.vm.instructions + most
        while text not in self.said and self.vm.instructions < end:
            self.vm.run(instructions=1_000_000)
        assert text in self.said, self.said[-500:].decode()
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


def test_a_mounted_disk_moves_both_ways(
    files: list[str], disk: Path, tmp_path: Path, start: Callable[..., QemuStation]
) -> None:
    drive = ["-drive", f"if=virtio,file={disk},format=raw"]
    ours = [*OURS, "-icount", "3,sleep=off", *drive]
    vm = Vm(parse([*ours, *files, "-append", "console=hvc0"]))
    guest = Guest(vm)
    guest.until(b"guest# ")
    guest.ask("mke2fs /dev/vda && mount /dev/vda /mnt && echo here > /mnt/first; sync")
    sent = vm.migrate(f"file:{tmp_path}/stream", profile="qemu-7.2")
    assert sent.lost == ()
    station = start("-incoming", f"exec:cat {tmp_path}/stream", *drive)
    station.wait_loaded()
    if station.status != "running":
        station.command("cont")
    station.type(b"cat /mnt/first; echo there > /mnt/second; sync; echo ok:$?\r")
    station.expect(b"\r\nok:0", 20.0)
    assert b"\r\nhere\r\n" in station.output
    station.command("stop")
    station.migrate(f"exec:cat > {tmp_path}/back")
    station.close()
    again = Vm(parse(ours))
    again.incoming(f"file:{tmp_path}/back")
    guest = Guest(again)
    again.cont()
    assert "\r\nhere\r\nthere\r\n" in guest.ask("cat /mnt/first /mnt/second; umount /mnt")
    again.close()
