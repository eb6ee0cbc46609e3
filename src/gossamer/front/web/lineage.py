"""Which snapshot came from which: what makes a tree of them.

A snapshot's parent is the one that the machine was saved as, or went back to, last.  It is noted in
``lineage.json`` beside the machine's save files while there is a page; a snapshot of another run
stands at the root.  A file that cannot be read or written costs the tree and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

NAME: Final = "lineage.json"
MOST: Final = 4096
"""Snapshots that are remembered."""
_LARGEST: Final = 4 << 20


class Lineage:
    """The parents of one machine's snapshots, each a key of `key`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self.parents = self._read()
        #: The snapshot that the machine stands behind.
        self.here: str | None = None

    def _read(self) -> dict[str, str | None]:
        try:
            if self._path.stat().st_size > _LARGEST:
                return {}
            found = json.loads(self._path.read_text())
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {
            child: parent
            for child, parent in list(found.items())[-MOST:]
            if parent is None or isinstance(parent, str)
        }

    def saved(self, key: str) -> None:
        """The machine was saved as `key`."""
        self.parents = self._read() | {key: self.here if self.here != key else None}
        self.here = key
        while len(self.parents) > MOST:
            del self.parents[next(iter(self.parents))]
        part = self._path.with_name(NAME + ".part")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            part.write_text(json.dumps(self.parents))
            part.replace(self._path)
        except OSError:
            return  # the tree of this run is in memory all the same

    def parent(self, key: str, there: Iterable[str]) -> str | None:
        """The nearest ancestor that is still `there`."""
        there, seen = frozenset(there), {key}
        found = self.parents.get(key)
        while found is not None and found not in there and found not in seen:
            seen.add(found)
            found = self.parents.get(found)
        return found if found is not None and found in there else None


def key(tag: str, date_ns: int) -> str:
    """A name that a later snapshot of the same tag does not have."""
    return f"{tag}@{date_ns}"
