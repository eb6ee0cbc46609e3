"""From a configuration to a machine."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from gossamer.machines.config import Config
from gossamer.machines.drives_attach import place_drives
from gossamer.machines.versions import set_compat

if TYPE_CHECKING:
    from gossamer.machines.machine import Machine

#: Each is a function of its module: what only others need is not imported.
COMPOSITIONS: Final = {
    "bare": "gossamer.machines.bare",
    "g3beige": "gossamer.machines.g3beige",
    "mac99": "gossamer.machines.mac99",
}


def build(config: Config) -> Machine:
    """The machine that `config` describes, at power on."""
    compose = getattr(import_module(COMPOSITIONS[config.machine]), config.machine)
    machine: Machine = compose(config)
    place_drives(machine)
    set_compat(machine)
    return machine
