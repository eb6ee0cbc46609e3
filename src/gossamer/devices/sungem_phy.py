"""The Ethernet PHY behind a GEM: a Broadcom BCM5201 at address 0.

Source: IEEE 802.3 22.2.4 (MII registers); Linux drivers/net/sungem_phy.c; identification as
QEMU 7.2 shows it (docs page sungem.md).
"""

from __future__ import annotations

from typing import Final

from gossamer.state.codec import U16
from gossamer.state.declare import Stateful, array, wiring

BMCR, BMSR, ID_HIGH, ID_LOW, ADVERTISE, PARTNER, EXPANSION = range(7)
AUX_STATUS: Final = 0x18
BMCR_RESET: Final = 0x8000
BMCR_RESTART: Final = 0x0200
BMCR_WRITABLE: Final = 0x7D80
CAPABLE: Final = 0x7808
"""100 and 10 Mb/s, full and half duplex, can negotiate."""
NEGOTIATED: Final = 0x0024
"""Negotiation complete, link up."""
FULL_100: Final = 0x0100
IDENTITY: Final = (0x0040, 0x6210)
NONE: Final = 0xFFFF
"""What the bus floats to where no PHY answers."""


class Phy(Stateful):
    """32 registers of 16 bits; what follows from the cable is computed."""

    vmsd = "gossamer_phy"

    registers: list[int] = array(U16, 32, [0x3100, 0, 0, 0, 0x01E1] + [0] * 27)

    #: A cable with a partner is plugged in.
    link: bool = wiring()

    def __init__(self, *, link: bool) -> None:
        super().__init__()
        self.link = link

    @property
    def fresh(self) -> bool:
        """As after reset."""
        return self.registers == [0x3100, 0, 0, 0, 0x01E1] + [0] * 27

    def read(self, n: int) -> int:
        match n:
            case 1:
                return CAPABLE | (NEGOTIATED if self.link else 0)
            case 2 | 3:
                return IDENTITY[n - ID_HIGH]
            case 5:
                return FULL_100 if self.link else 0
            case 6:
                return 1 if self.link else 0
            case 0x18:
                return 3 if self.link else 0
            case _:
                return self.registers[n]

    def write(self, n: int, value: int) -> None:
        if n == BMCR:
            if value & BMCR_RESET:
                self.reset()
            else:
                self.registers[n] = value & BMCR_WRITABLE & ~BMCR_RESTART
        elif n not in (BMSR, ID_HIGH, ID_LOW, PARTNER, EXPANSION, AUX_STATUS):
            self.registers[n] = value
