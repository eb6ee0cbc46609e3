"""The MMU of a model: strategies by the name that its architecture gives.

A further one is a class with what `translation.Mmu` asks for and a row here; engines read its
bodies, so there is one text for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from gossamer.cpu import exceptions, exceptions_405
from gossamer.cpu.embedded import Embedded
from gossamer.cpu.hashed import Hashed
from gossamer.cpu.misses import Loaded
from gossamer.cpu.slb import Segments
from gossamer.cpu.translation import Mmu
from gossamer.cpu.untranslated import Untranslated
from gossamer.isa.architecture import Architecture, NotDescribedError
from gossamer.isa.body import Body
from gossamer.isa.expr import Expr
from gossamer.isa.spec.parts import EMBEDDED

STRATEGIES: Final[dict[str, Callable[[Architecture], Mmu]]] = {
    "hashed": Hashed,
    "loaded": Loaded,
    "embedded": Embedded,
    "untranslated": Untranslated,
    "slb": Segments,
}


@lru_cache(maxsize=16)
def of(architecture: Architecture) -> Mmu:
    """The strategy of an architecture; NotDescribedError where it is not one for its words."""
    if architecture.word != 32 and architecture.mmu in ("hashed", "loaded", "embedded"):
        raise NotDescribedError(
            f"the MMU {architecture.mmu!r} of a model whose words have {architecture.word} bits"
        )
    return STRATEGIES[architecture.mmu](architecture)


def enter(s: Body, vector: Expr, srr0: Expr, srr1: Expr, architecture: Architecture) -> None:
    """Take the interrupt at `vector` on such a part: `exceptions` or `exceptions_405`."""
    if architecture.is_one(EMBEDDED):
        exceptions_405.enter(s, vector, srr0, srr1)
    else:
        exceptions.enter(s, vector, srr0, srr1, of(architecture))
