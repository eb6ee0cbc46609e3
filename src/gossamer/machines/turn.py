"""Whose turn it is among several CPUs: a section of our own.

QEMU has none: its CPUs run at once, or in turns that no stream shows.
"""

from __future__ import annotations

from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.engine.turns import TURN, Turns
from gossamer.state.codec import U32
from gossamer.state.declare import wiring
from gossamer.state.layout import View


def _put_turn(device: Turn, value: int) -> None:
    if value >= len(device.turns.members):
        raise ValueError(f"the turn of CPU {value}, this machine has {len(device.turns.members)}")
    device.turns.give(value)


def _put_used(device: Turn, value: int) -> None:
    if value >= TURN:
        raise ValueError(f"{value} instructions of a turn are over, expected less than {TURN}")
    device.turns.used = value


class Turn(Device):
    """The turn, as `engine.turns` keeps it."""

    vmsd = "gossamer-turn"
    version = 1
    minimum = 1
    lost = "which CPU goes on first"
    layouts = {
        "": [
            View("cpu", U32, lambda t: t.turns.turn, _put_turn),
            View("used", U32, lambda t: t.turns.used, _put_used),
        ]
    }

    turns: Turns = wiring()

    def __init__(self, clock: Clock, turns: Turns) -> None:
        super().__init__(clock)
        self.idstr = "gossamer-turn"
        self.turns = turns

    def reset(self) -> None:
        """The first CPU begins."""
        self.turns.give(0)
