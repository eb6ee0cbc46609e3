"""MSI: a function's interrupts as messages, with address and value in its configuration space.

Source: PCI Local Bus Specification 3.0, 6.8.1; 64 bits of address and no masks, as QEMU 7.2 has it.
"""

from __future__ import annotations

from typing import Final

from gossamer.devices.pci import PciDevice

CAPABILITY: Final = 0x05
SIZE: Final = 14
ENABLE, LONG = 0x0001, 0x0080
CHOSEN: Final = 0x0070
"""How many messages the guest allows, log2."""


class Msi:
    """`count` messages of a function; its capability is at `at` of configuration space."""

    __slots__ = ("at", "count", "device")

    def __init__(self, device: PciDevice, count: int, at: int, following: int) -> None:
        self.device, self.count, self.at = device, count, at
        control = LONG | (count.bit_length() - 1) << 1
        device.writable[at : at + SIZE] = bytes(SIZE)
        first = control << 16 | following << 8 | CAPABILITY
        device.define(at, 4, first, compared=0xFFFF_FFFF, writable=(ENABLE | CHOSEN) << 16)
        device.define(at + 4, 4, 0, writable=0xFFFF_FFFC)
        device.define(at + 8, 4, 0, writable=0xFFFF_FFFF)
        device.define(at + 12, 2, 0, writable=0xFFFF)

    @property
    def control(self) -> int:
        return self.device.read_config(self.at + 2, 2)

    @property
    def enabled(self) -> bool:
        return bool(self.control & ENABLE)

    @property
    def allowed(self) -> int:
        """How many messages the guest allows."""
        return min(1 << ((self.control & CHOSEN) >> 4), self.count)

    def notify(self, n: int) -> None:
        """Send message `n`, or the one that stands for it where the guest allows fewer."""
        allowed = self.allowed
        address = self.device.read_config(self.at + 4, 8)
        data = self.device.read_config(self.at + 12, 2)
        self.device.send_message(address, data & -allowed | n & allowed - 1)

    def set_message(self, address: int, data: int) -> None:
        """As a firmware sets it."""
        at = self.at + 4
        self.device.config[at : at + 10] = address.to_bytes(8, "little") + data.to_bytes(
            2, "little"
        )
