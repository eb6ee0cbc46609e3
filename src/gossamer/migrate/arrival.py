"""Memory that arrives behind its machine: pages asked for as they are needed (postcopy).

The machine runs here while pages of its memory are still with the sender.  Each has a mark in
`Arena.absent`; what reaches for one (native code in `page_of`, DMA, a debugger) waits in `need`
until its content is here, so that nothing that a guest sees depends on which pages came first.

One thread reads the stream and stores pages; the one that runs the machine asks.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from gossamer.base.errors import HostError, StreamError
from gossamer.base.late import np
from gossamer.base.units import NS_PER_S, PAGE_SIZE
from gossamer.base.wire import WireReader
from gossamer.core import host
from gossamer.core.memory import Arena, RamBlock
from gossamer.migrate import ram
from gossamer.migrate.returnpath import Message, Reply, encode

if TYPE_CHECKING:
    from gossamer.migrate.channels import Channel

_LOOK_S: Final = 0.02
"""How long a page may take before others are served meanwhile."""
_DISCARD_VERSION: Final = 0
RESUMED: Final = 1
"""What RESUME_ACK carries."""


class Arrival:
    """The pages of one machine that have not come yet.

    `serve` is called again and again while a page is waited for.  It lets the rest of the process
    go on (True), cannot (False), or it is not the guest that waits (None).  Where it does not a
    wait has an end, `patience` seconds without a page; and only the guest waits for a connection.
    """

    def __init__(self, arena: Arena, channel: Channel) -> None:
        self.arena, self.patience = arena, channel.limits.stall
        self.serve: Callable[[], bool | None] = lambda: None
        self._channel: Channel | None = channel
        self._blocks = sorted(arena.blocks, key=lambda block: block.offset)
        self._turn, self._come = host.lock(), host.condition()
        self._asked: set[int] = set()
        self._over = ""
        #: Pages that were asked for.
        self.requests = 0
        arena.absent[: arena.used // PAGE_SIZE] = 1

    @property
    def left(self) -> int:
        """How many pages have not come."""
        return int(np.count_nonzero(self.arena.absent))

    # --- what the stream brings -------------------------------------------------------------------

    def wanted(self, run: ram.Run, block: RamBlock) -> ram.Run | None:
        """The part of `run` that is not here yet: what is may have been written to since."""
        if self.arena.arriving is None:
            return run
        if run.kind == ram.XBZRLE:
            raise StreamError("a delta of a page, of which nothing may be here", "ram", run.offset)
        numbers = (run.addresses // np.uint64(PAGE_SIZE)).astype(np.int64)
        absent = self.arena.absent[numbers + block.offset // PAGE_SIZE] != 0
        if absent.all():
            return run
        if not absent.any():
            return None
        fills = None if run.fills is None else run.fills[absent]
        pages = None if run.pages is None else run.pages[absent]
        addresses = run.addresses[absent]
        return ram.Run(run.kind, run.block, run.named, addresses, run.offset, run.stride, run.head,
                       fills, pages, run.payload)  # fmt: skip

    def stored(self, run: ram.Run, block: RamBlock) -> None:
        """The pages of `run` are in memory."""
        numbers = (run.addresses // np.uint64(PAGE_SIZE)).astype(np.int64)
        places = numbers + block.offset // PAGE_SIZE
        with self._come:
            pass  # the content is to be seen before the mark is gone: a lock's release says so
        with self._come:
            self.arena.absent[places] = 0
            if self._asked:
                self._asked.difference_update(places.tolist())
            self._come.notify_all()

    def discard(self, data: bytes, offset: int) -> None:
        """POSTCOPY_RAM_DISCARD: pages that were sent, and written to since."""
        if self.arena.arriving is not None:
            raise StreamError("pages are discarded while the machine runs here", "", offset)
        r = WireReader(data, offset)
        version, name = r.uint(1), r.cstr()
        block = next((one for one in self._blocks if one.name == name), None)
        if version != _DISCARD_VERSION or block is None or r.uint(1) or r.left % 16:
            raise r.error(f"discards version {version} pages of {name!r} in {len(data)} bytes")
        while r.left:
            start, length = r.uint(8), r.uint(8)
            if (start | length) % PAGE_SIZE or start + length > block.size:
                raise r.error(f"discards {length:#x} bytes at {start:#x} of {name!r}")
            first = (block.offset + start) // PAGE_SIZE
            self.arena.absent[first : first + length // PAGE_SIZE] = 1

    def received(self, name: str, offset: int) -> bytes:
        """A bit for each page of a block that is here, as RECV_BITMAP carries them."""
        block = next((one for one in self._blocks if one.name == name), None)
        if block is None:
            raise StreamError(f"the state of RAM block {name!r} is asked for", "", offset)
        first, count = block.offset // PAGE_SIZE, block.size // PAGE_SIZE
        bits = np.zeros(-(-count // 64) * 64, np.uint8)
        bits[:count] = self.arena.absent[first : first + count] == 0
        return np.packbits(bits, bitorder="little").tobytes()

    # --- the way to the sender --------------------------------------------------------------------

    def send(self, message: Message) -> None:
        """Put a message on the return path, from whichever thread."""
        with self._turn:
            if self._channel is None:
                raise HostError("the connection to the sender is broken")
            self._channel.write(encode(message))

    def lost(self) -> None:
        """The connection is of no more use: what is needed from now on waits for another."""
        with self._turn:
            self._channel = None

    def resumed(self, channel: Channel) -> None:
        """Another connection carries the return path."""
        with self._turn:
            self._channel = channel

    def ask_again(self) -> None:
        """Ask for what was asked for over the connection before, and has not come."""
        with self._come:
            pages = sorted(self._asked)
        for first, count in _rows(pages):
            self._ask(first, count)

    def give_up(self, why: str) -> None:
        """The machine will never be whole: what waits for a page gets a HostError."""
        with self._come:
            self._over = why
            self._come.notify_all()

    # --- the machine's side -----------------------------------------------------------------------

    def live(self) -> None:
        """The machine is about to run: from here on pages are waited for."""
        self.arena.arriving = self.need

    def settled(self) -> None:
        """All of it has come."""
        self.arena.arriving = None

    def need(self, first: int, last: int) -> None:
        """Wait for arena pages `first` to `last`; HostError when they cannot come."""
        absent = self.arena.absent
        with self._come:
            pages = (np.flatnonzero(absent[first : last + 1]) + first).tolist()
            new = [page for page in pages if page not in self._asked]
            self._asked.update(new)
        if not pages:
            return
        for start, count in _rows(new):
            self._ask(start, count)
        end, left = 0, len(pages) + 1
        while True:
            with self._come:
                now_left = int(np.count_nonzero(absent[first : last + 1]))
                if not now_left:
                    return
                if now_left < left:
                    end, left = host.monotonic_ns() + int(self.patience * NS_PER_S), now_left
                if self._over:
                    raise HostError(self._over)
                self._come.wait(_LOOK_S)
            if not absent[first : last + 1].any() or (served := self.serve()):
                continue
            if self._channel is None and (served is None or host.monotonic_ns() > end):
                raise HostError(f"the sender has part of the memory, and {_BROKEN}")
            if host.monotonic_ns() > end:
                raise HostError(f"the sender sends no page for {self.patience:g} s")

    def _ask(self, first: int, count: int) -> None:
        """Request arena pages in a row; a connection that is broken comes again, or does not."""
        for block in self._blocks:
            start = max(first, block.offset // PAGE_SIZE)
            stop = min(first + count, (block.offset + block.size) // PAGE_SIZE)
            if start >= stop:
                continue
            at = start * PAGE_SIZE - block.offset
            size = (stop - start) * PAGE_SIZE
            self.requests += stop - start
            try:
                self.send(Message(Reply.REQ_PAGES_ID, 0, at, size, block.name))
            except HostError:
                return


_BROKEN: Final = "the connection is broken; migrate-recover here and migrate resume there mend it"


def _rows(pages: list[int]) -> list[tuple[int, int]]:
    """Pages in ascending order as (first, count) of each row of consecutive ones."""
    if not pages:
        return []
    edges = [0, *(n + 1 for n, (a, b) in enumerate(pairwise(pages)) if b != a + 1), len(pages)]
    return [(pages[lo], hi - lo) for lo, hi in pairwise(edges)]
