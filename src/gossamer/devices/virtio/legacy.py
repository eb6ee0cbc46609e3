"""The registers of the legacy interface, 20 or 24 ports before the device's configuration.

Source: VIRTIO 1.2, 4.1.4.10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gossamer.devices.pci import COMMAND, COMMAND_MASTER
from gossamer.devices.virtio.ring import MOST_SIZE

if TYPE_CHECKING:
    from gossamer.devices.virtio.pci import VirtioPci

FEATURES, DRIVER_FEATURES, ADDRESS, SIZE, SELECT, NOTIFY = 0, 4, 8, 12, 14, 16
STATUS, ISR, CONFIG_VECTOR, QUEUE_VECTOR, CONFIG = 18, 19, 20, 22, 24
PAGE_SHIFT: Final = 12
_LOW: Final = 0xFFFF_FFFF


class LegacyRegisters:
    """Registers by their offset; without MSI-X there are no vectors, and CONFIG comes earlier."""

    __slots__ = ("device",)

    def __init__(self, device: VirtioPci) -> None:
        self.device = device

    @property
    def start(self) -> int:
        """Where the device's configuration begins."""
        return CONFIG if self.device.msix.enabled else CONFIG_VECTOR

    def read(self, at: int, size: int) -> int:
        d = self.device
        if at >= self.start:
            return d.read_device(at - self.start, size, d.order)
        q = d.selected()
        match at:
            case 0:
                return d.host_features & _LOW
            case 4:
                return d.core.guest_features & _LOW
            case 8:
                return 0 if q is None else q.desc >> PAGE_SHIFT & _LOW
            case 12:
                return 0 if q is None else q.size
            case 14:
                return d.queue_sel
            case 18:
                return d.status
            case 19:
                return d.read_isr()
            case 20:
                return d.config_vector
            case 22:
                return 0xFFFF if q is None else q.vector
        return (1 << 8 * size) - 1

    def write(self, at: int, size: int, value: int) -> None:
        d = self.device
        if at >= self.start:
            d.write_device(at - self.start, size, value, d.order)
            return
        q = d.selected()
        match at:
            case 4:
                d.set_features(0 if value & 1 << 30 else value)
            case 8:
                if not value:
                    d.driver_reset()
                elif q is not None:
                    q.place(value << PAGE_SHIFT)
            case 14:
                if value < MOST_SIZE:
                    d.queue_sel = value
            case 16:
                d.notify(value)
            case 18:
                d.set_status(value & 0xFF)
                if value == 3:  # drivers from before Linux 2.6.34 do not switch it on
                    d.write_config(COMMAND, 2, d.command | COMMAND_MASTER)
            case 20:
                d.config_vector = d.common.vector(value)
            case 22:
                if q is not None:
                    q.vector = d.common.vector(value)
            case _:
                d.note(f"write to legacy register {at:#x}")
