"""Descriptor-based DMA of mac-io: 32 channels that run programs of 16-byte commands.

A channel is between memory and one peer (an IDE cell, a serial channel, ...).  **The protocol for
peers** (`DmaPeer`; the peer paces itself with its own alarms and keeps its own state):

- `peer.dma_ready(channel, idle)`: a data command has become active.  The peer may move data later,
  or (`idle`: it is not in a call of its own to the channel) at once; nothing is repeated after a
  load, so a peer with a transfer in progress declares that.
- `channel.wanted(TO_MEMORY)` / `channel.wanted(FROM_MEMORY)`: bytes that the active command can
  still take or give in that direction now; 0 when none is active, it goes the other way, or the
  channel is paused.
- `channel.push(data) -> int`: device to memory; the bytes taken (at most `wanted`).
- `channel.pull(count) -> bytes`: memory to device; at most `wanted` bytes.
- `channel.finish()`: the device has ended its transfer; an active command that has bytes left
  completes short, with the rest as its residual count.
- `channel.set_device_status(mask, bits)`: the device's status bits s7..s0.
- `peer.dma_flush(channel)`: the host asked for what the peer still holds; push it now.
- `peer.dma_stopped(channel)`: the channel was stopped or died; a transfer has no partner now.

When a command's bytes are used up it completes by itself, and the next one becomes active (and
`dma_ready` is called) `COMMAND_NS` later; after one that moved none, `EMPTY_NS` later.

Source: Apple, "Macintosh Technology in the Common Hardware Reference Platform", DBDMA chapter;
Linux arch/powerpc/include/asm/dbdma.h; dbdma.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, Protocol

from gossamer.core.clock import Alarm, Clock
from gossamer.core.device import Device
from gossamer.core.faces import NO, POSTED, YES, Face
from gossamer.core.irq import IrqLine
from gossamer.core.memory import AddressMap
from gossamer.core.region import Region, swap
from gossamer.state.codec import U32
from gossamer.state.declare import (
    Stateful,
    alarm,
    array,
    boolean,
    child,
    children,
    i32,
    u8,
    u16,
    u32,
    u64,
    wiring,
)
from gossamer.state.layout import Loss, subsection

CHANNELS: Final = 32
STRIDE: Final = 0x80
"""Bytes between channels; the cells of mac-io use every second one."""
COMMAND_NS: Final = 500
"""Fetching a descriptor and writing its status: a few bus transactions of 33 MHz."""
EMPTY_NS: Final = 25_000
"""The same after a command that moved no data: about what it costs a host, so that a program that
only runs in a circle takes half of the guest's time at the most."""
CHAIN: Final = 256
"""Descriptors that one `scatter` or `gather` runs through at the most."""

TO_MEMORY, FROM_MEMORY = 0, 1
"""Directions; values of `is_dma_out`."""

# Registers by word.
CONTROL, STATUS, COMMAND_POINTER = 0, 1, 3
INTERRUPT_SELECT, BRANCH_SELECT, WAIT_SELECT, LAST_WORD = 4, 5, 6, 15
# Bits of control and status.
RUN, PAUSE, FLUSH, WAKE, DEAD, ACTIVE, BT = 0x8000, 0x4000, 0x2000, 0x1000, 0x800, 0x400, 0x100
DEVICE_BITS: Final = 0xFF
WRITABLE: Final = RUN | PAUSE | FLUSH | WAKE | DEVICE_BITS

OUTPUT_MORE, OUTPUT_LAST, INPUT_MORE, INPUT_LAST, STORE_QUAD, LOAD_QUAD, NOP, STOP = range(8)
KEY_SYSTEM: Final = 6
CONDITIONAL: Final = 0xF
"""Bits of a command that make it wait or branch."""
_COMMAND: Final = Struct("<HHIIHH")
"""A descriptor: count, command, address, command-dependent word, residual count, status."""
_STATUS: Final = Struct("<HH")
"""Its last two."""

IDLE, FETCH, DATA, WAIT = range(4)
"""`stage` of a channel: nothing to do, a fetch is due, moving data, waiting for a condition."""


class DmaPeer(Protocol):
    """What sits at the device end of a channel."""

    def dma_ready(self, channel: DbdmaChannel, idle: bool = False) -> None:
        """A data command has become active."""

    def dma_flush(self, channel: DbdmaChannel) -> None:
        """Push what is held back."""

    def dma_stopped(self, channel: DbdmaChannel) -> None:
        """The channel stopped; no transfer goes on."""


class NoPeer:
    """A channel whose device these machines do not have: its data commands never move."""

    def dma_ready(self, channel: DbdmaChannel, idle: bool = False) -> None:
        """No device answers."""

    def dma_flush(self, channel: DbdmaChannel) -> None:
        """No device holds anything."""

    def dma_stopped(self, channel: DbdmaChannel) -> None:
        """No device cares."""


class DbdmaIo(Stateful):
    """The active data command: where it stands in memory and what is left."""

    vmsd = "dbdma_io"

    addr: int = u64()
    len: int = i32()
    is_last: int = i32()
    is_dma_out: int = i32()
    processing: bool = boolean()


class DbdmaCommand(Stateful):
    """The descriptor fetched last, as numbers."""

    vmsd = "dbdma_cmd"

    req_count: int = u16()
    command: int = u16()
    phy_addr: int = u32()
    cmd_dep: int = u32()
    res_count: int = u16()
    xfer_status: int = u16()

    def decode(self, raw: bytes) -> None:
        self.req_count, self.command, self.phy_addr, self.cmd_dep, *status = _COMMAND.unpack(raw)
        self.res_count, self.xfer_status = status

    @property
    def operation(self) -> int:
        return self.command >> 12

    @property
    def moved(self) -> bool:
        """Whether the command, now complete, has moved data."""
        return self.operation <= INPUT_LAST and self.res_count < self.req_count

    @property
    def key(self) -> int:
        return self.command >> 8 & 7


class DbdmaChannel(Stateful):
    """One channel.  `number` is its place; `owner` the controller."""

    vmsd = "dbdma_channel"
    version = 1
    minimum = 1

    extra = subsection("dbdma_channel/gossamer", ours=True)

    @extra.losing
    def extra_lost(self) -> Iterator[Loss]:
        yield Loss(f"channel {self.number:#x}: its program is under way", passes=True)

    regs: list[int] = array(U32, 16)
    io: DbdmaIo = child(DbdmaIo)
    current: DbdmaCommand = child(DbdmaCommand)
    stage: int = u8(within=extra)
    step: Alarm = alarm("_step", within=extra)

    clock: Clock = wiring()
    owner: Dbdma = wiring()
    number: int = wiring()
    peer: DmaPeer = wiring()

    @extra.needed
    def extra_needed(self) -> bool:
        """The program is under way."""
        return self.stage != IDLE

    def __init__(self, clock: Clock, owner: Dbdma, number: int) -> None:
        super().__init__()
        self.clock, self.owner, self.number, self.peer = clock, owner, number, NoPeer()

    def post_load(self, _version: int) -> None:
        """A stream that does not say what an active channel was doing: it fetches anew.

        A command is advanced over only when complete, so its descriptor is the one to fetch.
        """
        if self.stage > WAIT:
            self.stage = IDLE
        if self.stage == IDLE and self.is_running:
            self._fetch_at(0)

    # --- status -------------------------------------------------------------------------------

    @property
    def status(self) -> int:
        return self.regs[STATUS]

    @property
    def is_running(self) -> bool:
        return self.regs[STATUS] & (RUN | ACTIVE) == RUN | ACTIVE

    def set_device_status(self, mask: int, bits: int) -> None:
        """The peer drives bits s7..s0."""
        mask &= DEVICE_BITS
        self.regs[STATUS] = self.regs[STATUS] & ~mask | bits & mask
        self._recheck()

    def _condition(self, register: int, choice: int) -> bool:
        """A 2-bit condition field against a select register: never, if, unless, always."""
        if choice in (0, 3):
            return choice == 3
        select = self.regs[register]
        mask = select >> 16 & DEVICE_BITS
        met = (self.status ^ select) & mask == 0
        return met == (choice == 1)

    # --- registers ----------------------------------------------------------------------------

    def read(self, word: int) -> int:
        return self.regs[STATUS if word == CONTROL else word]

    def write(self, word: int, value: int) -> None:
        if word == CONTROL:
            self._control(value >> 16 & WRITABLE, value)
        elif word == STATUS:
            self.owner.note("write to the status register")
        elif word == COMMAND_POINTER:
            if self.status & (RUN | ACTIVE) == 0:
                self.regs[word] = value & ~0xF
            else:
                self.owner.note("command pointer written while running")
        else:
            self.regs[word] = value

    def _control(self, mask: int, value: int) -> None:
        was = self.status
        status = was & ~mask | value & mask
        started = bool(status & ~was & RUN)
        if was & RUN and not status & RUN:
            self.regs[STATUS] = status & ~(ACTIVE | DEAD | BT | WAKE | FLUSH)
            self._halt()
            return
        wakes = started or status & WAKE or was & PAUSE & ~status
        if wakes and status & RUN and not status & DEAD:
            status |= ACTIVE
        if status & (PAUSE | DEAD):
            status &= ~ACTIVE
        self.regs[STATUS] = status & ~WAKE
        if status & FLUSH:
            self._flush()
        if not self.is_running:
            return
        if self.stage == IDLE or (self.stage == FETCH and not self.step.armed):
            self._fetch_at(self.clock.now + COMMAND_NS)
        elif self.stage == DATA and was & PAUSE and not status & PAUSE:
            self.peer.dma_ready(self)
        self._recheck()

    def _halt(self) -> None:
        """RUN was cleared: the active command is given up."""
        was_data, self.stage = self.stage == DATA, IDLE
        self.io.processing = False
        if self.step.armed:
            self.step.cancel()
        if was_data:
            self.peer.dma_stopped(self)

    def _flush(self) -> None:
        """Data is in memory as soon as it is pushed; what is left to do is the peer's part."""
        if self.stage == DATA:
            self.peer.dma_flush(self)
        if self.stage == DATA:
            self._write_status()
        self.regs[STATUS] &= ~FLUSH

    # --- program ------------------------------------------------------------------------------

    def _fetch_at(self, when: int) -> None:
        self.stage = FETCH
        self.step.set(when)

    def _step(self) -> None:
        """Fetch the command and begin it."""
        if self._begin(self.step.due):
            self.peer.dma_ready(self, True)

    def _begin(self, now: int) -> bool:
        """Fetch the command and begin it; whether it moves data."""
        if self.stage != FETCH or not self.is_running:
            return False
        at = self.regs[COMMAND_POINTER]
        self.current.decode(self.owner.memory.read(at, 16))
        operation = self.current.operation
        if operation <= INPUT_LAST:
            return self._begin_data(operation, now)
        if operation in (STORE_QUAD, LOAD_QUAD):
            if self.current.key == KEY_SYSTEM:
                self._quad(operation)
                self._complete(now)
            else:
                self._die(f"quad command with key {self.current.key}")
        elif operation == NOP:
            self._complete(now)
        elif operation == STOP:
            self.regs[STATUS] &= ~ACTIVE
            self.stage = IDLE
        else:
            self._die(f"invalid command {self.current.command:#06x}")
        return False

    def _die(self, why: str) -> None:
        self.owner.note(f"channel {self.number:#x} died: {why}")
        self.regs[STATUS] = self.regs[STATUS] & ~ACTIVE | DEAD
        self._halt()

    def _begin_data(self, operation: int, now: int) -> bool:
        io = self.io
        io.addr, io.len = self.current.phy_addr, self.current.req_count
        io.is_last = int(operation in (OUTPUT_LAST, INPUT_LAST))
        io.is_dma_out = FROM_MEMORY if operation <= OUTPUT_LAST else TO_MEMORY
        io.processing = True
        self.stage = DATA
        if not io.len:
            self._complete_data(now)
        return bool(io.len)

    def _quad(self, operation: int) -> None:
        """STORE_QUAD and LOAD_QUAD move 1, 2 or 4 bytes by one access."""
        count = self.current.req_count
        size = 4 if count & 4 else 2 if count & 2 else 1
        at, memory = self.current.phy_addr & -size, self.owner.memory
        if operation == STORE_QUAD:
            raw = self.current.cmd_dep.to_bytes(4, "little")[:size]
            memory.store(at, int.from_bytes(raw, "big"), size)
            return
        got = memory.load(at, size).to_bytes(size, "big")
        raw = got + self.current.cmd_dep.to_bytes(4, "little")[size:]
        self.current.cmd_dep = int.from_bytes(raw, "little")
        memory.write((self.regs[COMMAND_POINTER] + 8) & 0xFFFF_FFFF, raw)

    def _complete_data(self, now: int, *, hurry: bool = False) -> None:
        self.io.processing = False
        self.current.res_count = self.io.len & 0xFFFF
        self._complete(now, hurry=hurry)

    def _complete(self, now: int, *, hurry: bool = False) -> None:
        """Wait, branch, status, interrupt, in this order; then the next command.

        `hurry`: the caller begins that one itself.
        """
        command = self.current.command
        if self._condition(WAIT_SELECT, command & 3):
            self.stage = WAIT
            return
        taken = self._condition(BRANCH_SELECT, command >> 2 & 3)
        self.regs[STATUS] = self.status & ~BT | (BT if taken else 0)
        self._write_status()
        interrupts = self._condition(INTERRUPT_SELECT, command >> 4 & 3)
        after = self.current.cmd_dep if taken else self.regs[COMMAND_POINTER] + 16
        self.regs[COMMAND_POINTER] = after & 0xFFFF_FFF0
        if self.is_running and not hurry:
            self._fetch_at(now + (COMMAND_NS if self.current.moved else EMPTY_NS))
        else:
            self.stage = FETCH  # paused: goes on when it is no longer
        if interrupts:
            self.owner.interrupt(self.number)

    def _write_status(self) -> None:
        """Residual count and status into the descriptor."""
        current = self.current
        if self.stage == DATA:
            current.res_count = self.io.len & 0xFFFF
        current.xfer_status = self.status & 0xFFFF
        raw = _STATUS.pack(current.res_count, current.xfer_status)
        self.owner.memory.write((self.regs[COMMAND_POINTER] + 12) & 0xFFFF_FFFF, raw)

    def _recheck(self) -> None:
        """A condition may have changed."""
        if self.stage == WAIT and self.is_running:
            self._complete(self.clock.now)

    # --- for the peer -------------------------------------------------------------------------

    def wanted(self, direction: int) -> int:
        """Bytes that the active command can move now in `direction`."""
        if self.stage != DATA or not self.is_running or self.io.is_dma_out != direction:
            return 0
        return max(self.io.len, 0)

    def push(self, data: bytes | bytearray | memoryview) -> int:
        """Device to memory; the bytes taken."""
        count = min(len(data), self.wanted(TO_MEMORY))
        if count:
            self.owner.memory.write(self.io.addr & 0xFFFF_FFFF, data[:count])
            self._moved(count)
        return count

    def pull(self, count: int) -> bytes:
        """Memory to device; up to `count` bytes."""
        count = min(count, self.wanted(FROM_MEMORY))
        if count <= 0:
            return b""
        data = self.owner.memory.read(self.io.addr & 0xFFFF_FFFF, count)
        self._moved(count)
        return data

    def scatter(self, data: bytes | memoryview) -> int:
        """As `push`, but on into the descriptors that follow, which take no time."""
        view, done, total = memoryview(data), 0, len(data)
        for _ in range(CHAIN):
            count = min(total - done, self.wanted(TO_MEMORY))
            if count:
                self.owner.memory.write(self.io.addr & 0xFFFF_FFFF, view[done : done + count])
                done += count
                self._moved(count, hurry=True)
            if done == total or not self._hasten():
                break
        self._hurry_on()
        return done

    def gather(self, count: int) -> bytes:
        """As `pull`, but on into the descriptors that follow, which take no time."""
        parts: list[bytes] = []
        for _ in range(CHAIN):
            n = min(count, self.wanted(FROM_MEMORY))
            if n > 0:
                parts.append(self.owner.memory.read(self.io.addr & 0xFFFF_FFFF, n))
                count -= n
                self._moved(n, hurry=True)
            if not count or not self._hasten():
                break
        self._hurry_on()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _hasten(self) -> bool:
        """Begin the command whose fetch is due next; whether it moves data."""
        if self.stage != FETCH or not self.is_running:
            return False
        if self.step.armed:
            self.step.cancel()
        return self._begin(self.clock.now)

    def _hurry_on(self) -> None:
        """Begin what follows the last command, which was completed without a time for its fetch."""
        if self.stage == FETCH and not self.step.armed and self._hasten():
            self.peer.dma_ready(self)

    def _moved(self, count: int, *, hurry: bool = False) -> None:
        io = self.io
        io.addr = (io.addr + count) & 0xFFFF_FFFF
        io.len -= count
        if io.len:
            return
        if hurry and not self.current.command & CONDITIONAL:
            self._pass()
        else:
            self._complete_data(self.clock.now, hurry=hurry)

    def _pass(self) -> None:
        """As `_complete_data` in a hurry, for a command that neither waits nor branches."""
        regs, current = self.regs, self.current
        regs[STATUS] = status = regs[STATUS] & ~BT
        self.io.processing, self.stage = False, FETCH
        current.res_count, current.xfer_status = 0, status & 0xFFFF
        at = regs[COMMAND_POINTER]
        self.owner.memory.write(at + 12, _STATUS.pack(0, status & 0xFFFF))
        regs[COMMAND_POINTER] = at + 16 & 0xFFFF_FFF0
        if self._condition(INTERRUPT_SELECT, current.command >> 4 & 3):
            self.owner.interrupt(self.number)

    def finish(self) -> None:
        """The device has ended its transfer."""
        if self.stage == DATA:
            self._complete_data(self.clock.now)


class Dbdma(Device):
    """The controller.  `lines` are the channels' interrupt lines, by number; each is pulsed."""

    vmsd = "dbdma"
    version = 3
    minimum = 3

    channels: list[DbdmaChannel] = children(DbdmaChannel, CHANNELS)

    memory: AddressMap = wiring()
    lines: dict[int, IrqLine] = wiring()
    #: Channels with a peer.
    ends: list[DbdmaChannel] = wiring()

    def __init__(
        self, clock: Clock, memory: AddressMap, lines: dict[int, IrqLine] | None = None
    ) -> None:
        super().__init__(clock)
        self.idstr = "dbdma"
        self.memory, self.lines = memory, dict(lines or {})
        self.channels = [DbdmaChannel(clock, self, n) for n in range(CHANNELS)]
        self.ends = []
        self.reset()

    def connect(self, number: int, peer: DmaPeer) -> DbdmaChannel:
        """Put `peer` at the device end of a channel."""
        channel = self.channels[number]
        channel.peer = peer
        if channel not in self.ends:
            self.ends.append(channel)
        return channel

    def region(self) -> Region:
        """All channels' registers, little-endian words (mac-io 0x8000)."""
        return Region(
            "dbdma",
            CHANNELS * STRIDE,
            self.read_word,
            self.write_word,
            widths=(4,),
            little=True,
            learns=self._learns,
            take=self._take,
        )

    # --- learned accesses ---------------------------------------------------------------------

    def _learns(self, offset: int, value: int | None) -> int:
        """The status, and what is written to a channel that stands still and stays so."""
        word, channel = offset % STRIDE // 4, self.channels[offset // STRIDE]
        if channel not in self.ends:
            return NO
        if value is None:
            return YES if word in (CONTROL, STATUS) else NO
        if channel.stage != IDLE:
            return NO
        if word == COMMAND_POINTER:
            return NO if channel.status & (RUN | ACTIVE) else POSTED
        return YES if word == CONTROL and not swap(value, 4) & RUN else NO

    def _take(self, offset: int, value: int) -> None:
        self.channels[offset // STRIDE].regs[COMMAND_POINTER] = swap(value, 4) & ~0xF

    def face(self) -> Face:
        return tuple([(c.regs[STATUS], c.stage, c.io.processing) for c in self.ends])

    def set_face(self, face: Face) -> None:
        for channel, state in zip(self.ends, face, strict=True):
            channel.regs[STATUS], channel.stage, channel.io.processing = state

    def read_word(self, offset: int, _size: int) -> int:
        word = offset % STRIDE // 4
        if word > LAST_WORD:
            self.note(f"read of unknown register {offset % STRIDE:#x}")
            return 0
        return self.channels[offset // STRIDE].read(word)

    def write_word(self, offset: int, _size: int, value: int) -> None:
        word = offset % STRIDE // 4
        if word > LAST_WORD:
            self.note(f"write to unknown register {offset % STRIDE:#x}")
        else:
            self.channels[offset // STRIDE].write(word, value)

    def interrupt(self, number: int) -> None:
        """A channel's interrupt is an edge; the controller that sees it latches it."""
        line = self.lines.get(number)
        if line is not None:
            line.set(True)
            line.set(False)

    def resume(self) -> None:
        for line in self.lines.values():
            line.assign(False)
