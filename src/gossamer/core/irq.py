"""Interrupt lines: an output of one chip wired to an input of another.

The driver computes its level from its state and calls `set`; that is the only way a level moves
while the machine runs.  After a load, drivers call `assign` instead: the level takes its value
and no edge is seen, since what an edge has latched is the sink's own state.
"""

from __future__ import annotations

from typing import Protocol


class IrqSink(Protocol):
    """What an interrupt controller or CPU offers for its inputs."""

    def input_changed(self, pin: int, level: bool) -> None:
        """The level of input `pin` changed while running."""

    def input_assigned(self, pin: int, level: bool) -> None:
        """The level of input `pin` as it is after a load; no edge."""


class IrqLine:
    """One line.  Unconnected lines are refused by the machine's check."""

    __slots__ = ("level", "pin", "sink")

    def __init__(self, sink: IrqSink | None = None, pin: int = 0) -> None:
        self.sink, self.pin, self.level = sink, pin, False

    def connect(self, sink: IrqSink, pin: int) -> None:
        self.sink, self.pin = sink, pin

    def set(self, level: bool) -> None:
        """Drive the line."""
        if level != self.level:
            self.level = level
            if self.sink is not None:
                self.sink.input_changed(self.pin, level)

    def assign(self, level: bool) -> None:
        """Take the level that state gives after a load or reset, with no edge."""
        self.level = level
        if self.sink is not None:
            self.sink.input_assigned(self.pin, level)
