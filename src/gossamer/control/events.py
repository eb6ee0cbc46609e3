"""What a machine reports while it is there: events, and the one list of their observers.

An event is data.  Its `name` and the names of its fields are QMP's, so that a front only writes
them down; those that QMP lacks are ours.  Source: QEMU 7.2's QAPI schema.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Final, TypeVar

from gossamer.base.data import Data
from gossamer.control.shapes import Name
from gossamer.control.viewers import VncBasicInfo, VncClientInfo, VncServerInfo


class Event(Data):
    """Something that happened; the fields are its data."""

    name: ClassVar[str]


#: Every event by its name.
KINDS: Final[dict[str, type[Event]]] = {}
E = TypeVar("E", bound=Event)


def event(name: str) -> Callable[[type[E]], type[E]]:
    """Make the class that follows the event called `name`."""

    def make(kind: type[E]) -> type[E]:
        kind.name = name
        KINDS[name] = kind
        return kind

    return make


@event("STOP")
class Stopped(Event):
    """The guest runs no more, for whatever reason."""


@event("RESUME")
class Resumed(Event):
    """The guest runs."""


@event("RESET")
class WasReset(Event):
    """The machine was reset, by the guest or from outside."""

    guest: bool
    reason: str


@event("SHUTDOWN")
class ShutDown(Event):
    """The machine is switched off, by the guest or from outside."""

    guest: bool
    reason: str


@event("POWERDOWN")
class PoweredDown(Event):
    """The power key was pressed from outside."""


@event("MIGRATION")
class MigrationChanged(Event):
    """A transfer has come to `status`."""

    status: str


@event("X_SNAPSHOT")
class SnapshotChanged(Event):
    """Snapshot `tag` was saved, loaded or deleted: `what`."""

    tag: str
    what: str


@event("MIGRATION_PASS")
class MigrationPass(Event):
    """A round over the memory begins."""

    pass_: int


@event("JOB_STATUS_CHANGE")
class JobStatusChanged(Event):
    """A job has come to `status`."""

    status: str
    id: str


@event("BLOCK_JOB_READY")
class BlockJobReady(Event):
    """A job on a disk waits for job-complete."""

    type: str
    device: str
    len: int
    offset: int
    speed: int


@event("BLOCK_JOB_COMPLETED")
class BlockJobCompleted(Event):
    """A job on a disk is over; `error`: why it failed."""

    type: str
    device: str
    len: int
    offset: int
    speed: int
    error: str | None = None


@event("BLOCK_JOB_CANCELLED")
class BlockJobCancelled(Event):
    """A job on a disk was given up."""

    type: str
    device: str
    len: int
    offset: int
    speed: int


@event("DEVICE_TRAY_MOVED")
class TrayMoved(Event):
    """A CD drive's tray was opened or closed; `id` is that of -device."""

    device: str
    id: str
    tray_open: bool


@event("DEVICE_DELETED")
class DeviceDeleted(Event):
    """A device was taken out; `device` is its id, if it has one."""

    path: str
    device: str | None = None


@event("BLOCK_IO_ERROR")
class BlockIoError(Event):
    """A drive met an error of the host in a "read" or "write", and the machine stops for it."""

    device: str
    operation: str
    action: str
    reason: str
    node_name: str
    nospace: bool


@event("DUMP_COMPLETED")
class DumpCompleted(Event):
    """dump-guest-memory is over."""

    result: object
    error: str | None = None


@event("VNC_CONNECTED")
class VncConnected(Event):
    """A viewer has connected; it has not said who it is."""

    server: VncServerInfo
    client: VncBasicInfo


@event("VNC_INITIALIZED")
class VncInitialized(Event):
    """A viewer was let in, and looks."""

    server: VncServerInfo
    client: VncClientInfo


@event("VNC_DISCONNECTED")
class VncDisconnected(Event):
    """A viewer has gone."""

    server: VncServerInfo
    client: VncClientInfo


class SocketAddress(Data):
    """A place: `type` inet, unix or fd."""

    type: str
    host: str | None = None
    port: str | None = None
    path: str | None = None
    text: Annotated[str | None, Name("str")] = None


def socket_address(uri: str) -> SocketAddress:
    """The place of unix:PATH, tcp:HOST:PORT, or a descriptor."""
    kind, _, rest = uri.partition(":")
    if kind == "unix":
        return SocketAddress("unix", path=rest)
    if kind == "tcp":
        host, _, port = rest.rpartition(":")
        return SocketAddress("inet", host=host.strip("[]"), port=port)
    return SocketAddress("fd", text="")


@event("NETDEV_STREAM_CONNECTED")
class NetdevConnected(Event):
    """A stream network has a peer."""

    netdev_id: str
    addr: SocketAddress


@event("NETDEV_STREAM_DISCONNECTED")
class NetdevDisconnected(Event):
    """The peer of a stream network has gone."""

    netdev_id: str


Observer = Callable[[Event], None]


class Observers:
    """The observers of events, in the order of their coming."""

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
