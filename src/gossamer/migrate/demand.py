"""What a sender sends when its machine has gone ahead of its memory: what is asked for comes first.

Asked pages go at once; from there on the rest goes in the order of memory, since what lies behind
a page that was needed is likely to be needed next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from gossamer.base.errors import HostError
from gossamer.base.units import NS_PER_S, PAGE_SIZE
from gossamer.core.memory import RamBlock
from gossamer.migrate.dirty import DirtyPages, Pages
from gossamer.migrate.precopy import SLICE_NS
from gossamer.migrate.returnpath import Message

AT_ONCE: Final = 64
"""Pages sent between two looks at what is asked for."""
SIGN_NS: Final = 5 * NS_PER_S
"""So often a page goes, however low the limit: a receiver gives up a sender that sends nothing."""
MOST_ASKED: Final = 1 << 16
"""Requests that wait; a receiver that asks for more before it takes any breaks the rules."""


class Demand:
    """The pages of `dirty` in the order in which a receiver needs them.

    `limit`: bytes a second that what was not asked for may take, 0: no limit.
    """

    def __init__(self, dirty: DirtyPages, limit: Callable[[], int] = lambda: 0) -> None:
        self.dirty, self._limit = dirty, limit
        self._queue: deque[tuple[RamBlock, int, int]] = deque()
        self._blocks = {block.name: block for block in dirty.blocks}
        self._last: RamBlock | None = None
        self._slice = self._slice_pages = 0
        self._sent_at: int | None = None
        #: Requests that came.
        self.requests = 0

    def ask(self, message: Message) -> None:
        """REQ_PAGES or REQ_PAGES_ID; HostError for pages that there are not."""
        block = self._blocks.get(message.block) if message.block else self._last
        at, size = message.value, message.length
        if block is None or (at | size) % PAGE_SIZE or not size or at + size > block.size:
            text = f"the receiver asks for {size:#x} bytes at {at:#x} of {message.block!r}"
            raise HostError(f"{text}, which there are not")
        if len(self._queue) >= MOST_ASKED:
            raise HostError(f"the receiver asks for more than {MOST_ASKED} pieces of memory")
        self._last = block
        self.requests += 1
        self._queue.append((block, at // PAGE_SIZE, size // PAGE_SIZE))

    def forget(self) -> None:
        """Another connection: what counts is asked for anew."""
        self._queue.clear()
        self._last = None
        self.dirty.again()

    def take(self, now: int) -> Pages:
        """Pages to send at `now` (ns of the host's clock); none: nothing before `wait_until`."""
        while self._queue:
            block, first, count = self._queue.popleft()
            some = min(count, AT_ONCE)
            if some < count:
                self._queue.appendleft((block, first + some, count - some))
            if pages := self.dirty.take_from(block, first, some):
                self._sent_at = now
                return pages
        limit = self._limit()
        if now - self._slice >= SLICE_NS:
            self._slice, self._slice_pages = now, 0
        most = AT_ONCE
        if limit and self._slice_pages * PAGE_SIZE >= limit * SLICE_NS // NS_PER_S:
            if self._sent_at is None:
                self._sent_at = now
            if now - self._sent_at < SIGN_NS:
                return []
            most = 1
        self._sent_at = now
        pages = self.dirty.take(most)
        if not pages:
            self.dirty.again()
            pages = self.dirty.take(most)
        self._slice_pages += sum(len(numbers) for _, numbers in pages)
        return pages

    @property
    def wait_until(self) -> int:
        """When something may be sent again that was not asked for."""
        return self._slice + SLICE_NS
