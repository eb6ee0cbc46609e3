"""What saves still need of a raw image's older content, while the image is written in place.

Every save that captures the disk begins a file of the log.  Before a cluster (64 KiB) is written
for the first time after it, its content goes into the newest file, and is on the medium before
the write.  The disk of a save is then: for each cluster the first copy in the files from the save's
own on, and the image where there is none.  Without a save there is no log, nothing is copied.

Going back writes in place, too, under a file of the kind "back": if it is found when the image is
opened, going back was interrupted, and its content is put back.

The files are in a folder `IMAGE.undo` beside the image, or in the user's state folder.  What is
there of a save that was dropped is given up as soon as no older save needs it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import xxhash

from gossamer.base.data import Data
from gossamer.block.errors import ImageError
from gossamer.block.hashing import CHUNK
from gossamer.block.hostfile import HostFile
from gossamer.block.image import SECTOR
from gossamer.block.places import places, sync_folder
from gossamer.block.undo_file import UndoFile
from gossamer.core import host

SAVE, BACK, GONE = "save", "back", "gone"
_NAME: Final = re.compile(r"(\d{8,})-(save|back|gone)-([0-9a-f]{16})")
_ZEROS: Final = bytes(CHUNK)
_TARGET: Final = 1 << 63
"""Added to a cluster's index: the hashes of the sectors that going back puts there."""
_MAX_AHEAD: Final = 64
"""Clusters that are copied at once where writes go on in a row."""
_SMALL: Final = 16 << 20
"""Bytes: a file of a dropped save that is smaller is joined with the one before."""

_MAX_TORN, _SEEN = 2, 4
"""Sectors that a failing host can tear (going back, and taking that back), and how many bytes at
its beginning or end show that a sector is one of them."""


class _Part(Data, frozen=False):
    """One file: its number in the order of time, what it is for, and of which save."""

    number: int
    kind: str
    id: str
    file: UndoFile

    @property
    def name(self) -> str:
        return f"{self.number:08}-{self.kind}-{self.id}"


class UndoEntry(Data):
    """A save that the log serves: its owner, and the bytes that were copied since."""

    id: str
    owner: str
    kept_bytes: int


class Undo:
    """The log of one image, which is open and locked by us.  `size`: of the disk in bytes."""

    def __init__(self, file: HostFile, size: int) -> None:
        self._file, self.size = file, size
        self._parts: list[_Part] = []
        self._covered: set[int] = set()
        self.active = False
        self._ahead, self._next = 1, -1
        self._folder: Path | None = None
        for folder in undo_folders(file.path):
            if self._folder is None and folder.is_dir():
                self._folder = folder
                self._open(folder, _names(folder))

    def _open(self, folder: Path, found: Iterable[re.Match[str]]) -> None:
        for name in sorted(found, key=lambda name: int(name[1])):
            file = UndoFile.open(folder / name[0])
            if file is None:  # killed while it was made
                with suppress(OSError):
                    (folder / name[0]).unlink(missing_ok=True)
                continue
            file.rest()
            self._parts.append(_Part(int(name[1]), name[2], name[3], file))
        for part in self._parts:
            if part.kind == BACK:
                self._check_ours(part)
                self._put_back(part)
                self._rename(part, GONE)
        self._settle()

    # --- keeping --------------------------------------------------------------------------------

    def begin(self, owner: str) -> str:
        """A save begins: everything the disk holds now is kept for it.  Returns its id.

        `owner` says where the save is.  ImageError where no log can be written.
        """
        return self._begin(SAVE, owner).id

    def _begin(self, kind: str, owner: str) -> _Part:
        number = self._parts[-1].number + 1 if self._parts else 1
        part_id = host.random_bytes(8).hex()
        failure: OSError | None = None
        for folder in [self._folder] if self._folder else undo_folders(self._file.path):
            try:
                part = self._make(folder, number, kind, part_id, owner)
            except OSError as error:
                failure = failure or error
                continue
            self._folder = folder
            if self._parts:
                self._parts[-1].file.rest()
            self._parts.append(part)
            self._find_covered()
            return part
        assert failure is not None
        raise ImageError.of(self._file.path, "keep its content for the save", failure) from None

    def _make(self, folder: Path, number: int, kind: str, part_id: str, owner: str) -> _Part:
        mode = stat.S_IMODE(os.fstat(self._file.fd).st_mode) & 0o666
        made = not folder.is_dir()
        folder.mkdir(mode=0o700 | mode | (mode & 0o444) >> 2, parents=True, exist_ok=True)
        name = f"{number:08}-{kind}-{part_id}"
        try:
            file = UndoFile.create(folder / name, self.size, owner, mode)
            sync_folder(folder)
            if made:
                sync_folder(folder.parent)
        except BaseException:
            (folder / name).unlink(missing_ok=True)
            if made:
                with suppress(OSError):
                    folder.rmdir()
            raise
        return _Part(number, kind, part_id, file)

    def protect(self, offset: int, length: int) -> None:
        """Call before bytes are overwritten: what a save needs of them is kept.

        ImageError (ENOSPC, …): not all is kept, so they must not be overwritten.
        """
        if not self.active or not length:
            return
        if self.is_going_back:
            message = "going back to a save failed half-way; start anew to take that back"
            raise ImageError(self._file.path, message, errno.EUCLEAN)
        first, last = offset // CHUNK, (offset + length - 1) // CHUNK
        missing = [n for n in range(first, last + 1) if n not in self._covered]
        if not missing:
            return
        start, stop = missing[0], missing[-1] + 1
        self._ahead = min(self._ahead * 2, _MAX_AHEAD) if start == self._next else 1
        self._next = max(stop, min(start + self._ahead, -(-self.size // CHUNK)))
        more = [n for n in range(stop, self._next) if n not in self._covered]
        try:
            self._keep(missing + more)
        except OSError as error:
            if not more:
                raise ImageError.of(self._file.path, "keep what a save needs", error) from None
            self._next = -1
            self.protect(offset, length)  # without looking ahead

    def _keep(self, clusters: Sequence[int]) -> None:
        part = self._parts[-1]
        for at in range(0, len(clusters), _MAX_AHEAD):
            group = [(n, self._content(n)) for n in clusters[at : at + _MAX_AHEAD]]
            part.file.append(group)
            self._covered.update(n for n, _ in group)

    def _content(self, index: int) -> bytes:
        """What the image holds now; b"" for zeros."""
        offset, length = index * CHUNK, self._length(index)
        if self._file.hole_at(offset) >= length:
            return b""
        data = self._file.read_at(offset, length)
        return b"" if data == _ZEROS[:length] else data

    def _length(self, index: int) -> int:
        return min(CHUNK, self.size - index * CHUNK)

    # --- finding --------------------------------------------------------------------------------

    def has(self, save: str) -> bool:
        return any(part.id == save for part in self._parts)

    def old(self, save: str, index: int) -> bytes | None:
        """What cluster `index` held when `save` was made; None: what the image holds now."""
        for part in self._parts[self._position(save) :]:
            if index in part.file.kept:
                return self._old(part, index)
        return None

    def _position(self, save: str) -> int:
        return next((n for n, p in enumerate(self._parts) if p.id == save), len(self._parts))

    @property
    def entries(self) -> list[UndoEntry]:
        """The saves that are served, oldest first."""
        return [
            UndoEntry(part.id, part.file.owner, part.file.size)
            for part in self._parts
            if part.kind == SAVE
        ]

    @property
    def kept_bytes(self) -> int:
        """Room that the log takes."""
        return sum(part.file.size for part in self._parts)

    # --- dropping -------------------------------------------------------------------------------

    def drop(self, save: str) -> None:
        """A save is gone, if there was one."""
        self._drop(lambda part: part.id == save)

    def release(self, owner: str, *, but: str = "") -> None:
        """All saves of this owner are gone, except `but`."""
        self._drop(lambda part: part.file.owner == owner and part.id != but)

    def _drop(self, wanted: Callable[[_Part], bool]) -> None:
        dropped = [part for part in self._parts if part.kind == SAVE and wanted(part)]
        for part in dropped:
            self._rename(part, GONE)
        if dropped:
            self._settle()

    def _rename(self, part: _Part, kind: str) -> None:
        """Durably; when that fails it has its old name."""
        assert self._folder is not None
        before, part.kind = part.kind, kind
        old = part.file.path
        try:
            part.file.rename(self._folder / part.name)
            sync_folder(self._folder)
        except BaseException as error:
            part.kind = before
            with suppress(OSError):
                part.file.rename(old)
            if isinstance(error, OSError):
                raise ImageError.of(old, "rename", error) from None
            raise

    def _settle(self) -> None:
        """Give up what no save needs any more."""
        with suppress(OSError):  # what is left now is given up another time
            while self._parts and self._parts[0].kind == GONE:
                self._parts[0].file.remove()
                del self._parts[0]
            for n in range(len(self._parts) - 1, 0, -1):
                if self._parts[n].kind == GONE:
                    self._join(n)
            if not self._parts and self._folder is not None:
                self._folder.rmdir()
        if not self._parts:
            self._folder = None
        self._find_covered()

    def _join(self, n: int) -> None:
        """Move into the file before what older saves need of this one, if that saves room."""
        part, before = self._parts[n], self._parts[n - 1]
        shadow: set[int] = set()
        for older in reversed(self._parts[:n]):
            shadow.update(older.file.kept)
            if older.kind == SAVE:
                break
        needed = [i for i in part.file.kept if i < _TARGET and i not in shadow]
        if 2 * len(needed) > len(part.file.kept) and part.file.size > _SMALL:
            return
        for at in range(0, len(needed), _MAX_AHEAD):
            before.file.append([(i, part.file.read(i)) for i in needed[at : at + _MAX_AHEAD]])
        part.file.remove()
        del self._parts[n]

    def _find_covered(self) -> None:
        """Which clusters need not be kept for the newest save."""
        self._covered = set()
        self.active = False
        for part in reversed(self._parts):
            self._covered.update(part.file.kept)
            if part.kind != GONE:
                self.active = True
                break

    # --- going back -----------------------------------------------------------------------------

    def go_back(self, clusters: Sequence[int], content: Callable[[int], bytes]) -> None:
        """Give clusters other content; `confirm` or `take_back` comes next.

        On an error, and after a kill, the image is as it was.
        """
        self._file.sync()  # so that each sector on the medium is the old or the new one
        part = self._begin(BACK, "")
        try:
            for at in range(0, len(clusters), _MAX_AHEAD):
                self._announce(part, clusters[at : at + _MAX_AHEAD], content)
            for n in clusters:
                self._write(n, content(n))
            self._file.sync()
        except BaseException as error:
            self.take_back()
            if isinstance(error, OSError):
                raise ImageError.of(part.file.path, "keep the disk's content", error) from None
            raise

    def _announce(
        self, part: _Part, clusters: Sequence[int], content: Callable[[int], bytes]
    ) -> None:
        """Keep what clusters hold, and how the sectors will be recognised that replace it."""
        group: list[tuple[int, bytes]] = []
        for n in clusters:
            group += (n, self._content(n)), (n | _TARGET, b"".join(_sector_hashes(content(n))))
        part.file.append(group)
        self._covered.update(clusters)

    def confirm(self) -> None:
        """The image stays as `go_back` made it."""
        self._rename(self._parts[-1], GONE)
        self._settle()

    def take_back(self) -> None:
        """Undo what `go_back` did."""
        self._put_back(self._parts[-1])
        self.confirm()

    @property
    def is_going_back(self) -> bool:
        """Whether `go_back` was neither confirmed nor taken back: the image is not to be used."""
        return bool(self._parts) and self._parts[-1].kind == BACK

    def _put_back(self, part: _Part) -> None:
        for n in part.file.kept:
            if n < _TARGET:
                self._write(n, self._old(part, n))
        self._file.sync()

    def _write(self, index: int, data: bytes) -> None:
        """A last partial sector has been filled up for the guest: that is not in the file."""
        offset = index * CHUNK
        self._file.write_at(offset, data[: max(self._file.size - offset, 0)])

    def _check_ours(self, part: _Part) -> None:
        """Refuse to put back what another image holds: every sector must be the old or the new."""
        what = f"belongs to another state of {self._file.path}, "
        if part.file.disk_size != self.size:
            what += f"of {part.file.disk_size} bytes, now it has {self.size}"
            raise self._foreign(part, what)
        torn = 0
        for n in part.file.kept:
            for at in self._foreign_sectors(part, n):
                torn += 1
                if torn > _MAX_TORN or not self._is_torn(part, n, at):
                    what += f"which was changed at {n * CHUNK + at:#x} since"
                    raise self._foreign(part, what)

    def _foreign_sectors(self, part: _Part, index: int) -> Iterator[int]:
        """Where in a cluster there is neither the old nor the new."""
        if index >= _TARGET:
            return
        old, now = self._old(part, index), self._read(index)
        if old == now:
            return
        new = part.file.read(index | _TARGET)
        for at, digest in zip(range(0, len(now), SECTOR), _pairs(new), strict=False):
            sector = now[at : at + SECTOR]
            if old[at : at + SECTOR] != sector and xxhash.xxh3_64_digest(sector) != digest:
                yield at

    def _is_torn(self, part: _Part, index: int, at: int) -> bool:
        """Whether a sector begins or ends as the old one: the host stopped a write inside it."""
        old = self._old(part, index)[at : at + SECTOR]
        now = self._read(index)[at : at + SECTOR]
        return old[:_SEEN] == now[:_SEEN] or old[-_SEEN:] == now[-_SEEN:]

    def _old(self, part: _Part, index: int) -> bytes:
        return part.file.read(index) or _ZEROS[: self._length(index)]

    def _read(self, index: int) -> bytes:
        return self._file.read_at(index * CHUNK, self._length(index))

    @staticmethod
    def _foreign(part: _Part, what: str) -> ImageError:
        return ImageError(part.file.path, f"{what}; move one of them away", errno.ESTALE)

    def close(self) -> None:
        for part in self._parts:
            part.file.rest()


def undo_folders(path: Path) -> list[Path]:
    """Where the log of an image may stand, the best place first."""
    return places(path, ".undo", "raw-undo")


def check_not_going_back(path: Path) -> None:
    """Refuse an image that is to be read only while going back to a save was interrupted."""
    for folder in undo_folders(path):
        if any(name[2] == BACK for name in _names(folder)):
            message = "a loadvm was interrupted; open it writable once to take that back"
            raise ImageError(path, message, errno.EUCLEAN)


def _names(folder: Path) -> list[re.Match[str]]:
    """Files of a log in a folder that may not exist; what is not ours is not looked at."""
    try:
        names = [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ImageError.of(folder, "read", error) from None
    return [match for match in map(_NAME.fullmatch, names) if match]


def _sector_hashes(data: bytes) -> Iterator[bytes]:
    return (xxhash.xxh3_64_digest(data[at : at + SECTOR]) for at in range(0, len(data), SECTOR))


def _pairs(digests: bytes) -> Iterator[bytes]:
    return (digests[at : at + 8] for at in range(0, len(digests), 8))
