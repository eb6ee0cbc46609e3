"""USB devices that come and go while a machine is there, and what a save says of them.

A machine's devices are part of its configuration (`Hardware.devices`): what is plugged in or out
changes that, so that every later load builds the same machine again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final

from gossamer.base.data import replace
from gossamer.base.errors import ConfigError
from gossamer.base.late import LateModule
from gossamer.control.events import DeviceDeleted
from gossamer.control.runner import Runner
from gossamer.machines.build import set_compat
from gossamer.machines.config import Added, Config
from gossamer.machines.device_options import asked_for, resolve
from gossamer.machines.device_table import DRIVERS
from gossamer.machines.machine import Machine, Plugged
from gossamer.machines.stored import stored_devices

if TYPE_CHECKING:
    from gossamer.machines import usb_attach
else:  # of machines with USB
    usb_attach = LateModule(lambda: import_module("gossamer.machines.usb_attach"))

MOST_DEVICES: Final = 64
"""A save holds no more."""


def add(vm: Runner, driver: str, given: Mapping[str, str]) -> None:
    """Plug a device in, with properties as -device has them; ConfigError when that cannot be."""
    if driver not in DRIVERS:
        raise ConfigError(f"'{driver}' is not a valid device model name")
    asked = asked_for("device_add", driver, given)
    added = replace(resolve(asked, vm.config.defaults), hot=True)
    if driver not in usb_attach.USB_DEVICES:
        bus = DRIVERS[driver].bus or "its bus"
        raise ConfigError(f"{driver}: {bus} does not support hotplugging; only USB does")
    if added.id and added.id in _ids(vm.config):
        raise ConfigError(f"Duplicate device ID '{added.id}'")
    if len(vm.config.devices) >= MOST_DEVICES:
        raise ConfigError(f"{driver}: {MOST_DEVICES} devices were added already")
    machine = vm.machine
    vm.outside.pointer = None  # the last one that came is the one in hand
    made = usb_attach.add_usb_device(
        machine, usb_attach.controller(machine, added), added, hot=True
    )
    set_compat(machine)
    for one in made:
        record = replace(one.added, hot=True)
        machine.plugged.append(Plugged(one.device, record, record))
        _note(vm, (*_pinned(machine), record))


def remove(vm: Runner, name: str) -> None:
    """Take out the device that has the id `name`."""
    machine = vm.machine
    vm.outside.pointer = None
    found = next((one for one in machine.plugged if one.added.id == name), None)
    if found is None:
        raise ConfigError(f"Device '{name}' is part of the machine: it cannot be taken out")
    part = next(p for p in machine.parts if p.device is found.device)
    usb_attach.unplug(machine, part)
    devices = [one for one in _pinned(machine) if one is not found.added]
    machine.plugged = [one for one in machine.plugged if one.device is not found.device]
    gone = vm.config.unplugged
    _note(vm, devices, gone if found.added.hot else (*gone, found.added))
    vm.events.report(DeviceDeleted(f"/machine/peripheral/{name}", name))


def _ids(config: Config) -> set[str]:
    added = {one.id for one in (*config.devices, *config.nics)}
    return added | {one.device for one in config.drives}


def _pinned(machine: Machine) -> list[Added]:
    """The devices, each USB one in the port where it is; `plugged` says so from now on."""
    devices: list[Added] = []
    for one in machine.hardware.devices:
        if one.driver in usb_attach.USB_DEVICES:
            devices += [p.added for p in machine.plugged if p.origin is one]
        else:
            devices.append(one)
    machine.plugged = [Plugged(p.device, p.added, p.added) for p in machine.plugged]
    return devices


def _note(vm: Runner, devices: Iterable[Added], gone: tuple[Added, ...] | None = None) -> None:
    """The machine has these devices now."""
    unplugged = vm.config.unplugged if gone is None else gone
    now = tuple(devices)
    vm.config = replace(vm.config, devices=now, unplugged=unplugged)
    vm.machine.hardware = replace(vm.machine.hardware, devices=now, unplugged=unplugged)
    vm.broken("a device came or went")


# --- loads ----------------------------------------------------------------------------------------


def as_saved(config: Config, hardware: object, where: str) -> Config:
    """`config` with the USB devices of a save, if all that differs was plugged in or out later."""
    devices, unplugged = stored_devices(hardware, where)
    if not any(one.hot for one in (*devices, *config.devices)) and not (
        unplugged or config.unplugged
    ):
        return config
    if _first(devices, unplugged) != _first(config.devices, config.unplugged):
        return config
    mine = (one for one in config.devices if one.driver not in usb_attach.USB_DEVICES)
    taken = tuple(one if one.driver in usb_attach.USB_DEVICES else next(mine) for one in devices)
    return replace(config, devices=taken, unplugged=unplugged)


def _first(devices: Iterable[Added], unplugged: Iterable[Added]) -> Counter[tuple[str, str]]:
    """What a machine was started with; hubs without a name come by themselves."""
    return Counter(
        (one.driver, one.id)
        for one in (*devices, *unplugged)
        if not one.hot and (one.driver, one.id) != ("usb-hub", "")
    )
