"""Translation control entries: which bus addresses of a DMA window are which memory.

Source: LoPAR 14.5.4.2 (H_GET_TCE and its kin); state as QEMU 7.2's `spapr_iommu`.  An entry is a
real address with two bits: the device may read, the device may write.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import Final

from gossamer.base.wire import WireReader, WireWriter
from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.devices.spapr.calls import (
    PARAMETER,
    SUCCESS,
    GuestRam,
    Handler,
    Registers,
    arguments,
    results,
)
from gossamer.state.codec import U32, U64, Array, Codec, Int
from gossamer.state.declare import boolean, derived, u32, u64, wiring
from gossamer.state.layout import View, subsection

H_GET_TCE, H_PUT_TCE, H_STUFF_TCE, H_PUT_TCE_INDIRECT = 0x1C, 0x20, 0x138, 0x13C
PAGE_SHIFT: Final = 12
#: Of an entry.
READ, WRITE = 1, 2
#: Entries that one H_PUT_TCE_INDIRECT takes: a page of them.
MOST_INDIRECT: Final = 512
#: Entries of a window: those of 4 GiB in pages of 4 KiB.
MOST: Final = 0x10_0000


class Words(Array):
    """Entries as their bytes: a window has a quarter of a million of them."""

    def put(self, w: WireWriter, value: bytes) -> None:  # type: ignore[override]
        w.raw(value)

    def get(self, r: WireReader) -> bytes:  # type: ignore[override]
        return bytes(r.take(self.size))


def swapped(entries: array[int]) -> array[int]:
    """The same with the bytes of each in the other order: big-endian is the wire's."""
    out = entries[:]
    out.byteswap()
    return out


def _entries(window: TceWindow) -> Codec:
    return Words(U64, window.count)


def _put_number(window: TceWindow, value: int) -> None:
    if value != window.liobn:
        raise ValueError(f"must be {window.liobn:#x}, got {value:#x}")


def _put_count(window: TceWindow, count: int) -> None:
    if count > MOST:
        raise ValueError(f"a window of {count} entries, expected {MOST} at the most")
    window.set_size(count)


class TceWindow(Device):
    """A DMA window: its entries from bus address `bus_offset` on, each for 2**`page_shift` bytes.

    `count` 0: there is no such window now.  `start`: entries at power on; `main`: it is the one
    that a bridge has then.
    """

    vmsd = "spapr_iommu"
    version = 3
    minimum = 2

    bypass: bool = boolean()
    def_win: bool = boolean()
    layouts = {
        "": [
            View("liobn", Int("uint32 equal", 4), lambda w: w.liobn, _put_number),
            View("mig_nb_table", U32, lambda w: w.count, _put_count),
            "bypass",
            View(
                "mig_table",
                Words(U64, 0),
                lambda w: swapped(w.entries).tobytes(),
                lambda w, data: w.set_entries(data),
                sized=_entries,
            ),
            "def_win",
        ]
    }
    other = subsection("spapr_iommu_ex")
    bus_offset: int = u64(within=other)
    page_shift: int = u32(within=other)

    liobn: int = wiring()
    main: bool = wiring()
    start: int = wiring()
    entries: array[int] = derived()

    def __init__(self, clock: Clock, liobn: int, *, start: int = 0, main: bool = True) -> None:
        super().__init__(clock)
        self.idstr = "spapr_iommu"
        self.liobn, self.main, self.start = liobn, main and start > 0, start
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.def_win = self.main
        self.close()
        if self.start:
            self.open(PAGE_SHIFT, 0, self.start)

    def open(self, page_shift: int, bus_offset: int, count: int) -> None:
        """There is such a window, its entries all empty."""
        self.page_shift, self.bus_offset = page_shift, bus_offset
        self.set_size(count)

    def close(self) -> None:
        """There is no window."""
        self.open(0, 0, 0)

    def post_load(self, version: int) -> None:
        if self.count and not PAGE_SHIFT <= self.page_shift < 64:
            raise ValueError(f"page_shift must be {PAGE_SHIFT}..63, got {self.page_shift}")

    @property
    def count(self) -> int:
        return len(self.entries)

    def set_size(self, count: int) -> None:
        """So many entries, all empty."""
        self.entries = array("Q", bytes(8 * count))

    def set_entries(self, data: bytes) -> None:
        self.entries = swapped(array("Q", data))

    @other.needed
    def other_needed(self) -> bool:
        return bool(self.bus_offset) or self.page_shift != PAGE_SHIFT

    def place(self, address: int, count: int = 1) -> int:
        """Which entry is for a bus address; -1 where `count` of them are not in the window."""
        n = (address - self.bus_offset) >> self.page_shift
        return n if n >= 0 and n + count <= self.count else -1

    def holds(self, address: int) -> bool:
        """Whether a bus address is one of the window's."""
        return self.count > 0 and self.place(address) >= 0


class TranslatedRam:
    """Guest memory as a device sees it: each page by its entry, which says what is allowed."""

    def __init__(self, windows: Iterable[TceWindow], ram: GuestRam) -> None:
        self.windows, self.ram = tuple(windows), ram

    def _pieces(self, address: int, length: int, wanted: int) -> list[tuple[int, int]] | None:
        """Real address and length of each piece; None where an entry does not allow it."""
        window = next((one for one in self.windows if one.holds(address)), None)
        if window is None:
            return None
        page, pieces = 1 << window.page_shift, []
        while length > 0:
            n = window.place(address)
            entry = window.entries[n] if n >= 0 else 0
            offset = address & (page - 1)
            size = min(length, page - offset)
            ra = (entry & -(1 << PAGE_SHIFT) & -page) + offset
            if not entry & wanted or not self.ram.has(ra, size):
                return None
            pieces.append((ra, size))
            address, length = address + size, length - size
        return pieces

    def may(self, address: int, length: int) -> bool:
        """Whether all of it may be read and written."""
        if not length:
            return True
        return all(self._pieces(address, length, one) is not None for one in (READ, WRITE))

    def read(self, address: int, length: int) -> bytes | None:
        pieces = self._pieces(address, length, READ)
        if pieces is None:
            return None
        return b"".join(self.ram.read(ra, size) for ra, size in pieces)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> bool:
        pieces = self._pieces(address, len(data), WRITE)
        if pieces is None:
            return False
        done = 0
        for ra, size in pieces:
            self.ram.write(ra, bytes(data[done : done + size]))
            done += size
        return True


def tce_calls(by_number: Mapping[int, TceWindow], ram: GuestRam) -> dict[int, Handler]:
    """The hypercalls on these windows, each by its number; there may come more."""

    def found(regs: Registers, count: int = 1) -> tuple[TceWindow | None, int]:
        window = by_number.get(regs.get("gpr", 4))
        place = -1 if window is None else window.place(regs.get("gpr", 5), count)
        return (window, place) if place >= 0 else (None, -1)

    def get(regs: Registers) -> int:
        window, n = found(regs)
        if window is None:
            return PARAMETER
        results(regs, window.entries[n])
        return SUCCESS

    def put(regs: Registers) -> int:
        window, n = found(regs)
        if window is None:
            return PARAMETER
        window.entries[n] = regs.get("gpr", 6)
        return SUCCESS

    def stuff(regs: Registers) -> int:
        _, _, value, count = arguments(regs, 4)
        window, n = found(regs, min(count, MOST + 1))
        if window is None:
            return PARAMETER
        window.entries[n : n + count] = array("Q", [value]) * count
        return SUCCESS

    def indirect(regs: Registers) -> int:
        _, _, address, count = arguments(regs, 4)
        if count > MOST_INDIRECT or address & 0xFFF or not ram.has(address, 8 * count):
            return PARAMETER
        window, n = found(regs, count)
        if window is None:
            return PARAMETER
        window.entries[n : n + count] = swapped(array("Q", ram.read(address, 8 * count)))
        return SUCCESS

    return {H_GET_TCE: get, H_PUT_TCE: put, H_STUFF_TCE: stuff, H_PUT_TCE_INDIRECT: indirect}
