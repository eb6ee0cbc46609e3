"""Services that Python answers in every engine: native code calls out for them.

For what is rare and would be much native code, of 64-bit models only.  A function here takes and
gives integers, and depends on them alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.base.data import Data


class Answer(Data):
    """A function of integers of `widths` bits whose result has `width` bits."""

    name: str
    widths: tuple[int, ...]
    width: int
    compute: Callable[..., int]


def decimal(code: int, status: int, a: int, b: int) -> int:
    """Carry out an operation of decimal arithmetic (`isa.decimal.table.operate`)."""
    from gossamer.isa.decimal.table import operate  # noqa: PLC0415 - few guests ever do it

    return operate(code, status, a, b)


#: By number, as native code calls them.
ANSWERS: Final = (Answer("decimal", (32, 64, 128, 128), 192, decimal),)
