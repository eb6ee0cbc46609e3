"""Virtio devices in their places: names and order as QEMU 7.2 has them."""

from __future__ import annotations

from gossamer.devices.pci import PciBus
from gossamer.devices.virtio.blk import VirtioBlk
from gossamer.machines.config import Added
from gossamer.machines.machine import Machine


def add_virtio(m: Machine, bus: PciBus, added: Added, devfn: int) -> None:
    """A device at its place on the bus."""
    translated = bool(added.values["iommu_platform"])
    slot = f"{devfn >> 3:02x}.{devfn & 7}"
    disk = VirtioBlk(
        m.clock,
        bus,
        devfn,
        serial=added.text("serial"),
        translated=translated,
        is_little=lambda: bool(m.cpu.block.get("msr") & 1),
    )
    m.add(f"pci/virtio-blk@{slot}", disk, known_as=added.title)
