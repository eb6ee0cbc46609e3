"""The machine as a tree of objects, as far as clients look into QEMU's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.control.commands.table import UnknownDeviceError, command
from gossamer.control.session import Session
from gossamer.machines import registry
from gossamer.machines.device_table import DRIVERS
from gossamer.machines.usb_attach import USB_DEVICES

#: Types that clients look for and that are no devices: the abstract ones have no name here.
_OTHERS: Final = {"tcg-accel": "accel", "ide-hd": "ide-device", "ide-cd": "ide-device"}
_DEVICE: Final = "device"


@dataclass(frozen=True, slots=True)
class ObjectTypeInfo:
    """A type of object."""

    name: str
    parent: str | None = None
    abstract: bool | None = None


@command("qom-list-types", held=True)
def qom_list_types(
    session: Session, implements: str | None = None, abstract: bool = False
) -> tuple[ObjectTypeInfo, ...]:
    """The types of objects that -device, -machine and -cpu take."""
    del session, abstract
    found = {name: driver.group for name, driver in DRIVERS.items()} | _OTHERS
    found |= {f"{kind.name}-machine": "machine" for kind in registry.kinds()}
    found |= {f"{cpu}-powerpc-cpu": "powerpc-cpu" for k in registry.kinds() for cpu in k.cpus}
    devices = {*DRIVERS, "ide-hd", "ide-cd"}
    return tuple(
        ObjectTypeInfo(name, parent)
        for name, parent in found.items()
        if implements is None
        or implements in (name, parent)
        or (implements == _DEVICE and name in devices)
    )


@dataclass(frozen=True, slots=True)
class ObjectPropertyInfo:
    """A property."""

    name: str
    type: str
    description: str | None = None
    default_value: object | None = None


@command("device-list-properties", held=True)
def device_list_properties(session: Session, typename: str) -> tuple[ObjectPropertyInfo, ...]:
    """The properties that -device takes for a type."""
    del session
    driver = DRIVERS.get(typename)
    if driver is None:
        raise UnknownDeviceError(f"Device '{typename}' not found")
    return tuple(
        ObjectPropertyInfo(name, one.kind, one.text or None, one.default)
        for name, one in driver.properties.items()
    )


#: Types that libvirt 9.0 asks for though no list names them; it ends on an error there.
_ASKED_UNSEEN: Final = frozenset({"memory-backend-file", "memory-backend-memfd"})


@command("qom-list-properties", held=True)
def qom_list_properties(session: Session, typename: str) -> tuple[ObjectPropertyInfo, ...]:
    """The properties of a type."""
    for kind in registry.kinds():
        if typename == f"{kind.name}-machine":
            values = kind.properties.items()
            return tuple(ObjectPropertyInfo(n, "string", "/".join(v)) for n, v in values)
    if typename in DRIVERS:
        return device_list_properties_of(session, typename)
    if typename in _OTHERS or typename in _ASKED_UNSEEN:
        return ()
    raise UnknownDeviceError(f"Class '{typename}' not found")


def device_list_properties_of(session: Session, typename: str) -> tuple[ObjectPropertyInfo, ...]:
    found: tuple[ObjectPropertyInfo, ...] = device_list_properties(session, typename)
    return found


# --- the tree -----------------------------------------------------------------------------------

Properties = dict[str, tuple[str, object]]


def _tree(session: Session) -> dict[str, Properties]:
    """Objects by path; their properties by name: type and value, None for a child or link."""
    vm = session.vm
    kind = f"{vm.config.machine}-machine"
    machine: Properties = {
        "type": ("string", kind),
        "kernel": ("string", str(vm.config.kernel or "")),
        "initrd": ("string", str(vm.config.initrd or "")),
        "append": ("string", vm.config.append),
        "firmware": ("string", vm.config.bios or ""),
        "peripheral": ("child<container>", None),
        "peripheral-anon": ("child<container>", None),
        "unattached": ("child<container>", None),
    }
    made: dict[str, Properties] = {"/machine": machine}
    for folder in ("peripheral", "peripheral-anon", "unattached"):
        made[f"/machine/{folder}"] = {"type": ("string", "container")}
    counts = {"peripheral-anon": 0, "unattached": 0}
    plugged = {one.id: one for one in vm.config.devices if one.id}
    for driver, name in _devices(session):
        folder = "peripheral" if name else "unattached"
        if not name:
            name, counts[folder] = f"device[{counts[folder]}]", counts[folder] + 1
        made[f"/machine/{folder}"][name] = (f"child<{driver}>", None)
        made[f"/machine/{folder}/{name}"] = {
            "type": ("string", driver),
            "realized": ("bool", True),
            "hotplugged": ("bool", name in plugged and plugged[name].hot),
            "hotpluggable": ("bool", driver in USB_DEVICES),
        }
    return made


def _devices(session: Session) -> Iterator[tuple[str, str]]:
    """Driver and id of each device, the CPU first."""
    vm = session.vm
    yield f"{vm.machine.cpu.model.name}-powerpc-cpu", ""
    for part in vm.machine.parts:
        if part.known_as:
            driver, _, name = part.known_as.partition(", id ")
            yield driver, name.strip('"')
    for drive in vm.config.drives:
        yield ("ide-hd" if drive.media == "disk" else "ide-cd"), drive.device


def _find(session: Session, path: str) -> Properties:
    tree = _tree(session)
    whole = path.rstrip("/") or "/"
    if whole == "/":
        return {"machine": (f"child<{session.vm.config.machine}-machine>", None)}
    if not whole.startswith("/"):
        found = [p for p in tree if p.rpartition("/")[2] == whole]
        whole = found[0] if len(found) == 1 else whole
    if whole not in tree:
        raise UnknownDeviceError(f"Device '{path}' not found")
    return tree[whole]


@dataclass(frozen=True, slots=True)
class ObjectProperty:
    """A property of an object, or a child."""

    name: str
    type: str


@command("qom-list", held=True)
def qom_list(session: Session, path: str) -> tuple[ObjectProperty, ...]:
    """The properties and children of an object."""
    return tuple(ObjectProperty(n, kind) for n, (kind, _) in _find(session, path).items())


@command("qom-get", held=True)
def qom_get(session: Session, path: str, property: str) -> object:
    """The value of an object's property."""
    found = _find(session, path)
    if property not in found:
        owner = found.get("type", ("", "object"))[1]
        raise ConfigError(f"Property '{owner}.{property}' not found")
    kind, value = found[property]
    if value is None:
        place = path.rstrip("/")
        return f"{place}/{property}" if kind.startswith("child") else ""
    return value
