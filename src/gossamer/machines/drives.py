"""The option -drive and its short forms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.machines.config import Drive, unknown
from gossamer.machines.values import choice, on_off, pairs, whole

FORMATS: Final = ("raw", "qcow2")
MEDIA: Final = ("disk", "cdrom")
#: How the host's cache is used; the guest cannot see it, so these change nothing here.
_WITHOUT_EFFECT: Final = ("cache", "aio", "discard", "detect-zeroes")
_KNOWN: Final = (
    "file", "if", "index", "bus", "unit", "media", "format", "readonly", "snapshot", "rerror",
    "werror",
)  # fmt: skip
RERROR: Final = ("report", "ignore", "stop")
WERROR: Final = (*RERROR, "enospc")


@dataclass(frozen=True, slots=True)
class DriveOptions:
    """A drive as it was asked for; `index` None: the first free place."""

    option: str
    file: Path | None = None
    index: int | None = None
    media: str = "disk"
    format: str | None = None
    readonly: bool = False
    snapshot: bool = False
    name: str = ""
    rerror: str = "report"
    werror: str = "enospc"

    def made(self, index: int, snapshot: bool) -> Drive:
        """The drive at its place; `snapshot` as by the option -snapshot."""
        if self.file is None and self.media == "disk":
            raise ConfigError(f"{self.option}: a disk needs file=")
        return Drive(
            interface="ide",
            index=index,
            media=self.media,
            file=self.file,
            format=self.format,
            readonly=self.readonly or self.media == "cdrom",
            snapshot=self.snapshot or snapshot,
            name=self.name
            or f"ide{index // 2}-{'hd' if self.media == 'disk' else 'cd'}{index % 2}",
            rerror=self.rerror,
            werror=self.werror,
        )


def parse_drive(text: str) -> DriveOptions:
    """The value of -drive."""
    given = pairs("-drive", text)
    for key in given:
        if key not in (*_KNOWN, *_WITHOUT_EFFECT, "id"):
            raise unknown("part of -drive", key, _KNOWN)
    interface = given.get("if", "ide")
    if interface != "ide":
        raise ConfigError(f"-drive: if={interface}: the machines here have if=ide only")
    media = given.get("media", "disk")
    kind = given.get("format")
    return DriveOptions(
        option="-drive",
        file=Path(given["file"]) if given.get("file") else None,
        index=_index(given),
        media=choice("-drive: media", media, MEDIA),
        format=choice("-drive: format", kind, FORMATS) if kind is not None else None,
        readonly=on_off("-drive: readonly", given.get("readonly", "off")),
        snapshot=on_off("-drive: snapshot", given.get("snapshot", "off")),
        name=given.get("id", ""),
        rerror=choice("-drive: rerror", given.get("rerror", "report"), RERROR),
        werror=choice("-drive: werror", given.get("werror", "enospc"), WERROR),
    )


def _index(given: dict[str, str]) -> int | None:
    if "index" in given:
        if "bus" in given or "unit" in given:
            raise ConfigError("-drive: give index, or bus and unit, not both")
        return whole("-drive: index", given["index"], 0, 3)
    if "bus" in given or "unit" in given:
        bus = whole("-drive: bus", given.get("bus", "0"), 0, 1)
        return 2 * bus + whole("-drive: unit", given.get("unit", "0"), 0, 1)
    # QEMU puts a CD-ROM at the second channel's first place, by -cdrom only.
    return None
