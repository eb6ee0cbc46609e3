"""Where files that belong to an image stand: beside it, or in the user's state folder."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import xxhash


def places(path: Path, suffix: str, folder: str) -> list[Path]:
    """Every place for what is called like the image with `suffix`, the best one first.

    `folder`: in ``$XDG_STATE_HOME/gossamer``, where the name is a hash of the image's path.  A
    block device has only that place.
    """
    real = Path(os.path.realpath(path))
    found = [] if real.is_block_device() else [real.with_name(real.name + suffix)]
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    with suppress(RuntimeError):  # a user without a home has one place less
        if not base.is_absolute():
            base = Path.home() / ".local" / "state"
        name = xxhash.xxh3_128_hexdigest(os.fsencode(real))
        found.append(base / "gossamer" / folder / (name + suffix))
    return found


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on the medium."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
