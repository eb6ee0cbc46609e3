"""-device, -global, -nic, -net, -usbdevice: text made into `Added` records.

What devices and properties exist is `device_table`'s business; where a device finds its place is
that of `devices_attach` and, for drives, of `drives`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.machines.config import Added, Hardware, unknown
from gossamer.machines.device_table import COMMON, DRIVERS, Driver, Property
from gossamer.machines.drives import VIO_NIC, VIRTIO_NIC
from gossamer.machines.kind import MachineKind, Version
from gossamer.machines.values import keyval, mac_address, pairs, pci_address

#: By driver and property, the values that -global set.
Globals = dict[str, dict[str, object]]
IDE: Final = ("ide-hd", "ide-cd")
NICS: Final = tuple(name for name, d in DRIVERS.items() if d.group == "Network devices")
PARAVIRTUAL: Final = (VIO_NIC, VIRTIO_NIC)
NIC_ALIASES: Final = {"ibmveth": VIO_NIC, "virtio": VIRTIO_NIC, "virtio-net": VIRTIO_NIC}
USB_NAMES: Final = {"keyboard": "usb-kbd", "mouse": "usb-mouse", "tablet": "usb-tablet"}
_HOST_NETWORKS: Final = (
    "user", "tap", "bridge", "socket", "stream", "dgram", "l2tpv3", "vde", "netmap", "vhost-user",
    "vhost-vdpa", "hubport", "passt",
)  # fmt: skip
NO_NETWORK: Final = "give -nic or -netdev, or model= for a card without a cable"


class Asked(Data):
    """A device as it was asked for, before -global and the defaults fill it up."""

    option: str
    driver: str
    given: Mapping[str, str]

    @property
    def where(self) -> str:
        return f"{self.option} {self.driver}"

    def having(self, name: str, value: str) -> Asked:
        """The same with another property."""
        return Asked(self.option, self.driver, {**self.given, name: value})


# --- text ---------------------------------------------------------------------------------------


def parse_device(text: str) -> Asked:
    """The value of -device."""
    given = keyval("-device", text, first="driver")
    if "driver" not in given:
        raise ConfigError(f"-device: expected DRIVER[,property=value], got {text!r}")
    return asked_for("-device", given.pop("driver"), given)


def asked_for(option: str, driver: str, given: Mapping[str, str]) -> Asked:
    """A device by its name and properties."""
    asked = _asked(option, driver, given)
    if not DRIVERS[asked.driver].pluggable:
        raise ConfigError(f"{option}: {asked.driver} is part of the machine; -global sets it")
    return asked


def parse_usb_device(text: str) -> Asked:
    """The value of -usbdevice."""
    if text not in USB_NAMES:
        raise unknown("value for -usbdevice", text, USB_NAMES)
    return Asked("-usbdevice", USB_NAMES[text], {})


def parse_global(text: str, into: Globals) -> None:
    """The value of -global: ``driver.property=value``, or the three as a list."""
    head, equals, value = text.partition("=")
    if head == "driver" and "," in value:
        parts = pairs("-global", text)
        if set(parts) != {"driver", "property", "value"}:
            raise ConfigError(f"-global: expected driver=, property= and value=, got {text!r}")
        driver, name, value = parts["driver"], parts["property"], parts["value"]
    else:
        driver, dot, name = head.partition(".")
        if not (dot and equals and name):
            raise ConfigError(f"-global: expected DRIVER.PROPERTY=VALUE, got {text!r}")
    asked = _asked("-global", driver, {})
    found = _property(asked, name)
    into.setdefault(driver, {})[name] = found.read(f"-global: {driver}.{name}", value)


def parse_nic(option: str, text: str, model: MachineKind[Any]) -> Asked | None:
    """The value of -nic or -net: a card without a cable; None for ``none``.

    `model`: the machine, which has a usual card.
    """
    given = pairs(option, text, first="type")
    kind = given.pop("type", "")
    if kind == "none":
        if given:
            raise ConfigError(f"{option}: none stands alone, got {text!r}")
        return None
    if kind in _HOST_NETWORKS:
        raise ConfigError(f"{option}: {kind}: {NO_NETWORK}")
    if kind not in (("nic",) if option == "-net" else ("",)):
        raise unknown(
            f"value for {option}", kind, ("nic", "none") if option == "-net" else ("none",)
        )
    if not model.nic:
        raise ConfigError(f"{option}: {model.name} has no PCI bus for a network card")
    card = given.pop("model", model.nic)
    card = NIC_ALIASES.get(card, card)
    here = [name for name in NICS if (name in PARAVIRTUAL) == model.virtio]
    if card not in here:
        raise unknown("network card", card, here)
    spelled = {"macaddr": "mac", "mac": "mac", "addr": "addr"}
    known = {"macaddr", "addr", "model", "netdev"}
    if option != "-net":
        known = {"mac", "addr", "model", "id", "netdev"}
    wanted = {}
    for name, value in given.items():
        if name == "netdev":
            wanted["netdev"] = value
            continue
        if name == "id" or (option == "-net" and name == "name"):
            continue  # names the network's end of the cable, which there is none of
        if name not in known:
            raise unknown(f"part of {option}", name, known)
        key = spelled[name]
        read = mac_address if key == "mac" else pci_address
        found = read(f"{option}: {name}", value)  # refused under the name that the user gave it
        if isinstance(found, bytes) and found[0] & 1:
            raise ConfigError(f"{option}: {name}: {value} is a group's address, not a card's")
        wanted[key] = value
    return Asked(option, card, wanted)


def _asked(option: str, driver: str, given: Mapping[str, str]) -> Asked:
    if driver not in DRIVERS:
        known = [name for name, d in DRIVERS.items() if d.pluggable or option == "-global"]
        raise unknown("device", driver, known)
    return Asked(option, driver, given)


def _property(asked: Asked, name: str) -> Property:
    known = DRIVERS[asked.driver]
    if name in known.refused:
        raise ConfigError(f"{asked.option}: {asked.driver}.{name}: {known.refused[name]}")
    if name not in known.properties:
        raise unknown(f"property of {asked.driver}", name, known.properties)
    return known.properties[name]


# --- records ------------------------------------------------------------------------------------


def resolve(asked: Asked, defaults: Mapping[str, Mapping[str, object]]) -> Added:
    """The device with a value for each of its properties."""
    known = DRIVERS[asked.driver]
    values: dict[str, object] = {name: p.default for name, p in known.properties.items()}
    values.update(defaults.get(asked.driver, {}))
    common = {"id": "", "bus": ""}
    for name, text in asked.given.items():
        where = f"{asked.option}: {asked.driver}.{name}"
        if name in COMMON and (name != "bus" or known.bus):
            common[name] = str(COMMON[name].read(where, text))
        else:
            values[name] = _property(asked, name).read(where, text)
    return Added(asked.driver, values, common["id"], common["bus"], asked.where)


def resolve_all(asked: Iterable[Asked], defaults: Globals) -> tuple[Added, ...]:
    """All the devices; an id is given once."""
    made = [resolve(one, defaults) for one in asked]
    ids: set[str] = set()
    for one in made:
        if one.id in ids:
            raise ConfigError(f"{one.where}: id={one.id} is given twice")
        if one.id:
            ids.add(one.id)
    return tuple(made)


def usual(version: Version, given: Globals) -> Globals:
    """What devices of a machine have by default: as its version has it, over that `given`."""
    drivers = dict.fromkeys((*version.defaults, *given))
    return {one: {**version.defaults.get(one, {}), **given.get(one, {})} for one in drivers}


def built_in(hardware: Hardware, driver: str) -> Added:
    """A device of this kind that the machine has by itself, as -global has set it."""
    return resolve(Asked("-M", driver, {}), hardware.defaults)


def network(hardware: Hardware, kind: MachineKind[Any]) -> Sequence[Added]:
    """The cards in the machine's own place."""
    if hardware.nics or not kind.has_nic(hardware):
        return hardware.nics
    return (resolve_card(Asked("-nic", kind.nic, {}), hardware.defaults),)


def resolve_card(asked: Asked, defaults: Mapping[str, Mapping[str, object]]) -> Added:
    """A card in the machine's own place: its address comes from -nic, as in QEMU, or is the next.

    What -global says of an address is for cards of -device.
    """
    usual = {name: value for name, value in defaults.get(asked.driver, {}).items() if name != "mac"}
    return resolve(asked, {asked.driver: usual})


# --- help ---------------------------------------------------------------------------------------


def list_devices() -> str:
    """What ``-device help`` prints."""
    lines: list[str] = []
    for group in dict.fromkeys(d.group for d in DRIVERS.values()):
        lines += ["", f"{group}:"] if lines else [f"{group}:"]
        for name, d in DRIVERS.items():
            if d.group == group and d.pluggable:
                bus = f", bus {d.bus}" if d.bus else ""
                lines.append(f'name "{name}"{bus}, desc "{d.text}"')
    return "\n".join(lines) + "\n"


def list_properties(driver: str) -> str:
    """What ``-device DRIVER,help`` prints."""
    if driver not in DRIVERS:
        raise unknown("device", driver, DRIVERS)
    known: Driver = DRIVERS[driver]
    lines = [f"{driver} options:"]
    for name, p in sorted(known.properties.items()):
        default = f" (default: {p.shown})" if p.shown else ""
        text = f" - {p.text}" if p.text else " -" if default else ""
        lines.append(f"  {name + '=<' + p.kind + '>':30}{text}{default}".rstrip())
    return "\n".join(lines) + "\n"
