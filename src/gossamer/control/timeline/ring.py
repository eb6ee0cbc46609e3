"""Checkpoints of one machine: devices whole, pages as far as they changed, within a limit of bytes.

Pages are those of memory, and blocks of disks.  Between two neighbours `parts` of the later one
hold every page that was written, and perhaps more.  That is all that going from one to the other
needs, in either direction.  When the limit is reached the one that is missed least goes: with the
smallest distance between its neighbours for its age; so the distances double towards the past.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from typing import Final

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.base.late import np
from gossamer.base.units import MiB
from gossamer.control.timeline.blocks import Blocks
from gossamer.control.timeline.frozen import Bodies, Known, freeze, thaw
from gossamer.control.timeline.journal import Moment
from gossamer.control.timeline.pages import Numbers, Pages, Versions
from gossamer.machines.machine import Machine

MOST: Final = 512
"""Checkpoints at once."""
_OVERHEAD: Final = 4096
_KNOWN: Final = 64 << 10


class Checkpoint(Data, frozen=False, eq=False):
    """The machine at a moment; `pinned`: a mark, which thinning leaves alone.

    `parts`: what had changed of memory and of each disk; `requests`: how many each disk had had.
    """

    moment: Moment
    bodies: Bodies
    parts: tuple[Numbers, ...]
    requests: tuple[int, ...] = ()
    pinned: bool = False
    known: Known | None = None
    """Of a mark that one has gone back to: it will be gone back to again."""

    @property
    def changed(self) -> Numbers:
        """Pages of memory."""
        return self.parts[0]

    @property
    def key(self) -> tuple[int, int]:
        return self.moment.key

    @property
    def size(self) -> int:
        arrays = sum(part.nbytes for part in self.parts)
        known = 0 if self.known is None else _KNOWN
        return sum(map(len, self.bodies)) + arrays + known + _OVERHEAD


class Ring:
    """The checkpoints, oldest first.  `limit` bytes."""

    def __init__(self, machine: Machine, limit: int, disks: Sequence[Blocks] = ()) -> None:
        self.machine, self.limit, self.disks = machine, limit, tuple(disks)
        pages = Pages(machine.memory)
        self.stores: tuple[Versions, ...] = (pages, *self.disks)
        self.all: list[Checkpoint] = []
        #: The checkpoint whose content ours was when the stores were last clean.
        self.head: Checkpoint | None = None

    @property
    def size(self) -> int:
        """Bytes that the checkpoints take."""
        return sum(store.kept for store in self.stores) + sum(c.size for c in self.all)

    def take(self, moment: Moment, *, pinned: bool = False) -> Checkpoint:
        """A checkpoint of the machine as it is, or the one that is there already."""
        if self.all and (same := self.before(moment)) is not None and same.key == moment.key:
            same.pinned |= pinned
            return same
        first = not self.all
        written = tuple(s.everything() if first else s.written() for s in self.stores)
        made = self._made(moment, written, pinned=pinned)
        for store, numbers in zip(self.stores, written, strict=True):
            store.keep(moment.key, numbers)
        insort(self.all, made, key=lambda c: c.key)
        self._clean(made)
        self._shrink()
        return made

    def _clean(self, head: Checkpoint) -> None:
        for store in self.stores:
            store.clean()
        self.machine.engine.flush()
        self.head = head

    def _made(self, moment: Moment, written: tuple[Numbers, ...], *, pinned: bool) -> Checkpoint:
        requests = tuple(disk.requests for disk in self.disks)
        return Checkpoint(moment, freeze(self.machine), written, requests, pinned)

    def before(self, moment: Moment) -> Checkpoint | None:
        """The last checkpoint at `moment` or before it."""
        n = bisect_right(self.all, moment.key, key=lambda c: c.key)
        return self.all[n - 1] if n else None

    def before_count(self, count: int) -> Checkpoint | None:
        """The last checkpoint with at most `count` instructions."""
        n = bisect_right(self.all, count, key=lambda c: c.moment.instructions)
        return self.all[n - 1] if n else None

    def restore(self, to: Checkpoint) -> None:
        """Make the machine what it was."""
        assert self.head is not None
        for disk, requests in zip(self.disks, to.requests, strict=True):
            disk.held, disk.requests = True, requests
        ends = sorted((self.all.index(self.head), self.all.index(to)))
        between = self.all[ends[0] + 1 : ends[1] + 1]
        for n, store in enumerate(self.stores):
            parts = [store.written(), *(c.parts[n] for c in between)]
            store.put_back(to.key, np.unique(np.concatenate(parts)))
        thaw(self.machine, to.bodies, to.known)
        if to.pinned and to.known is None:
            to.known = Known(self.machine)
        self._clean(to)

    def forget_after(self, moment: Moment) -> None:
        """Forget what comes later; the machine is at `moment`."""
        n = bisect_right(self.all, moment.key, key=lambda c: c.key)
        gone = self.all[n:]
        del self.all[n:]
        if not gone:
            return
        if self.head in gone:  # memory changed since an earlier one: what those had, and ours
            before = gone[: gone.index(self.head) + 1]
            for n, store in enumerate(self.stores):
                store.touch(np.concatenate([c.parts[n] for c in before]))
            self.head = self.all[-1]
        for one in gone:
            for store, part in zip(self.stores, one.parts, strict=True):
                store.forget(part, moment.key, None)

    def forget_before(self, n: int) -> None:
        """Forget the first `n` checkpoints."""
        for _ in range(n):
            self._drop(0)

    # --- the limit ----------------------------------------------------------------------------

    def _shrink(self) -> None:
        while len(self.all) > 1 and (len(self.all) > MOST or self.size > self.limit):
            self._drop(self._victim())
        if self.size > self.limit:
            raise ConfigError(
                f"timeline: one checkpoint takes {-(-self.size // MiB)} MiB, "
                f"and the limit is {self.limit // MiB} MiB"
            )

    def _victim(self) -> int:
        """The place of the checkpoint that is missed least."""
        newest = self.all[-1].moment.ns
        inner = [
            n
            for n in range(1, len(self.all) - 1)
            if not self.all[n].pinned and self.all[n] is not self.head
        ]

        def worth(n: int) -> float:
            gap = self.all[n + 1].moment.ns - self.all[n - 1].moment.ns
            return gap / (newest - self.all[n].moment.ns + 1)

        return min(inner, key=worth) if inner else 0

    def _drop(self, n: int) -> None:
        gone, later = self.all[n], self.all[n + 1]
        before = self.all[n - 1].key if n else None
        del self.all[n]
        for store, part in zip(self.stores, later.parts, strict=True):
            # Pages that `later` lacks keep the version of `gone`, the last one before it.
            store.forget(part, before, gone.key)
            if gone is self.head:  # what it and `later` differ in counts as written
                store.touch(part)
        if gone is self.head:
            self.head = later
        later.parts = tuple(
            np.union1d(mine, its) for mine, its in zip(gone.parts, later.parts, strict=True)
        )
