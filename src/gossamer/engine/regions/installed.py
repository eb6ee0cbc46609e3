"""The regions in force: entries that point to code, and what makes each of them go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Final

from gossamer.base.data import Data
from gossamer.base.units import PAGE_SIZE
from gossamer.engine.regions.forming import Region
from gossamer.engine.regions.view import View

#: Who marks pages here (`View.mark`).
_OWNER: Final = "regions"


class Made(Data):
    """A region whose code is loaded at `address`."""

    region: Region
    address: int
    size: int

    @property
    def head_page(self) -> int:
        return self.region.pages[0]


class Installed:
    """Regions by the entry of their head, and by the pages whose words they contain."""

    def __init__(self, view: View, give_way: Callable[[int], None]) -> None:
        """`give_way` is called with an entry that a region is about to take."""
        self._view, self._give_way = view, give_way
        self._by_entry: dict[int, Made] = {}
        self._by_page: dict[int, set[int]] = defaultdict(set)
        #: Dropped, their code is in the arena still; one an entry.
        self._asleep: dict[int, Made] = {}

    def __len__(self) -> int:
        return len(self._by_entry)

    def __contains__(self, entry: int) -> bool:
        return entry in self._by_entry

    @property
    def made(self) -> list[Made]:
        return list(self._by_entry.values())

    @property
    def entries(self) -> list[int]:
        return list(self._by_entry)

    def size_at(self, entry: int) -> int:
        """Words of the region of an entry, 0 where there is none."""
        made = self._by_entry.get(entry)
        return 0 if made is None else len(made.region.words)

    def is_current(self, region: Region) -> bool:
        """Whether memory still holds the region's words; what is not decoded any more is again."""
        return self._view.takes(region.pages, region.words)

    def install(self, made: Made) -> None:
        """Let the head's entry lead to the region."""
        entry = self._view.entry(made.head_page, made.region.head)
        self._give_way(entry)
        self._by_entry[entry] = made
        self._asleep.pop(entry, None)
        for page in made.region.pages.values():
            self._by_page[page].add(entry)
            self._view.mark(page, _OWNER, regions=True)
        self._view.set_handler(entry, made.address)

    def drop(self, entry: int) -> None:
        """Let a head's entry be tier 0's again; the code stays, for `wake`."""
        made = self._by_entry.pop(entry)
        self._view.restore(entry)
        self._asleep[entry] = made
        for page in made.region.pages.values():
            rest = self._by_page[page]
            rest.discard(entry)
            if not rest:
                del self._by_page[page]
                self._view.mark(page, _OWNER, regions=False)

    def wake(self, entry: int, is_barred: Callable[[int, int], bool]) -> bool:
        """Install the region that was dropped from a head last, if its words are there again.

        `is_barred` says which words (arena page, offset) are to be left alone.
        """
        made = self._asleep.get(entry)
        if made is None or not self.is_current(made.region):
            return False
        region = made.region
        places = ((region.pages[d // PAGE_SIZE], d % PAGE_SIZE) for d in region.words)
        if any(is_barred(page, offset) for page, offset in places):
            return False
        self.install(made)
        return True

    def forget(self) -> None:
        """Drop all regions for good: their code is about to go."""
        self.drop_all()
        self._asleep.clear()

    def drop_page(self, page: int) -> list[int]:
        """Drop every region with words of an arena page; the entries of their heads."""
        return self._drop(list(self._by_page.get(page, ())))

    def drop_word(self, word: int) -> list[int]:
        """Drop every region that contains a word, by its number in the arena; their entries."""
        page, offset = divmod(4 * word, PAGE_SIZE)
        return self._drop(
            [
                entry
                for entry in self._by_page.get(page, ())
                if self._by_entry[entry].region.contains(page, offset)
            ]
        )

    def has_word(self, page: int, offset: int) -> bool:
        """Whether some region contains the word at `offset` of an arena page."""
        entries = self._by_page.get(page, ())
        return any(self._by_entry[entry].region.contains(page, offset) for entry in entries)

    def _drop(self, entries: list[int]) -> list[int]:
        for entry in entries:
            self.drop(entry)
        return entries

    def drop_all(self) -> int:
        return len(self._drop(list(self._by_entry)))
