"""The guests that were built here: files in the user's cache, with a record of what they are.

    $XDG_CACHE_HOME/gossamer/guests/NAME/   (~/.cache/gossamer/guests/NAME/)
        record.json    made of which packages, by which recipe, and the sums of the files
        vmlinux …      the files

A guest is there when its record and every file with the right SHA-256 are.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gossamer.base.data import Data, asdict
from gossamer.base.errors import HostError
from gossamer.core import host

RECORD: Final = "record.json"
FORMAT: Final = 1
_LONGEST_RECORD: Final = 1 << 20


class Record(Data):
    """What a guest was made of.  `files`: SHA-256 by name; `contents`: the same, unpacked."""

    name: str
    recipe: str
    """SHA-256 of the recipe."""
    packages: dict[str, str]
    """Versions by name: the sources and the compilers."""
    files: dict[str, str]
    contents: dict[str, str]
    built: str
    """Date, UTC, ISO 8601."""
    seconds: int
    format: int = FORMAT


def folder() -> Path:
    """Where guests are kept for this user."""
    base = os.environ.get("XDG_CACHE_HOME")
    cache = Path(base) if base and Path(base).is_absolute() else host.home() / ".cache"
    return cache / "gossamer" / "guests"


def sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def read(place: Path) -> Record | None:
    """The record in a guest's folder; None when there is none that this release understands."""
    try:
        with (place / RECORD).open("rb") as f:
            said = json.loads(f.read(_LONGEST_RECORD))
        if not isinstance(said, dict) or said.get("format") != FORMAT:
            return None
        tables = [said["packages"], said["files"], said["contents"]]
        texts = [said["name"], said["recipe"], said["built"]]
        for table in tables:
            texts += [*table, *table.values()]
        whole = all(isinstance(text, str) for text in texts) and isinstance(said["seconds"], int)
        # A name of a file is never a way out of the folder.
        if not whole or any(Path(name).name != name for name in said["files"]):
            return None
        return Record(**said)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def fault(place: Path, record: Record) -> str | None:
    """What is wrong with a guest's files, if anything."""
    for name, expected in record.files.items():
        path = place / name
        try:
            found = sha256(path)
        except OSError as error:
            return f"{path}: {error.strerror or error}"
        if found != expected:
            return f"{path}: its SHA-256 is {found}, the record says {expected}"
    return None


def find(name: str) -> Path | None:
    """The folder of a guest that is there, or None where none was built.

    HostError when one was, and its files are no longer those of its record.
    """
    place = folder() / name
    record = read(place)
    if record is None:
        return None
    wrong = fault(place, record)
    if wrong is not None:
        raise HostError(f"{wrong}; gossamer guest build {name} --again makes it anew")
    return place


def keep(place: Path, record: Record, files: Mapping[str, Path]) -> None:
    """Put files and their record in place, the record last: what a kill leaves is no guest."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    (place / RECORD).unlink(missing_ok=True)
    for name, path in files.items():
        shutil.move(path, place / name)
        with (place / name).open("rb") as f:
            host.sync_data(f.fileno())
    temporary = place / f"{RECORD}.new"
    temporary.write_text(json.dumps(asdict(record), indent=1, sort_keys=True) + "\n")
    temporary.replace(place / RECORD)
