"""Where a stream goes to or comes from: ``exec:``, ``unix:``, ``tcp:``, ``fd:``, ``file:``.

Every wait is bounded: `Limits` says for how long a peer may do nothing, and how long all of it may
take.  What goes wrong is a HostError of one line that names the place.
"""

from __future__ import annotations

import io
import ipaddress
import os
import select
import signal
import socket
import stat
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError, HostError
from gossamer.base.late import Late
from gossamer.base.units import NS_PER_S
from gossamer.core import host

if TYPE_CHECKING:
    import subprocess
else:
    subprocess = Late(lambda: import_module("subprocess"))

KINDS: Final = ("exec", "unix", "tcp", "fd", "file")
PIECE: Final = 1 << 18
"""Bytes given to the host at a time, so that a stalled peer is noticed."""


_BACKLOG: Final = 16
_ON_ITS_WAY: Final = 1 << 20
"""Bytes that a Unix socket is asked to hold; the host may allow less."""
_LOOK_S: Final = 0.1
"""How soon a wait notices that the transfer was cancelled."""


class Limits(Data):
    """How long is waited, in seconds: for a peer to come, for it to move, for everything."""

    meet: float = 60.0
    stall: float = 20.0
    total: float = 600.0


class Place(Data):
    """A URI taken apart; `offset` bytes into a file."""

    kind: str
    rest: str
    offset: int = 0

    @property
    def text(self) -> str:
        return f"{self.kind}:{self.rest}"


def parse(uri: str) -> Place:
    """The parts of a URI; ConfigError when it is none."""
    kind, colon, rest = uri.partition(":")
    if not colon or kind not in KINDS:
        known = ", ".join(f"{k}:" for k in KINDS)
        raise ConfigError(f"migration URI {uri!r}: expected one of {known}")
    if not rest:
        raise ConfigError(f"migration URI {uri!r}: nothing after {kind}:")
    offset = 0
    if kind == "file":
        rest, comma, number = rest.partition(",offset=")
        if comma and not (number.isascii() and number.isdigit()):
            raise ConfigError(f"migration URI {uri!r}: offset= needs a number of bytes")
        offset = int(number) if comma else 0
    elif kind == "tcp":
        rest = rest.partition(",")[0]
        port = rest.rpartition(":")[2]
        if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
            raise ConfigError(f"migration URI {uri!r}: expected tcp:HOST:PORT")
    elif kind == "fd" and not (rest.isascii() and rest.isdigit()):
        raise ConfigError(f"migration URI {uri!r}: fd: needs the number of an open file")
    return Place(kind, rest, offset)


def is_loopback(place: Place) -> bool:
    """Whether a ``tcp:`` place is this host's alone (an empty name is localhost)."""
    name = place.rest.rpartition(":")[0].strip("[]") or "localhost"
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


class Channel(io.RawIOBase):
    """One end of a transfer: a file descriptor with deadlines.

    `two_way`: the peer can answer (a socket).  `result` is asked when the transfer is over, for
    what the other side thinks of it.  `plain`: bytes that are there to be read are the peer's.
    """

    plain = True

    def __init__(self, fd: int, name: str, limits: Limits, *, two_way: bool) -> None:
        super().__init__()
        self._fd, self.name, self.limits, self.two_way = fd, name, limits, two_way
        self._end = host.monotonic_ns() + int(limits.total * NS_PER_S)
        self.sent = self.received = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.on_close: Callable[[], None] = lambda: None
        self._cancelled = False
        self._eager_until = 0
        os.set_blocking(fd, False)
        if two_way:
            _widen(fd)
        self._regular = stat.S_ISREG(os.fstat(fd).st_mode)

    # --- file -------------------------------------------------------------------------------------

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes, waiting for the first; b"" when the peer has ended."""
        want = PIECE * 4 if size is None or size < 0 else min(size, PIECE * 4)
        while True:
            self.check()
            try:
                data = os.read(self._fd, want)
            except BlockingIOError:
                self._wait(write=False)
                continue
            except OSError as fault:
                gone = "the peer has gone" if self.two_way else "cannot be read"
                raise HostError(f"{self.name}: {gone}: {fault.strerror}") from None
            self.received += len(data)
            return data

    def write(self, data: object, /) -> int:
        """All of `data`; HostError when the peer has gone, stalls, or the time is up."""
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        total = len(view)
        while view := self.put(view):
            self._wait(write=True)
        return total

    def put(self, view: memoryview) -> memoryview:
        """Write what the host takes at once; what is left.  HostError as `write`."""
        while view:
            self.check()
            try:
                done = os.write(self._fd, view[:PIECE])
            except BlockingIOError:
                break
            except OSError as fault:
                raise HostError(
                    f"{self.name}: the peer has gone: {fault.strerror} after {self.sent} bytes"
                ) from None
            view = view[done:]
            self.sent += done
        return view

    def seekable(self) -> bool:
        """Whether it is a file of its own kind: then `seek` and the next three work."""
        return self._regular and self.process is None

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return os.lseek(self._fd, offset, whence)

    def place(self) -> int:
        """Where in the file the next byte goes."""
        return os.lseek(self._fd, 0, os.SEEK_CUR)

    def go_to(self, offset: int) -> None:
        """Let the next byte go to another place."""
        os.lseek(self._fd, offset, os.SEEK_SET)

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """All of `data` at a place of the file; HostError when the medium does not take it."""
        view = memoryview(data)
        while view:
            try:
                done = os.pwrite(self._fd, view, offset)
            except OSError as fault:
                text = f"{self.name}: cannot be written: {fault.strerror}"
                raise HostError(text) from None
            view, offset = view[done:], offset + done

    def has_input(self, seconds: float) -> bool:
        """Whether there is something to read (or the end) within so many seconds.

        False at once when another thread has cancelled.
        """
        return self._regular or self._ready(write=False, seconds=seconds)

    def _wait(self, *, write: bool) -> None:
        if self._regular:
            return
        self.check()
        left = max(0.0, (self._end - host.monotonic_ns()) / NS_PER_S)
        wait = min(self.limits.stall, left)
        ready = self._ready(write=write, seconds=wait)
        self.check()
        if not ready:
            verb = "takes" if write else "sends"
            moved = self.sent if write else self.received
            raise HostError(
                f"{self.name}: the peer {verb} nothing for {wait:g} s (after {moved} bytes)"
            )

    def _ready(self, *, write: bool, seconds: float) -> bool:
        """Wait for the peer, looking now and then whether another thread has cancelled."""
        reading, writing = ([], [self._fd]) if write else ([self._fd], [])
        now = host.monotonic_ns()
        end = now + int(seconds * NS_PER_S)
        while not self._cancelled:
            left = 0.0 if now < self._eager_until else (end - now) / NS_PER_S
            found = select.select(reading, writing, [], max(0.0, min(left, _LOOK_S)))
            if found[0] or found[1]:
                return True
            if now >= end:
                break
            now = host.monotonic_ns()
        return False

    def be_eager(self, ns: int) -> None:
        """For so long do not sleep while the peer is waited for.

        While a guest stands still a thread that is woken costs more than one that looks: until it
        runs again others have had its core, and what its work needs is in no cache.  A peer that
        may need the same core is waited for asleep.
        """
        if host.cores() > 1:
            self._eager_until = host.monotonic_ns() + ns

    def drain(self) -> bool:
        """Throw away what has come; whether the peer has closed its end."""
        try:
            while data := os.read(self._fd, PIECE):
                self.received += len(data)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def extend(self) -> None:
        """It has moved on: the time for all of it begins anew."""
        self._end = host.monotonic_ns() + int(self.limits.total * NS_PER_S)

    def cancel(self) -> None:
        """End it from another thread: what waits for the peer raises HostError soon."""
        self._cancelled = True

    def check(self) -> None:
        """HostError once it was cancelled, or the time for all of it is up."""
        if self._cancelled:
            raise HostError(f"{self.name}: cancelled")
        if not self._regular and host.monotonic_ns() > self._end:
            raise HostError(f"{self.name}: not done after {self.limits.total:g} s; given up")

    # --- the end ----------------------------------------------------------------------------------

    def end_output(self) -> None:
        """Nothing more will be sent; what was sent is on its way, or on the medium."""
        if self.two_way:
            return
        if self._regular:
            os.fsync(self._fd)
        if self.process is not None:
            self.shut()

    def result(self) -> None:
        """HostError when a command that took the stream failed."""
        if self.process is None:
            return
        status = self._reap(self.limits.stall)
        if status is None:
            raise HostError(f"{self.name}: does not end after the last byte; ended")
        if status:
            raise HostError(f"{self.name}: ended with status {status}")

    def _reap(self, seconds: float) -> int | None:
        process = self.process
        assert process is not None
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def detach_fd(self) -> int:
        """The descriptor, which is the caller's from here on; the channel is of no more use."""
        fd, self._fd = self._fd, -1
        return fd

    def shut(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def close(self) -> None:
        """Let go of everything; a command that still runs is ended."""
        if self.closed:
            return
        self.shut()
        if self.process is not None and self._reap(0.5) is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.on_close()
        super().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _widen(fd: int) -> None:
    """Let more be on its way in a Unix socket, so that its ends wait less for each other."""
    with socket.socket(fileno=os.dup(fd)) as end:
        if end.family == socket.AF_UNIX:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ON_ITS_WAY)


# --- to a peer ------------------------------------------------------------------------------------


def connect(uri: str, limits: Limits | None = None) -> Channel:
    """A channel that takes a stream."""
    place, limits = parse(uri), limits or Limits()
    if place.kind == "exec":
        return _command(place, limits, output=True)
    if place.kind == "fd":
        return _inherited(place, limits)
    if place.kind == "file":
        return _file_for_output(place, limits)
    kept: OSError | None = None
    for family, address in _addresses(place):
        end = socket.socket(family, socket.SOCK_STREAM)
        end.settimeout(limits.meet)
        try:
            end.connect(address)
        except OSError as fault:
            end.close()
            kept = fault
            continue
        return Channel(end.detach(), place.text, limits, two_way=True)
    why = "no such host" if kept is None else kept.strerror or str(kept)
    raise HostError(f"{place.text}: cannot connect: {why}")


def _file_for_output(place: Place, limits: Limits) -> Channel:
    try:
        flags = os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | (0 if place.offset else os.O_TRUNC)
        fd = os.open(place.rest, flags, 0o600)
        if place.offset:
            os.lseek(fd, place.offset, os.SEEK_SET)
    except OSError as fault:
        raise HostError(f"{place.text}: cannot be created: {fault.strerror}") from None
    return Channel(fd, place.text, limits, two_way=False)


def _command(place: Place, limits: Limits, *, output: bool) -> Channel:
    """A shell command that reads or writes the stream on a pipe, in a group of its own."""
    mine, its = reversed(os.pipe()) if output else os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S604 - the user's own command
            place.rest,
            shell=True,
            stdin=its if output else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if output else its,
            start_new_session=True,
        )
    except OSError as fault:
        os.close(mine)
        raise HostError(f"{place.text}: cannot be started: {fault.strerror}") from None
    finally:
        os.close(its)
    channel = Channel(mine, place.text, limits, two_way=False)
    channel.process = process
    return channel


def _inherited(place: Place, limits: Limits) -> Channel:
    try:
        fd = int(place.rest)  # ours from here on: the peer sees the end when we close it
        two_way = stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError as fault:
        raise HostError(f"{place.text}: {fault.strerror}") from None
    return Channel(fd, place.text, limits, two_way=two_way)


def _addresses(place: Place) -> list[tuple[int, str | tuple[str, int]]]:
    """Families and addresses of a socket's place."""
    if place.kind == "unix":
        return [(socket.AF_UNIX, place.rest)]
    name, _, port = place.rest.rpartition(":")
    name = name.strip("[]") or "localhost"
    try:
        found = socket.getaddrinfo(name, int(port), type=socket.SOCK_STREAM)
    except OSError as fault:
        if name == "localhost":  # a bare chroot has no /etc/hosts
            return [(socket.AF_INET, ("127.0.0.1", int(port)))]
        raise HostError(f"{place.text}: {name}: {fault.strerror}") from None
    return [(family, (str(at[0]), int(at[1]))) for family, _, _, _, at in found]


# --- from a peer ----------------------------------------------------------------------------------


class Listener:
    """A place where a stream is waited for.  `accept` gives the channel, once."""

    def __init__(self, uri: str, limits: Limits | None = None) -> None:
        self.place, self.limits = parse(uri), limits or Limits()
        self._socket: socket.socket | None = None
        self._made: Path | None = None
        if self.place.kind in ("unix", "tcp"):
            self._listen()

    @property
    def uri(self) -> str:
        """Where a sender connects; with the port that the host chose where 0 was asked for."""
        if self.place.kind == "tcp" and self._socket is not None:
            name = self.place.rest.rpartition(":")[0]
            return f"tcp:{name}:{self._socket.getsockname()[1]}"
        return self.place.text

    @property
    def fd(self) -> int | None:
        """What becomes readable when a sender comes; None where there is nothing to wait for."""
        return None if self._socket is None else self._socket.fileno()

    def _listen(self) -> None:
        family, address = _addresses(self.place)[0]
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            if family == socket.AF_UNIX:
                _remove_stale(Path(self.place.rest))
                host.listen_private(made, self.place.rest, _BACKLOG)
            else:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind(address)
                made.listen(_BACKLOG)
        except OSError as fault:
            made.close()
            why = fault.strerror or fault
            raise HostError(f"{self.place.text}: cannot listen: {why}") from None
        self._socket = made
        if family == socket.AF_UNIX:
            self._made = Path(self.place.rest)

    def accept(self, *, more: bool = False) -> Channel:
        """The channel; HostError when no sender comes.  `more`: others are waited for after it."""
        place, limits = self.place, self.limits
        if place.kind == "exec":
            return _command(place, limits, output=False)
        if place.kind == "fd":
            return _inherited(place, limits)
        if place.kind == "file":
            return _file_for_input(place, limits)
        assert self._socket is not None
        self._socket.settimeout(limits.meet)
        try:
            end, _ = self._socket.accept()
        except TimeoutError:
            raise HostError(f"{place.text}: no sender came within {limits.meet:g} s") from None
        except OSError as fault:
            raise HostError(f"{place.text}: {fault.strerror}") from None
        finally:
            if not more:
                self.close()
        return Channel(end.detach(), place.text, limits, two_way=True)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._made is not None:
            self._made.unlink(missing_ok=True)
            self._made = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _remove_stale(path: Path) -> None:
    """A socket file without a listener is in the way."""
    if not path.is_socket():
        return
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.connect(str(path))
    except OSError:
        path.unlink(missing_ok=True)
    finally:
        probe.close()


def _file_for_input(place: Place, limits: Limits) -> Channel:
    try:
        fd = os.open(place.rest, os.O_RDONLY | os.O_CLOEXEC)
        if place.offset:
            os.lseek(fd, place.offset, os.SEEK_SET)
    except OSError as fault:
        raise HostError(f"{place.text}: cannot be opened: {fault.strerror}") from None
    return Channel(fd, place.text, limits, two_way=False)
