"""The table of instructions: encoding, assembly template and body, each written once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from gossamer.base.data import Data, field
from gossamer.isa.architecture import USUAL, Architecture
from gossamer.isa.body import Body, Statement
from gossamer.isa.expr import Expr, const, trunc
from gossamer.isa.form import Form
from gossamer.isa.interrupts import Interrupt

MSR_FP_SHIFT: Final = 13
MSR_VEC_SHIFT: Final = 25
MSR_VSX_SHIFT: Final = 23

#: Parts without floating point and vectors: their instructions are illegal there.
NO_UNITS: Final = ("405",)
#: Fields of which every value gets a handler of its own (the body folds on them).
SPLIT: Final = ("Rc", "OE", "LK", "AA")


class Insn(Data):
    """One instruction.

    `fixed` gives the fields that identify it.  `special` lists further partial words (field to
    value) worth a handler of their own; they change nothing but speed.  `features` names parts and
    levels: a CPU model must have one of them (empty: every model has it) and none of `absent`.
    `width`: words of so many bits only (0: any), where a body says no more than that or the other
    has no such row.
    """

    name: str
    form: type[Form]
    asm: str
    fixed: dict[str, int]
    body: Callable[[Body, Any], None]
    supervisor: bool = False
    needs: str = ""
    features: frozenset[str] = frozenset()
    special: tuple[dict[str, int], ...] = ()
    width: int = 0
    absent: frozenset[str] = frozenset()
    mask: int = field(init=False)
    match: int = field(init=False)

    def __post_init__(self) -> None:
        mask = match = 0
        for name, value in self.fixed.items():
            f = self.form.field(name)
            mask |= f.mask
            match |= f.put(value)
        object.__setattr__(self, "mask", mask)
        object.__setattr__(self, "match", match)

    def matches(self, word: int) -> bool:
        return word & self.mask == self.match

    def trace(
        self,
        word: Expr,
        known_mask: int = 0,
        known_bits: int = 0,
        *,
        width: int = USUAL,
        sf: bool | None = None,
    ) -> list[Statement]:
        """The statements of the body for a (constant or symbolic) instruction word.

        Further bits of a symbolic word may be given as known; `width` is the machine's word's,
        `sf` the mode where it is known (see `Body`).
        """
        s = Body(width, sf)
        if self.supervisor:
            s.privileged()
        if self.needs == "FP":
            s.interrupt(Interrupt.FP_UNAVAILABLE, ~trunc(s.msr >> MSR_FP_SHIFT, 1))
        elif self.needs == "VEC":
            s.interrupt(Interrupt.VEC_UNAVAILABLE, ~trunc(s.msr >> MSR_VEC_SHIFT, 1))
        elif self.needs == "VSX":
            s.interrupt(Interrupt.VSX_UNAVAILABLE, ~trunc(s.msr >> MSR_VSX_SHIFT, 1))
        known_mask |= self.mask
        self.body(s, self.form(word, known_mask, known_bits | self.match, width))
        return s.trace


TABLE: Final[list[Insn]] = []
F = TypeVar("F", bound=Form)
BodyFunction = Callable[[Body, F], None]


def insn(
    form: type[F],
    asm: str,
    *,
    name: str = "",
    supervisor: bool = False,
    needs: str = "",
    features: Iterable[str] = (),
    special: Iterable[dict[str, int]] = (),
    width: int = 0,
    absent: Iterable[str] = (),
    **fixed: int,
) -> Callable[[BodyFunction[F]], BodyFunction[F]]:
    """Register the decorated body as an instruction of `form` with the `fixed` field values.

    `asm` is the template: mnemonic with ``{Rc}``, ``{OE}``, ``{LK}``, ``{AA}`` where those flags
    are spelled, a blank, then the operands by field name as the books print them.
    """

    def register(body: BodyFunction[F]) -> BodyFunction[F]:
        row = Insn(
            name or body.__name__,
            form,
            asm,
            dict(fixed),
            body,
            supervisor,
            needs,
            frozenset(features),
            tuple(special),
            width,
            frozenset(NO_UNITS if needs else absent),
        )
        TABLE.append(row)
        return body

    return register


class Decoder:
    """Finds the instruction of a word for one architecture (names of features: of 32 bits).

    Instructions with more fixed bits win, so a general form (an undefined SPR) may stand beside
    particular ones; among equals the one that names parts wins, so a model may have its own
    mtmsr; two forms of equal rank that overlap are an error.
    """

    def __init__(
        self, architecture: Architecture | Iterable[str], table: Iterable[Insn] | None = None
    ) -> None:
        if not isinstance(architecture, Architecture):
            architecture = Architecture(frozenset(architecture))
        self.architecture = architecture
        listed = TABLE if table is None else table
        have = [
            i for i in listed if architecture.has(i.features) and not architecture.is_one(i.absent)
        ]
        rows = [i for i in have if i.width in (0, architecture.word)]
        self.rows = sorted(rows, key=lambda i: (-i.mask.bit_count(), not i.features))
        self._by_opcode: dict[int, list[Insn]] = {}
        for row in self.rows:
            self._by_opcode.setdefault(row.match >> 26, []).append(row)
        for same in self._by_opcode.values():
            _refuse_overlaps(same)

    def decode(self, word: int) -> Insn | None:
        """The instruction, or None for an illegal word."""
        for row in self._by_opcode.get(word >> 26, ()):
            if word & row.mask == row.match:
                return row
        return None


def _refuse_overlaps(same: list[Insn]) -> None:
    for n, a in enumerate(same):
        for b in same[n + 1 :]:
            common = a.mask & b.mask
            clash = a.match & common == b.match & common
            equal = a.mask.bit_count() == b.mask.bit_count()
            alike = bool(a.features) == bool(b.features)
            assert not (clash and equal and alike), f"{a.name} and {b.name} overlap"


def trace_word(row: Insn, word: int, width: int = USUAL, sf: bool | None = None) -> list[Statement]:
    """The statements of the row's body for a whole instruction word."""
    return row.trace(const(word, 32), width=width, sf=sf)
