"""Writes that stay beside an image, in a nameless temporary file: ``snapshot=True``.

The image is never written.  A save carries what the overlay holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gossamer.block.capture import (
    ZERO_SLOT,
    Capture,
    Scratch,
    Unpacked,
    check_covered,
    go_back,
    unpack,
)
from gossamer.block.errors import ImageError
from gossamer.block.hashing import CHUNK, ContentHash
from gossamer.block.hostfile import Buffer
from gossamer.block.image import BaseImage, Image

CLUSTER: Final = CHUNK


class OverlayImage(BaseImage):
    """`base` as seen through an overlay, which is gone when the image is closed."""

    def __init__(self, base: Image) -> None:
        super().__init__(base.path, base.size, read_only=False)
        self.base = base
        self.format = base.format
        self.probed = base.probed
        self._base_hash = ContentHash()
        self._slots: dict[int, int] = {}
        self._scratch = Scratch(base.path)

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
            elif slot == ZERO_SLOT:
                parts.append(bytes(piece))
            else:
                parts.append(self._scratch.read(slot, inside, piece))
        return b"".join(parts)

    def write(self, offset: int, data: Buffer) -> None:
        view = memoryview(data).cast("B")
        self._check_write(offset, len(view))
        self._hash.touch(offset, len(view))
        at = 0
        for index, inside, piece in _pieces(offset, len(view)):
            self._write_piece(index, inside, view[at : at + piece])
            at += piece

    def _write_piece(self, index: int, inside: int, view: memoryview) -> None:
        slot = self._slots.get(index, ZERO_SLOT)
        if slot != ZERO_SLOT:
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
                self._scratch.give_back(self._slots.get(index, ZERO_SLOT))
                self._slots[index] = ZERO_SLOT
            elif self._slots.get(index) != ZERO_SLOT:
                self._write_piece(index, inside, memoryview(bytes(piece)))

    def _length(self, index: int) -> int:
        return min(CLUSTER, self.size - index * CLUSTER)

    def zero_run(self, offset: int) -> int:
        index, inside = divmod(offset, CLUSTER)
        slot = self._slots.get(index)
        if slot is not None:
            return self._length(index) - inside if slot == ZERO_SLOT else 0
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

    def capture(self, owner: str = "") -> Capture:
        """What was written since the image was opened, for a save; `owner`: where that is."""
        del owner
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
        go_back(self.prepare(capture))

    def prepare(self, capture: Capture) -> OverlayGoing:
        """Check and unpack a capture, without changing the disk."""
        self._check_write(0, 0)
        unpacked = unpack(capture, self.path, self.size)
        try:
            self._base_hash.value(self.base)
            changed = self._base_hash.differences(unpacked.base)
            check_covered(self.path, changed - unpacked.slots.keys())
        except BaseException:
            unpacked.scratch.close()
            raise
        return OverlayGoing(self, unpacked)

    def adopt(self, unpacked: Unpacked) -> None:
        """Make the disk what was unpacked."""
        self._scratch.close()
        self._scratch, self._slots = unpacked.scratch, unpacked.slots
        self._hash.forget()

    def discard(self) -> None:
        """Go back to the image underneath."""
        self._check_write(0, 0)
        self._slots = {}
        self._scratch.clear()
        self._hash.forget()

    def close(self) -> None:
        """Let go of the image; the changes are lost."""
        if not self.closed:
            self.closed = True
            self._scratch.close()
            self.base.close()

    def abandon(self) -> None:
        self.close()


class OverlayGoing:
    """An overlay on its way back; see `capture.Going`."""

    def __init__(self, image: OverlayImage, unpacked: Unpacked) -> None:
        self._image, self._unpacked = image, unpacked
        self._adopted = False

    def apply(self) -> None:
        """Everything that could fail is done already."""

    def confirm(self) -> None:
        self._image.adopt(self._unpacked)
        self._adopted = True

    def take_back(self) -> None:
        """Nothing was changed."""

    def close(self) -> None:
        if not self._adopted:
            self._unpacked.scratch.close()


def _pieces(offset: int, length: int) -> Iterator[tuple[int, int, int]]:
    """A range cut at cluster borders: (cluster, offset in it, length)."""
    while length:
        index, inside = divmod(offset, CLUSTER)
        piece = min(CLUSTER - inside, length)
        yield index, inside, piece
        offset, length = offset + piece, length - piece
