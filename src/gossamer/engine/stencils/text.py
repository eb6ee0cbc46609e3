"""The LLVM module of stencils: tier 0's handlers with holes for what the word says.

A stencil goes on in `NEXT`, which is what is copied behind it; it leaves to tier 0's handler of
its instruction, with the state as before it, for everything that a region would leave for (see
`engine.regions.exits`).  What tier 0 alone does has none.
"""

from __future__ import annotations

from typing import Final

from gossamer.engine.addresses import Addresses, addresses_of
from gossamer.engine.emit import CHAIN, LIKELY, METADATA, TB_CPU, UNLIKELY
from gossamer.engine.handlers import _Handler
from gossamer.engine.runtime_fields import SIGNATURE
from gossamer.engine.statements import is_true, text_of
from gossamer.engine.stencils.copying import NEXT, STENCIL, STOP
from gossamer.engine.stencils.holes import PLACE, is_hole, name_of
from gossamer.engine.variants import is_deferred, looks_at, variants
from gossamer.isa.architecture import Architecture
from gossamer.isa.body import (
    Branch,
    Effect,
    Loop,
    Probe,
    Raise,
    RamStore,
    Statement,
    When,
)
from gossamer.isa.expr import Expr, const, node, select, zext
from gossamer.isa.spec.table import Decoder

#: Added to a branch's distance in a hole, which is never negative.
_BIAS: Final = 1 << 16
#: Holes of so many bits are known to be that narrow.
_NARROW: Final = 7
#: The block of a stencil that goes on in tier 0's handler.
_LEAVE: Final = "leave"
_ENTRIES_OF_CODE: Final = 4  # an entry is four times as long as its instruction


def stencils_text(architecture: Architecture, unit: int = 0) -> str:
    """LLVM text of every stencil of a unit of a model."""
    intrinsics: set[str] = set()
    holes: dict[str, int] = {}
    externs = {"h_spent", "h_jump", NEXT}
    parts = [_Stop(intrinsics, addresses_of(architecture), "", holes).stop()] if unit == 0 else []
    for v in variants(Decoder(architecture)):
        if v.unit != unit:
            continue
        trace = v.row.trace(Expr("word", 32), v.mask, v.match, width=architecture.word)
        if not _is_simple(trace):
            continue
        for local, name in zip((True, False), v.names, strict=True):
            writer = _Stencil(intrinsics, addresses_of(architecture), local, name, holes)
            parts.append(writer.stencil(trace))
            externs.add(name)
            if v.kind == 0:
                break
    return "\n".join(
        [
            *sorted(intrinsics),
            *(_declared(name, bits, n) for n, (name, bits) in enumerate(sorted(holes.items()))),
            *(f"declare hidden {CHAIN} void @{n}(ptr, ptr, i64)" for n in sorted(externs)),
            *parts,
            METADATA,
            *(f"!{100 + n} = !{{i64 0, i64 {1 << n}}}" for n in range(1, _NARROW + 1)),
        ]
    )


def _declared(name: str, bits: int, n: int) -> str:
    narrow = f", !absolute_symbol !{100 + bits}" if bits <= _NARROW else ""
    return f'@"{name}" = external hidden global i8{narrow}'


def _is_simple(trace: list[Statement]) -> bool:
    """Whether a stencil does all that statements say, or leaves before it did anything."""
    if any(isinstance(s, Effect | When | Loop | Probe | RamStore) for s in trace):
        return False
    if any(isinstance(s, Raise) and (is_true(s.when) or s.after) for s in trace):
        return False
    return not any(_calls(s) for s in trace)


def _calls(s: Statement) -> bool:
    """Whether a statement looks at the time, or calls a service on its usual way."""
    names = ("index", "value", "when", "expr", "ea", "target")
    return any(_needs_tier0(e, set()) for n in names if isinstance(e := getattr(s, n, None), Expr))


#: Leaves that call functions of tier 0's, or that no instruction alone has.
_TIER_0: Final = frozenset(
    ("now", "call", "ram", "ram_find", "table", "table_find", "slb_find", "index", "arg")
)


def _needs_tier0(e: Expr, seen: set[Expr]) -> bool:
    if e in seen:
        return False
    seen.add(e)
    if e.op in _TIER_0:
        return True
    args = e.args[:2] if e.op == "choose" and e.args[2].op == "call" else e.args
    return any(_needs_tier0(a, seen) for a in args)


class _Stencil(_Handler):
    """Writes one stencil; `name` is tier 0's handler of the same instruction."""

    def __init__(
        self,
        intrinsics: set[str],
        addresses: Addresses,
        local: bool,
        name: str,
        holes: dict[str, int],
    ) -> None:
        super().__init__(intrinsics, addresses, local, name)
        self.handler, self.holes = name, holes
        self._known: dict[Expr, bool] = {}

    def stencil(self, trace: list[Statement]) -> str:
        if looks_at(trace, "fpscr"):
            self._settle()
        self.carry_out(trace)
        self._finish()
        if self._leaves:
            self.start(_LEAVE)
            self._tail(self.handler, "%e", "%K")
        return text_of(self, head(STENCIL + self.handler))

    _leaves = False

    def _settle(self) -> None:
        self.leave_if(self.value(f"icmp ne i32 {self.field('fp_kind', 'i32')}, 0"))

    def leave_if(self, condition: str) -> None:
        """Go on in tier 0's handler when `condition` (i1) holds."""
        on = self.label("on")
        self.line(f"br i1 {condition}, label %{_LEAVE}, label %{on}{UNLIKELY}")
        self._leaves = True
        self.start(on)

    def _only_if(self, condition: str) -> None:
        on = self.label("on")
        self.line(f"br i1 {condition}, label %{on}, label %{_LEAVE}{LIKELY}")
        self._leaves = True
        self.start(on)

    def _miss(self, hit: str) -> str:
        self._only_if(hit)
        return ""

    def _choose(self, e: Expr) -> str:
        if not is_deferred(e):
            return super()._choose(e)
        self._only_if(self.expr(e.args[0]))
        return self.expr(e.args[1])

    # --- holes ----

    def hole(self, e: Expr) -> str:
        """The value of a hole: LLVM knows no more of it than its width."""
        name = name_of(e)
        self.holes[name] = min(e.width, self.holes.get(name, e.width))
        return self.value(f'ptrtoint ptr @"{name}" to i64')

    def expr(self, e: Expr) -> str:
        if e not in self.memo and not e.is_const and e.width <= 32 and is_hole(e, self._known):
            self.memo[e] = self.value(f"trunc i64 {self.hole(e)} to i{e.width}")
        elif e not in self.memo and (place := self._register_or_zero(e)) is not None:
            where = self.value(f"getelementptr i8, ptr %cpu, i64 {self.hole(place)}")
            self.memo[e] = self.value(f"load i{e.width}, ptr {where}{TB_CPU}")
        return super().expr(e)

    def _register_or_zero(self, e: Expr) -> Expr | None:
        """Where `e` lies if it is a register or, by the word alone, zero: (RA|0)."""
        if e.op != "select" or not is_hole(e.args[0], self._known):
            return None
        _, yes, no = e.args
        if not (yes.is_const and yes.value == 0 and no.op == "reg"):
            return None
        place = self._place(str(no.arg), no.args[0])
        if place is None or no.width > 64:
            return None
        zero = const(self.addresses.fields["zero"], 64)
        return select(e.args[0], zero, place)

    def _place(self, name: str, index: Expr) -> Expr | None:
        """Where element `index` of a register lies, None where that is no hole."""
        if index.is_const or not is_hole(index, self._known):
            return None
        size = const(self.addresses.layout.registers[name][0] // 8, 64)
        first = const(self.addresses.layout.offset[name], 64)
        return node("add", 64, node("mul", 64, zext(index, 64), size), first)

    def register(self, name: str, index: Expr) -> str:
        place = self._place(name, index)
        if place is None:
            return super().register(name, index)
        return self.value(f"getelementptr i8, ptr %cpu, i64 {self.hole(place)}")

    def _word(self, e: Expr) -> str:
        return self.value(f"trunc i64 {self.hole(e)} to i32")

    def _cia(self, e: Expr) -> str:
        place = self.hole(PLACE)
        if self.ea != "i64":
            place = self.value(f"trunc i64 {place} to {self.ea}")
        return self.value(f"add {self.ea} {self.field('fpage', self.ea)}, {place}")

    # --- ways out ----

    def interrupt(self, s: Raise) -> None:
        if not s.when.is_const:
            self.leave_if(self.expr(s.when))

    def prepare_ends(self, ends: list[Raise | Effect | Branch]) -> None:
        for s in ends:
            if isinstance(s, Raise):
                self.interrupt(s)
        self._offset = next(
            (s.offset for s in ends if isinstance(s, Branch) and s.offset is not None), None
        )
        super().prepare_ends([s for s in ends if not isinstance(s, Raise)])

    _offset: Expr | None = None

    def _next(self) -> None:
        self._tail(NEXT, self.value("getelementptr i8, ptr %e, i64 16"), "%K")

    def _go_local(self, offset: str) -> None:
        assert self._offset is not None
        bytes_ = zext(self._offset, 64) if self._offset.width < 64 else self._offset
        biased = node(
            "and",
            64,
            node("add", 64, node("mul", 64, bytes_, const(_ENTRIES_OF_CODE, 64)), const(_BIAS, 64)),
            const((1 << 32) - 1, 64),
        )
        far = self.hole(biased)
        there = self.value(f"getelementptr i8, ptr %e, i64 {far}")
        entry = self.value(f"getelementptr i8, ptr {there}, i64 {-_BIAS}")
        moved = self.value(f"add i64 %K, {far}")
        k = self.value(f"add i64 {moved}, {-_BIAS - 16}")
        target = self.value(f"ptrtoint ptr {entry} to i64")
        self._budget(f"icmp sle i64 {k}, {target}", entry, k, "h_spent")
        self._dispatch(entry, k)


class _Stop(_Stencil):
    """Writes the stencil that goes on at the entry."""

    def __init__(
        self, intrinsics: set[str], addresses: Addresses, name: str, holes: dict[str, int]
    ) -> None:
        super().__init__(intrinsics, addresses, True, name, holes)

    def stop(self) -> str:
        self._dispatch("%e", "%K")
        return text_of(self, head(STOP))


def head(name: str) -> str:
    """The head of a stencil, up to the opening brace: small, for conditional tail calls."""
    return f'define hidden {CHAIN} void @"{name}"{SIGNATURE} nounwind optsize {{'
