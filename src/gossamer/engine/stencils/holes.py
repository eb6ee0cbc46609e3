"""What a hole of a stencil holds: a value of the instruction word and of where it lies.

A hole is a symbol whose name is its expression in postfix form (``w c21.32 lshr.32.2 trunc.5.1``),
so that an object file says by itself what to put where.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from gossamer.isa.expr import Expr, const
from gossamer.isa.ops import OPS

#: What the symbols' names begin with.
PREFIX: Final = "hole "
#: Leaves: the instruction word, its offset in its page.
WORD: Final = Expr("word", 32)
PLACE: Final = Expr("place", 32)
_LEAVES: Final = {"word": "w", "place": "p"}
_SPELLED: Final = {"w": WORD, "p": PLACE}


def is_hole(e: Expr, known: dict[Expr, bool]) -> bool:
    """Whether `e` depends on the word and its place alone, and on one of them."""
    found = known.get(e)
    if found is None:
        if not e.args:
            found = e.op in _LEAVES
        else:
            found = e.op in OPS and all(a.is_const or is_hole(a, known) for a in e.args)
            found = found and not all(a.is_const for a in e.args)
        known[e] = found
    return found


def name_of(e: Expr) -> str:
    """The symbol of a hole."""
    return PREFIX + _spelled(e)


def _spelled(e: Expr) -> str:
    if e.is_const:
        return f"c{e.value}.{e.width}"
    if not e.args:
        return _LEAVES[e.op]
    return " ".join((*map(_spelled, e.args), f"{e.op}.{e.width}.{len(e.args)}"))


@lru_cache(maxsize=1 << 12)
def expr_of(name: str) -> Expr:
    """The expression that a hole's symbol spells."""
    values: list[Expr] = []
    for token in name.removeprefix(PREFIX).split():
        op, *numbers = token.split(".")
        if op in _SPELLED:
            values.append(_SPELLED[op])
        elif op[0] == "c" and op[1:].isdecimal():
            values.append(const(int(op[1:]), int(numbers[0])))
        else:
            width, count = map(int, numbers)
            args = tuple(values[-count:])
            del values[-count:]
            values.append(Expr(op, width, args))
    (result,) = values
    return result
