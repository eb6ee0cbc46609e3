"""Commands that plug devices in and out, and pull or put back the cable of a network card."""

from __future__ import annotations

from collections.abc import Mapping

from gossamer.base.errors import ConfigError
from gossamer.control import hotplug
from gossamer.control.commands.table import UnknownDeviceError, command
from gossamer.control.session import Session
from gossamer.control.shapes import Json
from gossamer.machines.device_options import NICS
from gossamer.machines.values import flattened


@command("device_add")
def device_add(
    session: Session,
    driver: str,
    properties_: Mapping[str, Json],
    bus: str | None = None,
    id_: str | None = None,
) -> None:
    """Plug in a USB device, with properties as -device has them."""
    given = flattened("device_add", dict(properties_))
    given |= {} if bus is None else {"bus": bus}
    given |= {} if id_ is None else {"id": id_}
    hotplug.add(session.vm, driver, given)


@command("device_del")
def device_del(session: Session, id_: str) -> None:
    """Take out a USB device by the id that it was given."""
    vm, name = session.vm, id_.removeprefix("/machine/peripheral/")
    config = vm.config
    ids = {one.id for one in (*config.devices, *config.nics)}
    if not name or name not in ids | {one.device for one in config.drives}:
        raise UnknownDeviceError(f"Device '{id_}' not found")
    hotplug.remove(vm, name)


@command("set_link")
def set_link(session: Session, name: str, up: bool) -> None:
    """Pull a network card's cable; none of these cards has one to put back."""
    config = session.vm.config
    cards = [*config.nics, *(d for d in config.devices if d.driver in NICS)]
    if name not in {one.id for one in cards if one.id}:
        raise UnknownDeviceError(f"Device '{name}' not found")
    if up:
        raise ConfigError(f"{name}: there is no host network; the card has no cable")
