"""The content of a disk as a save carries it, and going back to it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from gossamer.base.data import Data
from gossamer.block.errors import ImageError
from gossamer.block.hashing import CHUNK, saved_digests
from gossamer.block.hostfile import Buffer

ZERO_SLOT: Final = -1


class Capture(Data, frozen=False):
    """What a disk held, for a container to carry.

    `size` is the disk's length in bytes; `base` the digests of its chunks in the image, by which
    `prepare` notices what has changed; `clusters` are (offset, bytes) in ascending order that
    replace what the image holds there: all the iterator gives belongs to one moment, so the guest
    must not run meanwhile.  `id`: the save's name in the image's undo log, if that keeps the rest.
    """

    size: int
    base: bytes
    clusters: Iterable[tuple[int, bytes]]
    id: str = ""


class Going(Protocol):
    """A disk on its way back to a capture.  `apply`, then `confirm` or `take_back`; then `close`.

    Whatever fails before `confirm`, the disk is what it was.
    """

    def apply(self) -> None: ...
    def confirm(self) -> None: ...
    def take_back(self) -> None: ...
    def close(self) -> None: ...


class Scratch:
    """A nameless temporary file of clusters, addressed by slot."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            import tempfile

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
        if slot != ZERO_SLOT:
            self._free.append(slot)

    def read(self, slot: int, inside: int, length: int) -> bytes:
        try:
            data = os.pread(self._file.fileno(), length, slot * CHUNK + inside)
        except OSError as error:
            raise ImageError.of(self.path, "read its temporary overlay", error) from None
        return data + bytes(length - len(data))

    def write(self, slot: int, inside: int, data: Buffer) -> None:
        at, view = slot * CHUNK + inside, memoryview(data)
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


class Unpacked(Data, frozen=False):
    """The clusters of a capture in a scratch file, by index, and the digests of the rest."""

    scratch: Scratch
    slots: dict[int, int]
    base: dict[int, int]


def unpack(capture: Capture, path: Path, size: int) -> Unpacked:
    """Check a capture and put its clusters into a scratch file; `path`: the image, for errors."""
    if capture.size != size:
        message = f"the disk has {size} bytes, the saved one {capture.size}"
        raise ImageError(path, message, errno.EINVAL)
    scratch, slots = Scratch(path), dict[int, int]()
    try:
        previous = -1
        for offset, data in capture.clusters:
            index = offset // CHUNK
            if offset % CHUNK or not previous < index or offset >= size:
                raise _unfit(path, f"a cluster at {offset:#x}")
            if len(data) != min(CHUNK, size - offset):
                raise _unfit(path, f"{len(data)} bytes at {offset:#x}")
            slots[index] = scratch.take() if any(data) else ZERO_SLOT
            if slots[index] != ZERO_SLOT:
                scratch.write(slots[index], 0, data)
            previous = index
        try:
            base = saved_digests(capture.base)
        except ValueError as error:
            raise _unfit(path, f"a fingerprint that is {error}") from None
        if base and max(base) * CHUNK >= size:
            raise _unfit(path, "a fingerprint of more than the disk")
    except BaseException:
        scratch.close()
        raise
    return Unpacked(scratch, slots, base)


def _unfit(path: Path, what: str) -> ImageError:
    return ImageError(path, f"the saved overlay has {what}", errno.EINVAL)


def check_covered(path: Path, uncovered: Iterable[int]) -> None:
    """Refuse when chunks of the image have changed and nothing holds what was saved."""
    places = sorted(uncovered)
    if places:
        message = (
            f"the image has changed since it was saved ({len(places)} clusters, the first "
            f"at {places[0] * CHUNK:#x}): the saved disk cannot be put together"
        )
        raise ImageError(path, message, errno.ESTALE)


def go_back(going: Going) -> None:
    """All of it in one step."""
    try:
        going.apply()
        try:
            going.confirm()
        except BaseException:
            going.take_back()
            raise
    finally:
        going.close()
