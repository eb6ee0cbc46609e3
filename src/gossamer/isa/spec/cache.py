"""Cache instructions.  There are no caches to keep: what is left is translation and its faults.

Source: Book II chapter 3; MPC750UM 2.3.5.3 and 3.4.  Fetch is always coherent here, so icbi has
nothing to do but translate.
"""

from __future__ import annotations

from typing import Final

from gossamer.isa.body import Body
from gossamer.isa.expr import const
from gossamer.isa.insn import insn
from gossamer.isa.interrupts import Access
from gossamer.isa.spec.forms import X
from gossamer.isa.spec.load_store import ea_x
from gossamer.isa.spec.parts import EMBEDDED, G4

#: Bytes that dcbz clears; on 64-bit parts.
LINE: Final = 32
LINE_64: Final = 128


@insn(X, "icbi RA,RB", OPCD=31, XO=982)
def icbi(s: Body, i: X) -> None:
    s.probe(ea_x(s, i), 1, Access.READ)


@insn(X, "dcbst RA,RB", OPCD=31, XO=54)
def dcbst(s: Body, i: X) -> None:
    s.probe(ea_x(s, i), 1, Access.READ)


@insn(X, "dcbf RA,RB", OPCD=31, XO=86)
def dcbf(s: Body, i: X) -> None:
    s.probe(ea_x(s, i), 1, Access.READ)


@insn(X, "dcbi RA,RB", OPCD=31, XO=470, supervisor=True)
def dcbi(s: Body, i: X) -> None:
    s.probe(ea_x(s, i), 1, Access.WRITE)


@insn(X, "dcbt RA,RB", OPCD=31, XO=278)
def dcbt(s: Body, i: X) -> None:
    """A hint; it never faults."""


@insn(X, "dcbtst RA,RB", OPCD=31, XO=246)
def dcbtst(s: Body, i: X) -> None:
    """A hint; it never faults."""


@insn(X, "dcbz RA,RB", OPCD=31, XO=1014)
def dcbz(s: Body, i: X) -> None:
    """The alignment interrupt on write-through or inhibited pages is the engine's."""
    if s.width == 32:
        s.store(ea_x(s, i) & -LINE, const(0, 8 * LINE), LINE)
        return
    block = ea_x(s, i) & -LINE_64
    for n in range(0, LINE_64, LINE):
        s.store(block + n, const(0, 8 * LINE), LINE)


@insn(X, "dcba RA,RB", OPCD=31, XO=758, features=(*G4, *EMBEDDED))
def dcba(s: Body, i: X) -> None:
    """Allocating a block changes nothing that a program may rely on.  Not on the 750: illegal."""
