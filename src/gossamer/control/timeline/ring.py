"""Checkpoints of one machine: devices whole, pages as far as they changed, within a limit of bytes.

Between two neighbours `changed` of the later one holds every page that was written, and perhaps
more.  That is all that going from one to the other needs, in either direction.  When the limit is
reached the one that is missed least goes: with the smallest distance between its neighbours for its
age; so the distances double towards the past.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right, insort
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gossamer.base.errors import ConfigError
from gossamer.base.units import MiB
from gossamer.control.timeline.frozen import freeze, thaw
from gossamer.control.timeline.journal import Moment
from gossamer.control.timeline.pages import Pages
from gossamer.machines.machine import Machine

MOST: Final = 512
"""Checkpoints at once."""
_OVERHEAD: Final = 1024


@dataclass(eq=False, slots=True)
class Checkpoint:
    """The machine at a moment; `pinned`: a mark, which thinning leaves alone."""

    moment: Moment
    bodies: bytes
    lengths: tuple[int, ...]
    changed: NDArray[np.int64]
    pinned: bool = False

    @property
    def key(self) -> tuple[int, int]:
        return self.moment.key

    @property
    def size(self) -> int:
        return len(self.bodies) + self.changed.nbytes + 8 * len(self.lengths) + _OVERHEAD


class Ring:
    """The checkpoints, oldest first.  `limit` bytes."""

    def __init__(self, machine: Machine, limit: int) -> None:
        self.machine, self.limit = machine, limit
        self.pages = Pages(machine.arena)
        self.all: list[Checkpoint] = []
        #: The checkpoint whose memory ours was when `Pages.clean` was last called.
        self.head: Checkpoint | None = None

    @property
    def size(self) -> int:
        """Bytes that the checkpoints take."""
        return self.pages.size + sum(c.size for c in self.all)

    def take(self, moment: Moment, *, pinned: bool = False) -> Checkpoint:
        """A checkpoint of the machine as it is, or the one that is there already."""
        pages = self.pages
        written = pages.written() if self.all else pages.everything()
        if self.all and (same := self.before(moment)) is not None and same.key == moment.key:
            same.pinned |= pinned
            return same
        made = self._made(moment, written, pinned=pinned)
        pages.keep(moment.key, written)
        insort(self.all, made, key=lambda c: c.key)
        pages.clean()
        self.machine.engine.flush()
        self.head = made
        self._shrink()
        return made

    def _made(self, moment: Moment, written: NDArray[np.int64], *, pinned: bool) -> Checkpoint:
        bodies = freeze(self.machine)
        packed = zlib.compress(b"".join(bodies), 1)
        return Checkpoint(moment, packed, tuple(map(len, bodies)), written, pinned)

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
        ends = sorted((self.all.index(self.head), self.all.index(to)))
        parts = [c.changed for c in self.all[ends[0] + 1 : ends[1] + 1]]
        pages = np.unique(np.concatenate([self.pages.written(), *parts]))
        self.pages.put_back(to.key, pages, self.machine.memory.write_arena)
        data, bodies, at = zlib.decompress(to.bodies), [], 0
        for length in to.lengths:
            bodies.append(data[at : at + length])
            at += length
        thaw(self.machine, tuple(bodies))
        self.pages.clean()
        self.machine.engine.flush()
        self.head = to

    def forget_after(self, moment: Moment) -> None:
        """Forget what comes later; the machine is at `moment`."""
        n = bisect_right(self.all, moment.key, key=lambda c: c.key)
        gone = self.all[n:]
        del self.all[n:]
        if not gone:
            return
        if self.head in gone:  # memory changed since an earlier one: what those had, and ours
            parts = [c.changed for c in gone[: gone.index(self.head) + 1]]
            self.machine.arena.dirty[np.concatenate(parts)] |= 0xFF
            self.head = self.all[-1]
        for one in gone:
            self.pages.forget(one.changed, moment.key, None)

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
        self.pages.forget(later.changed, before, gone.key)
        # Pages that `later` lacks keep the version of `gone`, the last one before it.
        del self.all[n]
        if gone is self.head:  # what it and `later` differ in counts as written
            self.machine.arena.dirty[later.changed] |= 0xFF
            self.head = later
        later.changed = np.union1d(gone.changed, later.changed)
