"""One instruction word as a region's writer sees it: its statements, what it reads and writes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from gossamer.engine.statements import is_true
from gossamer.engine.variants import is_deferred
from gossamer.isa.architecture import USUAL, Architecture
from gossamer.isa.body import (
    Branch,
    Do,
    Effect,
    Loop,
    Probe,
    Raise,
    RamStore,
    Statement,
    Store,
    When,
    Write,
)
from gossamer.isa.expr import Expr, const, node
from gossamer.isa.insn import Insn, trace_word
from gossamer.isa.spec.table import Decoder

#: Registers that a region keeps in values; all others are read and written in their block.
KEPT: Final = frozenset(("gpr", "crf", "so", "ov", "ca", "xer", "lr", "ctr", "fpr", "vr", "vsl"))
#: Leaves of expressions that a region has no text for.
_NOT_HERE: Final = frozenset(
    ("call", "ram", "ram_find", "table", "table_find", "slb_find", "word", "mode")
)
#: A register file's name and an element's number.
Key = tuple[str, int]

#: Floating-point instructions whose effect on FPSCR is put off (`floats`), by opcode family.
PUT_OFF: Final = frozenset(
    [n + s for n in ("fadd", "fsub", "fmul", "fdiv", "fmadd", "fmsub", "fnmadd", "fnmsub")
     for s in ("", "s")] + ["frsp", "fctiwz", "fcmpu"]
)  # fmt: skip


class Code:
    """What a word does, independent of where it lies.

    `supported` False: a region ends before it.  `loops` are the iterations of a loop of constant
    count (lmw), each a list of statements; they follow `trace`.  `guards` are conditions on MSR
    alone under which tier 0 must do the instruction.  `sf` is the mode that it is for (`Body`).
    """

    def __init__(self, word: int, row: Insn | None, width: int, sf: bool | None = None) -> None:
        self.word, self.width, self._sf = word, width, sf
        self.row = row
        self.supported = False
        self.trace: list[Statement] = []
        self.loops: list[list[Statement]] = []
        self.guards: list[Expr] = []
        self.branch: Branch | None = None
        self.reads: set[Key] = set()
        self.writes: set[Key] = set()
        self.put_off = False
        if row is not None:
            self._read(row)

    @property
    def links(self) -> bool:
        return ("lr", 0) in self.writes

    @property
    def touches_memory(self) -> bool:
        return any(isinstance(s, Do | Store | Probe) for s in self.trace)

    def _read(self, row: Insn) -> None:
        trace = trace_word(row, self.word, self.width, self._sf)
        self.put_off = row.name in PUT_OFF and (row.name == "fcmpu" or not self.word & 1)
        seen: set[Expr] = set()
        for s in trace:
            if isinstance(s, Raise) and not s.commit and depends_on_msr(s.when):
                if is_true(s.when):
                    return
                self.guards.append(s.when)
                continue
            if not self._take(s, seen):
                return
        self.supported = True

    def _take(self, s: Statement, seen: set[Expr]) -> bool:
        """Take a statement in; False when regions do not do such."""
        if isinstance(s, Effect | When | RamStore):
            return False
        if isinstance(s, Loop):
            return self._unroll(s, seen)
        if isinstance(s, Raise) and is_true(s.when):
            return False
        if isinstance(s, Probe) and not s.length.is_const:
            return False
        if not self._note(s, seen):
            return False
        self.trace.append(s)
        return True

    def _unroll(self, loop: Loop, seen: set[Expr]) -> bool:
        if not loop.count.is_const or self.loops:
            return False
        for k in range(loop.count.value):
            memo: dict[Expr, Expr] = {}
            part = [_with_index(s, loop.index, k, memo) for s in loop.body]
            if any(s is None or not self._note(s, seen) for s in part):
                return False
            self.loops.append([s for s in part if s is not None])
        return True

    def _note(self, s: Statement, seen: set[Expr]) -> bool:
        """Note what a statement reads and writes; False when a region cannot keep it."""
        if isinstance(s, Branch):
            if s.when.is_const and not s.when.arg:
                return True
            if self.branch is not None:
                return False
            self.branch = s
        if isinstance(s, Write):
            if not s.index.is_const:
                return False
            if s.reg == "fpscr" and not self.put_off:
                return False
            if s.reg in KEPT:
                self.writes.add((s.reg, s.index.value))
        return all(self._reads(e, seen) for e in operands(s))

    def _reads(self, e: Expr, seen: set[Expr]) -> bool:
        if e in seen:
            return True
        seen.add(e)
        if e.op == "reg":
            if e.arg == "fpscr" and not self.put_off:
                return False
            if e.arg in KEPT:
                if not e.args[0].is_const:
                    return False
                self.reads.add((str(e.arg), e.args[0].value))
        elif e.op in _NOT_HERE:
            return False
        elif is_deferred(e):
            # The other side is left to tier 0; what it reads does not matter.
            return self._reads(e.args[0], seen) and self._reads(e.args[1], seen)
        return all(self._reads(a, seen) for a in e.args)


def operands(s: Statement) -> Iterator[Expr]:
    """The expressions that a region evaluates of a statement (an interrupt is tier 0's)."""
    for name in ("index", "value", "when", "expr", "ea", "length", "target"):
        e = getattr(s, name, None)
        if isinstance(e, Expr):
            yield e


def depends_on_msr(e: Expr) -> bool:
    """Whether nothing but MSR and constants is in `e`."""
    if e.op == "reg":
        return e.arg == "msr"
    if e.op == "const":
        return True
    return bool(e.args) and e.op not in ("load", "call", "ram") and all(map(depends_on_msr, e.args))


def _with_index(s: Statement, index: Expr, k: int, memo: dict[Expr, Expr]) -> Statement | None:
    """A loop's statement in iteration `k`; None where its kind is not known here."""

    def put(e: Expr) -> Expr:
        return _replace(e, index, k, memo)

    if isinstance(s, Write):
        return Write(s.reg, put(s.index), put(s.value), put(s.when))
    if isinstance(s, Do):
        return Do(put(s.expr))
    if isinstance(s, Store):
        return Store(put(s.ea), s.size, put(s.value), put(s.when))
    return None


def _replace(e: Expr, index: Expr, k: int, memo: dict[Expr, Expr]) -> Expr:
    """`e` with `k` for the loop's index; what does not depend on it stays the same object."""
    if e is index:
        return const(k, 32)
    if not e.args:
        return e
    found = memo.get(e)
    if found is None:
        args = tuple(_replace(a, index, k, memo) for a in e.args)
        if all(a is b for a, b in zip(args, e.args, strict=True)):
            found = e
        elif e.op in ("reg", "load", "ram", "call"):
            found = Expr(e.op, e.width, args, e.arg)
        else:
            found = node(e.op, e.width, *args, arg=e.arg)
        memo[e] = found
    return found


class Codes:
    """The codes of words for one CPU model, each made once; bounded.

    `narrow`: for 32-bit mode, of a model whose words have 64 bits.
    """

    _MOST: Final = 1 << 13

    def __init__(self, architecture: Architecture, *, narrow: bool = False) -> None:
        self._decoder = Decoder(architecture)
        self.width, self.narrow = architecture.word, narrow
        self._sf = None if architecture.word == USUAL else not narrow
        self._known: dict[int, Code] = {}

    def __getitem__(self, word: int) -> Code:
        code = self._known.get(word)
        if code is None:
            if len(self._known) >= self._MOST:
                self._known.clear()
            row = self._decoder.decode(word)
            code = self._known[word] = Code(word, row, self.width, self._sf)
        return code


@lru_cache(maxsize=8)
def codes_of(architecture: Architecture, *, narrow: bool = False) -> Codes:
    """The one `Codes` of a model and mode in this process."""
    return Codes(architecture, narrow=narrow)
