"""What older versions of the machines do differently.

A change that an older build could not load, or that a guest can see, hangs on a compat switch of
its chip; the versions before it have the switch off.  `schemas/` keeps what each version's
streams can hold, and a test compares.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.machines.machine import Machine
from gossamer.state.declare import Compat

#: By version, of every machine or of one: (description of the chip, switch) and its value there.
SWITCHES: Final[dict[str, dict[tuple[str, str], object]]] = {
    "1.0": {("adb_mouse", "keeps_clicks"): False},
    "1.1": {},
    "g3beige-1.0": {("cpu", "has_loaded_tlbs"): False},
    "mac99-1.0": {("cpu", "has_loaded_tlbs"): False},
}


def set_compat(machine: Machine) -> None:
    """Set the compat switches of a machine newly made, as its version has them."""
    config = machine.config
    switches = SWITCHES[config.version] | SWITCHES.get(config.full_name, {})
    for part in machine.parts:
        chip = part.device
        for name, declared in chip.declared.items():
            if isinstance(declared, Compat) and (chip.vmsd, name) in switches:
                setattr(chip, name, switches[chip.vmsd, name])
    cpu = machine.cpu
    if cpu.searches_by_software and not cpu.has_loaded_tlbs:
        newest = f"{config.machine}-{config.model.versions[-1]}"
        raise ConfigError(f"{config.full_name} has no CPU {cpu.model.name}; {newest} has")
