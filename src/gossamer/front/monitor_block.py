"""Monitor commands for drives and what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from gossamer.base.errors import ConfigError
from gossamer.front.monitor_table import Commands
from gossamer.front.vm_protocol import VmControl


@runtime_checkable
class HasDrives(Protocol):
    """A machine whose discs can be changed."""

    def block_text(self) -> str: ...
    def eject(self, drive: str, *, force: bool) -> None: ...
    def change_disc(self, drive: str, path: Path, format: str | None) -> None: ...


def add_commands(commands: Commands) -> None:
    commands.add("eject", "[-f] DRIVE", "take the disc out of a CD drive", _eject)
    commands.add("change", "DRIVE FILE [FORMAT]", "put another disc into a CD drive", _change)


def drives(vm: VmControl) -> HasDrives:
    if not isinstance(vm, HasDrives):
        raise ConfigError(f"{vm.name} has no drives")
    return vm


def block(vm: VmControl) -> str:
    """``info block``."""
    return drives(vm).block_text()


def _eject(vm: VmControl, words: list[str]) -> str:
    force = "-f" in words
    names = [word for word in words if word != "-f"]
    if len(names) != 1:
        raise ConfigError(f"expected [-f] DRIVE, got {' '.join(words)}")
    drives(vm).eject(names[0], force=force)
    return ""


def _change(vm: VmControl, words: list[str]) -> str:
    drives(vm).change_disc(words[0], Path(words[1]), words[2] if len(words) > 2 else None)
    return ""
