"""The root hub of an OHCI controller: its ports.

Source: OpenHCI 1.0a, 7.4 (root hub partition); docs page ohci.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.core.clock import Alarm, Clock
from gossamer.devices.usb.device import UsbFunction
from gossamer.state.declare import Stateful, alarm, u32, wiring

CONNECTED, ENABLED, SUSPENDED, OVERCURRENT, RESETTING = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4
POWERED, LOW_SPEED = 1 << 8, 1 << 9
CONNECT_CHANGE, ENABLE_CHANGE, SUSPEND_CHANGE = 1 << 16, 1 << 17, 1 << 18
OVERCURRENT_CHANGE, RESET_CHANGE = 1 << 19, 1 << 20
CHANGES: Final = 0x1F_0000
RESET_NS: Final = 500_000
"""A hub drives reset for at least 10 ms (USB 1.1 7.1.7.3).  OpenBIOS, whose delays are about 87
times shorter than it means, gives up after 1.1 ms; this is half of that."""
RESUME_NS: Final = 20_000_000
"""USB 1.1 7.1.7.5: resume is driven for at least 20 ms."""


class Port(Stateful):
    """A port with at most one device.  It is always powered, as NPS in HcRhDescriptorA says."""

    vmsd = "ohci-core/port"
    version = 1
    minimum = 1

    ctrl: int = u32()
    #: Armed while reset or resume is driven.
    signal: Alarm = alarm("signal_done")

    clock: Clock = wiring()
    changed: Callable[[], None] = wiring()
    device: UsbFunction | None = wiring()

    layouts = {"": ["ctrl"]}

    def __init__(self, clock: Clock, changed: Callable[[], None]) -> None:
        super().__init__()
        self.clock, self.changed, self.device = clock, changed, None

    def attach(self) -> None:
        """Power on or reset of the hub: a device that is there is seen to be connected."""
        self.signal.cancel()
        self.ctrl = 0
        if self.device is not None:
            self.ctrl = CONNECTED | CONNECT_CHANGE
            self.device.bus_reset()

    def plug(self, device: UsbFunction) -> None:
        """A device comes while the machine runs.  Source: OpenHCI 1.0a, 7.4.4 (CCS, CSC)."""
        self.device = device
        device.bus_reset()
        self.ctrl |= CONNECTED | CONNECT_CHANGE

    def unplug(self) -> None:
        """The device goes: what was under way on the port ends, a port that was enabled is not."""
        self.device = None
        self.signal.cancel()
        enabled = self.ctrl & ENABLED
        self.ctrl &= ~(CONNECTED | ENABLED | SUSPENDED | RESETTING)
        self.ctrl |= CONNECT_CHANGE | (ENABLE_CHANGE if enabled else 0)

    @property
    def reachable(self) -> UsbFunction | None:
        """The device, when transactions reach it."""
        usable = self.ctrl & (ENABLED | SUSPENDED) == ENABLED
        return self.device if usable else None

    def read(self) -> int:
        return self.ctrl | POWERED

    def write(self, value: int) -> None:
        """Write HcRhPortStatus: commands in the low half, changes to clear in the high half."""
        before = self.ctrl
        self.ctrl &= ~(value & CHANGES)
        if value & CONNECTED:  # ClearPortEnable
            self.ctrl &= ~ENABLED
        for command in (ENABLED, SUSPENDED, RESETTING):
            if value & command:
                self._command(command)
        if value & OVERCURRENT and self.ctrl & SUSPENDED and not self.signal.armed:
            self.signal.set(self.clock.now + RESUME_NS)  # ClearSuspendStatus
        if self.ctrl & ~before & CHANGES:
            self.changed()

    def _command(self, command: int) -> None:
        """Enable, suspend or reset; with nothing connected only the change is noted."""
        if not self.ctrl & CONNECTED:
            self.ctrl |= CONNECT_CHANGE
        elif command == RESETTING:
            self.ctrl |= RESETTING
            self.signal.set(self.clock.now + RESET_NS)
        elif command == SUSPENDED:
            if self.ctrl & ENABLED:
                self.ctrl |= SUSPENDED
        else:
            self.ctrl |= ENABLED

    def signal_done(self) -> None:
        """Reset or resume has been driven long enough."""
        if self.ctrl & RESETTING:
            self.ctrl &= ~(RESETTING | SUSPENDED)
            self.ctrl |= ENABLED | RESET_CHANGE
            if self.device is not None:
                self.device.bus_reset()
        else:
            self.ctrl &= ~SUSPENDED
            self.ctrl |= SUSPEND_CHANGE
        self.changed()

    def wake(self) -> bool:
        """The device asks for resume; whether the port was suspended."""
        if not self.ctrl & SUSPENDED or self.signal.armed:
            return False
        self.signal.set(self.clock.now + RESUME_NS)
        return True
