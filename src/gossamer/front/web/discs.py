"""The discs that a page offers: images in the folder of ``-web files=``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from gossamer.control.shapes import Json

SUFFIXES: Final = frozenset(
    (".iso", ".toast", ".cdr", ".img", ".dmg", ".dsk", ".hfs", ".image", ".raw", ".qcow2", ".bin")
)
MOST: Final = 1000


def listed(folder: Path | None) -> Json:
    """Name, path and bytes of each, by name; ``folder`` None where there is no such option."""
    found: list[dict[str, Json]] = []
    if folder is not None:
        with contextlib.suppress(OSError):  # it may have gone
            for path in sorted(folder.iterdir(), key=lambda one: one.name.lower()):
                if path.suffix.lower() in SUFFIXES and path.is_file() and len(found) < MOST:
                    found.append(
                        {"name": path.name, "path": str(path), "bytes": path.stat().st_size}
                    )
    return {"folder": None if folder is None else str(folder), "discs": found}
