"""The MMU of a model: strategies by the name that its architecture gives.

A further one is a class with what `translation.Mmu` asks for and a row here; engines read its
bodies, so there is one text for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from gossamer.cpu.hashed import Hashed
from gossamer.cpu.misses import Loaded
from gossamer.cpu.translation import Mmu
from gossamer.cpu.untranslated import Untranslated
from gossamer.isa.architecture import Architecture, NotDescribedError

STRATEGIES: Final[dict[str, Callable[[Architecture], Mmu]]] = {
    "hashed": Hashed,
    "loaded": Loaded,
    "untranslated": Untranslated,
}


@lru_cache(maxsize=16)
def of(architecture: Architecture) -> Mmu:
    """The strategy of an architecture; NotDescribedError where it is not one for its words."""
    if architecture.word != 32 and architecture.mmu in ("hashed", "loaded"):
        raise NotDescribedError(
            f"the MMU {architecture.mmu!r} of a model whose words have {architecture.word} bits"
        )
    return STRATEGIES[architecture.mmu](architecture)
