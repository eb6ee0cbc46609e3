"""The monitor's command info."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import gossamer
from gossamer.base.errors import ConfigError
from gossamer.base.units import NS_PER_S, KiB, MiB
from gossamer.front.monitor_block import block
from gossamer.front.monitor_control import migrating
from gossamer.front.monitor_table import Commands, table
from gossamer.front.vm_protocol import VmControl


def add_commands(commands: Commands) -> None:
    commands.add("info", "[WHAT]", "look into the machine; info alone lists what there is", _info)


def clock_text(ns: int) -> str:
    """A virtual time as h:mm:ss.ms."""
    seconds, rest = divmod(ns, NS_PER_S)
    hours, seconds = divmod(seconds, 3600)
    return f"{hours}:{seconds // 60:02}:{seconds % 60:02}.{rest // 1_000_000:03}"


def size_text(size: int) -> str:
    return f"{size / MiB:.1f} MiB" if size >= MiB else f"{size / KiB:.1f} KiB"


def status(vm: VmControl) -> str:
    count, clock = vm.instructions, clock_text(vm.clock_ns)
    return f"{vm.name}: {vm.run_state}; {count} instructions; virtual time {clock}"


def snapshots(vm: VmControl) -> str:
    found = vm.snapshots()
    if not found:
        return "no snapshots"
    rows = []
    for s in found:
        date = datetime.fromtimestamp(s.date_ns // NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S")
        icount = "" if s.icount is None else str(s.icount)
        rows.append([s.id, s.tag, size_text(s.size), date, clock_text(s.vm_clock_ns), icount])
    return table(["ID", "TAG", "VM SIZE", "DATE (UTC)", "VM CLOCK", "ICOUNT"], rows)


def save(vm: VmControl) -> str:
    cost = vm.last_save
    if cost is None:
        return "nothing saved yet"
    total, waited = cost.took_ns / 1_000_000, cost.fsync_ns / 1_000_000
    return (
        f"last save: {total:.1f} ms, {waited:.1f} ms of it waiting for the medium; "
        f"stream {cost.stream_bytes} bytes, file {cost.file_bytes} bytes"
    )


TOPICS: Final[dict[str, tuple[str, Callable[[VmControl], str]]]] = {
    "status": ("whether the machine runs, and how far it is", status),
    "registers": ("the CPU's registers", lambda vm: vm.registers_text()),
    "pic": ("the interrupt controller", lambda vm: vm.pic_text()),
    "irq": ("interrupts counted by line", lambda vm: vm.irq_text()),
    "jit": ("translated code", lambda vm: vm.jit_text()),
    "qtree": ("the devices and their buses", lambda vm: vm.qtree_text()),
    "mtree": ("what is where in real memory", lambda vm: vm.mtree_text()),
    "snapshots": ("saved states", snapshots),
    "save": ("what the last save cost", save),
    "block": ("the drives and what is in them", block),
    "migrate": ("the migration under way", lambda vm: migrating(vm).migration_text()),
    "name": ("the machine's name", lambda vm: vm.name),
    "version": ("gossamer's version", lambda vm: gossamer.__version__),
}


def _info(vm: VmControl, words: list[str]) -> str:
    if not words:
        return "".join(f"info {name:12} {text}\n" for name, (text, _) in sorted(TOPICS.items()))
    topic = TOPICS.get(words[0])
    if topic is None:
        near = difflib.get_close_matches(words[0], TOPICS, 1)
        hint = f"; did you mean {near[0]}?" if near else f" (there is: {', '.join(sorted(TOPICS))})"
        raise ConfigError(f"no info {words[0]}{hint}")
    return topic[1](vm)
