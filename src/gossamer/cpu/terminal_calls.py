"""Hypercalls of a virtual terminal that need nothing of the machine, as bodies.

A guest that prints makes one for each 16 characters, and asks after each line for keys that were
not pressed.  The usual case alone is described; all else is the machine's, whose answer to these is
the same (`devices.spapr.vio`): both are compared in `tests/engine/test_terminal_calls.py`.  Source:
LoPAR 16.5.
"""

from __future__ import annotations

from typing import Final

from gossamer.cpu.translation import MSR_PR
from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, eq, ltu

H_GET_TERM_CHAR, H_PUT_TERM_CHAR = 0x54, 0x58
#: Registers with a put's arguments: the unit address, how many characters, the characters.
UNIT, LENGTH, FIRST_CHARACTERS = 4, 5, 6
#: Characters in one call at the most.
ROOM: Final = 16
SUCCESS: Final = 0


def put_is_usual(s: Body, unit: Expr) -> Expr:
    """Whether the characters go to the terminal at `unit`; the answer is given then.  1 bit."""
    usual = _is_for(s, unit) & ltu(s.gpr[LENGTH], ROOM + 1)
    s.write("gpr", 3, s.word(SUCCESS), usual)
    return usual


def get_nothing(s: Body, unit: Expr) -> Expr:
    """Answer that nothing waits, where the question is for the terminal at `unit`.  1 bit."""
    usual = _is_for(s, unit)
    for n, value in ((3, SUCCESS), (4, 0), (5, 0), (6, 0)):
        s.write("gpr", n, s.word(value), usual)
    return usual


def _is_for(s: Body, unit: Expr) -> Expr:
    """From a supervisor, to that terminal or the first one, which it is."""
    asked = s.gpr[UNIT]
    return eq(s.msr & MSR_PR, 0) & (eq(asked, 0) | eq(asked, unit))
