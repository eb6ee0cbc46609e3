"""What a machine reports while it is there: events, and the one list of those who listen.

An event is data.  Its `name` and the names of its fields are QMP's, so that a front only writes
them down; those that QMP lacks are ours.  Source: QEMU 7.2's QAPI schema.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; the fields are its data."""

    name: ClassVar[str]


@dataclass(frozen=True, slots=True)
class Stopped(Event):
    """The guest runs no more, for whatever reason."""

    name: ClassVar[str] = "STOP"


@dataclass(frozen=True, slots=True)
class Resumed(Event):
    """The guest runs."""

    name: ClassVar[str] = "RESUME"


@dataclass(frozen=True, slots=True)
class WasReset(Event):
    """The machine was reset, by the guest or from outside."""

    name: ClassVar[str] = "RESET"
    guest: bool
    reason: str


@dataclass(frozen=True, slots=True)
class ShutDown(Event):
    """The machine is switched off, by the guest or from outside."""

    name: ClassVar[str] = "SHUTDOWN"
    guest: bool
    reason: str


@dataclass(frozen=True, slots=True)
class PoweredDown(Event):
    """The power key was pressed from outside."""

    name: ClassVar[str] = "POWERDOWN"


@dataclass(frozen=True, slots=True)
class MigrationChanged(Event):
    """A transfer has come to `status`."""

    name: ClassVar[str] = "MIGRATION"
    status: str


@dataclass(frozen=True, slots=True)
class MigrationPass(Event):
    """A round over the memory begins."""

    name: ClassVar[str] = "MIGRATION_PASS"
    pass_: int


@dataclass(frozen=True, slots=True)
class JobStatusChanged(Event):
    """A job has come to `status`."""

    name: ClassVar[str] = "JOB_STATUS_CHANGE"
    status: str
    id: str


@dataclass(frozen=True, slots=True)
class TrayMoved(Event):
    """A CD drive's tray was opened or closed; `id` is that of -device."""

    name: ClassVar[str] = "DEVICE_TRAY_MOVED"
    device: str
    id: str
    tray_open: bool


@dataclass(frozen=True, slots=True)
class DeviceDeleted(Event):
    """A device was taken out; `device` is its id, if it has one."""

    name: ClassVar[str] = "DEVICE_DELETED"
    path: str
    device: str | None = None


@dataclass(frozen=True, slots=True)
class DumpCompleted(Event):
    """dump-guest-memory is over."""

    name: ClassVar[str] = "DUMP_COMPLETED"
    result: object
    error: str | None = None


def kinds() -> dict[str, type[Event]]:
    """Every event by its name."""
    # A dataclass with slots is a second class of the same name: the later one counts.
    return {kind.name: kind for kind in Event.__subclasses__()}


Observer = Callable[[Event], None]


class Observers:
    """Who is told of events, in the order of their coming."""

    def __init__(self) -> None:
        self._all: list[Observer] = []

    def add(self, observer: Observer) -> Callable[[], None]:
        """Report every event to `observer` from now on; what is returned ends that."""
        self._all.append(observer)
        return lambda: self._all.remove(observer)

    def report(self, event: Event) -> None:
        """An observer must be quick and must not raise."""
        for observer in tuple(self._all):
            observer(event)
