"""A folder of the host as a disc: ISO 9660 with Rock Ridge and Joliet, as it is at that moment.

The disc is made when it is put in, into a file without a name; later changes of the folder are not
seen, until it is put in again.  The same files with the same dates give the same bytes.  pycdlib
(the extra `discs`) does the work.  Source: ECMA-119; Joliet Specification 1; SUSP and RRIP 1.12.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from gossamer.block.errors import ImageError
from gossamer.block.image import SECTOR, ReadImage

MOST_BYTES: Final = 2 << 30
"""Of all files together: making the disc holds everything else up meanwhile."""
MOST_ENTRIES: Final = 20_000
MOST_DEPTH: Final = 7
"""Folders in folders: what ISO 9660 has without moving them elsewhere."""
_NAME: Final = 27
_SUFFIX: Final = 3
_JOLIET: Final = 64
_VOLUME: Final = 16
_NOT_IN_JOLIET: Final = str.maketrans("*/:;?\\", "______")


class FolderDisc(ReadImage):
    """The disc that a folder was when it was opened; it is only read."""

    format = "raw"

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        size = -(-os.fstat(file.fileno()).st_size // SECTOR) * SECTOR
        super().__init__(path, size, read_only=True)
        self._file = file

    def read(self, offset: int, length: int) -> bytes:
        self._check(offset, length)
        try:
            data = os.pread(self._file.fileno(), length, offset)
        except OSError as fault:
            raise ImageError.of(self.path, "be read", fault) from None
        return data.ljust(length, b"\0")

    def zero_run(self, offset: int) -> int:
        return 0

    def abandon(self) -> None:
        self.closed = True
        self._file.close()


def open_folder(path: Path) -> FolderDisc:
    """The disc that the folder `path` is now; ImageError says which file is in the way."""
    import tempfile

    try:
        from pycdlib.pycdlib import PyCdlib
        from pycdlib.pycdlibexception import PyCdlibException
    except ImportError:
        text = "is a folder: making a disc of it needs the package pycdlib (the extra discs)"
        raise ImageError(path, text, errno.EISDIR) from None
    file = tempfile.TemporaryFile(prefix="gossamer-disc-")  # noqa: SIM115 - the disc keeps it
    try:
        with _dates() as at:
            disc = PyCdlib()
            at(path.stat().st_mtime)
            found = _make(disc, path, at)
            disc.write_fp(file)
            disc.close()
        file.flush()
        for one, status in found:
            if _stamp(one.lstat()) != _stamp(status):
                raise ImageError(one, "changed while a disc was made of its folder", errno.EBUSY)
        return FolderDisc(path, file)
    except OSError as fault:
        file.close()
        where = fault.filename or path
        text = f"cannot be put on a disc: {fault.strerror}"
        raise ImageError(where, text, fault.errno or errno.EIO) from None
    except PyCdlibException as fault:
        file.close()
        raise ImageError(path, f"cannot be made a disc: {fault}", errno.EINVAL) from None
    except BaseException:
        file.close()
        raise


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _make(
    disc: Any,  # noqa: ANN401 - PyCdlib
    top: Path,
    at: Callable[[float], None],
) -> list[tuple[Path, os.stat_result]]:
    """Put all that is in `top` on the disc; the files, as they were looked at."""
    name = "".join(c if c.isascii() and c.isalnum() else "_" for c in top.resolve().name.upper())
    disc.new(
        interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=name[:_VOLUME] or "GOSSAMER"
    )
    # By folder: what it is called on the disc, in ISO 9660 and in Joliet.
    places: dict[Path, tuple[str, str]] = {top: ("", "")}
    taken: set[str] = set()
    files = []
    total = 0
    for count, path in enumerate(_entries(top), 1):
        if count > MOST_ENTRIES:
            raise ImageError(top, f"holds more than {MOST_ENTRIES} files", errno.EFBIG)
        if len(path.relative_to(top).parts) > MOST_DEPTH:
            raise ImageError(path, f"lies more than {MOST_DEPTH} folders deep", errno.EINVAL)
        try:
            path.name.encode()
        except UnicodeEncodeError:
            raise ImageError(top, f"{path.name!r}: its name is not UTF-8", errno.EILSEQ) from None
        status = path.lstat()
        is_folder = stat.S_ISDIR(status.st_mode)
        above, above_joliet = places[path.parent]
        place = f"{above}/{_plain(above, path.name, taken, is_folder=is_folder)}"
        joliet = f"{above_joliet}/{_joliet(above_joliet, path.name, taken)}"
        at(status.st_mtime)
        if is_folder:
            places[path] = place, joliet
            disc.add_directory(place, rr_name=path.name, joliet_path=joliet, file_mode=0o040555)
        elif stat.S_ISLNK(status.st_mode):
            disc.add_symlink(f"{place};1", path.name, str(path.readlink()), joliet_path=None)
        elif stat.S_ISREG(status.st_mode):
            total += status.st_size
            if total > MOST_BYTES:
                raise ImageError(top, f"holds more than {MOST_BYTES >> 20} MiB", errno.EFBIG)
            with path.open("rb"):
                pass  # one that cannot be read is named now
            files.append((path, status))
            mode = 0o100555 if status.st_mode & 0o100 else 0o100444
            disc.add_file(
                str(path), f"{place};1", rr_name=path.name, joliet_path=joliet, file_mode=mode
            )
        else:
            raise ImageError(path, "is neither file, folder nor link", errno.EINVAL)
    return files


def _entries(folder: Path) -> Iterator[Path]:
    """What is in a folder, and in its folders, always in the same order; no link is followed."""
    for entry in sorted(os.scandir(folder), key=lambda one: os.fsencode(one.name)):
        path = Path(entry.path)
        yield path
        if entry.is_dir(follow_symlinks=False):
            yield from _entries(path)


def _plain(above: str, name: str, taken: set[str], *, is_folder: bool) -> str:
    """A name of at most 27 and 3 capital letters, digits and _, that is not in the folder yet."""
    stem, dot, suffix = ("", "", name) if is_folder else name.rpartition(".")
    stem, suffix = (stem, suffix) if dot and stem else (name, "")
    stem, suffix = _letters(stem)[:_NAME] or "_", _letters(suffix)[:_SUFFIX]
    dot = "" if is_folder else "."
    number, made = 0, f"{stem}{dot}{suffix}"
    while f"{above}/{made}" in taken:
        number += 1
        made = f"{stem[: _NAME - 1 - len(str(number))]}_{number}{dot}{suffix}"
    taken.add(f"{above}/{made}")
    return made


def _letters(text: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in text.upper())


def _joliet(above: str, name: str, taken: set[str]) -> str:
    """The name, with _ for what Joliet has not, cut to its length and not in the folder yet."""
    plain = "".join(c if " " <= c <= "\uffff" else "_" for c in name).translate(_NOT_IN_JOLIET)
    made, number = _cut(plain, _JOLIET), 0
    while f"joliet{above}/{made}" in taken:
        number += 1
        made = f"{_cut(plain, _JOLIET - 1 - len(str(number)))}~{number}"
    taken.add(f"joliet{above}/{made}")
    return made


def _cut(text: str, most: int) -> str:
    """As many characters as `most` bytes of UTF-8 hold: so pycdlib counts Joliet's 64."""
    return text.encode()[:most].decode(errors="ignore")


class _Clock:
    """What pycdlib gets for the module `time`: dates are the files' own, in UTC."""

    def __init__(self, real: Any) -> None:  # noqa: ANN401 - the module
        self.now = 0.0
        self.gmtime = self.localtime = real.gmtime
        self.strftime = real.strftime

    def time(self) -> float:
        return self.now


@contextmanager
def _dates() -> Iterator[Callable[[float], None]]:
    """Let pycdlib, which dates everything by the clock, take the dates that it is given."""
    from pycdlib import dates, headervd, pycdlib, utils

    modules: tuple[Any, ...] = (dates, headervd, pycdlib, utils)
    real = modules[0].time
    clock = _Clock(real)

    def at(seconds: float) -> None:
        clock.now = min(max(float(int(seconds)), 1.0), 4e9)  # years that its dates can have

    for module in modules:
        module.time = clock
    try:
        yield at
    finally:
        for module in modules:
            module.time = real
