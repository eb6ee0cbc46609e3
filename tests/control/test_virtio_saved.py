"""A virtio disk and its content in saves."""

from __future__ import annotations

from pathlib import Path

from gossamer.control.vm import Vm
from gossamer.devices.virtio.blk import VirtioBlk
from gossamer.machines.options import parse

OPTIONS = (
    *("-M", "pseries", "-m", "256", "-nographic", "-vga", "none"),
    *("-serial", "null", "-rtc", "base=2020-01-01"),
)


def chip(vm: Vm) -> VirtioBlk:
    found = vm.machine.part("pci/virtio-blk@00.0")
    assert isinstance(found, VirtioBlk)
    return found


def test_a_save_brings_a_virtio_disk_back(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(0x1_0000))
    vm = Vm(parse([*OPTIONS, "-drive", f"if=virtio,file={disk},format=raw"]))
    vm.run(instructions=10)
    media = chip(vm).media
    assert media is not None
    media.write(0, b"before")
    vm.save(tmp_path / "save")
    media.write(0, b"behind")
    vm.restore(tmp_path / "save")
    again = chip(vm).media
    assert again is not None
    assert again.read(0, 6) == b"before"
    vm.close()
