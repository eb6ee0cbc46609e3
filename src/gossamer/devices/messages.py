"""What MSI and MSI-X have in common: interrupts of a function that are messages to memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from gossamer.devices.pci import PciDevice


class Messages(ABC):
    """`count` messages of a function; their capability is at `at` of configuration space."""

    __slots__ = ("at", "count", "device")

    on: ClassVar[int]
    """The bit of `control` that lets messages be sent."""

    def __init__(self, device: PciDevice, count: int, at: int) -> None:
        self.device, self.count, self.at = device, count, at

    @property
    def control(self) -> int:
        return self.device.read_config(self.at + 2, 2)

    @property
    def enabled(self) -> bool:
        return bool(self.control & self.on)

    @property
    def allowed(self) -> int:
        """How many messages the guest allows."""
        return self.count

    @abstractmethod
    def notify(self, n: int) -> None:
        """Send message `n`."""

    @abstractmethod
    def aim(self, address: int, first: int, count: int) -> None:
        """Let messages go to `address`, as a firmware sets them: message n has data `first` + n."""

    @abstractmethod
    def forget(self) -> None:
        """No message goes anywhere."""
