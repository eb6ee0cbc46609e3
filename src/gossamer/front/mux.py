"""One terminal shared by a serial port and a monitor, with C-a as the escape key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.front.chardev import Chardev

ESCAPE: Final = 0x01
MOST: Final = 4096
"""Bytes that wait beyond the room there is; what is typed then is lost, as in QEMU's mux."""
HELP: Final = (
    "C-a h    this help\n"
    "C-a x    end the emulator\n"
    "C-a c    from the serial port to the monitor and back\n"
    "C-a C-a  send C-a itself\n"
)


class Port(Chardev):
    """One of the devices that a mux makes out of another."""

    def __init__(self, mux: Mux, label: str) -> None:
        super().__init__(label)
        self.mux = mux
        self.is_terminal = mux.device.is_terminal

    @property
    def connected(self) -> bool:
        return self.mux.device.connected

    @property
    def full(self) -> bool:
        return self.mux.device.full

    def write(self, data: bytes) -> None:
        self.mux.device.write(data)

    @property
    def queued(self) -> bool:
        return self._queued

    @queued.setter
    def queued(self, value: bool) -> None:
        self._queued = value
        if not value:
            self.mux.release()

    _queued = False


class Mux:
    """Shows the output of both ports; what is typed goes to the one that has the focus.

    Bytes for the serial port that were typed behind lines for the monitor reach it when those have
    begun: a `loadvm` would put them into a machine that goes.  `escape` is the code of the key that
    commands begin with.
    """

    def __init__(self, device: Chardev, *, end: Callable[[], None], escape: int = ESCAPE) -> None:
        self.escape = escape
        self.device, self.end = device, end
        self._behind = bytearray()
        self.serial, self.monitor = Port(self, "serial"), Port(self, "monitor")
        self.focus = self.serial
        self._escaped = False
        device.receive = self._receive
        device.room = self._room
        device.opened = lambda: self.focus.opened()

    def _room(self) -> int:
        # The escape key must get through to a guest that takes nothing.
        return max(self.focus.room() - len(self._behind), 1)

    def _receive(self, data: bytes) -> None:
        plain = bytearray()
        for byte in data:
            if self._escaped:
                self._escaped = False
                if byte == self.escape:
                    plain.append(byte)
                else:
                    self._pass(plain)
                    self._command(chr(byte))
            elif byte == self.escape:
                self._escaped = True
            else:
                plain.append(byte)
        self._pass(plain)

    def _pass(self, plain: bytearray) -> None:
        if plain and self.focus is self.serial and self.monitor.queued:
            self._behind += plain
        elif plain and self.focus.room() > -MOST:
            self.focus.receive(bytes(plain))
        plain.clear()

    def release(self) -> None:
        """The monitor has begun its last line: what was typed behind it may go on."""
        if self._behind:
            behind = bytes(self._behind)
            self._behind.clear()
            self.serial.receive(behind)

    def _command(self, key: str) -> None:
        if key in "h?":
            key_name = f"C-{chr(self.escape | 0x60)}"
            self.device.write(HELP.replace("C-a", key_name).encode())
        elif key == "x":
            self.end()
        elif key == "c":
            self.focus = self.monitor if self.focus is self.serial else self.serial
            if self.focus is self.monitor:
                self.monitor.opened()
            else:
                self.device.write(b"\n")
