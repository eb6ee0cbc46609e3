"""What Tab offers in the monitor: commands, topics of info, and names of this machine's things."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gossamer.base.errors import GossamerError
from gossamer.control.commands.transfers import CAPABILITIES
from gossamer.control.drive_state import drive_places
from gossamer.control.keys import NAMES
from gossamer.control.session import Session
from gossamer.front.hmp.rows import ROWS
from gossamer.machines.device_options import USB_NAMES

MOST_FILES: Final = 1000


def candidates(session: Session, text: str) -> list[str]:
    """The words that the last one of `text` could become."""
    *before, last = text.split(" ")
    before = [word for word in before if word]
    if not before:
        return [name for name in ROWS if " " not in name]
    if before[0] in ("info", "help", "?") and len(before) == 1:
        topics = [name.partition(" ")[2] for name in ROWS if name.startswith("info ")]
        return topics if before[0] == "info" else [name for name in ROWS if " " not in name]
    if before[0] in ("help", "?") and before[1:] == ["info"]:
        return [name.partition(" ")[2] for name in ROWS if name.startswith("info ")]
    row = ROWS.get(" ".join(before[:2])) or ROWS.get(before[0])
    if row is None:
        return []
    given = len([word for word in before[1:] if not word.startswith("-")])
    plain = [word for word in row.words if not word.is_flag]
    flags = [word.shown for word in row.words if word.is_flag]
    if last.startswith("-"):
        return flags
    if given >= len(plain):
        return []
    return _names(session, row.name, plain[given].shown, last)


def _names(session: Session, command: str, kind: str, last: str) -> list[str]:
    """What a word of a row's pattern can be, as far as that is known."""
    vm = session.vm
    if kind == "TAG":
        return [one.tag for one in vm.snapshots()]
    if kind == "DRIVE":
        return [place.name for place in drive_places(vm)]
    if kind == "ID" and command == "device_del":
        return [one.id for one in vm.config.devices if one.id]
    if kind == "ID" and command == "object_del":
        return list(session.objects.kinds())
    if kind == "DEVICE" and command == "device_add":
        return [*USB_NAMES.values(), "usb-hub"]
    if kind == "NAME" and command == "migrate_set_capability":
        return list(CAPABILITIES)
    if kind == "KEYS":
        return list(NAMES)
    return _files(last) if kind == "FILE" else []


def _files(last: str) -> list[str]:
    """Files of the host that begin so; folders end with a slash."""
    folder, slash, start = last.rpartition("/")
    try:
        found = sorted(Path(folder + slash or ".").iterdir())[:MOST_FILES]
    except (OSError, ValueError, GossamerError):
        return []
    return [
        f"{folder}{slash}{path.name}{'/' if path.is_dir() else ''}"
        for path in found
        if path.name.startswith(start)
    ]
