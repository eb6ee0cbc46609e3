"""The folder of compiled code as a whole: bounded, what was not used for longest goes first.

Each version of the sources, CPU model and kind of host has files of its own there, which nothing
would ever remove.  Only files that are ours are looked at, by the names that we give; what another
process still uses it has read, and makes anew the next time.
"""

from __future__ import annotations

import os
import re
import stat
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Final

from gossamer.base.late import pattern
from gossamer.base.units import MiB

#: Bytes of the folder's files at the most, beside those of the key in use.
MOST: Final = 64 * MiB
#: Objects of tier 0 and of stencils, and compiled regions, by their key; hashes of sources.
_OURS: Final = pattern(
    r"(?:(?:tier0|stencils)(?:\.[a-z]+)?-([0-9a-f]{32})\.o|regions-([0-9a-f]{32})\.cache"
    r"|sources-([0-9a-f]{32})\.hash)",
    re.ASCII,
)


def mark_used(path: Path) -> None:
    """Note that a file was used now."""
    with suppress(OSError):
        os.utime(path)


def tidy(folder: Path, key: str, most: int = MOST) -> None:
    """Remove the files of the keys not used for longest, until the others fit into `most` bytes.

    Those of `key` stay.  What cannot be removed is no error.
    """
    files: dict[str, list[Path]] = defaultdict(list)
    used: dict[str, int] = defaultdict(int)
    size: dict[str, int] = defaultdict(int)
    for path, one, found in _files(folder):
        if one != key:
            files[one].append(path)
            used[one] = max(used[one], found.st_mtime_ns)
            size[one] += found.st_size
    total = sum(size.values())
    for one in sorted(files, key=used.__getitem__):
        if total <= most:
            break
        total -= size[one]
        for path in files[one]:
            with suppress(OSError):
                path.unlink()


def _files(folder: Path) -> list[tuple[Path, str, os.stat_result]]:
    """Our files in the folder, with their keys."""
    out = []
    try:
        paths = list(folder.iterdir())
    except OSError:
        return []
    for path in paths:
        if (m := _OURS.fullmatch(path.name)) is None:
            continue
        with suppress(OSError):
            found = path.lstat()
            if stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid():
                out.append((path, m[1] or m[2] or m[3], found))
    return out
