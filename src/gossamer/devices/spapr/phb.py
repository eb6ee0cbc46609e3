"""The PCI host bridge of a pseries: its identity, its interrupts, messages and DMA windows.

State as QEMU 7.2's `spapr_pci`; the services that a guest programs it with are in `pci_services`.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

from gossamer.base.bits import signed
from gossamer.base.data import Data
from gossamer.base.units import KiB
from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.devices.msi import Msi
from gossamer.devices.msix import MsiX
from gossamer.devices.pci import PciBus, PciDevice
from gossamer.devices.spapr.spapr import MSI_BITS, Spapr
from gossamer.devices.spapr.tce import PAGE_SHIFT, TceWindow, TranslatedRam
from gossamer.devices.spapr.xics import Ics
from gossamer.state.codec import I32, U32, U64, Buffer, Int
from gossamer.state.declare import compat, derived, wiring
from gossamer.state.layout import Nested, View

BUID: Final = 0x0800_0000_2000_0000
LSIS: Final = 4
#: Real addresses of its windows: ports, 32-bit memory, 64-bit memory.
IO_BASE, IO_SIZE = 0x2000_0000_0000, 0x1_0000
MEM_BASE, MEM_BUS, MEM_SIZE = 0x2000_8000_0000, 0x8000_0000, 0x8000_0000
MEM64_BASE, MEM64_SIZE = 0x2100_0000_0000, 0x100_0000_0000


class Places(Data):
    """Where a bridge's windows begin, and their bytes; `bus64`: bus address of `memory64`."""

    io: int = IO_BASE
    memory: int = MEM_BASE
    memory_size: int = MEM_SIZE
    memory64: int = MEM64_BASE
    memory64_size: int = MEM64_SIZE
    bus64: int = MEM64_BASE

    @property
    def all_memory(self) -> int:
        """Bytes of both windows into memory."""
        return self.memory_size + self.memory64_size


#: The DMA window that is there from the start: bus address 0, 1 GiB in pages of 4 KiB.
WINDOW, WINDOW_ENTRIES, WINDOW_BYTES = 0x8000_0000, 0x4_0000, 0x4000_0000
#: Where a second one begins.
WINDOW64: Final = 0x0800_0000_0000_0000
#: Where messages go.
MSI_WINDOW, MSI_WINDOW_SIZE = 0x400_0000_0000, 64 * KiB
_MESSAGES: Final = Struct(">III")


def _put_buid(phb: Phb, value: int) -> None:
    if value != signed(BUID, 64):
        raise ValueError(f"must be {BUID:#x}, got {value:#x}")


def _place(name: str, codec: Int, get: Callable[[Phb], int]) -> View:
    """An address or a size that both sides must have alike."""

    def put(phb: Phb, value: int) -> None:
        if value != get(phb):
            raise ValueError(f"must be {get(phb):#x}, got {value:#x}")

    return View(name, codec, get, put, compat="says_places")


def _lsi(n: int) -> Nested:
    def put(phb: Phb, value: int) -> None:
        if value != phb.first_lsi + n:
            raise ValueError(f"must be {phb.first_lsi + n:#x}, got {value:#x}")

    number = View("irq", Int("uint32 equal", 4), lambda phb: phb.first_lsi + n, put)
    return Nested(
        f"lsi_table[{n}]", lambda phb: phb, vmsd="spapr_pci/lsi", version=1, layout=[number]
    )


def _put_count(phb: Phb, count: int) -> None:
    if not 0 <= count <= MSI_BITS:
        raise ValueError(f"must be 0..{MSI_BITS}, got {count}")
    phb.messages = dict.fromkeys(range(count), (0, 0))


def _rows(phb: Phb) -> bytes:
    rows = (_MESSAGES.pack(key, *value) for key, value in phb.messages.items())
    return b"".join(rows)


def _put_rows(phb: Phb, data: bytearray) -> None:
    count = len(phb.messages)
    phb.messages = {key: (first, num) for key, first, num in _MESSAGES.iter_unpack(data)}
    if len(phb.messages) != count:
        raise ValueError("a function is listed twice")


class Phb(Device):
    """Bridge 0.  `first_lsi`: the interrupt source of INTA; `first_msi` that of the first message.

    `messages`: by configuration address, the first source of a function's and their number.
    """

    vmsd = "spapr_pci"
    version = 2
    minimum = 2
    layouts = {
        "": [
            View(
                "buid", Int("int64 equal", 8, signed=True), lambda phb: signed(BUID, 64), _put_buid
            ),
            _place("mig_liobn", U32, lambda phb: WINDOW),
            _place("mig_mem_win_addr", U64, lambda phb: phb.places.memory),
            _place("mig_mem_win_size", U64, lambda phb: phb.places.all_memory),
            _place("mig_io_win_addr", U64, lambda phb: phb.places.io),
            _place("mig_io_win_size", U64, lambda phb: IO_SIZE),
            *(_lsi(n) for n in range(LSIS)),
            View("msi_devs_num", I32, lambda phb: len(phb.messages), _put_count),
            View(
                "msi_devs",
                Buffer(0),
                _rows,
                _put_rows,
                sized=lambda phb: Buffer(_MESSAGES.size * len(phb.messages)),
            ),
        ]
    }

    #: Version 2.7 and earlier: the section has the places of its windows.
    says_places: bool = compat(False)
    messages: dict[int, tuple[int, int]] = derived()
    first_lsi: int = wiring()
    first_msi: int = wiring()
    bus: PciBus = wiring()
    ics: Ics = wiring()
    spapr: Spapr = wiring()
    windows: list[TceWindow] = wiring()
    dma: TranslatedRam = wiring()
    places: Places = wiring()

    def __init__(
        self,
        clock: Clock,
        bus: PciBus,
        ics: Ics,
        spapr: Spapr,
        windows: list[TceWindow],
        dma: TranslatedRam,
        *,
        first_lsi: int,
        first_msi: int,
        places: Places,
    ) -> None:
        super().__init__(clock)
        self.idstr, self.places = "spapr_pci", places
        self.first_lsi, self.first_msi = first_lsi, first_msi
        self.bus, self.ics, self.spapr, self.windows, self.dma = bus, ics, spapr, windows, dma
        self.messages = {}
        bus.message = self.message

    def reset(self) -> None:
        super().reset()
        for address in tuple(self.messages):
            self.release(address)

    # --- messages ---------------------------------------------------------------------------------

    def message(self, address: int, data: int) -> None:
        """A function writes 32 bits: in the window for messages it is an interrupt."""
        if MSI_WINDOW <= address < MSI_WINDOW + MSI_WINDOW_SIZE:
            self.ics.pulse(data)
        elif not self.dma.write(address, data.to_bytes(4, "little")):
            self.note("a message to nowhere")

    def allocate(self, count: int, *, aligned: bool) -> int:
        """The first of `count` sources that are free in a row; 0 where there are none."""
        step = 1 << (count - 1).bit_length() if aligned else 1
        if not self.first_msi:
            return self._allocate_in_order(count, step)
        taken, mask = self.spapr.irq_map, (1 << count) - 1
        for n in range(0, MSI_BITS - count + 1, step):
            if not taken >> n & mask:
                self.spapr.irq_map = taken | mask << n
                for k in range(count):
                    self.ics.claim(self.first_msi + n + k)
                return self.first_msi + n
        return 0

    def _allocate_in_order(self, count: int, step: int) -> int:
        """The same where messages are any sources that nothing else has."""
        irqs, first = self.ics.irqs, self.ics.first
        for n in range(0, len(irqs) - count + 1, step):
            if not any(one.flags for one in irqs[n : n + count]):
                for k in range(count):
                    self.ics.claim(first + n + k)
                return first + n
        return 0

    def release(self, address: int) -> None:
        """Give back a function's sources."""
        first, count = self.messages.pop(address)
        if not self.first_msi:
            for number in range(first, first + count):
                if self.ics.source(number) is not None:
                    self.ics.release(number)
            return
        n = first - self.first_msi
        for k in range(count):
            if n + k >= 0 and self.spapr.irq_map >> n + k & 1:
                self.ics.release(first + k)
        if n >= 0:
            self.spapr.irq_map &= ~((1 << count) - 1 << n)

    # --- functions and DMA windows ----------------------------------------------------------------

    def function(self, buid: int, address: int) -> PciDevice | None:
        """The function that a configuration address names."""
        if buid != BUID or address >> 16 & 0xFF:
            return None
        return self.bus.functions.get(address >> 8 & 0xFF)

    def reset_windows(self) -> None:
        for window in self.windows:
            window.reset()

    @property
    def free_window(self) -> TceWindow | None:
        return next((one for one in self.windows if not one.count), None)

    def start_of_next(self) -> int:
        """Bus address of the next window: 0 where there is none."""
        return WINDOW64 if any(one.count for one in self.windows) else 0


def msi_of(function: PciDevice) -> Msi | None:
    """A function's MSI, if it has it."""
    found = getattr(function, "msi", None)
    return found if isinstance(found, Msi) else None


def msix_of(function: PciDevice) -> MsiX | None:
    """A function's MSI-X, if it has it."""
    found = getattr(function, "msix", None)
    return found if isinstance(found, MsiX) else None


__all__ = ["BUID", "LSIS", "PAGE_SHIFT", "WINDOW", "Phb", "msi_of", "msix_of"]
