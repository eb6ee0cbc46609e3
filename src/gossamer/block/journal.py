"""Commits to a raw file that a crash cannot tear, and that lose nothing where there is no room.

The changes go into a journal first.  Once it is whole and on the medium, they are written into
the image; then it is removed.  A journal that is found when the image is opened is played again,
or removed when it is not whole, or refused when the image has been changed meanwhile.

The journal stands beside the image; where it cannot be written there, in the user's state folder
under a hash of the image's path; where not even there, the changes are written into the image
without one: a crash can then tear the image, but nothing is thrown away.  A file that is no
journal is never touched, whatever its name.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import xxhash

from gossamer.block import journal_file
from gossamer.block.errors import ImageError
from gossamer.block.hostfile import HostFile

_FOLDER: Final = "raw-commits"
Changes = Callable[[], Iterable[tuple[int, bytes]]]


def journal_path(path: Path) -> Path:
    """Where the journal of an image stands when there is room beside it."""
    real = Path(os.path.realpath(path))
    return real.with_name(real.name + ".commit")


def journal_paths(path: Path) -> list[Path]:
    """Every place where the journal of an image may stand, the best one first."""
    places = [journal_path(path)]
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    with suppress(RuntimeError):  # a user without a home has one place less
        if not base.is_absolute():
            base = Path.home() / ".local" / "state"
        name = xxhash.xxh3_128_hexdigest(os.fsencode(os.path.realpath(path)))
        places.append(base / "gossamer" / _FOLDER / f"{name}.commit")
    return places


def commit(file: HostFile, changes: Changes) -> None:
    """Write what `changes()` gives into `file`; on an error it can be tried again.

    After a crash `recover` sees to it that all of them are there or none, unless no journal could
    be written anywhere.
    """

    def inside() -> Iterable[tuple[int, bytes]]:
        """A last partial sector has been filled up for the guest: that is not in the file."""
        return ((offset, data[: file.size - offset]) for offset, data in changes())

    recover(file)
    journal = _write_somewhere(file, inside)
    if journal is not None:
        _play(file, journal)
        return
    for offset, data in inside():
        file.write_at(offset, data)
    file.sync()


def recover(file: HostFile) -> None:
    """Finish or forget a commit that was interrupted.

    A whole journal needs `file` open for writing, and the image as the commit left it.
    """
    for journal in journal_paths(file.path):
        try:
            if not journal_file.is_ours(journal):
                continue
            size = journal_file.image_size(journal)
            if size is not None:
                _check_unchanged(file, journal, size)
            elif not file.read_only:
                journal.unlink()
        except OSError as error:
            raise ImageError.of(journal, "read the commit journal", error) from None
        if size is not None:
            _play(file, journal)


def _check_unchanged(file: HostFile, journal: Path, size: int) -> None:
    """Refuse to play over an image that somebody else has written meanwhile."""
    if file.read_only:
        message = "a commit to it was interrupted; open it writable once to finish that"
        raise ImageError(file.path, message, errno.EUCLEAN)
    what = f"belongs to another state of {file.path}, "
    if size != file.size:
        what += f"of {size} bytes, now it has {file.size}; move one of them away"
        raise ImageError(journal, what, errno.ESTALE)
    for record in journal_file.records(journal):
        where = journal_file.foreign_sector(file, record)
        if where is not None:
            what += f"which was changed at {where:#x} since; move one of them away"
            raise ImageError(journal, what, errno.ESTALE)


def _write_somewhere(file: HostFile, changes: Changes) -> Path | None:
    """Make a journal in the first place that takes it; None when none does."""
    mode = os.fstat(file.fd).st_mode & 0o666
    for journal in journal_paths(file.path):
        try:
            if journal.parent.name == _FOLDER:
                journal.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(journal, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
        except OSError:
            continue
        try:
            with os.fdopen(fd, "wb") as out:
                journal_file.write(out, file, _reserving(file, changes()))
            _sync_folder(journal.parent)
        except OSError:
            journal.unlink()
        except BaseException:
            journal.unlink()
            raise
        else:
            return journal
    return None


def _reserving(file: HostFile, changes: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """The changes; holes that they fill get their room before the journal takes it."""
    for offset, data in changes:
        if file.hole_at(offset):
            try:
                os.posix_fallocate(file.fd, offset, len(data))
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
        yield offset, data


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _play(file: HostFile, journal: Path) -> None:
    try:
        for record in journal_file.records(journal):
            file.write_at(record.offset, record.data)
        file.sync()
        journal.unlink()
    except OSError as error:
        raise ImageError.of(journal, "play the commit journal", error) from None
    with suppress(OSError):  # should it come back after a crash, it is played once more
        _sync_folder(journal.parent)
