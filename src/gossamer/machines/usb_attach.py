"""USB devices in their ports, from the start or plugged in and out while the machine runs.

Places are QEMU 7.2's: the first free port of the controller, the last of them behind a hub.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from gossamer.base.data import replace
from gossamer.base.errors import ConfigError
from gossamer.core.device import Device
from gossamer.devices.adb.keyboard import AdbKeyboard
from gossamer.devices.adb.mouse import AdbMouse
from gossamer.devices.pci import PciBus
from gossamer.devices.usb.device import UsbFunction
from gossamer.devices.usb.hid import UsbKeyboard, UsbMouse
from gossamer.devices.usb.hub import UsbHub
from gossamer.devices.usb.ohci import PORTS, Ohci
from gossamer.devices.usb.tablet import UsbTablet
from gossamer.machines.config import Added
from gossamer.machines.device_options import built_in
from gossamer.machines.machine import Machine, Part, Plugged

USB: Final = "pci/usb"
MOST_HUBS: Final = 5
"""Between a device and the controller: USB 1.1, 4.1.1."""
USB_DEVICES: Final[dict[str, tuple[type[UsbKeyboard | UsbMouse | UsbTablet | UsbHub], str]]] = {
    "usb-hub": (UsbHub, "hub"),
    "usb-kbd": (UsbKeyboard, "keyboard"),
    "usb-mouse": (UsbMouse, "mouse"),
    "usb-tablet": (UsbTablet, "tablet"),
}


def add_controller(m: Machine, bus: PciBus, devfn: int, added: Added | None = None) -> Ohci:
    """A USB controller; a machine has one at most."""
    if any(p.path == USB for p in m.parts):
        where = added.where if added else m.name
        raise ConfigError(f"{where}: there is a USB controller already")
    return m.add(
        USB, Ohci(m.clock, bus, devfn), known_as=added.title if added else 'pci-ohci, id ""'
    )


def controller(m: Machine, where: str) -> Ohci:
    """The machine's USB controller; ConfigError when it has none."""
    found = next((p.device for p in m.parts if p.path == USB), None)
    if not isinstance(found, Ohci):
        hint = "; -M usb=on gives it one" if m.kind.usb is not None else ""
        raise ConfigError(f"{where}: {m.name} has no USB bus{hint}")
    return found


def bus_name(m: Machine) -> str:
    """What -device calls the bus: QEMU names it after the controller's id."""
    title = next(p.known_as for p in m.parts if p.path == USB)
    name = title.partition(", id ")[2].strip('"')
    return f"{name}.0" if name else "usb-bus.0"


def add_usb_device(m: Machine, usb: Ohci, added: Added, *, hot: bool = False) -> list[Plugged]:
    """A device on a port; keys and movement go to the keyboard and pointer added last.

    As in QEMU, the last free port gets a hub first, unless the device names its port.  Returns what
    was plugged in.
    """
    if added.bus and added.bus != bus_name(m):
        raise ConfigError(f"{added.where}: no bus {added.bus!r} (there is: {bus_name(m)})")
    made: list[tuple[Device, Added]] = []
    free = _free_ports(m, usb, hot=hot)
    if len(free) == 1 and not added.text("port") and added.driver != "usb-hub":
        hub = built_in(m.hardware, "usb-hub")
        made.append(_plug(m, usb, hub, next(iter(free)), free))
        free = _free_ports(m, usb, hot=hot)
    at = added.text("port")
    if at and at not in free:
        listed = ", ".join(free) or "none"
        raise ConfigError(f"{added.where}: port {at} is not free (free are: {listed})")
    if not free:
        raise ConfigError(f"{added.where}: every USB port is taken")
    made.append(_plug(m, usb, added, at or next(iter(free)), free))
    choose_inputs(m)
    return [Plugged(device, one, added) for device, one in made]


def choose_inputs(m: Machine) -> None:
    """Keys and movement go to the keyboard and the pointer that were plugged in last."""
    keyboards = [p.device for p in m.parts if isinstance(p.device, AdbKeyboard | UsbKeyboard)]
    pointers = [p.device for p in m.parts if isinstance(p.device, AdbMouse | UsbMouse | UsbTablet)]
    m.keyboard = keyboards[-1] if keyboards else None
    m.mouse = pointers[-1] if pointers else None


Connect = Callable[[UsbFunction], None]


def _free_ports(m: Machine, usb: Ohci, *, hot: bool) -> dict[str, Connect]:
    """Ports with nothing in them, in QEMU's order: the controller's, then those of each hub."""
    free: dict[str, Connect] = {
        str(n + 1): partial(usb.connect, n, hot=hot)
        for n, port in enumerate(usb.core.rhport[:PORTS])
        if port.device is None
    }
    for hub in (p.device for p in m.parts if isinstance(p.device, UsbHub)):
        for n, device in enumerate(hub.devices):
            if device is None:
                free[f"{hub.at}.{n + 1}"] = partial(hub.connect, n, hot=hot)
    return free


def _plug(
    m: Machine, usb: Ohci, added: Added, at: str, free: dict[str, Connect]
) -> tuple[Device, Added]:
    """Make a device and put it into a port: it, and what asks for it in that port."""
    kind, name = USB_DEVICES[added.driver]
    if kind is UsbHub and at.count(".") >= MOST_HUBS:
        raise ConfigError(f"{added.where}: at most {MOST_HUBS} hubs in a row, got port {at}")
    place = usb.idstr.removesuffix(f"/{usb.vmsd}")
    idstr, serial = f"{place}/{at}/{kind.vmsd}", added.text("serial")
    device: UsbFunction = (
        UsbHub(m.clock, idstr, serial, at=at) if kind is UsbHub else kind(m.clock, idstr, serial)
    )
    base = f"{USB}/{name}"
    path = f"{base}@{at}" if any(p.path == base for p in m.parts) else base
    m.add(path, device, known_as=added.title)
    free[at](device)
    return device, replace(added, values={**added.values, "port": at})


def port_of(part: Part) -> str:
    """The port that a device is in, as 3 or 3.1."""
    return part.idstr.split("/")[-2]


def unplug(m: Machine, usb: Ohci, part: Part) -> None:
    """Take a device out of its port while the machine runs; a hub must be empty."""
    device, at = part.device, port_of(part)
    if isinstance(device, UsbHub) and any(one is not None for one in device.devices):
        raise ConfigError(f"{part.known_as}: devices are plugged into this hub: they go first")
    above, _, number = at.rpartition(".")
    if above:
        hubs = (p.device for p in m.parts if isinstance(p.device, UsbHub))
        next(h for h in hubs if h.at == above).disconnect(int(number) - 1)
    else:
        usb.disconnect(int(number) - 1)
    m.remove(part)
    _name_again(m)
    choose_inputs(m)


def _name_again(m: Machine) -> None:
    """Paths as a machine has them that is built with the devices that are left."""
    taken: set[str] = set()
    for n, part in enumerate(m.parts):
        if isinstance(part.device, UsbFunction):
            base = part.path.partition("@")[0]
            path = f"{base}@{port_of(part)}" if base in taken else base
            taken.add(base)
            part.device.path = path
            m.parts[n] = replace(part, path=path)
