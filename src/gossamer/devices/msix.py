"""MSI-X: a function's interrupts as messages, with their table and pending bits behind a BAR.

Source: PCI Local Bus Specification 3.0, 6.8.2; table and pending bits as QEMU 7.2 places them (the
table at 0, the pending bits in the second half of a page).
"""

from __future__ import annotations

from typing import Final

from gossamer.core.region import Region
from gossamer.devices.messages import Messages
from gossamer.devices.pci import PciDevice

CAPABILITY: Final = 0x11
ENTRY: Final = 16
PENDING: Final = 0x800
SIZE: Final = 0x1000
ENABLE, FUNCTION_MASK = 0x8000, 0x4000
MASKED: Final = 1
#: Control, as 32 bits from offset 12 of an entry on.
CONTROL: Final = 12


class MsiX(Messages):
    """Messages with a table behind a BAR; `start`: where the table is in it."""

    __slots__ = ("pending", "region", "table")
    on = ENABLE

    def __init__(
        self, device: PciDevice, count: int, at: int, bar: int, following: int, start: int = 0
    ) -> None:
        super().__init__(device, count, at)
        device.define(at, 4, (count - 1) << 16 | following << 8 | CAPABILITY, compared=0x3FFF_FFFF)
        device.define(at + 4, 4, start | bar, compared=0xFFFF_FFFF)
        device.define(at + 8, 4, start + PENDING | bar, compared=0xFFFF_FFFF)
        device.writable[at : at + 12] = bytes(12)
        device.writable[at + 3] = (ENABLE | FUNCTION_MASK) >> 8
        self.region = Region("msix", SIZE, self.read, self.write, little=True)
        self.reset()

    def reset(self) -> None:
        self.table = bytearray(ENTRY * self.count)
        for n in range(self.count):
            self.table[ENTRY * n + CONTROL] = MASKED
        self.pending = bytearray(-(-self.count // 8))

    def is_masked(self, n: int) -> bool:
        off = self.control & (ENABLE | FUNCTION_MASK) != ENABLE
        return off or bool(self.table[ENTRY * n + CONTROL] & MASKED)

    def notify(self, n: int) -> None:
        """Send message `n`, or keep it pending while it is masked."""
        if n >= self.count:
            return
        if self.is_masked(n):
            self.pending[n // 8] |= 1 << n % 8
            return
        entry = self.table[ENTRY * n : ENTRY * n + CONTROL]
        address = int.from_bytes(entry[:8], "little")
        self.device.send_message(address, int.from_bytes(entry[8:], "little"))

    def set_message(self, n: int, address: int, data: int) -> None:
        """As a firmware sets it: the mask is taken away."""
        entry = address.to_bytes(8, "little") + data.to_bytes(4, "little")
        self.table[ENTRY * n : ENTRY * n + ENTRY] = entry + bytes(4)
        self.release()

    def aim(self, address: int, first: int, count: int) -> None:
        for n in range(count):
            self.set_message(n, address, first + n)

    def forget(self) -> None:
        for n in range(self.count):
            self.set_message(n, 0, 0)

    def release(self) -> None:
        """Send what is pending and not masked any more."""
        for n in range(self.count):
            if self.pending[n // 8] >> n % 8 & 1 and not self.is_masked(n):
                self.pending[n // 8] &= ~(1 << n % 8)
                self.notify(n)

    def read(self, offset: int, size: int) -> int:
        if offset + size <= len(self.table):
            return int.from_bytes(self.table[offset : offset + size], "little")
        at = offset - PENDING
        return int.from_bytes(self.pending[at : at + size], "little") if at >= 0 else 0

    def write(self, offset: int, size: int, value: int) -> None:
        """The table can be written, by words."""
        if offset + size <= len(self.table):
            self.table[offset : offset + size] = value.to_bytes(size, "little")
            self.release()
