"""Commands that write the machine's memory into files, in steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError, GossamerError
from gossamer.control import elf_core
from gossamer.control.commands.table import command
from gossamer.control.events import DumpCompleted
from gossamer.control.file_out import PIECE, FileOut
from gossamer.control.session import Session
from gossamer.control.shapes import Size
from gossamer.control.steps import Steps

DUMPED = "dumped"


#: Bytes of effective addresses at a time: each page is translated.
_TRANSLATED = 256 << 10


def _pieces(
    read: Callable[[int, int], bytes], start: int, size: int, step: int = PIECE
) -> Iterator[bytes]:
    """`size` bytes from `start` on."""
    for at in range(start, start + size, step):
        yield read(at, min(step, start + size - at))


def _opened(session: Session, filename: str) -> FileOut:
    return FileOut(session.fd_sets.path(filename), lambda: not session.vm.ended)


def _standing(session: Session, out: FileOut, pieces: Iterator[bytes]) -> Steps[None]:
    with session.vm.taken(DUMPED, "dumping"):
        yield from out.write(pieces)


@command("memsave")
def memsave(
    session: Session, val: Size, size: Size, filename: str, cpu_index: int = 0
) -> Steps[None]:
    """Write memory into a file, as the CPU's data accesses find it."""
    vm = session.vm
    if not 0 <= cpu_index < len(vm.machine.cpus):
        raise ConfigError("Parameter 'cpu-index' expects a CPU number")
    _check(session, val, size)
    session.check_idle()

    def read(ea: int, length: int) -> bytes:
        return vm.read_virtual(ea, length, cpu_index)

    try:
        read(val, min(size, 1))
    except ConfigError:
        raise _invalid(val, size) from None
    pieces = _pieces(read, val, size, _TRANSLATED)
    return _standing(session, _opened(session, filename), pieces)


@command("pmemsave")
def pmemsave(session: Session, val: Size, size: Size, filename: str) -> Steps[None]:
    """Write real memory into a file."""
    _check(session, val, size)
    session.check_idle()
    pieces = _pieces(session.vm.read_physical, val, size)
    return _standing(session, _opened(session, filename), pieces)


def _check(session: Session, val: int, size: int) -> None:
    if not size or val + size > 1 << session.vm.machine.word:
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
    status, completed, total = session.last_dump
    return DumpQueryResult(status, Size(completed), Size(total))


@command("dump-guest-memory")
def dump_guest_memory(
    session: Session,
    paging: bool,
    protocol: str,
    detach: bool = False,
    begin: Size | None = None,
    length: Size | None = None,
    format: str = "elf",
) -> Steps[None]:
    """Write registers and RAM as an ELF core, which gdb reads; file:PATH or fd:NAME."""
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
    session.check_idle()
    span = None if begin is None or length is None else (begin, begin + length)
    if kind == "fd":
        out = FileOut(protocol, lambda: not session.vm.ended, session.take_fd(rest))
    else:
        out = _opened(session, rest)
    steps = _dumping(session, out, span)
    if not detach:
        return steps
    session.spawn(_quietly(steps))
    return _nothing()


def _nothing() -> Steps[None]:
    """No steps: it goes on beside."""
    return
    yield


def _quietly(steps: Steps[None]) -> Steps[None]:
    """The same; how they end is found in query-dump and DUMP_COMPLETED."""
    try:
        yield from steps
    except GossamerError:
        return


def _dumping(session: Session, out: FileOut, span: tuple[int, int] | None) -> Steps[None]:
    """Stop the guest, write it, and let it go on if it ran."""
    vm = session.vm
    core = elf_core.Core(vm.machine, span)
    running, stops = vm.run_state == "running", session.stops
    if running:
        vm.run_state = "paused"
    error: str | None = None
    session.last_dump = "active", 0, core.size
    try:
        with vm.taken(DUMPED, "dumping"):
            yield from out.write(_counted(session, core))
        session.last_dump = "completed", core.size, core.size
    except BaseException as fault:
        session.last_dump = "failed", *session.last_dump[1:]
        error = str(fault) or type(fault).__name__
        raise
    finally:
        vm.events.report(DumpCompleted(query_dump(session), error))
        if running and stops == session.stops:
            vm.cont()


def _counted(session: Session, core: elf_core.Core) -> Iterator[bytes]:
    """The pieces of a core; query-dump says how far they have gone."""
    yield core.head()
    done = 0
    for piece in core.memory():
        yield piece
        done += len(piece)
        session.last_dump = "active", done, core.size
