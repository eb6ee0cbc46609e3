"""Blocks: straight code copied from stencils as soon as it is found to run (tier 1).

A block begins at an entry and goes on to a branch that is always taken, to what has no stencil or
to the page's end; a conditional branch does not end it.  It has the signature of tier 0's
handlers, lies in one page, and every way out is through an entry or into tier 0's handler of the
instruction, so that installing and dropping one is one pointer write.  Native code makes them
(`engine.stencils.copying`); LLVM is for what stays hot.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Final, NamedTuple

from gossamer.base.units import PAGE_SIZE
from gossamer.engine.elf import Loader
from gossamer.engine.regions.pauses import SLOTS, Pauses
from gossamer.engine.regions.view import View
from gossamer.engine.stencils.made import Desk, Stencils

#: Who marks pages here (`View.mark`).
_OWNER: Final = "blocks"


class Block(NamedTuple):
    """Code at `address` for the words from `offset` up to `end` of an arena page."""

    page: int
    offset: int
    end: int
    address: int


class Blocks:
    """Makes blocks and keeps them; `loader` gives the arena, which has them and regions alone."""

    def __init__(
        self,
        view: View,
        stencils: Stencils,
        loader: Callable[[], Loader],
        pauses: Pauses,
        *,
        beside: bool = False,
    ) -> None:
        """`pauses` are those of lines of code (of `context.LINE` bytes) to be left alone.

        `beside`: stencils of more units may come while blocks are made without them.
        """
        self._beside = beside
        self._view, self._stencils, self._loader = view, stencils, loader
        self._pauses = pauses
        self._by_entry: dict[int, Block] = {}
        self._by_page: dict[int, set[int]] = defaultdict(set)
        self._desk: Desk | None = None
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

    def make(self, ea: int) -> bool:
        """Make the block at an effective address and those it leads to, where fetches go now.

        False when the arena is full.  Where a region or a block is, it stays as it is.
        """
        self._stencils.follow(beside=self._beside)
        loader, view = self._loader(), self._view
        if self._desk is None:
            self._desk = self._new_desk(loader)
        before, addresses = loader.arena.used, view.addresses(narrow=view.narrow)
        is_whole, made = self._desk.copy(ea, view.engine.count, addresses, view.lines)
        for entry, last, address in made:
            page, offset = view.place(entry)
            self._by_entry[entry] = Block(page, offset, last, address)
            if page not in self._by_page:
                view.mark(page, _OWNER, regions=True)
            self._by_page[page].add(entry)
            self.instructions += (last - offset) // 4
        self.made += len(made)
        if loader.arena.used > before:
            view.code_fresh(loader.arena.base + before, loader.arena.base + loader.arena.used)
        return is_whole

    def _new_desk(self, loader: Loader) -> Desk:
        entries, end = self._view.bounds
        pauses = self._pauses.table.address
        return Desk(
            self._stencils, loader, entries=entries, end=end, pauses=pauses, pause_mask=SLOTS - 1
        )

    # --- dropping ---------------------------------------------------------------------------------

    def _remove(self, entry: int) -> None:
        block = self._by_entry.pop(entry)
        rest = self._by_page[block.page]
        rest.discard(entry)
        if not rest:
            del self._by_page[block.page]
            self._view.mark(block.page, _OWNER, regions=False)

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
        self._desk = None
