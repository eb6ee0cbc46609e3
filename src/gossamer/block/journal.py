"""Finishing a commit that gossamer 0.1.0 left in the middle.

It kept the changes to a raw file beside it while it ran, and wrote them into the file at the end,
by way of a journal.  One that is found when the image is opened is played; or removed when it is
not whole; or refused when the image has been changed meanwhile.  A file that is no journal is never
touched, whatever its name.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

from gossamer.block import journal_file
from gossamer.block.errors import ImageError
from gossamer.block.hostfile import HostFile
from gossamer.block.places import places, sync_folder


def journal_paths(path: Path) -> list[Path]:
    """Every place where the journal of an image may stand."""
    return places(path, ".commit", "raw-commits")


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
    """Refuse to play over an image that another program has written meanwhile."""
    if file.read_only:
        message = "a commit to it was interrupted; open it writable once to finish that"
        raise ImageError(file.path, message, errno.EUCLEAN)
    what = f"belongs to another state of {file.path}, "
    if size != file.size:
        what += f"of {size} bytes, now it has {file.size}; move one of them away"
        raise ImageError(journal, what, errno.ESTALE)
    where = _foreign_sector(file, journal)
    if where is not None:
        what += f"which was changed at {where:#x} since; move one of them away"
        raise ImageError(journal, what, errno.ESTALE)


def _foreign_sector(file: HostFile, journal: Path) -> int | None:
    """Where the image was written by another program; one torn sector is our own doing."""
    torn: int | None = None
    seen_old = False
    for record in journal_file.records(journal):
        for at, state in journal_file.sector_states(file, record):
            if state == journal_file.FOREIGN:
                if torn is not None or seen_old:
                    return at if torn is None else torn
                torn = at
            elif state == journal_file.NEW and torn is not None:
                return torn
            seen_old = seen_old or state == journal_file.OLD
    return None


def _play(file: HostFile, journal: Path) -> None:
    try:
        for record in journal_file.records(journal):
            file.write_at(record.offset, record.data)
        file.sync()
        journal.unlink()
    except OSError as error:
        raise ImageError.of(journal, "play the commit journal", error) from None
    with suppress(OSError):  # should it come back after a crash, it is played once more
        sync_folder(journal.parent)
