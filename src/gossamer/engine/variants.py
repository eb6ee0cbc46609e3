"""Which handlers there are: instructions with some of their fields known, and what they need."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from gossamer.base.data import Data
from gossamer.engine.units import unit_of
from gossamer.isa.body import Do, Loop, Probe, Statement, Store, When, Write
from gossamer.isa.expr import Expr
from gossamer.isa.insn import SPLIT, Decoder, Insn


class Variant(Data):
    """An instruction with some fields known; `kind` 1 or 2 when it branches relative (B, I form).

    `names` are the handlers' names: target in the same page, target elsewhere.  `unit`: the number
    of the object that has them (`units`), which their names begin with.
    """

    row: Insn
    mask: int
    match: int
    kind: int
    names: tuple[str, str]
    unit: int


def variants(decoder: Decoder) -> list[Variant]:
    """Every variant of a model's instructions, most particular first."""
    out: list[Variant] = []
    for row in decoder.rows:
        unit = unit_of(row)
        for n, (mask, match) in enumerate(_known(row)):
            kind = {"B": 1, "I": 2}.get(row.form.__name__, 0)
            aa = row.form.field("AA").mask if kind else 0
            if kind and mask & aa and match & aa:
                kind = 0
            stem = f"h{unit or ''}_{row.name}_{n}"
            names = (f"{stem}_local", f"{stem}_far") if kind else (stem, stem)
            out.append(Variant(row, mask, match, kind, names, unit))
    return sorted(out, key=lambda v: -v.mask.bit_count())


def _known(row: Insn) -> Iterator[tuple[int, int]]:
    """(mask, match) of each combination of split fields, the special ones among them."""
    split = [n for n in SPLIT if row.form.has(n) and n not in row.fixed]
    seen: set[tuple[int, int]] = set()
    for special in (*row.special, {}):
        free = [n for n in split if n not in special]
        for values in product((0, 1), repeat=len(free)):
            fields = dict(special) | dict(zip(free, values, strict=True))
            mask, match = row.mask, row.match
            for name, value in fields.items():
                f = row.form.field(name)
                mask |= f.mask
                match |= f.put(value)
            if (mask, match) not in seen:
                seen.add((mask, match))
                yield mask, match


def accesses_memory(statements: list[Statement]) -> bool:
    return any(
        isinstance(s, Do | Store | Probe)
        or (isinstance(s, When | Loop) and accesses_memory(s.body))
        for s in statements
    )


def loops(statements: list[Statement]) -> bool:
    return any(
        isinstance(s, Loop | Probe) or (isinstance(s, When) and loops(s.body)) for s in statements
    )


def looks_at(statements: list[Statement], register: str) -> bool:
    """Whether some statement writes `register` or reads it."""
    seen: set[Expr] = set()

    def reads(e: Expr) -> bool:
        if e in seen:
            return False
        seen.add(e)
        return (e.op == "reg" and e.arg == register) or any(reads(a) for a in e.args)

    for s in statements:
        if isinstance(s, Write) and s.reg == register:
            return True
        if isinstance(s, When | Loop) and looks_at(s.body, register):
            return True
        names = ("index", "value", "when", "expr", "ea", "length", "cond", "count", "target")
        if any(isinstance(e := getattr(s, n, None), Expr) and reads(e) for n in names):
            return True
    return False


def defers(statements: list[Statement]) -> bool:
    """Whether some value is a `choose` between quick arithmetic and a call of a service."""
    writes = [s for s in statements if isinstance(s, Write)]
    return any(_defers(e, set()) for s in writes for e in (s.value, s.when))


def _defers(e: Expr, seen: set[Expr]) -> bool:
    if e in seen:
        return False
    seen.add(e)
    return is_deferred(e) or any(_defers(a, seen) for a in e.args)


def is_deferred(e: Expr) -> bool:
    """Whether `e` is a `choose` whose other side is a call of a service."""
    return e.op == "choose" and e.args[2].op == "call"
