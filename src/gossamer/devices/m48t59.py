"""M48T08: 8 KiB of battery-backed memory with a clock in its last eight bytes.

Source: ST M48T08 data sheet; docs page m48t59.md.  The clock counts with virtual time; its year is
counted from a base year (QEMU's 1968).
"""

from __future__ import annotations

from typing import Final

from gossamer.base.civil import date_of, days_of
from gossamer.base.units import NS_PER_S
from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.core.region import Region
from gossamer.state.codec import Buffer
from gossamer.state.declare import buffer, i64, u8, u16, wiring
from gossamer.state.layout import View, subsection

SIZE: Final = 0x2000
BASE_YEAR: Final = 1968
#: The clock shows times up to then, and begins again.
MOST_SECONDS: Final = 1 << 32
#: Registers of the clock, in the last bytes.
CONTROL, SECONDS, MINUTES, HOURS, DAY, DATE, MONTH, YEAR = range(SIZE - 8, SIZE)
STOP: Final = 0x80
DAY_SECONDS: Final = 86_400


def bcd(value: int) -> int:
    return value // 10 % 10 << 4 | value % 10


def from_bcd(value: int) -> int:
    return (value >> 4) * 10 + (value & 15)


class M48t59(Device):
    """The chip.  `seconds`: what it shows at virtual time 0, since 1970."""

    vmsd = "m48t59"
    version = 1
    minimum = 1

    lock: int = u8(1)
    addr: int = u16()
    layouts = {
        "": ["lock", "addr", View("buffer", Buffer(0), lambda chip: b"", lambda chip, value: None)]
    }
    memory = subsection(
        "m48t59/gossamer", ours=True, lost="what the clock's memory holds, and how it was set"
    )
    data: bytearray = buffer(SIZE, within=memory)
    epoch: int = i64(within=memory)

    seconds: int = wiring()

    def __init__(self, clock: Clock, seconds: int) -> None:
        super().__init__(clock)
        self.idstr = "m48t59"
        self.seconds = seconds
        super().reset()
        self.lock = 0
        self.epoch = seconds

    def reset(self) -> None:
        """The battery keeps all of it."""

    def region(self) -> Region:
        return Region("m48t59.nvram", SIZE, self.read, self.write, widths=(1,))

    # --- the clock --------------------------------------------------------------------------------

    @property
    def shown(self) -> int:
        """What the clock shows, seconds since 1970."""
        return (self.epoch + self.clock.now // NS_PER_S) % MOST_SECONDS

    def _fields(self) -> list[int]:
        days, second = divmod(self.shown, DAY_SECONDS)
        year, month, date = date_of(days)
        clock = (second % 60, second // 60 % 60, second // 3600)
        return [bcd(n) for n in (*clock, (days + 4) % 7 + 1, date, month, year - BASE_YEAR)]

    def read(self, offset: int, _size: int) -> int:
        if SECONDS <= offset <= YEAR:
            value = self._fields()[offset - SECONDS]
            return value | self.data[offset] & STOP if offset == SECONDS else value
        return self.data[offset]

    def write(self, offset: int, _size: int, value: int) -> None:
        value &= 0xFF
        if not SECONDS <= offset <= YEAR:
            self.data[offset] = value
            return
        fields = self._fields()
        fields[offset - SECONDS] = value & ~STOP if offset == SECONDS else value
        self.data[SECONDS] = value & STOP if offset == SECONDS else self.data[SECONDS]
        second, minute, hour, _, date, month, year = map(from_bcd, fields)
        try:
            days = days_of(BASE_YEAR + year, month, date)
        except ValueError:
            self.note(f"no such time: byte {offset:#x} is {value:#04x}")
            return
        wanted = days * DAY_SECONDS + hour * 3600 + minute * 60 + second
        self.epoch += wanted - self.shown
