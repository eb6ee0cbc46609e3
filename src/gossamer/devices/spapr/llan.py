"""A logical LAN (l-lan): a network card whose buffers the guest lends by hypercalls.

Sources: LoPAR 16.4 (the buffer list, the receive queue, H_REGISTER_LOGICAL_LAN and its kin); what
it leaves open, the pools of buffers and the state as QEMU 7.2's `spapr-vlan`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.devices.spapr.calls import (
    FUNCTION,
    HARDWARE,
    PARAMETER,
    RESOURCE,
    SUCCESS,
    GuestRam,
    Handler,
    Registers,
    arguments,
)
from gossamer.devices.spapr.tce import TceWindow, Words, swapped
from gossamer.devices.spapr.vio import VioDevice, head
from gossamer.devices.spapr.vio_bus import DmaDevice, VioBus
from gossamer.state.codec import U64
from gossamer.state.declare import (
    Stateful,
    boolean,
    buffer,
    children,
    compat,
    derived,
    i32,
    u32,
    u64,
    wiring,
)
from gossamer.state.layout import Loss, View, subsection

H_REGISTER_LOGICAL_LAN, H_FREE_LOGICAL_LAN, H_ADD_LOGICAL_LAN_BUFFER = 0x114, 0x118, 0x11C
H_SEND_LOGICAL_LAN, H_MULTICAST_CTRL, H_CHANGE_LOGICAL_LAN_MAC = 0x120, 0x130, 0x14C
H_FREE_LOGICAL_LAN_BUFFER: Final = 0x1D4
DROPPED, DEST_PARM = -12, -14

# A buffer descriptor: flags, length, address.
VALID, TOGGLE = 1 << 63, 1 << 62
#: Of an entry of the receive queue.
ENTRY_TOGGLE, ENTRY_VALID = 0x80, 0x40
ENTRY: Final = 16
#: The page that a guest gives: the receive queue's descriptor, the filter list's, buffers.
LIST: Final = 4096
QUEUE_AT, FILTER_AT, BUFFERS_AT = 0, 8, 16
#: The last word of that page counts frames that found no buffer.
LOST_AT: Final = LIST - 8
PLACES: Final = (LOST_AT - BUFFERS_AT) // 8
POOLS, POOL_ROOM = 5, 4096
#: The size of a pool that has no buffers: it sorts behind all others.
NO_SIZE: Final = 0x7FFF_FFFF
#: Before a frame in its buffer: the handle that the guest has put there.
HANDLE: Final = 8
LEAST_BUFFER: Final = 16
MOST_FRAME: Final = 0x1_0000
PARTS: Final = 6
MOST_AT_ONCE: Final = 256
_WORD32: Final = 0xFFFF_FFFF


def length_of(bd: int) -> int:
    return bd >> 32 & 0xFF_FFFF


def address_of(bd: int) -> int:
    return bd & _WORD32


def descriptor(address: int, length: int) -> int:
    """A valid buffer descriptor."""
    return VALID | (length & 0xFF_FFFF) << 32 | address & _WORD32


class Pool(Stateful):
    """Buffers of one size; the last one lent is used first."""

    vmsd = "spapr_llan/rx_buffer_pool"
    version = minimum = 1

    bufsize: int = i32(NO_SIZE)
    count: int = i32()
    bds: array[int] = derived()
    layouts = {
        "": [
            "bufsize",
            "count",
            View(
                "bds",
                Words(U64, POOL_ROOM),
                lambda pool: swapped(pool.bds).tobytes(),
                lambda pool, data: pool.set_buffers(data),
            ),
        ]
    }

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.bds = array("Q", bytes(8 * POOL_ROOM))

    def set_buffers(self, data: bytes) -> None:
        self.bds = swapped(array("Q", data))

    def post_load(self, version: int) -> None:
        if not 0 <= self.count <= POOL_ROOM:
            raise ValueError(f"a pool has 0 to {POOL_ROOM} buffers, got {self.count}")


def _nowhere(frame: bytes) -> None:
    """No cable: what is sent is lost."""


class LogicalLan(DmaDevice):
    """The card.  `send` takes the frames; `receive` brings one from the network."""

    vmsd = "spapr_llan"
    version = minimum = 1

    isopen: bool = boolean()
    buf_list: int = u64()
    add_buf_ptr: int = u32()
    use_buf_ptr: int = u32()
    rx_bufs: int = u32()
    rxq_ptr: int = u64()
    layouts = {
        "": [head("sdev"), "isopen", "buf_list", "add_buf_ptr", "use_buf_ptr", "rx_bufs", "rxq_ptr"]
    }
    #: Version 2.5 and earlier: what is lent stands in the guest's page, in no order.
    has_pools: bool = compat(True)
    lent = subsection("spapr_llan/rx_pools", compat="has_pools")
    rx_pool: list[Pool] = children(Pool, POOLS, within=lent)
    own = subsection("spapr_llan/gossamer", ours=True)
    #: The address as the guest has set it.
    station: bytearray = buffer(6, within=own)

    mac: bytes = wiring()
    send: Callable[[bytes], None] = wiring()
    link: bool = wiring()

    def __init__(
        self,
        clock: Clock,
        reg: int,
        source: int,
        irq: IrqLine,
        window: TceWindow,
        ram: GuestRam,
        *,
        mac: bytes = b"\x52\x54\x00\x12\x34\x56",
        send: Callable[[bytes], None] = _nowhere,
    ) -> None:
        self.mac, self.send, self.link = mac, send, True
        super().__init__(clock, reg, source, irq, window, ram)
        self.idstr = f"l-lan@{reg:x}/spapr_llan"
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.station[:] = self.mac

    @own.needed
    def own_needed(self) -> bool:
        return bytes(self.station) != self.mac

    @own.losing
    def own_lost(self) -> list[Loss]:
        return [Loss("the address that the guest gave its card")] if self.own_needed() else []

    def connect(self, send: Callable[[bytes], None]) -> None:
        """Where frames go from now on."""
        self.send = send

    def plug(self, up: bool) -> None:
        """The cable is in, or out: what is sent then is lost."""
        self.link = up

    def close(self) -> None:
        """The guest takes all back."""
        self.isopen, self.buf_list, self.rx_bufs = False, 0, 0
        for pool in self.rx_pool:
            pool.reset()

    # --- frames for the guest ---------------------------------------------------------------------

    def room(self, length: int) -> bool:
        """Whether a frame of that length would be taken now, if only to be lost."""
        return self.isopen and self.rx_bufs > 0

    @property
    def burst(self) -> int:
        """How many frames should be given at once, now: the guest's buffers are all that counts."""
        return MOST_AT_ONCE

    def receive_all(self, frames: Sequence[bytes]) -> int:
        """Frames from the network, as `room` and `receive` take them one by one; how many."""
        for count, frame in enumerate(frames):
            if not self.receive(frame):
                return count
        return len(frames)

    def receive(self, frame: bytes) -> bool:
        """A frame from the network; false when there is no room for it now."""
        if not self.room(len(frame)):
            return False
        if not self.link:
            return True
        take = self._from_pool if self.has_pools else self._from_page
        bd = take(len(frame) + HANDLE)
        if bd is None:
            lost = self.memory.word(self.buf_list + LOST_AT)
            self.memory.put(self.buf_list + LOST_AT, (lost + 1) & (1 << 64) - 1)
            return True
        self.rx_bufs -= 1
        self._deliver(bd, frame)
        return True

    def _from_pool(self, size: int) -> int | None:
        """Take a buffer of so many bytes."""
        pool = next((p for p in self.rx_pool if p.count and p.bufsize >= size), None)
        if pool is None:
            return None
        pool.count -= 1
        return pool.bds[pool.count]

    def _from_page(self, size: int) -> int | None:
        """The same from the guest's page: the next one behind the last that was taken."""
        for at in self._places(self.use_buf_ptr):
            bd = self.memory.word(self.buf_list + at)
            if bd & VALID and length_of(bd) >= size:
                self.use_buf_ptr = at
                self.memory.put(self.buf_list + at, 0)
                return bd
        return None

    def _places(self, last: int) -> Iterator[int]:
        """Offsets in the guest's page for buffers, each once, from behind `last` on."""
        for _ in range(PLACES):
            last += 8
            if last >= LOST_AT:
                last = BUFFERS_AT
            yield last

    def _deliver(self, bd: int, frame: bytes) -> None:
        memory = self.memory
        if not memory.write(address_of(bd) + HANDLE, frame):
            self.note("a buffer's window was closed: a frame is lost")
            return
        queue = memory.word(self.buf_list + QUEUE_AT)
        control = ENTRY_VALID ^ (ENTRY_TOGGLE if queue & TOGGLE else 0)
        entry = bytes((control, 0, 0, HANDLE)) + len(frame).to_bytes(4, "big")
        at = address_of(queue) + self.rxq_ptr
        memory.write(at, entry + memory.word(address_of(bd)).to_bytes(8, "big"))
        self.rxq_ptr += ENTRY
        if self.rxq_ptr >= length_of(queue):
            self.rxq_ptr = 0
            memory.put(self.buf_list + QUEUE_AT, queue ^ TOGGLE)
        self.signal()

    # --- hypercalls -------------------------------------------------------------------------------

    def _good(self, bd: int, alignment: int) -> bool:
        """Whether a descriptor's memory is aligned and may be read and written."""
        address, length = address_of(bd), length_of(bd)
        if address % alignment or length % alignment:
            return False
        return self.memory.may(address, length)

    def register(self, regs: Registers) -> int:
        _, page, queue, filters = arguments(regs, 4)
        if self.isopen:
            return RESOURCE
        if not self._good(descriptor(page, LIST), LIST):
            return PARAMETER
        filter_bd = descriptor(filters, LIST)
        if not self._good(filter_bd, LIST):
            return PARAMETER
        if not queue & VALID or not self._good(queue, ENTRY):
            return PARAMETER
        self.buf_list = page
        queue &= ~TOGGLE
        words = queue.to_bytes(8, "big") + filter_bd.to_bytes(8, "big")
        self.memory.write(address_of(page), words.ljust(LIST, b"\0"))
        self.add_buf_ptr, self.use_buf_ptr = BUFFERS_AT - 8, BUFFERS_AT
        self.rx_bufs = self.rxq_ptr = 0
        self.memory.write(address_of(queue), bytes(length_of(queue)))
        self.isopen = True
        return SUCCESS

    def free(self, regs: Registers) -> int:
        if not self.isopen:
            return RESOURCE
        self.reset()
        return SUCCESS

    def lend(self, regs: Registers) -> int:
        """A buffer for a frame."""
        bd = regs.get("gpr", 5)
        if not self._good(bd, 4) or length_of(bd) < LEAST_BUFFER:
            return PARAMETER
        if not self.isopen:
            return RESOURCE
        done = self._to_pool(bd) if self.has_pools else self._to_page(bd)
        if not done:
            return RESOURCE
        self.rx_bufs += 1
        return SUCCESS

    def _to_page(self, bd: int) -> bool:
        """Note a buffer in the guest's page; false where there is no room."""
        for at in self._places(self.add_buf_ptr):
            if not self.memory.word(self.buf_list + at) & VALID:
                self.add_buf_ptr = at
                self.memory.put(self.buf_list + at, bd)
                return True
        return False

    def _to_pool(self, bd: int) -> bool:
        """Keep a buffer with those of its size; false where there is no room."""
        size = length_of(bd)
        pool = next((p for p in self.rx_pool if p.bufsize == size), None)
        if pool is None:
            pool = next((p for p in reversed(self.rx_pool) if not p.count), None)
            if pool is not None:
                pool.bufsize = size
                self.rx_pool.sort(key=lambda p: p.bufsize)
        if pool is None or pool.count >= POOL_ROOM:
            return False
        pool.bds[pool.count] = bd
        pool.count += 1
        return True

    def transmit(self, regs: Registers) -> int:
        bds = arguments(regs, 1 + PARTS)[1:]
        if not self.isopen:
            return DROPPED
        if regs.get("gpr", 5 + PARTS):  # a call goes on: none ever has to
            return HARDWARE
        parts = []
        for bd in bds:
            if not bd & VALID:
                break
            parts.append(bd)
        total = sum(map(length_of, parts))
        if not total:
            return SUCCESS
        if total > MOST_FRAME:
            return RESOURCE
        frame = b""
        for bd in parts:
            data = self.memory.read(address_of(bd), length_of(bd))
            if data is None:
                return DEST_PARM
            frame += data
        if self.link:
            self.send(frame)
        return SUCCESS

    def set_address(self, regs: Registers) -> int:
        self.station[:] = (regs.get("gpr", 5) & (1 << 48) - 1).to_bytes(6, "big")
        return SUCCESS


def llan_calls(bus: VioBus) -> dict[int, Handler]:
    """The hypercalls on logical LANs."""

    def at_card(action: Callable[[LogicalLan, Registers], int]) -> Handler:
        def handler(regs: Registers) -> int:
            card: VioDevice | None = bus.devices.get(regs.get("gpr", 4))
            return action(card, regs) if isinstance(card, LogicalLan) else PARAMETER

        return handler

    return {
        H_REGISTER_LOGICAL_LAN: at_card(LogicalLan.register),
        H_FREE_LOGICAL_LAN: at_card(LogicalLan.free),
        H_ADD_LOGICAL_LAN_BUFFER: at_card(LogicalLan.lend),
        H_SEND_LOGICAL_LAN: at_card(LogicalLan.transmit),
        H_MULTICAST_CTRL: at_card(lambda card, regs: SUCCESS),
        H_CHANGE_LOGICAL_LAN_MAC: at_card(LogicalLan.set_address),
        H_FREE_LOGICAL_LAN_BUFFER: lambda regs: FUNCTION,
    }
