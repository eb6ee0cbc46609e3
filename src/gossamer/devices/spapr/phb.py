"""The PCI host bridge of a pseries, with nothing plugged in: its identity and its interrupts.

State as QEMU 7.2's `spapr_pci`.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import signed
from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.state.codec import I32, Equal, Int
from gossamer.state.declare import wiring
from gossamer.state.layout import Constant, Nested, View

BUID: Final = 0x0800_0000_2000_0000
LSIS: Final = 4
#: Real addresses of its windows: ports, 32-bit memory, 64-bit memory.
IO_BASE, IO_SIZE = 0x2000_0000_0000, 0x1_0000
MEM_BASE, MEM_BUS, MEM_SIZE = 0x2000_8000_0000, 0x8000_0000, 0x8000_0000
MEM64_BASE, MEM64_SIZE = 0x2100_0000_0000, 0x100_0000_0000
#: The DMA window that is there from the start: bus address 0, 1 GiB in pages of 4 KiB.
WINDOW, WINDOW_ENTRIES, WINDOW_BYTES = 0x8000_0000, 0x4_0000, 0x4000_0000


def _put_buid(phb: Phb, value: int) -> None:
    if value != signed(BUID, 64):
        raise ValueError(f"must be {BUID:#x}, got {value:#x}")


def _lsi(n: int) -> Nested:
    def put(phb: Phb, value: int) -> None:
        if value != phb.first_lsi + n:
            raise ValueError(f"must be {phb.first_lsi + n:#x}, got {value:#x}")

    number = View("irq", Int("uint32 equal", 4), lambda phb: phb.first_lsi + n, put)
    return Nested(
        f"lsi_table[{n}]", lambda phb: phb, vmsd="spapr_pci/lsi", version=1, layout=[number]
    )


class Phb(Device):
    """Bridge 0.  `first_lsi`: the interrupt source of INTA."""

    vmsd = "spapr_pci"
    version = 2
    minimum = 2
    layouts = {
        "": [
            View(
                "buid", Int("int64 equal", 8, signed=True), lambda phb: signed(BUID, 64), _put_buid
            ),
            *(_lsi(n) for n in range(LSIS)),
            Constant("msi_devs_num", Equal(I32, 0)),
        ]
    }

    first_lsi: int = wiring()

    def __init__(self, clock: Clock, first_lsi: int) -> None:
        super().__init__(clock)
        self.idstr = "spapr_pci"
        self.first_lsi = first_lsi
