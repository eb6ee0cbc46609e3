"""The engine's native tables as Python sees them between two native runs."""

from __future__ import annotations

import ctypes
import struct
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal

from gossamer.base.bits import ones
from gossamer.base.data import Data
from gossamer.base.units import PAGE_SIZE
from gossamer.engine.context import (
    ENTRY_STRIDE,
    FILLED,
    ITLB_ENTRIES,
    LINE,
    WITH_REGIONS,
    line_of,
)
from gossamer.engine.regions.forming import Region
from gossamer.engine.tier0 import Tier0
from gossamer.isa.architecture import MSR_SF

_TAGS: Final = {32: ctypes.c_uint32, 64: ctypes.c_uint64}
_NARROW: Final = ones(32)
_WORD_OF_ENTRY: Final = 4  # an entry is four times as long as its instruction


class Fetches(Data):
    """Where fetches go at some moment: the lines of the fetch TLB, and the mode."""

    lines: bytes
    narrow: bool


class View:
    """Entries, pages and the fetch TLB of one engine; of several CPUs' the one that runs."""

    def __init__(self, engine: Tier0, decode: int) -> None:
        """`decode` is the address of the handler of entries that are not decoded."""
        self.engine, self._decode = engine, decode
        self._entries = engine.entries
        self._end = engine.pointer("entries_end")
        word = engine.architecture.word
        self._line, self._tag = line_of(word), _TAGS[word]
        self._all = ones(word)
        #: Who marked a page.
        self._owners: dict[int, set[str]] = defaultdict(set)

    @property
    def narrow(self) -> bool:
        """Whether a CPU whose words have 64 bits computes with 32 now."""
        return self._tag is _TAGS[64] and not self.engine.block.get("msr") & MSR_SF

    def addresses(self, *, narrow: bool) -> int:
        """The bits that an effective address has."""
        return _NARROW if narrow else self._all

    @property
    def lines(self) -> int:
        """Address of the fetch TLB in force."""
        return self.engine.pointer("itlb")

    @property
    def bounds(self) -> tuple[int, int]:
        """Address of the first entry, and of the end of the last."""
        return self._entries, self._end

    def fetches(self) -> Fetches:
        """Where fetches go now, to be asked later."""
        size = ITLB_ENTRIES * self._line.size
        return Fetches(ctypes.string_at(self.lines, size), self.narrow)

    def page(self, ea: int, then: Fetches | None = None) -> int | None:
        """Arena page that a fetch from `ea` finds without a walk, None where there is none.

        Now, or at the moment of `then`.
        """
        shape, narrow = self._line, self.narrow if then is None else then.narrow
        at = (ea // PAGE_SIZE & (ITLB_ENTRIES - 1)) * shape.size
        if then is None:
            line = self.lines + at
            tag = self._tag.from_address(line).value
            entries = ctypes.c_uint64.from_address(line + shape.addend).value
        else:
            tag = self._tag.from_buffer_copy(then.lines, at).value
            entries = ctypes.c_uint64.from_buffer_copy(then.lines, at + shape.addend).value
        if tag != ea & ~(PAGE_SIZE - 1) & self.addresses(narrow=narrow):
            return None
        if not self._entries <= entries < self._end:
            return None
        return (entries - self._entries) // ENTRY_STRIDE

    def entry(self, page: int, offset: int) -> int:
        """Address of the entry at `offset` bytes of an arena page."""
        return self._entries + page * ENTRY_STRIDE + offset * _WORD_OF_ENTRY

    def place(self, entry: int) -> tuple[int, int]:
        """Arena page and offset that an entry stands for."""
        page, offset = divmod(entry - self._entries, ENTRY_STRIDE)
        return page, offset // _WORD_OF_ENTRY

    def handler(self, entry: int) -> int:
        return ctypes.c_uint64.from_address(entry).value

    def set_handler(self, entry: int, handler: int) -> None:
        ctypes.c_uint64.from_address(entry).value = handler

    def restore(self, entry: int) -> None:
        """Let the entry lead to tier 0's handler again: it stays decoded, other regions have it."""
        self.engine.decode(entry)

    def word(self, page: int, offset: int) -> int | None:
        """The word in memory, None where the entry is not decoded."""
        if self.handler(self.entry(page, offset)) == self._decode:
            return None
        order: Literal["big", "little"] = "little" if self.is_little(page) else "big"
        return int.from_bytes(self.code(page, offset, 4), order)

    def is_little(self, page: int) -> bool:
        """Whether an arena page's code is in little-endian order."""
        return bool(self.engine.decoded.orders.view[page])

    def code(self, page: int, offset: int, length: int) -> bytes:
        """Bytes in memory, decoded or not."""
        at = page * PAGE_SIZE + offset
        return bytes(self.engine.memory.arena.view[at : at + length])

    def has(self, page: int, words: Mapping[int, int]) -> bool:
        """Whether these words of an arena page are in memory, by their offsets."""
        there = struct.unpack(
            f"{'<' if self.is_little(page) else '>'}{PAGE_SIZE // 4}I",
            self.code(page, 0, PAGE_SIZE),
        )
        return all(there[offset // 4] == word for offset, word in words.items())

    def decode(self, page: int, offsets: Iterable[int]) -> bool:
        """Let entries of a page be decoded; False where that would change translations.

        In a page that has decoded code already, nothing that a guest sees depends on it.
        """
        first = self.entry(page, 0)
        handlers = ctypes.string_at(first, PAGE_SIZE * _WORD_OF_ENTRY)
        for offset in offsets:
            at = offset * _WORD_OF_ENTRY
            if int.from_bytes(handlers[at : at + 8], sys.byteorder) == self._decode:
                if not self.engine.memory.arena.code_view[page]:
                    return False
                self.engine.decode(first + at)
        return True

    def takes(self, pages: Mapping[int, int], words: Mapping[int, int]) -> bool:
        """Whether the words of a region are all in memory; what is not decoded of them is, then.

        `pages` and `words` as of a `Region`.
        """
        apart: dict[int, dict[int, int]] = {number: {} for number in pages}
        for delta, word in words.items():
            number, offset = divmod(delta, PAGE_SIZE)
            if number not in apart:
                return False
            apart[number][offset] = word
        there = [(pages[number], mine) for number, mine in apart.items()]
        return all(self.has(*each) for each in there) and all(self.decode(*each) for each in there)

    def mark(self, page: int, owner: str, *, regions: bool) -> None:
        """Say whether an owner's code contains words of a page: writes to it are reported then."""
        owners = self._owners[page]
        (owners.add if regions else owners.discard)(owner)
        self.engine.ready[page] = WITH_REGIONS if owners else FILLED
        if not owners:
            del self._owners[page]

    def code_fresh(self, start: int, end: int) -> None:
        """Code was written from host address `start` to `end`."""
        self.engine.code_fresh(start, end)


class Targets:
    """Where indirect branches were seen to go: effective addresses by the branch's entry."""

    _MOST: Final = 4
    _BRANCHES: Final = 1 << 13

    def __init__(self) -> None:
        self._seen: dict[int, list[int]] = {}

    def note(self, entry: int, ea: int) -> None:
        """The branch of `entry` went to `ea`, again."""
        if len(self._seen) > self._BRANCHES:
            self._seen.clear()
        seen = self._seen.setdefault(entry, [])
        if ea in seen:
            seen.remove(ea)
        seen.insert(0, ea)
        del seen[self._MOST :]

    def of(self, entry: int) -> list[int]:
        """The latest targets."""
        return self._seen.get(entry, [])


class Here:
    """What a region with its head at `ea` is formed from: `forming.Source`.

    With the pages that fetches find now, or found `then`.
    """

    def __init__(
        self,
        view: View,
        ea: int,
        is_barred: Callable[[int, int], bool],
        targets: Targets,
        size_at: Callable[[int], int],
        then: Fetches | None = None,
        *,
        is_rest: bool = False,
    ) -> None:
        """`is_barred` says which words (arena page, offset) are to be left alone.

        `size_at`: words of the region of an entry, 0 where none is and none is being made.
        """
        self._targets, self._size_at, self._then = targets, size_at, then
        self.is_rest = is_rest
        self.narrow = view.narrow if then is None else then.narrow
        self._addresses = view.addresses(narrow=self.narrow)
        self._view, self._page, self._is_barred = view, ea & ~(PAGE_SIZE - 1), is_barred

    def page(self, number: int) -> int | None:
        return self._view.page(self._page + number * PAGE_SIZE & self._addresses, self._then)

    def word(self, page: int, offset: int) -> int | None:
        return None if self._is_barred(page, offset) else self._view.word(page, offset)

    def size(self, delta: int) -> int:
        page = self.page(delta // PAGE_SIZE)
        return 0 if page is None else self._size_at(self._view.entry(page, delta % PAGE_SIZE))

    def recognize(
        self, head: int, words: dict[int, int], numbers: tuple[int, ...]
    ) -> Region | None:
        """The region of these words, if they are all in memory and can be decoded."""
        pages: dict[int, int] = {}
        for number in numbers:
            page = self.page(number)
            if page is None:
                return None
            pages[number] = page
        for at in {delta & -LINE for delta in words}:
            page = pages.get(at // PAGE_SIZE)
            if page is None or self._is_barred(page, at % PAGE_SIZE):
                return None
        if not self._view.takes(pages, words):
            return None
        region = Region(head, pages)
        region.words = words
        return region

    def targets(self, delta: int) -> Sequence[int]:
        page = self.page(delta // PAGE_SIZE)
        if page is None:
            return ()
        seen = self._targets.of(self._view.entry(page, delta % PAGE_SIZE))
        return [signed(ea - self._page, self._addresses) for ea in seen]


def signed(value: int, mask: int) -> int:
    """A difference of addresses, which have the bits of `mask`."""
    value &= mask
    return value - mask - 1 if value > mask >> 1 else value
