"""What older versions of the machines do differently.

A change that an older build could not load, or that a guest can see, hangs on a compat switch of
its chip; the versions before it have the switch off.  `schemas/` keeps what each version's
streams can hold, and a test compares.
"""

from __future__ import annotations

from typing import Final

from gossamer.machines.machine import Machine
from gossamer.state.declare import Compat

#: By version: (description of the chip, switch) and its value there.
SWITCHES: Final[dict[str, dict[tuple[str, str], object]]] = {
    "1.0": {("adb_mouse", "keeps_clicks"): False},
    "1.1": {},
}


def set_compat(machine: Machine) -> None:
    """Set the compat switches of a machine newly made, as its version has them."""
    switches = SWITCHES[machine.config.version]
    for part in machine.parts:
        chip = part.device
        for name, declared in chip.declared.items():
            if isinstance(declared, Compat) and (chip.vmsd, name) in switches:
                setattr(chip, name, switches[chip.vmsd, name])
