"""Named snapshots of machines without a disk that can hold them: save files in one folder.

``$XDG_STATE_HOME/gossamer/<machine or -name>/`` (``~/.local/state``), one file a snapshot.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gossamer.base.errors import ConfigError, GossamerError, HostError, there_is
from gossamer.core import host
from gossamer.machines.config import Config
from gossamer.migrate.container import open_container

SUFFIX: Final = ".gossamer"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")


@dataclass(frozen=True, slots=True)
class SnapshotEntry:
    """A snapshot: `size` bytes of state, `date_ns` since 1970 UTC, `vm_clock_ns` virtual ns."""

    id: str
    tag: str
    size: int
    date_ns: int
    vm_clock_ns: int
    icount: int | None


class Snapshots:
    """The folder of one machine's snapshots."""

    def __init__(self, config: Config) -> None:
        base = os.environ.get("XDG_STATE_HOME") or host.home() / ".local" / "state"
        self.folder = Path(base) / "gossamer" / (config.name or config.machine)

    def path(self, name: str, *, make: bool = False) -> Path:
        """Where snapshot `name` is kept; ConfigError for a name that cannot be a file's."""
        if not _NAME.fullmatch(name):
            raise ConfigError(f"snapshot name {name!r}: letters, digits and . _ + - are allowed")
        if make:
            try:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as fault:
                raise HostError(f"{self.folder}: cannot be made: {fault.strerror}") from None
        return self.folder / (name + SUFFIX)

    def existing(self, name: str) -> Path:
        path = self.path(name)
        if not path.is_file():
            known = there_is(p.name.removesuffix(SUFFIX) for p in self.files())
            raise ConfigError(f"no snapshot {name!r} ({known})")
        return path

    def files(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{SUFFIX}")) if self.folder.is_dir() else []

    def entries(self) -> Iterator[SnapshotEntry]:
        """Every snapshot that can be read."""
        for number, path in enumerate(self.files(), 1):
            try:
                with open_container(path, verify=False) as container:
                    meta, size = container.meta, container.stream_size
            except GossamerError:
                continue
            tag = path.name.removesuffix(SUFFIX)
            date, clock = meta.created_ns, meta.clock_ns
            yield SnapshotEntry(str(number), tag, size, date, clock, meta.icount)
