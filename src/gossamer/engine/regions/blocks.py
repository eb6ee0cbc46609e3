"""Blocks: straight code copied from stencils as soon as it is found to run (tier 1).

A block begins at an entry and goes on to a branch that is always taken, to what has no stencil or
to the page's end; a conditional branch does not end it.  It has the signature of tier 0's
handlers, lies in one page, and every way out is through an entry or into tier 0's handler of the
instruction, so that installing and dropping one is one pointer write.  It costs a few µs an
instruction: LLVM is for what stays hot.
"""

from __future__ import annotations

import ctypes
import struct
from collections import defaultdict, deque
from collections.abc import Callable, Container
from typing import Final

from gossamer.base.data import Data
from gossamer.base.units import PAGE_SIZE
from gossamer.engine.arena import CodeArena
from gossamer.engine.context import ENTRY, LINE
from gossamer.engine.elf import Apply, Loader
from gossamer.engine.regions.names import displacement
from gossamer.engine.regions.view import View
from gossamer.engine.stencils.made import Stencil, Stencils

#: Instructions of one block, and of the blocks that are made at once, at the most.
LONGEST: Final = 64
TOGETHER: Final = 256
_KEPT: Final = 1 << 14
_ENTRY: Final = struct.Struct("<QII")
#: Opcodes of relative branches, by their form's number (`variants`).
_RELATIVE: Final = {16: 1, 18: 2}
_LINKS: Final = 1


class Block(Data):
    """Code at `address` for the words from `offset` up to `end` of an arena page."""

    page: int
    offset: int
    end: int
    address: int


class _Piece(Data):
    """What is copied for a word: a stencil's code, its holes filled.

    `leading` is the stencil if its code leads anywhere; `ahead` is how far a relative branch goes,
    None: it is none; `goes_on` as of the stencil.
    """

    code: bytes
    leading: Stencil | None
    ahead: int | None
    goes_on: bool


class _Draft(Data, frozen=False):
    """A block while it is written.

    `leading` are the stencils of it that lead anywhere, and where they begin in `code`; `targets`
    where it leads to, bytes from its page's start.
    """

    code: bytearray
    leading: list[tuple[int, Stencil]]
    end: int
    targets: list[int]


class Blocks:
    """Makes blocks and keeps them; `loader` gives the arena."""

    def __init__(
        self,
        view: View,
        stencils: Stencils,
        loader: Callable[[], Loader],
        is_barred: Callable[[int, int], bool],
        *,
        beside: bool = False,
    ) -> None:
        """`is_barred` says which words (arena page, offset) are to be left alone.

        `beside`: stencils of more units may come while blocks are made without them.
        """
        self._beside = beside
        self._view, self._stencils, self._loader = view, stencils, loader
        self._is_barred = is_barred
        self._by_entry: dict[int, Block] = {}
        self._by_page: dict[int, set[int]] = defaultdict(set)
        #: By handler and word, of those that are the same everywhere.
        self._pieces: dict[tuple[int, int], _Piece] = {}
        #: Where the stencils' constants lie in the arena, and how many bytes: -1: nowhere.
        self._constants = (-1, 0)
        #: Blocks made, and their instructions.
        self.made = self.instructions = 0

    def __len__(self) -> int:
        return len(self._by_entry)

    def __contains__(self, entry: int) -> bool:
        return entry in self._by_entry

    @property
    def entries(self) -> list[int]:
        return list(self._by_entry)

    # --- making -----------------------------------------------------------------------------------

    def make(self, ea: int, heads: Container[int]) -> bool:
        """Make the block at an effective address and those it leads to, where fetches go now.

        False when the arena is full.  `heads` are entries of regions, which stay as they are.
        """
        self._stencils.follow(beside=self._beside)
        work, left = deque([ea]), TOGETHER
        addresses = self._view.addresses(narrow=self._view.narrow)
        arena = self._loader().arena
        before = arena.used
        while work and left > 0:
            ea = work.popleft()
            page, at = self._view.page(ea), ea % PAGE_SIZE
            if page is None:
                continue
            entry = self._view.entry(page, at)
            if entry in self._by_entry or entry in heads:
                continue
            draft = self._draft(page, at, heads)
            if draft is None:
                continue
            if not self._install(page, at, draft):
                return False
            left -= (draft.end - at) // 4
            work.extend(ea - at + to & addresses for to in draft.targets)
        if arena.used > before:
            self._view.code_fresh(arena.base + before, arena.base + arena.used)
        return True

    def _draft(self, page: int, offset: int, heads: Container[int]) -> _Draft | None:
        """The block at `offset`; None where none is worth it."""
        most = min(LONGEST, (PAGE_SIZE - offset) // 4)
        first = entry = self._view.entry(page, offset)
        code, at = bytearray(), offset
        draft = _Draft(code, [], offset, [])
        blocks, pieces = self._by_entry, self._pieces
        goes_on = True
        for handler, word, _ in _ENTRY.iter_unpack(ctypes.string_at(first, ENTRY * most)):
            if (at % LINE == 0 or at == offset) and self._is_barred(page, at):
                break
            if at != offset and (entry in blocks or entry in heads):
                break
            piece = pieces.get((handler, word)) or self._piece(handler, word, at)
            if piece is None:
                draft.targets.append(at + 4)
                break
            if piece.leading is not None:
                draft.leading.append((len(code), piece.leading))
            code += piece.code
            if piece.ahead is not None:
                draft.targets.append(at + piece.ahead)
            at += 4
            entry += ENTRY
            if not piece.goes_on:
                goes_on = False
                if word & _LINKS:
                    draft.targets.append(at)
                break
        if at - offset < 8 and goes_on:
            return None
        draft.end = at
        if goes_on:
            stop = self._stencils.stop
            draft.leading.append((len(code), stop))
            code += stop.code
        return draft

    def _piece(self, handler: int, word: int, at: int) -> _Piece | None:
        """What is copied for a word at `at` bytes of its page; None where there is no stencil."""
        stencil = self._stencils.by_handler.get(handler)
        if stencil is None:
            return None
        form = _RELATIVE.get(word >> 26)
        ahead = None if form is None else displacement(word, form)
        leading = stencil if stencil.distances or stencil.constants else None
        piece = _Piece(stencil.filled(word, at), leading, ahead, stencil.goes_on)
        if not stencil.depends_on_place:
            if len(self._pieces) >= _KEPT:
                self._pieces.clear()
            self._pieces[handler, word] = piece
        return piece

    def _install(self, page: int, offset: int, draft: _Draft) -> bool:
        loader, code = self._loader(), draft.code
        arena = loader.arena
        start = arena.reserve(len(code), 16)
        if start is None:
            return False
        address = arena.base + start
        for begin, stencil in draft.leading:
            for d in stencil.distances:
                stub = loader.stub(d.to, self._stencils.machine)
                if stub is None:
                    return False
                _lead(code, begin + d.offset, address, arena.base + stub + d.addend, d.apply)
            for c in stencil.constants:
                constants = self._constants_in(arena)
                if constants is None:
                    return False
                place = arena.base + constants + c.place
                _lead(code, begin + c.offset, address, place, c.apply)
        arena.put(start, bytes(code))
        entry = self._view.entry(page, offset)
        self._by_entry[entry] = Block(page, offset, draft.end, address)
        self._by_page[page].add(entry)
        self._view.mark(page, "blocks", regions=True)
        self._view.set_handler(entry, address)
        self.made += 1
        self.instructions += (draft.end - offset) // 4
        return True

    def _constants_in(self, arena: CodeArena) -> int | None:
        """Where the stencils' constants lie in the arena; None when it is full."""
        constants = self._stencils.constants
        if self._constants[1] != len(constants) or self._constants[0] < 0:
            found = arena.reserve(len(constants), 64)
            if found is None:
                return None
            arena.put(found, constants)
            self._constants = found, len(constants)
        return self._constants[0]

    # --- dropping ---------------------------------------------------------------------------------

    def _remove(self, entry: int) -> None:
        block = self._by_entry.pop(entry)
        rest = self._by_page[block.page]
        rest.discard(entry)
        if not rest:
            del self._by_page[block.page]
            self._view.mark(block.page, "blocks", regions=False)

    def give_way(self, entry: int) -> None:
        """A region is about to be installed at an entry."""
        if entry in self._by_entry:
            self._remove(entry)

    def drop(self, entry: int) -> None:
        """Let an entry be tier 0's again."""
        self._remove(entry)
        self._view.restore(entry)

    def drop_word(self, word: int) -> list[int]:
        """Drop every block that contains a word, by its number in the arena; their entries."""
        page, offset = divmod(4 * word, PAGE_SIZE)
        gone = [
            entry
            for entry in self._by_page.get(page, ())
            if self._by_entry[entry].offset <= offset < self._by_entry[entry].end
        ]
        for entry in gone:
            self.drop(entry)
        return gone

    def drop_page(self, page: int) -> None:
        for entry in list(self._by_page.get(page, ())):
            self.drop(entry)

    def drop_all(self) -> None:
        for entry in self.entries:
            self.drop(entry)

    def forget(self) -> None:
        """Drop all; the arena begins anew."""
        self.drop_all()
        self._constants = (-1, 0)


def _lead(code: bytearray, at: int, here: int, to: int, apply: Apply) -> None:
    """Let four bytes of code that will be at address `here` lead to address `to`."""
    old = int.from_bytes(code[at : at + 4], "little")
    code[at : at + 4] = apply(old, to, here + at).to_bytes(4, "little")
