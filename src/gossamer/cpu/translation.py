"""Address translation as the rest of a CPU sees it: outcomes, fault bits, what an MMU must do.

The MMU is the model's strategy: `cpu.mmu` finds it.  Source of the bits: MPC750UM 4.5.3, 5.2; Book
III.
"""

from __future__ import annotations

from typing import Final, Protocol

from gossamer.base.bits import bit
from gossamer.base.data import Data
from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, eq, select
from gossamer.isa.interrupts import Access, Interrupt

MSR_PR: Final = bit(17)
MSR_IR: Final = bit(26)
MSR_DR: Final = bit(27)

#: Fault bits, as in DSISR (data) and SRR1 (fetch).
NOT_FOUND: Final = bit(1)
NO_EXECUTE: Final = bit(3)  # fetch: no-execute segment, guarded page or direct-store segment
PROTECTED: Final = bit(4)
DIRECT_STORE: Final = bit(5)  # data, MPC750UM table 4-9 (DSISR)
STORE: Final = bit(6)
NO_SEGMENT: Final = bit(12)  # of a 64-bit part: nothing in the SLB; never seen in a register
ZONE: Final = bit(7)  # of a 405: the page's zone bars user programs
#: Bits of a fault; below are WIMG, `writable` and `special` as native code packs them.
FAULT_BITS: Final = -128

#: `Translation.special`: no line of a TLB may keep it; bytes lie in little-endian order.
NO_LINE, SWAPPED = 1, 2
#: The same where WIMG is below, as `engine.translate.translate` and native code give it.
NO_LINE_FLAG, SWAPPED_FLAG = 32, 64

#: `Mmu.miss_vectors` where software fills the TLBs, and where nothing enters so.
MISS_VECTORS: Final = (Interrupt.FETCH_MISS, Interrupt.LOAD_MISS, Interrupt.STORE_MISS)
NO_VECTORS: Final[tuple[Interrupt, ...]] = ()

WIMG_REAL: Final = 0b0011  # real mode: memory coherent, guarded (MPC750UM 5.2)
WIMG_W, WIMG_I, WIMG_M, WIMG_G = 8, 4, 2, 1


class Translation(Data):
    """The outcome of a translation.

    `ra` 32 bits, of 64-bit models a word; `fault` DSISR or SRR1 bits, zero when the access may go
    on; `wimg` 4 bits; `writable` 1 bit: a store to the page needs nothing more (C is set);
    `special` 2 bits, none: zero.
    """

    ra: Expr
    fault: Expr
    wimg: Expr
    writable: Expr
    special: Expr | None = None


class Mmu(Protocol):
    """How a model translates addresses.  Its bodies are read by every engine."""

    @property
    def lacking(self) -> str:
        """What of translation is not described; a model whose MSR asks for it can't go on."""

    @property
    def searches_by_software(self) -> bool:
        """Whether software fills the TLBs."""

    @property
    def miss(self) -> int:
        """The fault bit of what enters as `enter_miss` says; zero where nothing does."""

    @property
    def miss_vectors(self) -> tuple[Interrupt, ...]:
        """Where that enters: a fetch, a load, a store."""

    def translate(self, s: Body, ea: Expr, access: Access) -> Translation:
        """Translate `ea`, a word, for `access` with the present state of the CPU."""

    def enter(self, s: Body) -> None:
        """What every exception entry does to the MMU's registers."""

    def enter_miss(self, s: Body, vector: Expr, srr0: Expr, ea: Expr) -> None:
        """Take the miss interrupt at `vector` for `ea`."""


def with_store(fault: Expr, access: Access) -> Expr:
    """Fault bits, where there are any, with the one that says what was asked for."""
    if access is not Access.WRITE:
        return fault
    return select(eq(fault, 0), fault, fault | STORE)
