"""A machine into a save with memory at fixed places, and out of it.

A save that follows another one of the same machine in the same image writes what has changed
since, and shares the rest with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from gossamer.base.bits import align_up
from gossamer.base.data import Data
from gossamer.base.late import np
from gossamer.base.units import PAGE_SIZE
from gossamer.block import Qcow2Image, Snapshot
from gossamer.block.qcow2.vmstate import VmstateWriter
from gossamer.control.progress import Progress
from gossamer.control.steps import Running
from gossamer.control.stream_out import Carried, Extra, StreamOut
from gossamer.core.memory import Arena
from gossamer.machines.machine import Machine
from gossamer.migrate.area import PIECE, Area
from gossamer.migrate.area_writer import AreaWriter, Memory, Sparse
from gossamer.migrate.container_meta import Meta
from gossamer.migrate.container_writer import ContainerWriter, FrameWriter
from gossamer.migrate.mapped_out import MappedOut

#: The bit of the dirty bytes that says what has changed since the last save.
DIRTY_BIT: Final = 0x10
Buffer = bytes | bytearray | memoryview


class Standing(Data):
    """The last save of `machine` in an image: pages without the dirty bit are as in it."""

    machine: Machine
    image: Qcow2Image
    id: str
    date_ns: int
    area: Area

    def found(self, machine: Machine, image: Qcow2Image) -> Snapshot | None:
        """Its snapshot, if it is one of this machine in this image, and still there."""
        if self.machine is not machine or self.image is not image:
            return None
        for snapshot in image.snapshots:
            if (snapshot.id, snapshot.date_ns) == (self.id, self.date_ns):
                return snapshot
        return None


def mark_saved(machine: Machine) -> None:
    """From here on the dirty bit says what changes."""
    machine.arena.dirty[:] &= np.uint8(0xFF ^ DIRTY_BIT)
    machine.engine.flush()


class Target(Protocol):
    """Where a save goes: frames one after the other, and pieces at their places."""

    #: Bytes that can only be shared together, and at whose multiples an area begins.
    unit: int

    def frames(self, meta: Meta) -> FrameWriter: ...

    def put(self, place: int, *parts: Buffer) -> None: ...

    def share(self, place: int, first: int, stop: int) -> None:
        """Let pieces of the save before be at `place`, too."""

    def go_on(self, place: int) -> None:
        """Frames go on there."""


class FileTarget:
    """A save file of its own; `out` is committed by the caller."""

    unit = PIECE

    def __init__(self, out: ContainerWriter) -> None:
        self._out = out
        self.put, self.go_on = out.put, out.go_on

    def frames(self, meta: Meta) -> FrameWriter:
        return self._out

    def share(self, place: int, first: int, stop: int) -> None:
        raise AssertionError("nothing to share")


class VmstateTarget:
    """A snapshot in an image."""

    def __init__(self, image: Qcow2Image, state: VmstateWriter, before: Standing | None) -> None:
        self._state = state
        self._cluster = image.header.cluster_size
        self.unit = max(self._cluster, PIECE)
        self._place = 0
        self._waiting = bytearray()
        self.before: Area | None = None
        snapshot = None if before is None else before.found(before.machine, image)
        if before is not None and snapshot is not None:
            self.before = before.area
            self._entries = image.vmstate_entries(snapshot)
        self.put = state.put

    def frames(self, meta: Meta) -> FrameWriter:
        return FrameWriter(self._write, meta, packs=False, placed=True)

    def _write(self, data: Buffer) -> None:
        self._waiting += data
        if len(self._waiting) >= 16 * self.unit:
            whole = len(self._waiting) // self._cluster * self._cluster
            self._state.put(self._place, bytes(self._waiting[:whole]))
            del self._waiting[:whole]
            self._place += whole

    def share(self, place: int, first: int, stop: int) -> None:
        assert self.before is not None
        low = (self.before.start + first * PIECE) // self._cluster
        high = -(-(self.before.start + stop * PIECE) // self._cluster)
        self._state.share(place, self._entries[low:high])

    def go_on(self, place: int) -> None:
        self.finish()
        self._place = place

    def finish(self) -> None:
        """Write the last frames."""
        if self._waiting:
            self._state.put(self._place, bytes(self._waiting))
            self._waiting.clear()


def write_machine(
    m: Machine,
    meta: Meta,
    target: Target,
    extra: Extra,
    *,
    carried: Sequence[Carried] = (),
    before: Area | None = None,
    progress: Progress,
) -> tuple[FrameWriter, Area]:
    """Write the whole machine, stopped between two instructions; the disks' frames follow."""
    m.engine.flush()  # so that R and C updates come at the same moments with and without a cut
    rest = Sparse()
    stream = StreamOut(m, rest, progress)
    mapped = stream.mapped = MappedOut(rest)
    stream.begin()
    stream.devices(extra, carried=carried)
    stream.end()
    start = align_up(FrameWriter.room(meta, rest.length), target.unit)
    writer = AreaWriter(
        rest,
        _memory(m, mapped),
        lambda number, parts: target.put(start + number * PIECE, *parts),
        lambda first, stop: target.share(start + first * PIECE, first, stop),
        before=None if before is None else before.sums,
        unit=target.unit // PIECE,
    )
    for name, flags in writer.memory(progress.advance).items():
        mapped.rooms[name].present[:] = flags
    mapped.release()
    sums = writer.others()
    area = Area(start, rest.length, align_up(start + rest.length, target.unit), sums)
    frames = target.frames(meta)
    frames.area(area)
    target.go_on(area.end)
    return frames, area


def _memory(m: Machine, mapped: MappedOut) -> list[Memory]:
    """The blocks at their places."""
    arena, untouched = m.arena, m.arena.untouched()
    changed = (arena.dirty[: len(untouched)] & DIRTY_BIT) != 0
    found = []
    for block in arena.blocks:
        first, count = block.offset // PAGE_SIZE, block.size // PAGE_SIZE
        pages = slice(first, first + count)
        view = arena.view[block.offset : block.offset + block.size]
        place = mapped.rooms[block.name].pages
        found.append(Memory(block.name, place, view, untouched[pages], changed[pages]))
    return found


class Settling:
    """A thread that makes memory the machine's own which came out of a file."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._own = False
        self._thread = Running(self._run)

    def _run(self) -> None:
        self._own = self._arena.take_own()

    def wait(self) -> bool:
        """Whether nothing of the file is needed any more."""
        self._thread.join()
        return self._own or self._arena.closed


def settle_memory(arena: Arena, pin: Callable[[Callable[[], bool]], None] | None) -> None:
    """Begin to make an arena's memory its own; `pin` is given what waits for the end."""
    settling = Settling(arena)
    if pin is not None:
        pin(settling.wait)
