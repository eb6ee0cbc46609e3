"""Which handler of tier 0 an instruction word has, by the name of its symbol."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from typing import Final

from gossamer.base.units import PAGE_SIZE
from gossamer.isa.architecture import Architecture

#: Symbols of a region's object: its function, and how far its pages are apart.
NAME: Final = "region"
PLACES: Final = "places"


class Names:
    """Names for one CPU model, as the runtime's `decode_into` finds handlers."""

    def __init__(self, architecture: Architecture) -> None:
        from gossamer.engine.variants import variants  # noqa: PLC0415 - not to run what is kept
        from gossamer.isa.spec.table import Decoder  # noqa: PLC0415

        self._rows = defaultdict(list)
        for v in variants(Decoder(architecture)):
            self._rows[v.match >> 26].append((v.mask, v.match, v.kind, v.names))

    def handler(self, word: int, offset: int) -> str:
        """The handler of `word` at `offset` bytes of its page; `h_illegal` where there is none."""
        for mask, match, kind, (local, far) in self._rows[word >> 26]:
            if word & mask == match:
                target = offset + displacement(word, kind)
                return local if kind == 0 or 0 <= target < PAGE_SIZE else far
        return "h_illegal"


def displacement(word: int, kind: int) -> int:
    """Of a relative branch: B form (1) 16 bits, I form (2) 26 bits, both signed."""
    size = 16 if kind == 1 else 26
    value = word & ((1 << size) - 4)
    return value - (1 << size) if value >> (size - 1) else value


@lru_cache(maxsize=8)
def names_of(architecture: Architecture) -> Names:
    """The one `Names` of a model in this process."""
    return Names(architecture)
