"""Why and where a run ended."""

from __future__ import annotations

from gossamer.base.data import Data


class Stopped(Data):
    """`why`: instructions, seconds, pc, read, write, text, event, predicate, hook, idle, ended.

    `instructions` since power-on and `ns` of virtual time say where; `pc` is the next instruction.
    `what`: the address, the text or the event that was met.
    """

    why: str
    instructions: int
    ns: int
    pc: int
    what: object = None
