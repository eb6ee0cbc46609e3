"""Events that a guest fetches by check-exception: their log entries and the queue of them.

Sources: LoPAR 10.3.2 (RTAS error log, version 6: fixed part, main section, sections PH, UH, EP);
which of it a pressed power button fills in, and the queue on the wire, as QEMU 7.2 has them.
"""

from __future__ import annotations

from struct import pack
from typing import Final

from gossamer.base.civil import date_of
from gossamer.base.data import Data
from gossamer.base.units import NS_PER_S
from gossamer.base.wire import WireReader, WireWriter

#: Bits of a mask of event classes (LoPAR table 90).
CLASS_EPOW: Final = 0x4000_0000
#: Fixed part: version 6, an event, not recovered, with an extended log; and its type.
_FIXED, TYPE_EPOW = 0x0634_0000, 0x40
#: The longest log (rtas-error-log-max), and how many are kept until the guest fetches them.
LONGEST: Final = 2048
MOST: Final = 256

_DAY_SECONDS: Final = 86_400
# Section EP: the system shall shut down; normally, by an operator.
_SHUTDOWN, _NORMAL, _OPERATOR = 3, 1, 1

Entry = tuple[int, bytes]
"""The fixed part's first 32 bits, and the extended log."""


def power_off(number: int, ns: int) -> Entry:
    """That the power button was pressed: log `number`, at `ns` since 1970."""
    main = pack(">BxBx8x4s", 0x86, 0x8E, b"IBM")
    header = pack(">2sH4xII8xc2xB8xIII", b"PH", 48, *_stamp(ns), b"H", 3, 0, number, 0)
    user = pack(">2sH4xB2xB12x", b"UH", 24, 0xA0, 0xD0)
    epow = pack(">2sHB3xBBB9x", b"EP", 20, 2, _SHUTDOWN, _NORMAL, _OPERATOR)
    return _FIXED | TYPE_EPOW, main + header + user + epow


def _stamp(ns: int) -> tuple[int, int]:
    """Date and time, as digits of 4 bits: YYYYMMDD, hhmmss00."""
    days, second = divmod(ns // NS_PER_S, _DAY_SECONDS)
    year, month, day = date_of(days)
    time = f"{second // 3600:02}{second // 60 % 60:02}{second % 60:02}00"
    return int(f"{year % 10_000:04}{month:02}{day:02}", 16), int(time, 16)


def as_bytes(entry: Entry) -> bytes:
    """As the guest gets it."""
    summary, log = entry
    return pack(">II", summary, len(log)) + log


class Queue(Data):
    """Entries on the wire: 1, fixed part, length, log, for each; 0.  `size` is of all."""

    size: int
    kind: str = "qtailq"

    def put(self, w: WireWriter, value: list[Entry]) -> None:
        for entry in value:
            w.uint(1, 1)
            w.raw(as_bytes(entry))
        w.uint(0, 1)

    def get(self, r: WireReader) -> list[Entry]:
        found: list[Entry] = []
        while more := r.uint(1):
            if more != 1:
                raise r.error(f"1 (an event) or 0 (the end) is expected, got {more}")
            if len(found) == MOST:
                raise r.error(f"more than {MOST} events")
            summary, length = r.uint(4), r.uint(4)
            if summary & 0xFF != TYPE_EPOW:
                raise r.error(f"an event of type {summary & 0xFF:#x}, only EPOW (0x40) is known")
            if length > LONGEST:
                raise r.error(f"a log of {length} bytes, expected {LONGEST} at the most")
            found.append((summary, bytes(r.take(length))))
        return found

    def zero(self) -> list[Entry]:
        return []


def queue_of(entries: list[Entry]) -> Queue:
    """How `entries` are written."""
    return Queue(1 + sum(9 + len(log) for _, log in entries))
