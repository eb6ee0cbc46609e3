"""Becoming the machine of a stream, in two halves.

`read_machine` fills a fresh machine and touches nothing else, so a thread may do it; `take_place`
puts that machine in the place of the one that runs, and is the last that can fail.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, Final

from gossamer.base.data import Data, make_ready
from gossamer.base.errors import StreamError
from gossamer.base.units import PAGE_SIZE, MiB
from gossamer.base.wire import WireReader
from gossamer.control import repair
from gossamer.control.events import Resumed, Stopped
from gossamer.control.globalstate import GlobalState
from gossamer.control.profiles import READING
from gossamer.control.progress import Progress
from gossamer.control.runner import Runner
from gossamer.control.stream_in import Loaded, StreamReader, read_stream
from gossamer.control.stream_out import Extra, StreamOut, blocks_of, save_all
from gossamer.core.region import Region
from gossamer.machines.build import build
from gossamer.machines.machine import Machine
from gossamer.migrate.framing import Cmd, Description, Eof
from gossamer.migrate.incoming import Incoming
from gossamer.migrate.releases import release
from gossamer.migrate.returnpath import Message
from gossamer.migrate.source import Source
from gossamer.state.transfer import load

if TYPE_CHECKING:
    from gossamer.migrate.multifd_in import MultifdIn

_TIMES: Final = 6
"""So often is a load rehearsed before a sender comes: Python then knows what is used how."""
_LOW: Final = 32 * MiB
_BELOW_ALL: Final = -1 << 20
"""What has this priority in a map of memory is seen where nothing else is."""
_HIGH: Final = 4 * MiB
"""Of memory, from its beginning and before its end: kernels, and what they allocate first."""


def adopt_rate(fresh: Machine, loaded: Loaded) -> list[str]:
    """Take on the sender's constants: a stream of QEMU's shows by its form which release wrote it.

    ConfigError when the machine cannot have them.
    """
    sender = release("qemu-10.0" if loaded.suspended else "qemu-7.2")
    hz = sender.timebase.get(fresh.name)
    if not loaded.foreign or hz is None or hz == fresh.cpu.tb_hz:
        return []
    for cpu in fresh.cpus:
        cpu.set_rate(hz)
    return [f"time base: {hz:,} Hz, as the sender's machine has it ({sender.title} and its like)"]


class Arrived(Data):
    """A machine that has been read whole, and has not taken its place yet."""

    machine: Machine
    loaded: Loaded
    run_state: str
    rest: StreamReader | None = None
    """What takes in the memory that comes behind it (postcopy)."""


def rehearse(fresh: Machine, times: int = 1) -> None:
    """Load into a machine that was never used what it would send.

    Nothing in it changes, and the load for which a guest stands still takes a third of the time:
    what Python prepares when it is first used is there, and in the host's caches.
    """
    for _ in range(times):
        fresh.resume()
        bodies = save_all(fresh)
        for part in fresh.sections:
            if part.title in bodies:
                load(part.device, WireReader(bodies[part.title]), part.device.version, READING)


def rehearse_arrival(fresh: Machine) -> None:
    """The same with all that is around it, for a process that waits for a sender."""
    make_ready(Arrived, Eof, Description, Message, Resumed, Stopped)
    rehearse(fresh, _TIMES)
    rehearse_stream(fresh)


def rehearse_stream(fresh: Machine) -> None:
    """Load into a machine what it would send but its memory, by all that reads a stream."""
    fresh.resume()
    # Chips of a guest that has come up are somewhere in its memory's map.
    registers = Region("rehearsal", PAGE_SIZE, lambda offset, size: 0, lambda *_: None)
    fresh.memory.unmap(fresh.memory.map(registers, 0, priority=_BELOW_ALL))
    whole = BytesIO()
    stream = StreamOut(fresh, whole)
    stream.begin([(int(Cmd.PING), bytes(4))])
    stream.devices(Extra("globalstate", GlobalState("running")))
    stream.writer.end("{}")
    with suppress(StreamError):  # it has no memory
        read_stream(fresh, BytesIO(whole.getvalue()), Extra("globalstate", GlobalState()), READING)


def memory_ahead(fresh: Machine) -> None:
    """Have the memory there that every operating system uses first; for a thread.

    While its pages arrive a guest waits for each that the host has yet to find and clear.
    """
    ram = blocks_of(fresh)[0]
    low, high = min(_LOW, ram.size), min(_HIGH, ram.size)
    fresh.arena.have_ready(ram.offset, low)
    fresh.arena.have_ready(ram.offset + ram.size - high, high)


def read_machine(
    fresh: Machine,
    file: BinaryIO | Source,
    progress: Progress,
    talk: Incoming | None = None,
    multifd: MultifdIn | None = None,
) -> Arrived:
    """Fill `fresh` from a stream, ours or QEMU's; StreamError says what did not fit.

    `multifd`: pages come over these connections, too.
    """
    state = GlobalState("running")
    extra = Extra("globalstate", state)
    reader = StreamReader(
        fresh, file, extra, READING, talk=talk, progress=progress, multifd=multifd
    )
    reader.caught_up = partial(rehearse_stream, fresh)
    loaded = reader.read()
    loaded.suspended = state.is_modern
    loaded.modern |= state.is_modern
    rest = None if reader.bodies.arrival is None else reader
    return Arrived(fresh, loaded, state.name, rest)


def fit(vm: Runner, arrived: Arrived, *, mend: bool) -> list[str]:
    """Make what has arrived ready to run here; what was repaired."""
    lines = adopt_rate(arrived.machine, arrived.loaded)
    lines += repair.complete(arrived.machine, arrived.loaded, mend=mend)
    if not vm.disks.late:
        vm.disks.take_back()  # the sender has let go of them before its last byte
    return lines


def take_place(
    vm: Runner,
    arrived: Arrived,
    *,
    mend: bool = True,
    talk: Incoming | None = None,
    before: Callable[[], None] = lambda: None,
) -> list[str]:
    """Let the machine that has arrived run in the place of `vm`'s; what was repaired.

    `before` is the last that happens before that, and the last that can fail.
    """
    lines = fit(vm, arrived, mend=mend)
    try:
        if talk is not None and arrived.rest is None:
            talk.accepted()
        before()
    except BaseException:
        if talk is not None:
            vm.disks.put_back()  # they are the sender's
        raise
    vm.adopt(arrived.machine, arrived.run_state, arrived.loaded.carried)
    return lines


def take_over(
    vm: Runner,
    file: BinaryIO,
    *,
    mend: bool = True,
    before: Callable[[], None] = lambda: None,
    into: Machine | None = None,
) -> tuple[bool, list[str]]:
    """Load a stream into a fresh machine (or `into`, which was never used) and become it.

    Returns whether the stream was foreign, and what was repaired.
    """
    arrived = read_machine(into or build(vm.config, arrives=True), file, vm.progress)
    return arrived.loaded.foreign, take_place(vm, arrived, mend=mend, before=before)
