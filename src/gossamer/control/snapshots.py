"""Named snapshots of machines without a disk that can hold them: save files in one folder.

``$XDG_STATE_HOME/gossamer/<folder>/`` (``~/.local/state``), one file a snapshot.  A machine with a
-name has a folder of that name, any other the one of its hardware: ``g3beige-1a2b3c4d``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from xxhash import xxh3_64_intdigest

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError, GossamerError, HostError, there_is
from gossamer.base.late import pattern
from gossamer.core import host
from gossamer.machines.config import Config
from gossamer.machines.stored import stored

SUFFIX: Final = ".gossamer"
_NAME: Final = pattern(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")


class SnapshotEntry(Data):
    """A snapshot: `size` bytes of state, `date_ns` since 1970 UTC, `vm_clock_ns` virtual ns."""

    id: str
    tag: str
    size: int
    date_ns: int
    vm_clock_ns: int
    icount: int | None = None


#: What of a stored configuration is the machine's hardware; drives count by place and medium.
_HARDWARE: Final = (
    "machine", "version", "ram", "cpu", "properties", "vga", "nic", "nics", "usb", "devices",
    "cd_drive", "uuid",
)  # fmt: skip


def hardware_id(data: Mapping[str, Any]) -> str:
    """Eight digits that two machines share only when they have the same hardware."""
    import json  # noqa: PLC0415 - a start needs none

    drives = [[d.get("index"), d.get("media")] for d in data.get("drives", [])]
    parts = [[name, data.get(name)] for name in _HARDWARE] + [["drives", drives]]
    if (cpus := data.get("cpus", 1)) != 1:
        parts.append(["cpus", cpus])
    text = json.dumps(parts, sort_keys=True).encode()
    return f"{xxh3_64_intdigest(text) & 0xFFFF_FFFF:08x}"


def _in(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []


class Snapshots:
    """The folder of one machine's snapshots."""

    def __init__(self, config: Config) -> None:
        base = os.environ.get("XDG_STATE_HOME") or host.home() / ".local" / "state"
        self._base, self._config = Path(base) / "gossamer", config
        #: Where 0.1.0 kept those of all machines of a kind; each still finds its own.
        self.common = None if config.name else self._base / config.machine

    @cached_property
    def _mine(self) -> str:
        return hardware_id(stored(self._config))

    @property
    def folder(self) -> Path:
        """Where they are."""
        config = self._config
        return self._base / (config.name or f"{config.machine}-{self._mine}")

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
            for other in self.files():
                if other.name == path.name:
                    return other
            known = there_is(p.name.removesuffix(SUFFIX) for p in self.files())
            raise ConfigError(f"no snapshot {name!r} ({known})")
        return path

    def files(self) -> list[Path]:
        own = {path.name: path for path in _in(self.folder)}
        common = [] if self.common is None else _in(self.common)
        return sorted([*own.values(), *(p for p in common if p.name not in own and self._fits(p))])

    def _fits(self, path: Path) -> bool:
        """Whether a save from the common folder is of this machine."""
        from gossamer.migrate.container import open_container  # noqa: PLC0415 - a start needs none

        try:
            with open_container(path, verify=False) as container:
                meta = container.meta
        except GossamerError:
            return False
        return bool(meta.hardware) and hardware_id(meta.hardware) == self._mine

    def entries(self) -> Iterator[SnapshotEntry]:
        """Every snapshot that can be read."""
        from gossamer.migrate.container import open_container  # noqa: PLC0415 - a start needs none

        for number, path in enumerate(self.files(), 1):
            try:
                with open_container(path, verify=False) as container:
                    meta, size = container.meta, container.stream_size
            except GossamerError:
                continue
            tag = path.name.removesuffix(SUFFIX)
            date, clock = meta.created_ns, meta.clock_ns
            yield SnapshotEntry(str(number), tag, size, date, clock, meta.icount)
