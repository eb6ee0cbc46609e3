"""The discs that a page offers, and takes: images in the folder of ``-web files=``."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.base.units import GiB
from gossamer.control.session import Session
from gossamer.control.shapes import Json
from gossamer.front.web.connection import Connection
from gossamer.front.web.uploads import UploadEnd

SUFFIXES: Final = frozenset(
    (".iso", ".toast", ".cdr", ".img", ".dmg", ".dsk", ".hfs", ".image", ".raw", ".qcow2", ".bin")
)
MOST: Final = 1000
LARGEST: Final = 16 * GiB
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._()+-]{0,127}")


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


def receive(session: Session, connection: Connection, folder: Path | None, name: str) -> UploadEnd:
    """What takes an image for the folder; ConfigError for one that has no place there."""
    if folder is None:
        raise ConfigError("there is no folder for discs: -web …,files=FOLDER")
    if not _NAME.fullmatch(name) or Path(name).suffix.lower() not in SUFFIXES:
        known = ", ".join(sorted(SUFFIXES))
        raise ConfigError(f"{name[:80]!r}: a disc's name is of plain letters and ends in {known}")
    return UploadEnd(session, connection, folder / name, name, LARGEST, _check)


def _check(path: Path) -> None:
    if not path.stat().st_size:
        raise ConfigError(f"{path}: is empty")
