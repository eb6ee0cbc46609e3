"""Monitor commands that run, stop, save, load, migrate and end a machine."""

from __future__ import annotations

from pathlib import Path

from gossamer.base.errors import ConfigError
from gossamer.front.monitor_table import Commands, simple
from gossamer.front.vm_protocol import Migrates, VmControl


def add_commands(commands: Commands) -> None:
    add = commands.add
    add("cont", "", "run the machine", simple(lambda vm: vm.cont()))
    add("c", "", "the same as cont", simple(lambda vm: vm.cont()))
    add("stop", "", "stop the machine between two instructions", simple(lambda vm: vm.stop()))
    add("s", "", "the same as stop", simple(lambda vm: vm.stop()))
    add("quit", "", "end the emulator", simple(lambda vm: vm.quit()))
    add("q", "", "the same as quit", simple(lambda vm: vm.quit()))
    add("system_reset", "", "reset the machine", simple(lambda vm: vm.reset()))
    add("system_powerdown", "", "press the power key", simple(lambda vm: vm.power_down()))
    add("savevm", "[TAG]", "save the machine as a snapshot", _savevm)
    add("loadvm", "TAG [CLOCK]", "go back to a snapshot; CLOCK: freeze, continue, step", _loadvm)
    add("delvm", "TAG", "remove a snapshot", _delvm)
    add("save", "FILE", "save the machine in a file", _save)
    add("load", "FILE", "load the machine from a file", _load)
    add("migrate", "[-d] URI", "send the machine to another emulator", _migrate)
    add("migrate_cancel", "", "stop sending it", simple(lambda vm: migrating(vm).migrate_cancel()))


def migrating(vm: VmControl) -> Migrates:
    """The machine as one that can be sent."""
    if not isinstance(vm, Migrates):
        raise ConfigError("migration is not served here")
    return vm


def free_tag(vm: VmControl) -> str:
    """The first of vm1, vm2, … that no snapshot has."""
    taken = {snapshot.tag for snapshot in vm.snapshots()}
    return next(f"vm{n}" for n in range(1, len(taken) + 2) if f"vm{n}" not in taken)


def check_tag(tag: str) -> str:
    """A snapshot's name, so that it can be shown, stored and typed again."""
    if not 0 < len(tag.encode()) <= 255 or not tag.isprintable():
        raise ConfigError(f"a snapshot's name has 1 to 255 printable bytes, got {tag!r}")
    return tag


def _savevm(vm: VmControl, words: list[str]) -> str:
    tag = check_tag(words[0]) if words else free_tag(vm)
    vm.savevm(tag)
    return "" if words else f"saved as {tag}"


def _loadvm(vm: VmControl, words: list[str]) -> str:
    vm.loadvm(*words)
    return ""


def _delvm(vm: VmControl, words: list[str]) -> str:
    vm.delvm(words[0])
    return ""


def _save(vm: VmControl, words: list[str]) -> str:
    vm.save(Path(words[0]))
    return ""


def _load(vm: VmControl, words: list[str]) -> str:
    vm.restore(Path(words[0]))
    return ""


def _migrate(vm: VmControl, words: list[str]) -> str:
    options = [word for word in words if word.startswith("-")]
    targets = [word for word in words if not word.startswith("-")]
    if len(targets) != 1 or options not in ([], ["-d"]):
        raise ConfigError(f"expected [-d] URI, got {' '.join(words)}")
    migrating(vm).migrate(targets[0], background=bool(options))
    return ""
