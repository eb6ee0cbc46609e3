"""SCSI RDMA Protocol as virtual SCSI speaks it: information units and data descriptors.

Sources: SRP (T10/1415-D), LoPAR 17.2.2 (their messages); answers as QEMU 7.2's `spapr-vscsi`.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack, unpack_from
from typing import Final

from gossamer.base.data import Data
from gossamer.devices.scsi.faults import PortError
from gossamer.devices.spapr.vio_bus import VioMemory

# Kinds of information units.
LOGIN, TASK, COMMAND = 0x00, 0x01, 0x02
LOGIN_RESPONSE, RESPONSE = 0xC0, 0xC1
#: Bytes of the largest one.
MOST: Final = 256
#: Requests that may be under way, and how many of them the guest may have.
LIMIT, GUESTS = 24, 22
DIRECT, INDIRECT = 1, 2
#: Formats that a login accepts: the bits of those two.
FORMATS: Final = 1 << DIRECT | 1 << INDIRECT
# Flags of a response.
RESPONSE_VALID, SENSE_VALID, OUT_OVER, OUT_UNDER, IN_OVER, IN_UNDER = (1 << n for n in range(6))
# Task management: functions, and how they ended.
ABORT_TASK, ABORT_TASK_SET, CLEAR_TASK_SET, LUN_RESET, CLEAR_ACA = 1, 2, 4, 8, 0x40
COMPLETE, FIELDS_INVALID, NOT_SUPPORTED, FAILED = 0, 2, 4, 5
DESCRIPTOR: Final = 16
#: Descriptors of one command.
MOST_DESCRIPTORS: Final = 4096


class Unit(Data):
    """An information unit of the guest's."""

    data: bytes

    @property
    def kind(self) -> int:
        return self.data[0]

    @property
    def tag(self) -> bytes:
        return self.data[8:16]

    @property
    def lun(self) -> int:
        return int.from_bytes(self.data[20:28], "big")

    @property
    def cdb(self) -> bytes:
        return self.data[32:48]


def place_of(lun: int) -> tuple[int, int, int] | None:
    """Channel, number, unit that a logical unit number of 64 bits means; None: nothing."""
    channel = number = 0
    for _ in range(4):
        first = lun >> 56 & 0xFF
        match first >> 6:
            case 0 if first:
                channel, number = first & 0x3F, lun >> 48 & 0xFF
                lun = lun << 16 & (1 << 64) - 1
            case 0:
                return channel, number, lun >> 48 & 0xFF
            case 1:
                return channel, number, lun >> 48 & 0x3FFF
            case 2:
                return lun >> 53 & 7, first & 0x3F, lun >> 48 & 0x1F
            case _:
                return None
    return channel, number, 0


def login_response(tag: bytes) -> bytes:
    head = pack(">B3xI8s", LOGIN_RESPONSE, GUESTS, tag)
    return head + pack(">IIHB25x", MOST, MOST, FORMATS, 0)


def response(
    unit: Unit, status: int, sense: bytes = b"", *, into: int = 0, out: int = 0, data: bytes = b""
) -> bytes:
    """The end of a command; `into`, `out`: bytes that did not move, `data`: a task's outcome."""
    flags = (RESPONSE_VALID if data else 0) | (SENSE_VALID if sense else 0)
    flags |= (IN_OVER if into else 0) | (OUT_OVER if out else 0)
    failed = status or any(data)
    wants = unit.data[1] >> (2 if failed else 1) & 1
    head = pack(">BB2xI8s", RESPONSE, wants, 1, unit.tag)
    rest = pack(">2xBBIIII", flags, status, out, into, len(sense), len(data))
    return head + rest + data + sense


# --- data -----------------------------------------------------------------------------------------


class Buffers:
    """The port of a command: the memory that its descriptors name, used from the front."""

    queues = True

    def __init__(self, memory: VioMemory, unit: Unit) -> None:
        self.memory = memory
        self._into = self._descriptors(unit, out=False)
        self._out = self._descriptors(unit, out=True)
        self._rest: dict[bool, tuple[int, int]] = {}
        self._none = {True: not unit.data[5] >> 4, False: not unit.data[5] & 0xF}

    def _descriptors(self, unit: Unit, *, out: bool) -> Iterator[tuple[int, int]]:
        """Address and length of each piece.  PortError: a table is not in memory."""
        data = unit.data
        formats = data[5] >> 4, data[5] & 0xF
        counts = data[6], data[7]
        at = 48 + (data[31] & ~3)
        if not out:
            at += _size(formats[0], counts[0])
        form, count = (formats[0], counts[0]) if out else (formats[1], counts[1])
        if form == DIRECT and at + DESCRIPTOR <= len(data):
            address, _, length = unpack_from(">QII", data, at)
            yield address, length
        elif form == INDIRECT and at + DESCRIPTOR + 4 <= len(data):
            yield from self._table(data, at, count)

    def _table(self, data: bytes, at: int, inside: int) -> Iterator[tuple[int, int]]:
        address, _, size = unpack_from(">QII", data, at)
        count = min(size // DESCRIPTOR, MOST_DESCRIPTORS)
        here = at + DESCRIPTOR + 4
        for n in range(count):
            if n < inside and here + DESCRIPTOR * (n + 1) <= len(data):
                row: bytes | None = data[here + DESCRIPTOR * n :][:DESCRIPTOR]
            else:
                row = self.memory.read(address + DESCRIPTOR * n, DESCRIPTOR)
            if row is None:
                raise PortError
            start, _, length = unpack_from(">QII", row)
            yield start, length

    def _pieces(self, length: int, *, out: bool) -> Iterator[tuple[int, int]]:
        """The next pieces of so many bytes together; what is left of the last one is kept."""
        source = self._out if out else self._into
        while length > 0:
            found = self._rest.pop(out, None) or next(source, None)
            if found is None:
                return
            address, size = found
            step = min(size, length)
            if step < size:
                self._rest[out] = address + step, size - step
            if step:
                yield address, step
            length -= step

    def give(self, data: bytes) -> int:
        if self._none[False]:  # no buffer is named: what would go there is skipped
            return len(data)
        done, view = 0, memoryview(data)
        for address, size in self._pieces(len(data), out=False):
            if not self.memory.write(address, view[done : done + size]):
                raise PortError
            done += size
        return done

    def take(self, length: int) -> bytes:
        if self._none[True]:
            return bytes(length)
        found = []
        for address, size in self._pieces(length, out=True):
            data = self.memory.read(address, size)
            if data is None:
                raise PortError
            found.append(data)
        return b"".join(found)


def _size(form: int, count: int) -> int:
    """Bytes that a format's descriptors take in an information unit."""
    if form == DIRECT:
        return DESCRIPTOR
    return DESCRIPTOR * count + DESCRIPTOR + 4 if form == INDIRECT else 0
