"""From a configuration to a machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.machines.bare import bare
from gossamer.machines.config import Config
from gossamer.machines.drives_attach import place_drives
from gossamer.machines.g3beige import g3beige
from gossamer.machines.mac99 import mac99
from gossamer.machines.machine import Machine
from gossamer.machines.versions import set_compat

COMPOSITIONS: Final[dict[str, Callable[[Config], Machine]]] = {
    "bare": bare,
    "g3beige": g3beige,
    "mac99": mac99,
}


def build(config: Config) -> Machine:
    """The machine that `config` describes, at power on."""
    machine = COMPOSITIONS[config.machine](config)
    place_drives(machine)
    set_compat(machine)
    return machine
