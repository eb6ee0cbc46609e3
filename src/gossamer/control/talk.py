"""Talking to a guest over its serial port from a program: expect and send.

The machine runs in real time while `Talk` waits (as at a console); a host-time limit ends the wait.
"""

from __future__ import annotations

import re
from typing import Final

from gossamer.base.errors import GossamerError
from gossamer.control.vm import Vm
from gossamer.core import host

SLICE_NS: Final = 10_000_000
_S: Final = 1_000_000_000
_SHOWN: Final = 400


class TalkError(GossamerError):
    """The guest did not say what was expected."""


class Talk:
    """Serial port `channel` of a machine; `text` is all that the guest has sent."""

    def __init__(self, vm: Vm, channel: int = 0) -> None:
        self.vm, self.channel = vm, channel
        self.raw = bytearray()
        self._seen = 0
        self._commands = 0
        while len(vm.serial_sinks) <= channel:
            vm.serial_sinks.append(lambda data: None)
        vm.serial_sinks[channel] = self.raw.extend
        if vm.run_state in ("prelaunch", "paused"):
            vm.cont()

    @property
    def text(self) -> str:
        return self.raw.decode("latin-1")

    def run(self, seconds: float) -> None:
        """Let the guest run for `seconds` of host time."""
        self._until(lambda: False, seconds)

    def _until(self, done: object, seconds: float) -> bool:
        end = host.monotonic_ns() + int(seconds * _S)
        vm = self.vm
        while not done():  # type: ignore[operator]
            now = host.monotonic_ns()
            if now >= end or vm.run_state != "running":
                return False
            idle = vm.idle_until_ns
            if idle is not None and idle > now:
                host.sleep_ns(min(idle, end) - now)
            vm.run_slice(SLICE_NS)
        return True

    def expect(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        """Wait until the guest has sent something that matches; what follows is next's."""
        regex = re.compile(pattern.encode("latin-1"), re.MULTILINE)
        found: list[re.Match[bytes]] = []

        def look() -> bool:
            match = regex.search(self.raw, self._seen)
            if match:
                found.append(match)
            return bool(match)

        if not self._until(look, seconds):
            tail = self.text[self._seen :][-_SHOWN:]
            state = self.vm.run_state
            raise TalkError(f"waited {seconds} s ({state}) for {pattern!r}, got {tail!r}")
        self._seen = found[0].end()
        match = re.compile(pattern, re.MULTILINE).search(found[0][0].decode("latin-1"))
        assert match
        return match

    def send(self, text: str, seconds: float = 60) -> None:
        """Type `text` as fast as the guest takes it."""
        for byte in text.encode("latin-1"):
            self._until(lambda: self.vm.serial_room(self.channel) > 0, seconds)
            self.vm.serial_receive(self.channel, byte)

    def command(self, line: str, seconds: float = 60) -> tuple[int, str]:
        """Run a shell command in the guest: its exit status and what it printed."""
        self._commands += 1
        mark = f"done {self._commands}"
        self.send(f'{line}; r=$?; echo; echo "<""{mark} $r>"\n')
        start = self._seen
        status = int(self.expect(rf"<{mark} (\d+)>", seconds)[1])
        printed = self.text[start : self._seen].replace("\r", "")
        return status, printed.rpartition('$r>"\n')[2].rpartition(f"<{mark}")[0].rstrip("\n")
