"""A disk on a timeline: blocks of it as versions, and what the guest sees of it in the past.

The image has what the guest wrote at the latest moment; what has been flushed is durable.  While
the machine is in the past (`held`) its writes stay here, over the image, and a flush has nothing to
do.  `commit` makes the image what the guest sees: when the machine comes to the latest moment again
(nothing differs then), when another future begins, and before a save.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from gossamer.base.errors import GossamerError
from gossamer.base.late import np
from gossamer.base.units import PAGE_SIZE
from gossamer.block import ImageError, RawDisk
from gossamer.block.hashing import CHUNK, ContentHash
from gossamer.control.disks import Disk
from gossamer.control.timeline.pages import OVERHEAD, Key, Numbers, Versions
from gossamer.devices.ide.media import BlockBackend

#: Errors of the host that are kept, to come again.
MOST_FAILURES: Final = 4096
#: The version of what a block held before its first write since the timeline began.
_BEFORE: Final = (-1, -1)
_IN_CHUNK: Final = CHUNK // PAGE_SIZE


class Blocks(Versions):
    """The disk in one drive, between the drive and its image; at most `most` bytes are kept of it.

    A block is `PAGE_SIZE` bytes; a shorter last one counts as filled with zeros.
    """

    def __init__(self, disk: Disk, most: int) -> None:
        super().__init__()
        self.disk, self.most = disk, most
        self.backend: BlockBackend = disk.image
        #: Requests so far: a failure of the host belongs to one of them.
        self.requests = 0
        self.failures: dict[int, GossamerError] = {}
        self.held = False
        #: Before the next write or flush the image is to become what the guest sees.
        self.late = False
        #: Why its past is not known any more.
        self.fault = ""
        #: What the host refused while it all was done again: then it is not the past.
        self.missed: GossamerError | None = None
        self._over: dict[int, bytes] = {}
        self._over_bytes = 0
        self._touched: set[int] = set()
        self._hash: ContentHash | None = None

    # --- as the drive has it ------------------------------------------------------------------

    @property
    def size(self) -> int:
        return self.disk.image.size

    @property
    def read_only(self) -> bool:
        return self.disk.image.read_only

    def read(self, offset: int, length: int) -> bytes:
        with self._request():
            return self._seen(offset, length) if self.held else self.backend.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        with self._request():
            if self.late:
                self.settle()
            self._remember(offset, len(data))
            if self.held:
                self._write_over(offset, data)
            else:
                self.backend.write(offset, data)

    def flush(self) -> None:
        with self._request():
            if self.late:
                self.settle()
            if not self.held:
                self.backend.flush()

    @contextmanager
    def _request(self) -> Iterator[None]:
        """An error of the host comes again whenever this request does."""
        n, self.requests = self.requests, self.requests + 1
        if self.held and n in self.failures:
            raise self.failures[n]
        try:
            yield
        except GossamerError as fault:
            if self.held:
                self.missed = fault
            elif len(self.failures) >= MOST_FAILURES:
                self.fault = f"{self.disk.name}: more than {MOST_FAILURES} errors of the host"
            else:
                self.failures[n] = fault
            raise

    # --- the past -----------------------------------------------------------------------------

    def _remember(self, offset: int, length: int) -> None:
        """These bytes are about to be written."""
        if self._hash is not None:
            self._hash.touch(offset, length)
        for n in range(offset // PAGE_SIZE, (offset + length - 1) // PAGE_SIZE + 1):
            if n not in self._versions and not self.fault:
                self._keep_before(n)
            self._touched.add(n)

    def _keep_before(self, page: int) -> None:
        try:
            self._insert(_BEFORE, page, self.packed(self.content(page)))
        except GossamerError as fault:
            self.fault = f"{self.disk.name}: {fault}"
        if self.kept > self.most:
            self.fault = (
                f"{self.disk.name}: what the guest writes takes more than {self.most >> 20} MiB "
                "between two checkpoints"
            )

    def _seen(self, offset: int, length: int) -> bytes:
        """Bytes as the guest sees them, where some may be kept here."""
        first, last = offset // PAGE_SIZE, (offset + max(length, 1) - 1) // PAGE_SIZE
        data = self.disk.image.read(offset, length)
        if not any(n in self._over for n in range(first, last + 1)):
            return data
        out = bytearray(data)
        for n in range(first, last + 1):
            if n in self._over:
                content, at = self.unpacked(self._over[n]), n * PAGE_SIZE - offset
                piece = content[max(0, -at) : min(PAGE_SIZE, length - at)]
                out[max(0, at) : max(0, at) + len(piece)] = piece
        return bytes(out)

    def _write_over(self, offset: int, data: bytes) -> None:
        if self._over_bytes + OVERHEAD * len(self._over) > self.most:
            message = f"what is written in a past takes more than {self.most >> 20} MiB"
            raise ImageError(self.disk.image.path, message, errno.ENOSPC)
        for n in range(offset // PAGE_SIZE, (offset + len(data) - 1) // PAGE_SIZE + 1):
            at = n * PAGE_SIZE - offset
            piece = data[max(0, at) : at + PAGE_SIZE]
            if len(piece) < PAGE_SIZE:
                content = bytearray(self.content(n))
                content[max(0, -at) : max(0, -at) + len(piece)] = piece
                piece = bytes(content)
            self._put_over(n, piece)

    def _put_over(self, page: int, content: bytes) -> None:
        data = self.packed(content)
        self._over_bytes += len(data) - len(self._over.get(page, b""))
        self._over[page] = data

    def written(self) -> Numbers:
        return np.array(sorted(self._touched), np.int64)

    def clean(self) -> None:
        self._touched.clear()

    def touch(self, pages: Numbers) -> None:
        self._touched.update(pages.tolist())

    def everything(self) -> Numbers:
        """None: what a block held is kept when it is first written."""
        return np.empty(0, np.int64)

    def content(self, page: int) -> bytes:
        at = page * PAGE_SIZE
        return self._seen(at, min(PAGE_SIZE, self.size - at)).ljust(PAGE_SIZE, b"\0")

    def give(self, page: int, content: bytes) -> None:
        if self._hash is not None:
            self._hash.touch(page * PAGE_SIZE, min(PAGE_SIZE, self.size - page * PAGE_SIZE))
        self._put_over(page, content)

    def put_back(self, key: Key, pages: Numbers) -> None:
        """As any store's; the image is not read for it."""
        for n in pages.tolist():
            self.give(n, self.unpacked(self._at(key, n)))

    def forget_failures(self) -> None:
        """Another future begins: what comes in it is not known."""
        self.failures = {n: fault for n, fault in self.failures.items() if n < self.requests}

    # --- what the image holds -----------------------------------------------------------------

    def zero_run(self, offset: int) -> int:
        return 0 if self._over else self.disk.image.zero_run(offset)

    def content_hash(self) -> str:
        """Hash of what the guest sees."""
        if not self.held:
            self._hash = None
            return self.disk.image.content_hash()
        if self._hash is None:
            self._hash = ContentHash()
        view = _View(self)
        return self._hash.value(view)

    def commit(self) -> None:
        """Make the image what the guest sees; HostError, and nothing is lost, where it fails.

        A raw image is changed in one step, whatever ends the process.
        """
        image, over = self.disk.image, self._over
        differ = [n for n in sorted(over) if self._in_image(n) != self.unpacked(over[n])]
        if isinstance(image, RawDisk):
            image.replace(sorted({n // _IN_CHUNK for n in differ}), self._chunk)
        else:
            for n in differ:
                at = n * PAGE_SIZE
                image.write(at, self.unpacked(over[n])[: image.size - at])
            if differ:
                image.flush()
        self._over, self._over_bytes = {}, 0

    def settle(self) -> None:
        """Commit; from here on writes go to the image."""
        self.commit()
        self.held = self.late = False

    def _in_image(self, page: int) -> bytes:
        at = page * PAGE_SIZE
        data = self.disk.image.read(at, min(PAGE_SIZE, self.size - at))
        return data.ljust(PAGE_SIZE, b"\0")

    def _chunk(self, index: int) -> bytes:
        return self._seen(index * CHUNK, min(CHUNK, self.size - index * CHUNK))


class _View:
    """What the hash of the content reads."""

    def __init__(self, blocks: Blocks) -> None:
        self.size, self.zero_run, self.read = blocks.size, blocks.zero_run, blocks._seen
