"""The root hub of an xHCI controller: its ports.

Source: xHCI 1.1, 5.4.8 (PORTSC), 4.15 (suspend and resume); docs page xhci.md.
"""

from __future__ import annotations

from typing import Final

from gossamer.devices.usb.device import UsbFunction
from gossamer.state.declare import Stateful, u32, wiring

PORT_STATUS: Final = 34
"""The event that reports a change."""
CONNECTED, ENABLED, OVERCURRENT, RESET, POWER = 1, 2, 8, 0x10, 0x200
LINK: Final = 0x1E0
U0, U3, DISABLED, RX_DETECT, POLLING, RESUME = (n << 5 for n in (0, 3, 4, 5, 7, 15))
SPEED: Final = 10
LINK_WRITE: Final = 0x1_0000
CONNECT_CHANGE, ENABLE_CHANGE, WARM_CHANGE = 1 << 17, 1 << 18, 1 << 19
RESET_CHANGE, LINK_CHANGE = 1 << 21, 1 << 22
CHANGES: Final = 0xFE_0000
WAKE: Final = 0xE00_0000
"""Wake on connect, disconnect, overcurrent."""
WARM_RESET: Final = 1 << 31


class Port(Stateful):
    """A port; devices are in those of USB 2 (`takes`) only."""

    vmsd = "xhci-port"
    version = 1
    minimum = 1

    portsc: int = u32()

    takes: bool = wiring()

    def __init__(self, takes: bool) -> None:
        super().__init__()
        self.takes = takes

    def show(self, device: UsbFunction | None) -> None:
        """Power on, reset, or a device that came or went."""
        self.portsc = POWER | CONNECT_CHANGE
        if device is None:
            self.portsc |= RX_DETECT
        else:
            self.portsc |= CONNECTED | POLLING | device.speed << SPEED

    def write(self, value: int, device: UsbFunction | None) -> bool:
        """Write PORTSC; whether a change came."""
        if value & (RESET | WARM_RESET):
            return self._reset(device)
        self.portsc &= ~(value & CHANGES)
        before = self.portsc
        if value & LINK_WRITE:
            self._link(value & LINK)
        kept = POWER | WAKE
        self.portsc = self.portsc & ~kept | value & kept
        return bool(self.portsc & ~before & CHANGES)

    def _reset(self, device: UsbFunction | None) -> bool:
        if device is None:
            return False
        before = self.portsc
        self.portsc = self.portsc & ~LINK | ENABLED | U0 | RESET_CHANGE
        device.bus_reset()
        return not before & RESET_CHANGE

    def _link(self, new: int) -> None:
        old = self.portsc & LINK
        if new == U0 and old != U0:
            self.portsc = self.portsc & ~LINK | LINK_CHANGE
        elif new == U3 and old < U3:
            self.portsc = self.portsc & ~LINK | U3

    def wake(self) -> bool:
        """The device asks for resume; whether the port was suspended."""
        if self.portsc & LINK != U3:
            return False
        self.portsc = self.portsc & ~LINK | RESUME | LINK_CHANGE
        return True
