"""What every chip derives from.

A chip declares its state (`gossamer.state.declare`), is handed its clock, lines and buses by the
composition, offers MMIO regions, and computes its interrupt levels from state in `update_irq`.
"""

from __future__ import annotations

from gossamer.core.clock import Clock
from gossamer.core.trace import QUIET, Trace
from gossamer.state.declare import Stateful, wiring


class Device(Stateful):
    """A chip of a machine.

    `path` is its place in the composition (``macio/cuda``); `instance` its instance id on the
    wire; `idstr` its section name there (none: the object has no section of its own).
    """

    clock: Clock = wiring()
    trace: Trace = wiring()
    path: str = wiring()
    idstr: str = wiring()
    instance: int = wiring()

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock, self.trace = clock, QUIET
        self.path, self.idstr, self.instance = "", "", 0

    def note(self, text: str) -> None:
        """Count a trace event of this chip."""
        self.trace.event(self.path or type(self).__name__, text)

    def update_irq(self) -> None:
        """Drive the chip's lines from its state.  The only caller of `IrqLine.set`."""

    def resume(self) -> None:
        """Second phase of a load, when every section is loaded: `assign` the lines' levels."""
