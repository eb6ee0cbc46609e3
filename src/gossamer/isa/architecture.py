"""What an instruction set is read for: the word's width, and the names of what a part has.

The width is said here, once: registers (`isa.registers`), fields of instruction words (`isa.form`)
and bodies (`isa.body`) have it from an `Architecture`, so that the same rows describe 32-bit and
64-bit parts.  A word is what a general-purpose register holds; where the books say "word" and
mean 32 bits on every part, bodies take `low`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gossamer.base.data import Data
from gossamer.base.errors import GossamerError

#: Versions of the Power ISA after the 32-bit parts here, in order; each contains those before it.
LEVELS: Final = ("2.01", "2.02", "2.03", "2.04", "2.05", "2.06", "2.07")
#: Widths that a word can have, and that of every part which does not say otherwise.
WIDTHS: Final = (32, 64)
USUAL: Final = 32
#: The bit of MSR with which a 64-bit part computes with 64 bits.
MSR_SF: Final = 1 << 63
#: Entries of a 64-bit part's segment lookaside buffer.
SLB_ENTRIES: Final = 64


class NotDescribedError(GossamerError):
    """A model needs something of which there is no description yet."""


class Architecture(Data):
    """What distinguishes one instruction set from another.

    `features` are names of parts and families, and of the levels that it has (`LEVELS`); rows name
    those that have them.  `mmu` names what translates addresses (`cpu.mmu.STRATEGIES`).
    """

    features: frozenset[str] = frozenset()
    word: int = USUAL
    mmu: str = "hashed"

    def __post_init__(self) -> None:
        assert self.word in WIDTHS, f"a word of {self.word} bits, expected one of {WIDTHS}"

    def has(self, parts: tuple[str, ...] | frozenset[str]) -> bool:
        """Whether one of `parts` is among the features (none: every architecture)."""
        return not parts or not self.features.isdisjoint(parts)

    def is_one(self, parts: frozenset[str] | tuple[str, ...]) -> bool:
        """Whether one of `parts` is among the features (none: it is not)."""
        return not self.features.isdisjoint(parts)

    @property
    def both_orders(self) -> bool:
        """Whether MSR[LE] chooses the order of bytes in storage (Power ISA 2.07 Book I 1.10.1)."""
        return "2.07" in self.features

    @property
    def key(self) -> str:
        """What distinguishes it from every other, as text (names of files in caches)."""
        return f"{self.word},{self.mmu},{','.join(sorted(self.features))}"


def architecture(
    *features: str, level: str = "", word: int = USUAL, mmu: str = "hashed"
) -> Architecture:
    """The architecture with these features and every level up to `level` (empty: none)."""
    levels: Iterable[str] = LEVELS[: LEVELS.index(level) + 1] if level else ()
    return Architecture(frozenset((*features, *levels)), word, mmu)
