"""What a region's loops are, and which of its pages are looked up where it is entered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from gossamer.base.units import PAGE_SIZE
from gossamer.cpu.model import find
from gossamer.engine.regions.code import codes_of
from gossamer.engine.regions.forming import Limits, Region, form
from gossamer.isa.text import assemble


class Laid:
    """Code by how far it lies from the head: all decoded, each page by its own number."""

    is_rest = False

    def __init__(self, code: Mapping[int, str], targets: Mapping[int, Sequence[int]]) -> None:
        self._targets = targets
        self._words = {
            at + 4 * n: int.from_bytes(text[4 * n : 4 * n + 4], "big")
            for at, text in ((at, assemble(lines, at)) for at, lines in code.items())
            for n in range(len(text) // 4)
        }

    def page(self, number: int) -> int | None:
        return number

    def word(self, page: int, offset: int) -> int | None:
        return self._words.get(page * PAGE_SIZE + offset)

    def targets(self, delta: int) -> Sequence[int]:
        return self._targets.get(delta, ())

    def size(self, delta: int) -> int:
        return 0


def formed(code: Mapping[int, str], targets: Mapping[int, Sequence[int]]) -> Region:
    region = form(Laid(code, targets), codes_of(find("750").architecture), 0, Limits())
    assert region is not None
    return region


FAR = PAGE_SIZE
#: A switch in a loop, one whose case is in another page, an interpreter's step back to its head,
#: a loop through two pages, a call from page to page.
KINDS = {
    "switch": ({0: "addi 3,3,1; bctr; addi 4,4,1; b 0"}, {4: (8,)}, 1, {0}),
    "cases": ({0: "addi 3,3,1; bctr", FAR: "addi 4,4,1; b 0"}, {4: (FAR,)}, 0, {0}),
    "step": ({0: "addi 3,3,1; bctr"}, {4: (0,)}, 0, {0}),
    "pages": ({0: f"addi 3,3,1; b {FAR:#x}", FAR: "addi 4,4,1; b 0"}, {}, 1, {0, 1}),
    "call": ({0: f"bl {FAR:#x}; b 0", FAR: "addi 4,4,1; blr"}, {}, 1, {0, 1}),
    "way": ({0: f"addi 3,3,1; b {FAR:#x}", FAR: "addi 4,4,1; blr"}, {}, 0, {0}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_loops_and_the_pages_that_are_looked_up_first(kind: str) -> None:
    code, targets, loops, first = KINDS[kind]
    region = formed(code, targets)
    assert len(region.natural) == loops
    assert region.looked_up_first() == first
