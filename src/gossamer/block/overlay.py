"""Writes that stay beside an image: kept in a temporary file, until they are committed.

A raw image opens behind such an overlay, so that its content can be part of a saved machine
and be put back; any image does with ``snapshot=True``, and then nothing is ever written.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gossamer.block.errors import ImageError
from gossamer.block.hashing import CHUNK, ContentHash
from gossamer.block.hostfile import Buffer
from gossamer.block.image import BaseImage, Image

CLUSTER: Final = CHUNK
_ZERO_SLOT: Final = -1
_Commit = Callable[[Callable[[], Iterable[tuple[int, bytes]]]], None]


@dataclass(slots=True)
class Capture:
    """The content of an overlay, for a container to carry.

    `size` is the disk's length in bytes; `base` the fingerprint of the image underneath, by
    which `restore` notices that it has changed; `clusters` are (offset, bytes) in ascending
    order: all the iterator gives belongs to one moment, so the guest must not run meanwhile.
    """

    size: int
    base: bytes
    clusters: Iterable[tuple[int, bytes]]


class Scratch:
    """A nameless temporary file of clusters, addressed by slot."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        except OSError as error:
            raise ImageError.of(path, "make a temporary overlay", error) from None
        self._next = 0
        self._free: list[int] = []

    def take(self) -> int:
        if self._free:
            return self._free.pop()
        self._next += 1
        return self._next - 1

    def give_back(self, slot: int) -> None:
        if slot != _ZERO_SLOT:
            self._free.append(slot)

    def read(self, slot: int, inside: int, length: int) -> bytes:
        try:
            data = os.pread(self._file.fileno(), length, slot * CLUSTER + inside)
        except OSError as error:
            raise ImageError.of(self.path, "read its temporary overlay", error) from None
        return data + bytes(length - len(data))

    def write(self, slot: int, inside: int, data: Buffer) -> None:
        at, view = slot * CLUSTER + inside, memoryview(data)
        try:
            while view:
                done = os.pwrite(self._file.fileno(), view, at)
                view, at = view[done:], at + done
        except OSError as error:
            raise ImageError.of(self.path, "write its temporary overlay", error) from None

    def clear(self) -> None:
        """Forget every cluster, and give their room back where the host lets us."""
        self._next, self._free = 0, []
        with suppress(OSError):
            self._file.truncate(0)

    def close(self) -> None:
        self._file.close()


@dataclass(slots=True)
class Prepared:
    """A capture unpacked, for the overlay that prepared it to adopt; `close` forgets it."""

    scratch: Scratch
    slots: dict[int, int]

    def close(self) -> None:
        self.scratch.close()


class OverlayImage(BaseImage):
    """`base` as seen through an overlay.

    `commit_to` is given what yields all changes in ascending order, as often as it is called,
    when they shall become permanent; an overlay without it is temporary.
    """

    def __init__(
        self,
        base: Image,
        *,
        commit_to: _Commit | None = None,
        check_write: Callable[[int, memoryview], None] | None = None,
    ) -> None:
        super().__init__(base.path, base.size, read_only=False)
        self.base = base
        self.format = base.format
        self._commit_to, self._check_data = commit_to, check_write
        self._base_hash = ContentHash()
        self._slots: dict[int, int] = {}
        self._scratch = Scratch(base.path)

    @property
    def is_temporary(self) -> bool:
        """Whether the changes are lost when the image is closed."""
        return self._commit_to is None

    @property
    def changed_bytes(self) -> int:
        """How much the overlay holds, in whole clusters."""
        return len(self._slots) * CLUSTER

    def read(self, offset: int, length: int) -> bytes:
        self._check(offset, length)
        slots = self._slots
        first, last = offset // CLUSTER, (offset + max(length, 1) - 1) // CLUSTER
        if not slots or not any(n in slots for n in range(first, last + 1)):
            return self.base.read(offset, length)
        parts = []
        for index, inside, piece in _pieces(offset, length):
            slot = slots.get(index)
            if slot is None:
                parts.append(self.base.read(index * CLUSTER + inside, piece))
            elif slot == _ZERO_SLOT:
                parts.append(bytes(piece))
            else:
                parts.append(self._scratch.read(slot, inside, piece))
        return b"".join(parts)

    def write(self, offset: int, data: Buffer) -> None:
        view = memoryview(data).cast("B")
        self._check_write(offset, len(view))
        if self._check_data is not None:
            self._check_data(offset, view)
        self._hash.touch(offset, len(view))
        at = 0
        for index, inside, piece in _pieces(offset, len(view)):
            self._write_piece(index, inside, view[at : at + piece])
            at += piece

    def _write_piece(self, index: int, inside: int, view: memoryview) -> None:
        slot = self._slots.get(index, _ZERO_SLOT)
        if slot != _ZERO_SLOT:
            self._scratch.write(slot, inside, view)
            return
        whole = self._length(index)
        new = self._scratch.take()
        try:
            if len(view) < whole:
                old = bytearray(self.read(index * CLUSTER, whole))
                old[inside : inside + len(view)] = view
                self._scratch.write(new, 0, old)
            else:
                self._scratch.write(new, 0, view)
        except ImageError:
            self._scratch.give_back(new)
            raise
        self._slots[index] = new

    def zero(self, offset: int, length: int) -> None:
        self._check_write(offset, length)
        self._hash.touch(offset, length)
        for index, inside, piece in _pieces(offset, length):
            if piece == self._length(index):
                self._scratch.give_back(self._slots.get(index, _ZERO_SLOT))
                self._slots[index] = _ZERO_SLOT
            elif self._slots.get(index) != _ZERO_SLOT:
                self._write_piece(index, inside, memoryview(bytes(piece)))

    def _length(self, index: int) -> int:
        return min(CLUSTER, self.size - index * CLUSTER)

    def zero_run(self, offset: int) -> int:
        index, inside = divmod(offset, CLUSTER)
        slot = self._slots.get(index)
        if slot is not None:
            return self._length(index) - inside if slot == _ZERO_SLOT else 0
        run = self.base.zero_run(offset)
        if not self._slots or not run:
            return run
        total = min(run, self._length(index) - inside)
        while total < run and index + 1 not in self._slots:
            index += 1
            total = min(run, total + CLUSTER)
        return total

    def flush(self) -> None:
        """Changes are in a temporary file: there is nothing that would survive a crash."""
        self._check(0, 0)

    def capture(self) -> Capture:
        """What was written since the image was opened or committed."""
        self._check(0, 0)
        return Capture(self.size, self._fingerprint(), self._clusters())

    def _clusters(self) -> Iterator[tuple[int, bytes]]:
        for index in sorted(self._slots):
            yield index * CLUSTER, self.read(index * CLUSTER, self._length(index))

    def _fingerprint(self) -> bytes:
        self._base_hash.value(self.base)
        return self._base_hash.digests()

    def restore(self, capture: Capture) -> None:
        """Make the disk what it was at `capture`; on any error it stays as it is."""
        self.adopt(self.prepare(capture))

    def prepare(self, capture: Capture) -> Prepared:
        """Check and unpack a capture, without changing the disk; for `adopt`."""
        self._check_write(0, 0)
        if capture.size != self.size:
            message = f"the disk has {self.size} bytes, the saved one {capture.size}"
            raise ImageError(self.path, message, errno.EINVAL)
        scratch, slots = Scratch(self.path), dict[int, int]()
        try:
            previous = -1
            for offset, data in capture.clusters:
                index = offset // CLUSTER
                if offset % CLUSTER or not previous < index or offset >= self.size:
                    raise self._unfit(f"a cluster at {offset:#x}")
                if len(data) != self._length(index):
                    raise self._unfit(f"{len(data)} bytes at {offset:#x}")
                slots[index] = scratch.take() if any(data) else _ZERO_SLOT
                if slots[index] != _ZERO_SLOT:
                    scratch.write(slots[index], 0, data)
                previous = index
            self._check_base(capture.base, slots)
        except BaseException:
            scratch.close()
            raise
        return Prepared(scratch, slots)

    def adopt(self, prepared: Prepared) -> None:
        """Make the disk what was prepared."""
        self._scratch.close()
        self._scratch, self._slots = prepared.scratch, prepared.slots
        self._hash.forget()

    def _unfit(self, what: str) -> ImageError:
        return ImageError(self.path, f"the saved overlay has {what}", errno.EINVAL)

    def _check_base(self, saved: bytes, slots: dict[int, int]) -> None:
        """What the overlay does not cover must be in the image as it was."""
        if saved == self._fingerprint():
            return
        try:
            changed = self._base_hash.differences(saved)
        except ValueError as error:
            raise self._unfit(f"a fingerprint that is {error}") from None
        uncovered = sorted(changed - slots.keys())
        if uncovered:
            message = (
                f"the image has changed since it was saved ({len(uncovered)} clusters, the first "
                f"at {uncovered[0] * CLUSTER:#x}): the saved disk cannot be put together"
            )
            raise ImageError(self.path, message, errno.ESTALE)

    def commit(self) -> None:
        """Write the changes into the image underneath; the overlay is empty afterwards.

        On an error it keeps them all, and this can be called again.
        """
        self._check_write(0, 0)
        if self._commit_to is None:
            raise ImageError(self.path, "a temporary overlay is never committed", errno.EPERM)
        if not self._slots:
            return
        for index in self._slots:
            self._base_hash.touch(index * CLUSTER, self._length(index))
        self._commit_to(self._clusters)
        self.discard_slots()

    def discard(self) -> None:
        """Go back to the image underneath."""
        self._check_write(0, 0)
        self.discard_slots()
        self._hash.forget()

    def discard_slots(self) -> None:
        self._slots = {}
        self._scratch.clear()

    def close(self) -> None:
        """Commit (unless temporary) and let go; `abandon` closes without committing.

        When the commit fails, the image stays open with all its changes, so that this can be
        called again.
        """
        if self.closed:
            return
        if self._commit_to is not None:
            self.commit()
        self.abandon()

    def abandon(self) -> None:
        """Close without committing."""
        if not self.closed:
            self.closed = True
            self._scratch.close()
            self.base.close()


def _pieces(offset: int, length: int) -> Iterator[tuple[int, int, int]]:
    """A range cut at cluster borders: (cluster, offset in it, length)."""
    while length:
        index, inside = divmod(offset, CLUSTER)
        piece = min(CLUSTER - inside, length)
        yield index, inside, piece
        offset, length = offset + piece, length - piece
