"""No address translation: real mode alone, for a model whose MMU is not described yet."""

from __future__ import annotations

from gossamer.base.data import Data
from gossamer.core.memory import REAL_BITS
from gossamer.cpu.translation import NO_VECTORS, NOT_FOUND, WIMG_REAL, Translation
from gossamer.isa.architecture import Architecture
from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, const, low, ltu, select
from gossamer.isa.interrupts import Access


class Untranslated(Data):
    """Real addresses are effective ones; beyond 4 GiB there is nothing."""

    architecture: Architecture
    lacking = "address translation"
    searches_by_software = False
    miss = 0
    miss_vectors = NO_VECTORS

    def translate(self, s: Body, ea: Expr, access: Access) -> Translation:
        there = const(1, 1) if s.width == REAL_BITS else ltu(ea, 1 << REAL_BITS)
        fault = select(there, const(0, 32), const(NOT_FOUND, 32))
        return Translation(low(ea), fault, const(WIMG_REAL, 4), there)

    def enter(self, s: Body) -> None:
        """There are no registers."""

    def enter_miss(self, s: Body, vector: Expr, srr0: Expr, ea: Expr) -> None:
        raise AssertionError("nothing is searched")
