"""Virtio devices in their places: names and order as QEMU 7.2 has them."""

from __future__ import annotations

from collections.abc import Callable

from gossamer.devices.pci import PciBus
from gossamer.devices.virtio.blk import VirtioBlk
from gossamer.devices.virtio.net import ROM_SIZE, VirtioNet
from gossamer.devices.virtio.scsi import VirtioScsi
from gossamer.machines import firmware
from gossamer.machines.config import Added
from gossamer.machines.drives import VIRTIO_NIC, VIRTIO_SCSI
from gossamer.machines.machine import Machine
from gossamer.machines.pseries_versions import era
from gossamer.machines.pseries_vio import scsi_name


def add_virtio(
    m: Machine, bus: PciBus, added: Added, devfn: int, free_mac: Callable[[], bytes]
) -> None:
    """A device at its place on the bus; a card without an address gets the next free one."""
    translated = bool(added.values["iommu_platform"])
    age = era(m.hardware.version)
    slot = f"{devfn >> 3:02x}.{devfn & 7}"

    def is_little() -> bool:
        return bool(m.cpus[m.turn].block.get("msr") & 1)

    if added.driver == VIRTIO_NIC:
        mac = added.values["mac"] or free_mac()
        assert isinstance(mac, bytes)
        folders = m.hardware.firmware_folders
        content = firmware.optional_rom(firmware.VIRTIO_NET_ROM, ROM_SIZE, folders)
        rom = m.rom(f"{bus.name}:{slot}/virtio-net-pci.rom", ROM_SIZE, content)
        card = VirtioNet(
            m.clock,
            bus,
            devfn,
            rom=rom,
            mac=mac,
            translated=translated,
            is_little=is_little,
            age=age.virtio,
            vectors=age.card_vectors,
        )
        m.add(f"pci/virtio-net@{slot}", card, known_as=added.title)
        return
    if added.driver == VIRTIO_SCSI:
        queues = added.optional("num_queues")
        chip = VirtioScsi(
            m.clock,
            bus,
            devfn,
            requests=queues or (m.hardware.cpus if age.queue_for_each else 1),
            name=scsi_name(m, added.id),
            translated=translated,
            is_little=is_little,
            age=age.virtio,
        )
        m.add(f"pci/virtio-scsi@{slot}", chip, known_as=added.title)
        m.scsi.append(chip.scsi)
        return
    disk = VirtioBlk(
        m.clock,
        bus,
        devfn,
        serial=added.text("serial"),
        translated=translated,
        is_little=is_little,
        age=age.virtio,
    )
    m.add(f"pci/virtio-blk@{slot}", disk, known_as=added.title)
