"""What a hole of a stencil holds: a value of the instruction word and of where it lies.

A hole is a symbol whose name is its expression in postfix form (``w c21.32 lshr.32.2 trunc.5.1``),
so that an object file says by itself what to put where.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from gossamer.isa.expr import Expr
from gossamer.isa.ops import OPS

#: What the symbols' names begin with.
PREFIX: Final = "hole "
#: Leaves: the instruction word, its offset in its page.
WORD: Final = Expr("word", 32)
PLACE: Final = Expr("place", 32)
_LEAVES: Final = {"word": "w", "place": "p"}
#: In the name of a hole that depends on its place, a blank behind it.
_PLACED: Final = " p "


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


#: One step of a hole's value: (operation, width, operands), or ("c", width, value), ("w", …).
_Step = tuple[str, int, int]


@lru_cache(maxsize=1 << 12)
def _steps(name: str) -> tuple[_Step, ...]:
    out = []
    for token in name.removeprefix(PREFIX).split():
        op, *numbers = token.split(".")
        if op in ("w", "p"):
            out.append((op, 32, 0))
        elif op[0] == "c" and op[1:].isdecimal():
            out.append(("c", int(numbers[0]), int(op[1:])))
        else:
            out.append((op, int(numbers[0]), int(numbers[1])))
    return tuple(out)


@lru_cache(maxsize=1 << 12)
def mask_of(name: str) -> int:
    """The bits of the word that a hole's value depends on, or more of them.

    A field of the word is spelled as it is shifted right and cut off.
    """
    tokens = name.removeprefix(PREFIX).split()
    mask = 0
    for n, step in enumerate(tokens):
        if step != "w":
            continue
        after = tokens[n + 1 : n + 4]
        shift = 0
        if len(after) > 1 and after[0][0] == "c" and after[1] == "lshr.32.2":
            shift, after = int(after[0][1:].partition(".")[0]), after[2:]
        size = int(after[0].split(".")[1]) if after and after[0].startswith("trunc.") else 32
        mask |= (1 << size) - 1 << shift
    return mask & 0xFFFF_FFFF


def is_placed(name: str) -> bool:
    """Whether a hole's value depends on the place of its word."""
    return _PLACED in f"{name} "


def value_of(name: str, word: int, place: int) -> int:
    """What goes into the hole `name` for `word` at `place` bytes of its page."""
    values: list[int] = []
    widths: list[int] = []
    for op, width, n in _steps(name):
        if op == "w":
            result = word
        elif op == "p":
            result = place
        elif op == "c":
            result = n
        else:
            result = OPS[op](width, widths[-n:], values[-n:])
            del values[-n:], widths[-n:]
        values.append(result)
        widths.append(width)
    (result,) = values
    return result
