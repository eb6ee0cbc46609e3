"""A virtqueue: descriptors, what the driver offers, what the device has used.

Everything in a ring is the guest's: each address is checked, each chain has an end, and what
breaks the rules is a `RingError`, after which the device wants to be reset.  Nothing of a ring is
kept between two notifications but the index of the next chain.  Source: VIRTIO 1.2, 2.7 (split
virtqueues); where it leaves a choice, as QEMU 7.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal

from gossamer.base.data import Data
from gossamer.core.memory import AddressMap
from gossamer.devices.pci import Dma

NEXT, WRITE, INDIRECT = 1, 2, 4
#: Of the available ring's flags; the used ring's.
NO_INTERRUPT: Final = 1
NO_VECTOR: Final = 0xFFFF
MOST_SIZE: Final = 1024
"""Descriptors of a queue, and parts of a request."""
DESCRIPTOR: Final = 16
ALIGNMENT: Final = 4096
"""Of the used ring behind the available one, where a legacy driver gives one address."""
CHUNK: Final = 1 << 20
"""Bytes that are copied in one step."""


Order = Literal["little", "big"]
"""Of bytes in a number."""


class RingError(Exception):
    """The driver broke a rule."""


class Direct:
    """Guest memory as it is, with no bridge that translates."""

    def __init__(self, map_: AddressMap) -> None:
        self.map = map_

    def read(self, address: int, length: int) -> bytes | None:
        if not self.map.has_ram(address, length):
            return None
        return self.map.read(address, length)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> bool:
        if not self.map.has_ram(address, len(data)):
            return False
        self.map.write(address, data)
        return True


class Part(Data):
    """A piece of a request's memory, bytes."""

    address: int
    length: int


class Request(Data):
    """A chain: its first descriptor, what the device reads (`out`) and what it writes (`into`)."""

    head: int
    out: tuple[Part, ...]
    into: tuple[Part, ...]
    memory: Dma

    @property
    def out_length(self) -> int:
        return sum(part.length for part in self.out)

    @property
    def in_length(self) -> int:
        return sum(part.length for part in self.into)

    def read(self, start: int, length: int) -> bytes:
        """Bytes `start` on of what the driver gave; less at its end.  RingError: no memory."""
        found = []
        for part in _cut(self.out, start, length):
            data = self.memory.read(part.address, part.length)
            if data is None:
                raise RingError("bogus descriptor or out of resources")
            found.append(data)
        return b"".join(found)

    def write(self, start: int, data: bytes | bytearray | memoryview) -> int:
        """Put bytes where the driver wants them, from `start` on; how many there was room for."""
        done, view = 0, memoryview(data)
        for part in _cut(self.into, start, len(view)):
            if not self.memory.write(part.address, view[done : done + part.length]):
                raise RingError("bogus descriptor or out of resources")
            done += part.length
        return done


def _cut(parts: tuple[Part, ...], start: int, length: int) -> Iterator[Part]:
    """The parts of bytes `start` to `start + length`."""
    for part in parts:
        if start < part.length and length > 0:
            size = min(part.length - start, length)
            yield Part(part.address + start, size)
            length -= size
            start = 0
        else:
            start = max(start - part.length, 0)


class VirtQueue:
    """A queue of `usual` descriptors, unless the driver wants another number.

    `desc`, `avail`, `used`: addresses of its rings, 0: none yet.  `last` is the index (16 bits) of
    the next chain to take.  `setup…`: what a driver of the modern interface has written for it.
    """

    __slots__ = (
        *("avail", "desc", "enabled", "handle", "last", "number", "setup_avail", "setup_desc"),
        *("setup_size", "setup_used", "size", "used", "usual", "vector"),
    )

    def __init__(self, number: int, usual: int, handle: Callable[[VirtQueue], None]) -> None:
        self.number, self.usual, self.handle = number, usual, handle
        self.reset()

    def reset(self) -> None:
        self.size, self.vector, self.last = self.usual, NO_VECTOR, 0
        self.desc = self.avail = self.used = 0
        self.setup_size = self.setup_desc = self.setup_avail = self.setup_used = 0
        self.enabled = False

    def set_size(self, size: int) -> bool:
        """Whether the driver may have so many descriptors; 0 and too many change nothing."""
        if not 0 < size <= MOST_SIZE:
            return False
        self.size = size
        return True

    def place(self, address: int) -> None:
        """The rings behind one address, as a legacy driver has them."""
        self.desc = address
        self.avail = address + DESCRIPTOR * self.size
        self.used = -(-(self.avail + 4 + 2 * self.size) // ALIGNMENT) * ALIGNMENT


class Ring:
    """What a queue holds now; made for one look at it.

    `order`: of the bytes in its rings.  `events`: both sides say when they want to be notified.
    """

    def __init__(self, queue: VirtQueue, memory: Dma, order: Order, *, events: bool) -> None:
        self.queue, self.memory, self.events = queue, memory, events
        self.order: Order = order
        self.before = self.used_index = self._number(queue.used + 2, 2)

    def _bytes(self, address: int, length: int) -> bytes:
        data = self.memory.read(address, length)
        if data is None:
            raise RingError(f"a ring of queue {self.queue.number} is not in memory")
        return data

    def _number(self, address: int, size: int) -> int:
        return self._of(self._bytes(address, size))

    def _of(self, data: bytes) -> int:
        return int.from_bytes(data, self.order)

    def _put(self, address: int, *values: tuple[int, int]) -> None:
        """Store numbers (value, size) from `address` on."""
        data = b"".join(value.to_bytes(size, self.order) for value, size in values)
        if not self.memory.write(address, data):
            raise RingError(f"a ring of queue {self.queue.number} is not in memory")

    @property
    def offered(self) -> int:
        """Chains that the driver offers and that were not taken yet.  RingError: too many."""
        q = self.queue
        index = self._number(q.avail + 2, 2)
        waiting = (index - q.last) & 0xFFFF
        if waiting > q.size:
            raise RingError(f"guest moved used index from {q.last} to {index}")
        return waiting

    def wake(self) -> None:
        """Ask to be notified of what the driver offers from now on."""
        if self.events:
            self._put(self.queue.used + 4 + 8 * self.queue.size, (self.queue.last, 2))

    def take(self) -> Request | None:
        """The next chain; None where there is none."""
        request = self.peek()
        if request is not None:
            self.queue.last = (self.queue.last + 1) & 0xFFFF
        return request

    def peek(self) -> Request | None:
        """The next chain, which stays the next."""
        q = self.queue
        if not self.offered:
            return None
        head = self._number(q.avail + 4 + 2 * (q.last % q.size), 2)
        if head >= q.size:
            raise RingError(f"guest says index {head} is available")
        return self.chain(head)

    def chain(self, head: int) -> Request:
        """The chain that begins at a descriptor."""
        q = self.queue
        table, most, n = q.desc, q.size, head
        address, length, flags, following = self._descriptor(table, n)
        if flags & INDIRECT:
            if not length or length % DESCRIPTOR:
                raise RingError("invalid size for indirect buffer table")
            table, most, n = address, length // DESCRIPTOR, 0
            address, length, flags, following = self._descriptor(table, n)
        out: list[Part] = []
        into: list[Part] = []
        while True:
            if not flags & WRITE and into:
                raise RingError("incorrect order for descriptors")
            if not length:
                raise RingError("zero sized buffers are not allowed")
            if len(out) + len(into) >= MOST_SIZE:
                raise RingError("too many descriptors in a chain")
            self._check(address, length)
            (into if flags & WRITE else out).append(Part(address, length))
            if len(out) + len(into) > most:
                raise RingError("looped descriptor")
            if not flags & NEXT:
                return Request(head, tuple(out), tuple(into), self.memory)
            if following >= most:
                raise RingError(f"descriptor {following} follows, there are {most}")
            n = following
            address, length, flags, following = self._descriptor(table, n)

    def _check(self, address: int, length: int) -> None:
        """RingError where a part begins or ends outside memory."""
        for end in (address, address + length - 1):
            if self.memory.read(end, 1) is None:
                raise RingError("bogus descriptor or out of resources")

    def _descriptor(self, table: int, n: int) -> tuple[int, int, int, int]:
        data = self._bytes(table + DESCRIPTOR * n, DESCRIPTOR)
        fields = (data[:8], data[8:12], data[12:14], data[14:])
        address, length, flags, following = (self._of(one) for one in fields)
        return address, length, flags, following

    def give(self, head: int, written: int) -> None:
        """Hand a chain back with so many bytes written."""
        q = self.queue
        self._put(q.used + 4 + 8 * (self.used_index % q.size), (head, 4), (written, 4))
        self.used_index = (self.used_index + 1) & 0xFFFF
        self._put(q.used + 2, (self.used_index, 2))

    def wants_interrupt(self) -> bool:
        """Whether the driver wants to know of what has been handed back since this look began."""
        q = self.queue
        if self.used_index == self.before:
            return False
        if not self.events:
            return not self._number(q.avail, 2) & NO_INTERRUPT
        event = self._number(q.avail + 4 + 2 * q.size, 2)
        done = (self.used_index - self.before) & 0xFFFF
        return (self.used_index - event - 1) & 0xFFFF < done
