"""About how large a region would be, from its words: tracing their bodies takes far longer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from gossamer.base.data import Data
from gossamer.base.units import PAGE_SIZE
from gossamer.engine.regions.forming import APART, Limits, Place, Source, has_its_own, is_another
from gossamer.engine.regions.names import displacement

_BC, _SC, _B, _BY_REGISTER, _INTEGER, _SINGLE, _DOUBLE = 16, 17, 18, 19, 31, 59, 63
_BCLR, _BCCTR, _RFI, _RFID = 16, 528, 50, 18
#: mtmsr, mtmsrd, mtsr, mtsrin, tlbie, slbmte, slbie, slbia.
_CONTROL: Final = frozenset((146, 178, 210, 242, 306, 402, 434, 498))
#: Arithmetic by its low five bits; fcmpu, frsp and fctiwz by all ten.
_ARITHMETIC: Final = frozenset((18, 20, 21, 25, 28, 29, 30, 31))
_OTHER_FLOATING: Final = frozenset((0, 12, 15))
_LINKS, _ALWAYS = 1, 0x14 << 21


class Weight(Data):
    """Instructions of a region, and how many of them are floating point."""

    instructions: int
    floating: int


def weigh(source: Source, head: int, limits: Limits) -> Weight:
    """About what `forming.form` would find; no instructions where there is no code."""
    walk = _Walk(source, head, limits)
    walk.grow()
    return Weight(len(walk.found), walk.floating)


class _Walk:
    """Goes where `forming._Nodes` goes."""

    def __init__(self, source: Source, head: int, limits: Limits) -> None:
        self.source, self.head, self.limits = source, head, limits
        self.pages: dict[int, int | None] = {}
        self.found: set[Place] = set()
        self.floating = 0

    def grow(self) -> None:
        queue: deque[Place] = deque([(self.head, ())])
        limits = self.limits
        while queue and len(self.found) < limits.instructions:
            place: Place | None = queue.popleft()
            while place is not None and place not in self.found:
                word = self._word(place[0])
                if word is None or len(self.found) > limits.in_line or _ends(word):
                    break
                if has_its_own(self.source, self.head, place):
                    break
                self.found.add(place)
                op = word >> 26
                if op in (_BC, _B, _BY_REGISTER):
                    following = list(self._following(place, word, op))
                    if len(self.found) >= limits.instructions:
                        break
                    queue.extend(following[1:])
                    place = following[0] if following else None
                else:
                    self.floating += op in (_SINGLE, _DOUBLE) and _is_floating(word)
                    place = place[0] + 4, place[1]

    def _word(self, delta: int) -> int | None:
        number = delta // PAGE_SIZE
        if number not in self.pages:
            if abs(number) > APART or len(self.pages) >= self.limits.pages:
                return None
            self.pages[number] = self.source.page(number)
        page = self.pages[number]
        return None if page is None else self.source.word(page, delta % PAGE_SIZE)

    def _following(self, place: Place, word: int, op: int) -> Iterator[Place]:
        delta, stack = place
        if op == _BY_REGISTER:
            kind = word >> 1 & 0x3FF
            if kind not in (_BCLR, _BCCTR) or word & _ALWAYS != _ALWAYS:
                yield delta + 4, stack
            if kind == _BCLR and stack and not word & _LINKS:
                yield stack[-1][0], stack[:-1]
            elif kind == _BCCTR and not word & _LINKS:
                for target in self.source.targets(delta):
                    yield target, stack
            return
        if op == _BC and word & _ALWAYS != _ALWAYS:
            yield delta + 4, stack
        target = delta + displacement(word, 1 if op == _BC else 2)
        if not word & _LINKS:
            yield target, stack
        elif (
            len(stack) < self.limits.depth
            and target != self.head
            and not is_another(self.source, self.head, target)
            and all(callee != target for _, callee in stack)
        ):
            yield target, (*stack, (delta + 4, target))


def _ends(word: int) -> bool:
    """Whether no region goes on with a word: most of those that change MSR or translations."""
    op = word >> 26
    if op == _BY_REGISTER:
        return word >> 1 & 0x3FF in (_RFI, _RFID)
    return op == _SC or (op == _INTEGER and word >> 1 & 0x3FF in _CONTROL)


def _is_floating(word: int) -> bool:
    return word >> 1 & 0x1F in _ARITHMETIC or word >> 1 & 0x3FF in _OTHER_FLOATING
