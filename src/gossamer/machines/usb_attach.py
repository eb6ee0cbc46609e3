"""USB devices in their ports, from the start or plugged in and out while the machine runs.

Places are QEMU 7.2's: the first free port of the controller, the last of them behind a hub.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from gossamer.base.data import replace
from gossamer.base.errors import ConfigError
from gossamer.base.late import LateModule
from gossamer.core.device import Device
from gossamer.devices.adb.keyboard import AdbKeyboard
from gossamer.devices.adb.mouse import AdbMouse
from gossamer.devices.pci import PciBus
from gossamer.devices.usb.device import HIGH, UsbFunction
from gossamer.devices.usb.hid import UsbKeyboard, UsbMouse
from gossamer.devices.usb.hub import UsbHub
from gossamer.devices.usb.ohci import Ohci
from gossamer.devices.usb.tablet import UsbTablet
from gossamer.machines.config import Added
from gossamer.machines.device_options import built_in
from gossamer.machines.machine import Machine, Part, Plugged

if TYPE_CHECKING:
    from gossamer.devices.usb import xhci
else:  # of machines that have one
    xhci = LateModule(lambda: import_module("gossamer.devices.usb.xhci"))

USB, XHCI = "pci/usb", "pci/xhci"
XHCI_MODELS: Final = ("nec-usb-xhci", "qemu-xhci")
Controller: TypeAlias = "Ohci | xhci.Xhci"
CONTROLLERS: Final = ("ohci", "xhci")
"""What their sections are called."""
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


def add_xhci(m: Machine, bus: PciBus, devfn: int, added: Added) -> xhci.Xhci:
    """An xHCI controller; a machine may have several."""
    takes = bus.message is not None
    for name in ("msi", "msix"):
        if added.values.get(name) == "on" and not takes:
            raise ConfigError(f"{added.where}: {name}=on: the bridge of {m.name} takes no messages")
    made = xhci.Xhci(
        m.clock,
        bus,
        devfn,
        added.driver,
        high=added.number("p2"),
        super_=added.number("p3"),
        msi=added.values.get("msi") != "off",
        msix=added.values.get("msix") != "off",
    )
    taken = any(p.path == XHCI for p in m.parts)
    return m.add(f"{XHCI}-{devfn >> 3:02x}" if taken else XHCI, made, known_as=added.title)


def buses(m: Machine) -> dict[str, Controller]:
    """The USB controllers, by what -device calls their buses: QEMU names them after their ids."""
    found: dict[str, Controller] = {}
    unnamed = 0
    for part in m.parts:
        if part.device.vmsd in CONTROLLERS:
            name = part.known_as.partition(", id ")[2].strip('"')
            found[f"{name}.0" if name else f"usb-bus.{unnamed}"] = cast("Controller", part.device)
            unnamed += not name
    return found


def controller(m: Machine, added: Added) -> Controller:
    """The controller that a device is for, as in QEMU the newest; ConfigError without one."""
    found = buses(m)
    if not found:
        hint = "; -M usb=on gives it one" if m.kind.usb is not None else ""
        raise ConfigError(f"{added.where}: {m.name} has no USB bus{hint}")
    if added.bus and added.bus not in found:
        listed = ", ".join(found)
        raise ConfigError(f"{added.where}: no bus {added.bus!r} (there is: {listed})")
    return found[added.bus] if added.bus else list(found.values())[-1]


def add_usb_device(
    m: Machine, usb: Controller, added: Added, *, hot: bool = False
) -> list[Plugged]:
    """A device on a port; keys and movement go to the keyboard and pointer added last.

    As in QEMU, the last free port gets a hub first, unless the device names its port.  Returns what
    was plugged in.
    """
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


def _place(one: Device) -> str:
    """The place of a controller, or of a device's controller, in the names of sections."""
    return one.idstr.partition("/")[0]


def _free_ports(m: Machine, usb: Controller, *, hot: bool) -> dict[str, Connect]:
    """Ports with nothing in them, in QEMU's order: the controller's, then those of each hub."""
    free: dict[str, Connect] = {
        str(n + 1): partial(usb.connect, n, hot=hot)
        for n, device in enumerate(usb.devices)
        if device is None
    }
    for hub in _hubs(m, usb):
        for n, device in enumerate(hub.devices):
            if device is None:
                free[f"{hub.at}.{n + 1}"] = partial(hub.connect, n, hot=hot)
    return free


def _hubs(m: Machine, usb: Controller) -> list[UsbHub]:
    """The hubs behind a controller."""
    hubs = (p.device for p in m.parts if isinstance(p.device, UsbHub))
    return [hub for hub in hubs if _place(hub) == _place(usb)]


def _path(m: Machine, usb: Controller) -> str:
    return next(p.path for p in m.parts if p.device is usb)


def _plug(
    m: Machine, usb: Controller, added: Added, at: str, free: dict[str, Connect]
) -> tuple[Device, Added]:
    """Make a device and put it into a port: it, and what asks for it in that port."""
    kind, name = USB_DEVICES[added.driver]
    if kind is UsbHub and at.count(".") >= MOST_HUBS:
        raise ConfigError(f"{added.where}: at most {MOST_HUBS} hubs in a row, got port {at}")
    idstr, serial = f"{_place(usb)}/{at}/{kind.vmsd}", added.text("serial")
    device: UsbFunction = (
        UsbHub(m.clock, idstr, serial, at=at) if kind is UsbHub else kind(m.clock, idstr, serial)
    )
    if usb.vmsd == "xhci" and kind is not UsbHub and "." not in at:
        device.speed = HIGH if added.number("usb_version") == 2 else device.speed
    base = f"{_path(m, usb)}/{name}"
    path = f"{base}@{at}" if any(p.path == base for p in m.parts) else base
    m.add(path, device, known_as=added.title)
    free[at](device)
    return device, replace(added, values={**added.values, "port": at})


def port_of(part: Part) -> str:
    """The port that a device is in, as 3 or 3.1."""
    return part.idstr.split("/")[-2]


def unplug(m: Machine, part: Part) -> None:
    """Take a device out of its port while the machine runs; a hub must be empty."""
    device, at = part.device, port_of(part)
    if isinstance(device, UsbHub) and any(one is not None for one in device.devices):
        raise ConfigError(f"{part.known_as}: devices are plugged into this hub: they go first")
    above, _, number = at.rpartition(".")
    usb = next(one for one in buses(m).values() if _place(one) == _place(device))
    if above:
        next(h for h in _hubs(m, usb) if h.at == above).disconnect(int(number) - 1)
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
