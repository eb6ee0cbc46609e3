"""Loads and stores of singles on the host's conversions, where they give the same bits.

Widening is exact for all but NaNs, which the host would make quiet; narrowing where widening gives
the double back.  The rest is done by the bits, aside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.engine.emit import LIKELY
from gossamer.engine.regions.code import Code
from gossamer.engine.regions.floats import Floats
from gossamer.engine.regions.values import Difference
from gossamer.isa.body import Do, Store, Write

LOADS: Final = ("lfs", "lfsu", "lfsx", "lfsux")
STORES: Final = ("stfs", "stfsu", "stfsx", "stfsux")


class Singles(Floats):
    """Writes loads and stores of singles."""

    _code: Code | None = None

    def begin_instruction(self, code: Code) -> None:
        self._code = code
        self.moves_double = any(file == "fpr" for file, _ in code.reads | code.writes)

    def _is_one_of(self, names: tuple[str, ...]) -> bool:
        return (
            self._code is not None and self._code.row is not None and self._code.row.name in names
        )

    def new_value(self, s: Write) -> str | Difference:
        if s.reg != "fpr" or not self._is_one_of(LOADS):
            return super().new_value(s)
        assert self._code is not None
        load = next(d.expr for d in self._code.trace if isinstance(d, Do))
        single = self.value(f"bitcast i32 {self.expr(load)} to float")
        is_number = self.value(f"fcmp ord float {single}, {single}")

        def by_bits() -> str:
            return self.value(f"bitcast i64 {self.expr(s.value)} to double")

        wide = self.value(f"fpext float {single} to double")
        return self._unless_odd("double", is_number, wide, by_bits)

    def stored(self, s: Store) -> str:
        if not self._is_one_of(STORES):
            return super().stored(s)
        assert self._code is not None
        double = self.read(("fpr", self._code.word >> 21 & 31))
        single = self.value(f"fptrunc double {double} to float")
        back = self.value(f"fpext float {single} to double")
        is_same = self.value(f"fcmp oeq double {back}, {double}")
        bits = self.value(f"bitcast float {single} to i32")
        return self._unless_odd("i32", is_same, bits, lambda: self.expr(s.value))

    def _unless_odd(self, kind: str, condition: str, usual: str, odd: Callable[[], str]) -> str:
        """`usual` when `condition` holds, else what `odd` writes, aside."""
        other, join = self.label("odd"), self.label("join")
        here = self.block
        self.line(f"br i1 {condition}, label %{join}, label %{other}{LIKELY}")
        found: list[str] = []

        def body() -> None:
            found.extend((odd(), self.block))
            self.line(f"br label %{join}")

        self.aside(other, body)
        self.start(join)
        return self.value(f"phi {kind} [ {usual}, %{here} ], [ {found[0]}, %{found[1]} ]")
