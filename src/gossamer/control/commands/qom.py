"""The machine as a tree of objects, as far as clients look into QEMU's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.control import look
from gossamer.control.commands.table import UnknownDeviceError, command
from gossamer.control.session import Session
from gossamer.cpu.cpu import Cpu
from gossamer.devices.usb.device import UsbFunction
from gossamer.machines import registry
from gossamer.machines.config import Added
from gossamer.machines.device_table import DRIVERS
from gossamer.machines.machine import Part

#: Types that clients look for and that are no devices: the abstract ones have no name here.
_OTHERS: Final = {"tcg-accel": "accel", "ide-hd": "ide-device", "ide-cd": "ide-device"}
_DEVICE: Final = "device"


class ObjectTypeInfo(Data):
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


class ObjectPropertyInfo(Data):
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


class Node(Data):
    """An object: its type, and what gives its properties (name: type and value)."""

    type: str
    properties: Callable[[], Properties] = dict


CONTAINER: Final = "container"


def objects(session: Session) -> dict[str, Node]:
    """Objects by path, each after the one that holds it."""
    vm = session.vm
    made = {"/machine": Node(f"{vm.config.machine}-machine", lambda: _machine(session))}
    for folder in ("peripheral", "peripheral-anon", "unattached"):
        made[f"/machine/{folder}"] = Node(CONTAINER)
    number = 0
    for name, node in _devices(session):
        if name:
            made[f"/machine/peripheral/{name}"] = node
        else:
            made[f"/machine/unattached/device[{number}]"] = node
            number += 1
    if session.objects.kinds():
        made["/objects"] = Node(CONTAINER)
    for name, kind in session.objects.kinds().items():
        made[f"/objects/{name}"] = Node(kind)
    return made


def _machine(session: Session) -> Properties:
    config = session.vm.config
    return {
        "kernel": ("string", str(config.kernel or "")),
        "initrd": ("string", str(config.initrd or "")),
        "append": ("string", config.append),
        "firmware": ("string", config.bios or ""),
        "graphics": ("bool", config.graphic),
        **{name: ("string", value) for name, value in config.properties.items()},
    }


def _devices(session: Session) -> Iterator[tuple[str, Node]]:
    """The id of each device, if it has one, and what it is; the CPU first."""
    vm = session.vm
    hot = {one.id for one in vm.config.devices if one.hot}
    given = {one.id: one for one in (*vm.config.nics, *vm.config.devices) if one.id}
    for part in vm.machine.parts:
        if isinstance(part.device, Cpu):
            yield "", Node(f"{part.device.model.name}-powerpc-cpu", partial(_device, "", hot, part))
    for part in vm.machine.parts:
        if isinstance(part.device, Cpu):
            continue
        driver, _, name = part.known_as.partition(", id ")
        name = name.strip('"')
        kind = driver or part.device.vmsd or part.path.rpartition("/")[2]
        yield name, Node(kind, partial(_device, name, hot, part, given.get(name)))
    for drive in vm.config.drives:
        if drive.interface != "ide":
            continue  # a chip of its own
        kind = "ide-hd" if drive.media == "disk" else "ide-cd"
        yield drive.device, Node(kind, partial(_device, drive.device, hot, None))


def _device(name: str, hot: set[str], part: Part | None, added: Added | None = None) -> Properties:
    """What every device has, what -device gave it, and the numbers of a chip's declared state."""
    found: Properties = {
        "realized": ("bool", True),
        "hotplugged": ("bool", bool(name) and name in hot),
        "hotpluggable": ("bool", part is not None and isinstance(part.device, UsbFunction)),
    }
    known = DRIVERS[added.driver].properties if added else {}
    for key, value in added.values.items() if added else ():
        if value is not None and not isinstance(value, bytes):
            found[key] = (known[key].kind, value)
    if part is not None:
        state = look.chip_state(part)
        for field, value in zip(state.names, state.values, strict=True):
            if isinstance(value, int):
                found[field] = ("bool" if isinstance(value, bool) else "int", value)
    return found


def _find(session: Session, path: str) -> tuple[str, Properties]:
    """The path of an object and its properties, children among them."""
    tree = objects(session)
    whole = path.rstrip("/") or "/"
    if whole != "/" and not whole.startswith("/"):
        found = [p for p in tree if p.rpartition("/")[2] == whole]
        whole = found[0] if len(found) == 1 else whole
    if whole != "/" and whole not in tree:
        raise UnknownDeviceError(f"Device '{path}' not found")
    below = "" if whole == "/" else whole
    children: Properties = {
        other.rpartition("/")[2]: (f"child<{node.type}>", other)
        for other, node in tree.items()
        if other.rpartition("/")[0] == below
    }
    if whole == "/":
        return whole, {"type": ("string", CONTAINER)} | children
    node = tree[whole]
    return whole, {"type": ("string", node.type)} | children | node.properties()


class ObjectProperty(Data):
    """A property of an object, or a child."""

    name: str
    type: str


@command("qom-list", held=True)
def qom_list(session: Session, path: str) -> tuple[ObjectProperty, ...]:
    """The properties and children of an object."""
    _, found = _find(session, path)
    return tuple(ObjectProperty(name, kind) for name, (kind, _) in found.items())


@command("qom-get", held=True)
def qom_get(session: Session, path: str, property: str) -> object:
    """The value of an object's property; of a child, its path."""
    _, found = _find(session, path)
    if property not in found:
        owner = found["type"][1]
        raise ConfigError(f"Property '{owner}.{property}' not found")
    return found[property][1]
