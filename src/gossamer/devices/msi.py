"""MSI: a function's interrupts as messages, with address and value in its configuration space.

Source: PCI Local Bus Specification 3.0, 6.8.1; 64 bits of address and no masks, as QEMU 7.2 has it.
"""

from __future__ import annotations

from typing import Final

from gossamer.devices.messages import Messages
from gossamer.devices.pci import PciDevice

CAPABILITY: Final = 0x05
SIZE: Final = 14
ENABLE, LONG = 0x0001, 0x0080
CHOSEN: Final = 0x0070
"""How many messages the guest allows, log2."""


class Msi(Messages):
    """Messages whose one address and data stand in configuration space."""

    __slots__ = ()
    on = ENABLE

    def __init__(self, device: PciDevice, count: int, at: int, following: int) -> None:
        super().__init__(device, count, at)
        control = LONG | (count.bit_length() - 1) << 1
        device.writable[at : at + SIZE] = bytes(SIZE)
        first = control << 16 | following << 8 | CAPABILITY
        device.define(at, 4, first, compared=0xFFFF_FFFF, writable=(ENABLE | CHOSEN) << 16)
        device.define(at + 4, 4, 0, writable=0xFFFF_FFFC)
        device.define(at + 8, 4, 0, writable=0xFFFF_FFFF)
        device.define(at + 12, 2, 0, writable=0xFFFF)

    @property
    def allowed(self) -> int:
        return min(1 << ((self.control & CHOSEN) >> 4), self.count)

    def notify(self, n: int) -> None:
        """Send message `n`, or the one that stands for it where the guest allows fewer."""
        allowed = self.allowed
        address = self.device.read_config(self.at + 4, 8)
        data = self.device.read_config(self.at + 12, 2)
        self.device.send_message(address, data & -allowed | n & allowed - 1)

    def aim(self, address: int, first: int, count: int) -> None:
        """The guest has chosen the count."""
        at, data = self.at + 4, first.to_bytes(2, "little")
        self.device.config[at : at + 10] = address.to_bytes(8, "little") + data

    def forget(self) -> None:
        self.aim(0, 0, 0)
