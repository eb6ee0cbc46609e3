"""Commands that plug devices in and out, cables too, and choose the pointer and the boot device."""

from __future__ import annotations

from collections.abc import Mapping

from gossamer.base.data import replace
from gossamer.base.errors import ConfigError
from gossamer.control import hotplug, outside
from gossamer.control.commands.table import UnknownDeviceError, command
from gossamer.control.session import Session
from gossamer.control.shapes import Json
from gossamer.machines.option_actions import boot_letters
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
    session.check_idle()
    given = flattened("device_add", dict(properties_))
    given |= {} if bus is None else {"bus": bus}
    given |= {} if id_ is None else {"id": id_}
    hotplug.add(session.vm, driver, given)


@command("device_del")
def device_del(session: Session, id_: str) -> None:
    """Take out a USB device by the id that it was given."""
    session.check_idle()
    vm, name = session.vm, id_.removeprefix("/machine/peripheral/")
    config = vm.config
    ids = {one.id for one in (*config.devices, *config.nics)}
    if not name or name not in ids | {one.device for one in config.drives}:
        raise UnknownDeviceError(f"Device '{id_}' not found")
    hotplug.remove(vm, name)


@command("set_link")
def set_link(session: Session, name: str, up: bool) -> None:
    """Pull or put back a network card's cable."""
    vm = session.vm
    cables = session.network.cables if session.network is not None else {}
    name = next((card for card, netdev in cables.items() if netdev == name), name)
    if name not in {one for one, _, _ in outside.cards(vm.machine)}:
        raise UnknownDeviceError(f"Device '{name}' not found")
    vm.outside.links[name] = up
    vm.outside.attach(vm.machine)
    vm.broken("a cable was pulled or put back")


@command("x-mouse-set", wire=False)
def mouse_set(session: Session, index: int) -> None:
    """Let movement go to a pointer of info mice."""
    vm = session.vm
    count = len(outside.pointers(vm.machine))
    if not 0 <= index < count:
        raise ConfigError(f"Mouse at index '{index}' not found: info mice lists {count}")
    vm.outside.pointer = index
    vm.outside.attach(vm.machine)


@command("x-boot-set", wire=False)
def boot_set(session: Session, bootdevice: str) -> str:
    """What the machine boots from after the next reset: letters of -boot."""
    vm = session.vm
    kind, hardware = vm.machine.kind, vm.machine.hardware
    if vm.machine.boot_from is None:
        raise ConfigError(f"{kind.name}: its firmware has no boot device to choose")
    if hardware.kernel is not None:
        raise ConfigError("boot_set: -kernel is what the machine starts")
    boot_letters("boot_set", bootdevice)
    if not bootdevice:
        raise ConfigError("boot_set: expected letters of a, c, d, n, got none")
    chosen = replace(hardware, boot=bootdevice, boot_once="")
    kind.check(chosen)
    vm.machine.hardware = chosen
    vm.config = replace(vm.config, boot=bootdevice, boot_once="")
    vm.machine.boot_from(bootdevice)
    vm.broken("another boot device was chosen")
    return f"boot device list now set to {bootdevice}"
