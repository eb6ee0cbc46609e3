"""How fast serial lines and disks are: as the host allows, or as the parts were.

``-global escc.true-rate=on`` and ``-global macio-ide.true-rate=on`` choose the parts' own rates.
This is no part of a machine's version or state: a transfer saved under the one goes on under the
other.
"""

from __future__ import annotations

from typing import Final

from gossamer.machines.device_options import built_in
from gossamer.machines.machine import Machine

DRIVERS: Final = {"escc": "escc", "ide": "macio-ide"}
"""Description of a chip, and its name in options."""


def set_rates(machine: Machine) -> None:
    """Set the rates that the machine's options ask for."""
    for part in machine.parts:
        set_rate = getattr(part.device, "set_true_rate", None)
        if set_rate is not None:
            asked = built_in(machine.hardware, DRIVERS[part.device.vmsd])
            set_rate(bool(asked.values["true-rate"]))
