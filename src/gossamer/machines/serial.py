"""An ESCC channel as the machine's consoles see it."""

from __future__ import annotations

from collections.abc import Callable

from gossamer.devices.escc_channel import FIFO, EsccChannel


class EsccPort:
    """One serial port."""

    def __init__(self, channel: EsccChannel) -> None:
        self._channel = channel

    @property
    def transmit(self) -> Callable[[bytes], None]:
        return self._channel.transmit

    @transmit.setter
    def transmit(self, take: Callable[[bytes], None]) -> None:
        self._channel.transmit = take

    def room(self) -> int:
        """Free places in the receive FIFO; none while the receiver is off."""
        return FIFO - self._channel.rx_count if self._channel.can_receive else 0

    def receive(self, byte: int) -> None:
        self._channel.receive(byte)
