"""Devices in their places: what -device, -nic and -vga put on the buses of a machine.

Places are QEMU 7.2's (``info qtree``, names of sections): the first free slot of the PCI bus, the
first free port of the USB controller.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from gossamer.base.errors import ConfigError
from gossamer.base.late import LateModule
from gossamer.base.units import KiB, MiB
from gossamer.devices.pci import PciBus, PciDevice
from gossamer.devices.vga.card import ROM_SIZE as VGA_ROM_SIZE
from gossamer.devices.vga.card import Vga
from gossamer.machines import firmware
from gossamer.machines.config import Added, Hardware
from gossamer.machines.device_options import NICS, built_in, network
from gossamer.machines.drives import (
    SCSI_DEVICES,
    VIO_DEVICES,
    VIO_NIC,
    VIRTIO_DEVICES,
    VIRTIO_NIC,
)
from gossamer.machines.kind import MachineKind
from gossamer.machines.machine import Machine, Part

if TYPE_CHECKING:
    from gossamer.devices import ne2000, sungem
    from gossamer.devices.spapr import llan
    from gossamer.devices.usb.ohci import Ohci
    from gossamer.devices.virtio import net
    from gossamer.machines import loader, scsi_attach, usb_attach, virtio_attach
else:  # a machine loads the devices that it has
    ne2000 = LateModule(lambda: import_module("gossamer.devices.ne2000"))
    sungem = LateModule(lambda: import_module("gossamer.devices.sungem"))
    scsi_attach = LateModule(lambda: import_module("gossamer.machines.scsi_attach"))
    loader = LateModule(lambda: import_module("gossamer.machines.loader"))
    usb_attach = LateModule(lambda: import_module("gossamer.machines.usb_attach"))
    virtio_attach = LateModule(lambda: import_module("gossamer.machines.virtio_attach"))

Card: TypeAlias = "sungem.SunGem | ne2000.Ne2000 | net.VirtioNet | llan.LogicalLan"
PCI_BUS: Final = "pci/bus"
#: What libvirt calls the bus of any machine; on mac99 QEMU's own pci.0 has no place for devices.
FIRST_BUS: Final = "pci.0"
FIRST_MAC: Final = 0x5254_0012_3456
SLOTS: Final = 32


def add_usb(m: Machine, bus: PciBus) -> Ohci | None:
    """The machine's own USB controller, if it has one."""
    if not m.kind.has_usb(m.hardware):
        return None
    return usb_attach.add_controller(m, bus, free_slot(bus))


def add_server_usb(m: Machine, bus: PciBus, *, xhci: bool, with_input: bool) -> None:
    """The USB controller of a pseries, perhaps with a keyboard and a mouse."""
    usb: usb_attach.Controller
    if xhci:
        usb = usb_attach.add_xhci(m, bus, free_slot(bus), built_in(m.hardware, "nec-usb-xhci"))
    else:
        usb = usb_attach.add_controller(m, bus, free_slot(bus))
    for driver in ("usb-kbd", "usb-mouse") if with_input else ():
        usb_attach.add_usb_device(m, usb, built_in(m.hardware, driver))


def room(hardware: Hardware, kind: MachineKind[Machine]) -> int:
    """Bytes of video memory and ROMs that the machine needs beside its RAM and firmware."""
    cards = [
        one for one in (*hardware.devices, *network(hardware, kind)) if one.driver == "ne2k_pci"
    ]
    return 8 * MiB + video_room(hardware) + 256 * KiB * len(cards)


def video_room(hardware: Hardware) -> int:
    """Bytes of video memory and ROMs of displays."""
    displays = [one for one in hardware.devices if one.driver == "VGA"]
    if hardware.vga == "std":
        displays.append(built_in(hardware, "VGA"))
    return sum(_video_size(one) + VGA_ROM_SIZE for one in displays)


# --- PCI ------------------------------------------------------------------------------------------


def free_slot(bus: PciBus) -> int:
    """The first free place behind the bridge's own, as 8 * slot."""
    taken = {devfn >> 3 for devfn in bus.functions}
    for slot in range(min(taken, default=0), SLOTS):
        if slot not in taken:
            return slot << 3
    raise ConfigError(f"{bus.name}: no slot is free")


def _place(m: Machine, bus: PciBus, added: Added) -> int:
    """Where on the bus the device goes; 8 * slot + function."""
    if added.bus and added.bus not in (bus.name, FIRST_BUS):
        raise ConfigError(f"{added.where}: no bus {added.bus!r} (there is: {bus.name})")
    devfn = added.optional("addr")
    if devfn is None:
        return free_slot(bus)
    other = bus.functions.get(devfn)
    if other is not None:
        name = other.vmsd or "the host bridge"
        raise ConfigError(f"{added.where}: addr={_spelled(devfn)} is taken by {name}")
    # A guest looks for functions 1 to 7 only behind a function 0 that says there are such.
    beside = [n for n in bus.functions if n >> 3 == devfn >> 3 and (devfn & 7 == 0 or n & 7 == 0)]
    if beside:
        raise ConfigError(
            f"{added.where}: addr={_spelled(devfn)}: {_spelled(beside[0])} is taken, and no "
            "device here has several functions"
        )
    return devfn


def _path(m: Machine, base: str, where: str) -> str:
    """`base`; the second of its kind says where it is, too."""
    return f"{base}@{where}" if any(p.path == base for p in m.parts) else base


def _spelled(devfn: int) -> str:
    return f"{devfn >> 3:02x}.{devfn & 7}"


def _video_size(added: Added) -> int:
    return (1 << (added.number("vgamem_mb") - 1).bit_length()) * MiB


def add_display(m: Machine, bus: PciBus, added: Added | None = None) -> None:
    """A display with its memory and option ROM; by default the machine's own, if it has one."""
    if added is None:
        if m.hardware.vga != "std":
            return
        added = built_in(m.hardware, "VGA")
    elif m.display is not None:
        raise ConfigError(f"{added.where}: there is a display already; -vga none leaves it out")
    devfn = _place(m, bus, added)
    at, size = f"{bus.name}:{_spelled(devfn)}", _video_size(added)
    content = firmware.optional_rom(firmware.VGA_ROM, VGA_ROM_SIZE, m.hardware.firmware_folders)
    vram = m.ram("vga.vram" if added.values["global-vmstate"] else f"{at}/vga.vram", size)
    rom = m.rom(f"{at}/vga.rom", VGA_ROM_SIZE, content)
    vga = Vga(
        m.clock,
        bus,
        devfn,
        vram=vram,
        rom=rom,
        width=added.number("xres") or 1280,
        height=added.number("yres") or 800,
        with_edid=bool(added.values["edid"]),
        extended=bool(added.values["qemu-extended-regs"]),
    )
    m.display = m.add("pci/vga", vga, known_as=added.title)


def cards(m: Machine) -> Iterator[tuple[Part, Card]]:
    """The network cards, in the order in which they were added."""
    for part in m.parts:
        if part.known_as.partition(",")[0] in NICS:
            yield part, cast("Card", part.device)


def add_network(m: Machine, bus: PciBus) -> None:
    """The network cards in the machine's own place."""
    for one in network(m.hardware, m.kind):
        add_nic(m, bus, one)


def add_nic(m: Machine, bus: PciBus, added: Added) -> None:
    """A network card; without an address of its own it gets the next of QEMU's."""
    if added.driver == VIO_NIC and m.vio is not None:
        _add_vio(m, added)
        return
    if (added.driver == VIRTIO_NIC) != m.kind.virtio:
        raise ConfigError(f"{added.where}: {_takes(m)}")
    devfn = _place(m, bus, added)
    if added.driver == VIRTIO_NIC:
        virtio_attach.add_virtio(m, bus, added, devfn, lambda: _free_mac(m))
        return
    mac = added.values["mac"] or _free_mac(m)
    assert isinstance(mac, bytes)
    index = added.number("bootindex")
    if added.driver == "sungem":
        path = _path(m, "pci/sungem", _spelled(devfn))
        gem = sungem.SunGem(m.clock, bus, devfn, mac=mac)
        card: PciDevice = m.add(path, gem, known_as=added.title)
        m.boot_indices += [(card, index)] if index >= 0 else []
        return
    content = firmware.optional_rom(firmware.NE2K_ROM, 256 * KiB, m.hardware.firmware_folders)
    rom = m.rom(f"{bus.name}:{_spelled(devfn)}/ne2000.rom", 256 * KiB, content)
    path = _path(m, "pci/ne2000", _spelled(devfn))
    ne2k = ne2000.Ne2000(m.clock, bus, devfn, rom=rom, mac=mac)
    card = m.add(path, ne2k, known_as=added.title)
    m.boot_indices += [(card, index)] if index >= 0 else []


def _free_mac(m: Machine) -> bytes:
    """The first of QEMU's addresses that no card of the machine has yet."""
    taken = {card.mac for _, card in cards(m)}
    free = (mac for n in range(256) if (mac := (FIRST_MAC + n).to_bytes(6, "big")) not in taken)
    return next(free)


def _takes(m: Machine) -> str:
    only = "virtio and SCSI devices, spapr-vlan and VGA only"
    return f"{m.name} takes {only if m.kind.virtio else 'no such device; pseries does'}"


def _add_vio(m: Machine, added: Added) -> None:
    """A device of virtual I/O."""
    if m.vio is None:
        raise ConfigError(f"{added.where}: {m.name} has no virtual I/O; pseries has")
    if added.driver == VIO_NIC:
        mac = added.values["mac"] or _free_mac(m)
        assert isinstance(mac, bytes)
        m.vio.add_lan(added, mac)
    else:
        m.vio.add_scsi(added)


# --- what -device adds ----------------------------------------------------------------------------


def add_devices(m: Machine) -> None:
    """Put what -device asks for into a machine that is otherwise whole; in QEMU's order."""
    bus = next((p.device for p in m.parts if p.path == PCI_BUS), None)
    for added in m.hardware.devices:
        if added.driver == "loader":
            loader.add_loader(m, added)
        elif added.driver in usb_attach.USB_DEVICES:
            usb = usb_attach.controller(m, added)
            m.plugged += usb_attach.add_usb_device(m, usb, added)
        elif not isinstance(bus, PciBus):
            raise ConfigError(f"{added.where}: {m.name} has no PCI bus")
        elif added.driver == "VGA":
            add_display(m, bus, added)
        elif added.driver in usb_attach.XHCI_MODELS:
            usb_attach.add_xhci(m, bus, _place(m, bus, added), added)
        elif (added.driver in (*VIRTIO_DEVICES, *VIO_DEVICES, *SCSI_DEVICES)) != m.kind.virtio:
            raise ConfigError(f"{added.where}: {_takes(m)}")
        elif added.driver in VIO_DEVICES:
            _add_vio(m, added)
        elif added.driver in SCSI_DEVICES:
            scsi_attach.add_device(m, added)
        elif added.driver in VIRTIO_DEVICES:
            devfn = _place(m, bus, added)
            virtio_attach.add_virtio(m, bus, added, devfn, lambda: _free_mac(m))
        elif added.driver == "pci-ohci":
            usb_attach.add_controller(m, bus, _place(m, bus, added), added)
        else:
            assert added.driver in NICS, added.driver
            add_nic(m, bus, added)
