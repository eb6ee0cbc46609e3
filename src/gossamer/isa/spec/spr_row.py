"""What a special-purpose register is: a row of the tables `isa.spec.spr` and `sprs_405`."""

from __future__ import annotations

from collections.abc import Callable

from gossamer.base.data import Data
from gossamer.isa.architecture import USUAL
from gossamer.isa.body import Body, number
from gossamer.isa.expr import Expr, trunc
from gossamer.isa.spec.parts import has

Read = Callable[[Body], Expr]
WriteTo = Callable[[Body, Expr], None]


class Spr(Data):
    """A special-purpose register; a number with bit 0x10 set is supervisor's.

    `read` gives at most a word; `write` takes one and keeps what its register holds.  `state` is
    the register and element that this number stands for, where it is a whole one; `features` names
    the parts that have it (empty: every one), `absent` those that do not, `width` their word's
    where it matters.
    """

    name: str
    number: int
    read: Read | None
    write: WriteTo | None
    features: tuple[str, ...] = ()
    state: tuple[str, int] | None = None
    width: int = 0
    absent: tuple[str, ...] = ()

    @property
    def supervisor(self) -> bool:
        return bool(self.number & 0x10)

    def belongs(self, features: frozenset[str], word: int = USUAL) -> bool:
        """Whether a model with these features has it."""
        fits = self.width in (0, word)
        return fits and has(features, self.features) and features.isdisjoint(self.absent)


def plain(
    name: str,
    number: int,
    register: str,
    element: int = 0,
    *,
    mask: int = -1,
    effect: str = "",
    features: tuple[str, ...] = (),
    width: int = 0,
    absent: tuple[str, ...] = (),
) -> Spr:
    """A register that keeps what is written to it, or the bits of `mask`."""
    read, write = reader(register, element), writer(register, element, mask, effect)
    return Spr(name, number, read, write, features, (register, element), width, absent)


def reader(register: str, element: int = 0) -> Read:
    def read(s: Body) -> Expr:
        return Expr("reg", s.registers[register][0], (number(element),), register)

    return read


def writer(register: str, element: int = 0, mask: int = -1, effect: str = "") -> WriteTo:
    def write(s: Body, value: Expr) -> None:
        kept = trunc(value, s.registers[register][0])
        s.write(register, element, kept if mask == -1 else kept & mask)
        if effect:
            s.effect(effect)

    return write
