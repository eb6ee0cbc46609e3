"""The operations by number, as instructions call them (`isa.spec.wide.decimal`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gossamer.base.bits import ones
from gossamer.isa.decimal import arith, convert, examine, packed, quantum
from gossamer.isa.decimal.formats import EXTENDED, LONG, decode
from gossamer.isa.decimal.status import Outcome

#: Name, function, operands: A and B are numbers, a and b bits, i what the instruction says.  The
#: order is that of `isa.spec.wide.decimal.NAMES`.
OPERATIONS: Final[dict[str, tuple[Callable[..., Outcome], str]]] = {
    "dadd": (arith.add, "AB"),
    "dsub": (arith.subtract, "AB"),
    "dmul": (arith.multiply, "AB"),
    "ddiv": (arith.divide, "AB"),
    "dcmpu": (arith.compare_unordered, "AB"),
    "dcmpo": (arith.compare_ordered, "AB"),
    "dtstdc": (examine.test_class, "Ai"),
    "dtstdg": (examine.test_group, "Ai"),
    "dtstex": (examine.test_exponent, "AB"),
    "dtstsf": (examine.test_significance, "aB"),
    "dquai": (quantum.quantize_immediate, "Bi"),
    "dqua": (quantum.quantize_like, "ABi"),
    "drrnd": (quantum.reround, "aBi"),
    "drintx": (quantum.integral_exact, "Bi"),
    "drintn": (quantum.integral_quiet, "Bi"),
    "dctdp": (convert.widen_short, "bi"),
    "dctqp": (convert.widen_long, "bi"),
    "drsp": (convert.narrow_long, "bi"),
    "drdp": (convert.narrow_extended, "bi"),
    "dcffix": (convert.from_integer, "bi"),
    "dctfix": (convert.to_integer, "Bi"),
    "ddedpd": (convert.to_bcd, "Bi"),
    "denbcd": (convert.from_bcd, "bi"),
    "dxex": (convert.exponent_of, "Bi"),
    "diex": (convert.with_exponent, "abi"),
    "dscli": (convert.shift_left, "Ai"),
    "dscri": (convert.shift_right, "Ai"),
    "bcdadd.": (packed.add, "abi"),
    "bcdsub.": (packed.subtract, "abi"),
    "cdtbcd": (packed.to_digits, "a"),
    "cbcdtd": (packed.to_declets, "a"),
}
_ROWS: Final = tuple(OPERATIONS.values())

#: Where in the result FPSCR, the CR field, `writes` and `traps` are; the target's bits are below.
FPSCR_AT: Final = 128
FIELD_AT: Final = 160
WRITES_AT: Final = 168
TRAPS_AT: Final = 169
WIDTH: Final = 192


def operate(code: int, status: int, a: int, b: int) -> int:
    """Carry out an operation; see `isa.spec.wide.decimal.decimal` for the numbers."""
    f = EXTENDED if code & 1 else LONG
    perform, operands = _ROWS[code >> 1 & 0x7F]
    values: list[Any] = []
    for kind in operands:
        if kind == "i":
            values.append(code >> 8)
        else:
            raw = a if kind in "aA" else b
            values.append(decode(raw & ones(f.bits), f) if kind in "AB" else raw)
    o = perform(f, status, *values)
    tail = o.field | o.writes << WRITES_AT - FIELD_AT | o.traps << TRAPS_AT - FIELD_AT
    return o.value | o.status << FPSCR_AT | tail << FIELD_AT
