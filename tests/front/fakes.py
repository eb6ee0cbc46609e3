"""A machine that does nothing but remember what it was asked, for consoles and the loop."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

from gossamer.control.events import Observers
from gossamer.control.session import Session
from gossamer.control.tls_objects import TlsObjects
from gossamer.control.vm import Vm
from gossamer.front.chardev import Chardev
from gossamer.front.hmp.monitor import Monitor
from gossamer.machines.config import Config


class FakeVm:
    """What a console needs of a `Vm`."""

    def __init__(self) -> None:
        self.config = Config()
        self.run_state = "running"
        self.ended = self.busy = False
        self.events = Observers()
        self.done: list[object] = []
        self.transfers = SimpleNamespace(tls=TlsObjects())
        self.idle_until_ns: int | None = None
        self.room = 3
        self.received: list[tuple[int, int]] = []
        self.on_slice: Callable[[int], None] = lambda ns: None

    def quit(self, reason: str = "host-qmp-quit") -> None:
        self.ended = True
        self.run_state = "shutdown"

    def run_slice(self, max_host_ns: int) -> None:
        self.on_slice(max_host_ns)

    def serial_room(self, channel: int) -> int:
        return self.room

    def serial_receive(self, channel: int, byte: int) -> None:
        assert self.room > 0
        self.room -= 1
        self.received.append((channel, byte))


def session_of(vm: FakeVm) -> Session:
    """A session whose machine is a fake."""
    return Session(cast(Vm, vm))


def ask(vm: Vm, line: str) -> str:
    """What a monitor answers."""
    return Monitor(Session(vm), Chardev("test")).execute(line)
