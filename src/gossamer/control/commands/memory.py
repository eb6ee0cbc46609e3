"""Commands that write the machine's memory into files."""

from __future__ import annotations

import os
from pathlib import Path

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError, HostError
from gossamer.base.units import MiB
from gossamer.control import elf_core
from gossamer.control.commands.table import command
from gossamer.control.events import DumpCompleted
from gossamer.control.session import Session
from gossamer.control.shapes import Size

_PIECE = MiB


def _written(path: Path, pieces: object, size: int) -> None:
    """Write `size` bytes that `pieces(offset, length)` gives."""
    assert callable(pieces)
    try:
        with path.open("wb") as file:
            for at in range(0, size, _PIECE):
                file.write(pieces(at, min(_PIECE, size - at)))
    except OSError as fault:
        raise HostError(f"{path}: cannot be written: {fault.strerror}") from None


@command("memsave")
def memsave(session: Session, val: Size, size: Size, filename: str, cpu_index: int = 0) -> None:
    """Write memory into a file, as the CPU's data accesses find it."""
    if cpu_index:
        raise ConfigError("Parameter 'cpu-index' expects a CPU number")
    _check(val, size)
    vm = session.vm
    try:
        vm.read_virtual(val, min(size, 1))
    except ConfigError:
        raise _invalid(val, size) from None
    path = Path(session.fd_sets.path(filename))
    _written(path, lambda at, n: vm.read_virtual(val + at, n), size)


@command("pmemsave")
def pmemsave(session: Session, val: Size, size: Size, filename: str) -> None:
    """Write real memory into a file."""
    _check(val, size)
    vm = session.vm
    path = Path(session.fd_sets.path(filename))
    _written(path, lambda at, n: vm.read_physical(val + at, n), size)


def _check(val: int, size: int) -> None:
    if not size or val + size > 1 << 32:
        raise _invalid(val, size)


def _invalid(val: int, size: int) -> ConfigError:
    return ConfigError(f"Invalid addr 0x{val:016x}/size {size} specified")


# --- dump-guest-memory --------------------------------------------------------------------------


class DumpQueryResult(Data):
    """How far a dump is, in bytes."""

    status: str
    completed: Size
    total: Size


class DumpCapability(Data):
    """Forms of a dump."""

    formats: tuple[str, ...]


@command("query-dump-guest-memory-capability", held=True)
def query_dump_guest_memory_capability(session: Session) -> DumpCapability:
    """The forms that dump-guest-memory can write."""
    del session
    return DumpCapability(("elf",))


@command("query-dump", held=True)
def query_dump(session: Session) -> DumpQueryResult:
    """How far the last dump has come."""
    status, total = session.last_dump
    return DumpQueryResult(status, Size(total if status == "completed" else 0), Size(total))


@command("dump-guest-memory")
def dump_guest_memory(
    session: Session,
    paging: bool,
    protocol: str,
    detach: bool = False,
    begin: Size | None = None,
    length: Size | None = None,
    format: str = "elf",
) -> None:
    """Write registers and RAM as an ELF core, which gdb reads; file:PATH or fd:NAME."""
    del detach
    vm = session.vm
    if paging:
        raise ConfigError("paging: the core has real addresses only")
    if format != "elf":
        raise ConfigError(f"format: only elf is written, got {format!r}")
    if (begin is None) != (length is None):
        raise ConfigError("Parameter 'length' is missing" if length is None else
                          "Parameter 'begin' is missing")  # fmt: skip
    kind, colon, rest = protocol.partition(":")
    if not colon or kind not in ("file", "fd"):
        raise ConfigError("Parameter 'protocol' expects file:PATH or fd:NAME")
    running = vm.run_state == "running"
    if running:
        vm.run_state = "paused"
    span = None if begin is None or length is None else (begin, begin + length)
    session.last_dump = "failed", 0
    try:
        with vm.standing("dumping"):
            if kind == "fd":
                with os.fdopen(session.take_fd(rest), "wb") as file:
                    total = elf_core.write(vm.machine, file, span)
            else:
                with Path(session.fd_sets.path(rest)).open("wb") as file:
                    total = elf_core.write(vm.machine, file, span)
        session.last_dump = "completed", total
        vm.events.report(DumpCompleted(DumpQueryResult("completed", Size(total), Size(total))))
    except OSError as fault:
        raise HostError(f"{rest}: cannot be written: {fault.strerror}") from None
    finally:
        if running:
            vm.cont()
