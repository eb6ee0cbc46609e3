"""What WebSockets lead to: a QMP monitor, a serial port."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from gossamer.control.session import Session
from gossamer.front.chardev import Chardev
from gossamer.front.port import Channel
from gossamer.front.qmp.connection import MOST_REQUESTS, MOST_WAITING, Qmp
from gossamer.front.web.connection import Connection, Endpoint

LATE: Final = 1 << 20
"""Bytes that a terminal lets wait before its connection ends: it comes back and gets the last."""


class _Messages(Chardev):
    """A character device whose output is messages."""

    def __init__(self, connection: Connection) -> None:
        super().__init__("web")
        self._connection = connection
        self.open = True

    @property
    def connected(self) -> bool:
        return self.open

    @property
    def full(self) -> bool:
        return len(self._connection.out) > MOST_WAITING

    def write(self, data: bytes) -> None:
        if self.open:
            self._connection.send(data, text=True)

    def hang_up(self) -> None:
        self._connection.finish(1002, "that is no QMP")


class QmpEnd(Endpoint):
    """A monitor of its own for each page."""

    def __init__(self, session: Session, connection: Connection) -> None:
        self._device = _Messages(connection)
        self._qmp = Qmp(session, self._device)

    def begin(self) -> None:
        """Greet."""
        self._device.start()

    def message(self, data: bytes) -> None:
        self._device.receive(data)

    def room(self) -> bool:
        return self._device.room() > 0

    def closed(self) -> None:
        self._device.open = False
        self._qmp.stop()


class SerialEnd(Endpoint):
    """A serial port; what it wrote lately comes first."""

    def __init__(self, channel: Channel, connection: Connection, *, view_only: bool) -> None:
        self._channel, self._connection, self._view_only = channel, connection, view_only
        self._waiting = bytearray()

    def begin(self) -> None:
        """Show what was written, and what will be."""
        if self._channel.recent:
            self._connection.send(bytes(self._channel.recent))
        self._channel.watchers.append(self._written)

    def _written(self, data: bytes) -> None:
        self._waiting += data

    def flush(self) -> None:
        """Send what the guest has written since the last time."""
        if self._waiting:
            data, self._waiting = bytes(self._waiting), bytearray()
            if len(self._connection.out) > LATE:
                self._connection.finish(1013, "the terminal did not read")
                return
            self._connection.send(data)

    def message(self, data: bytes) -> None:
        if not self._view_only:
            self._channel.typed.extend(data)

    def room(self) -> bool:
        return len(self._channel.typed) < 4096

    def closed(self) -> None:
        with contextlib.suppress(ValueError):  # it did not come so far
            self._channel.watchers.remove(self._written)


Watcher = Callable[[bytes], None]
__all__ = ["MOST_REQUESTS", "QmpEnd", "SerialEnd", "Watcher"]
