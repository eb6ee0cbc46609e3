"""Many futures from one present: processes that begin with a machine as it is.

Memory is shared until it is written.  A fork ends with its parent, or when its handle is closed.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import selectors
import signal
import socket
import weakref
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from gossamer.base.errors import ConfigError, GossamerError, HostError
from gossamer.core import ahead

if TYPE_CHECKING:
    from gossamer.api.vm import Vm

#: Processes that one `fork` makes at the most.
MOST_FORKS: Final = 256
T = TypeVar("T")
Step = tuple[str, Any]
Path = tuple[Step, ...]
_HEAD: Final = 8


class ForkError(GossamerError):
    """What was done in a fork raised an error, or its process ended."""


def fork_all(vm: Vm, count: int, work: Callable[[Any, int], T]) -> list[T]:
    """Call ``work(vm, n)`` in `count` processes at once; their results."""
    forks = make_forks(vm, count, work)
    try:
        return _results(forks)
    finally:
        for fork in forks:
            fork.close()


def make_forks(vm: Vm, count: int, work: Callable[[Any, int], object] | None = None) -> list[Fork]:
    """Handles of `count` processes, each with `vm` as it is; `work` is begun in each."""
    if not 1 <= count <= MOST_FORKS:
        raise ConfigError(f"fork: expected 1 to {MOST_FORKS} processes, got {count}")
    if any(d.media != "cdrom" and not d.readonly for d in vm.control.config.drives):
        raise ConfigError("fork: a disk can be written, and only one process may do that")
    if vm.control.machine.engine.is_running:
        raise ConfigError("fork: what is called by the running machine cannot fork it")
    regions = vm.control.machine.regions
    forks: list[Fork] = []
    ahead.settle()
    try:
        with nullcontext() if regions is None else regions.standing():
            for n in range(count):
                forks.append(_forked(vm, n, work))
    except BaseException:
        for fork in forks:
            fork.close()
        raise
    return forks


def _forked(vm: Vm, number: int, work: Callable[[Any, int], object] | None) -> Fork:
    try:
        ours, its = socket.socketpair()
    except OSError as fault:
        raise HostError(f"fork {number}: {fault.strerror}") from None
    try:
        pid = os.fork()
    except OSError as fault:
        ours.close()
        its.close()
        raise HostError(f"fork {number}: {fault.strerror}") from None
    if pid:
        its.close()
        return Fork(number, pid, ours, busy=work is not None)
    try:
        ours.close()
        for other in tuple(_OPEN):  # else a fork would keep the ends of those before it open
            other.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # C-c is the parent's
        if vm.control.machine.regions is not None:
            vm.control.machine.regions.forked()
        if work is not None:
            _send(its, _answer(lambda: work(vm, number)))
        _serve(vm, its)
    finally:
        os._exit(0)


# --- in the fork ----------------------------------------------------------------------------------


def _serve(vm: Vm, its: socket.socket) -> None:
    """Do what comes until the parent closes its end."""
    while (data := _receive(its)) is not None:
        request = pickle.loads(data)  # noqa: S301 - from our parent
        _send(its, _answer(partial(_done, vm, *request)))


def _answer(action: Callable[[], object]) -> bytes:
    """What it gives, or why it failed: whatever that is, the parent hears of it."""
    try:
        return pickle.dumps((True, action()))
    except BaseException as fault:
        return pickle.dumps((False, f"{type(fault).__name__}: {fault}"))


def _done(vm: Vm, verb: str, path: Path, *given: Any) -> Any:  # noqa: ANN401 - as any call
    target: Any = vm
    for kind, name in path:
        target = getattr(target, name) if kind == "attribute" else target[name]
    match verb:
        case "call":
            positional, named = given
            return target(*positional, **named)
        case "work":
            function, arguments = given
            return function(vm, *arguments)
        case "get":
            return _described(target)
        case "set":
            return setattr(target, *given)
        case "put":
            target[given[0]] = given[1]
            return None
        case "length":
            return len(target)
        case "list":
            return [_described(one) for one in target]
    return repr(target)


def _described(value: object) -> tuple[str, object]:
    """How the parent gets a value: itself, as a part that stays here, or as what can be called."""
    kind = type(value)
    if kind.__module__.startswith("gossamer.") and kind.__name__ in _PARTS:
        return "part", None
    if isinstance(value, tuple) and value and _described(value[0])[0] == "part":
        return "part", None
    return ("call", None) if callable(value) else ("value", value)


_PARTS: Final = frozenset(
    {"Console", "Registers", "Memory", "Symbols", "Keys", "Pointer", "Screen", "Timeline", "Vm"}
)


# --- in the parent --------------------------------------------------------------------------------


class Part:
    """A part of a machine in a fork: attributes, items and calls are those of the part there."""

    _fork: Fork
    _path: Path

    def __init__(self, fork: Fork, path: Path) -> None:
        object.__setattr__(self, "_fork", fork)
        object.__setattr__(self, "_path", path)

    def _at(self, step: Step) -> Any:  # noqa: ANN401 - whatever is there
        path = (*self._path, step)
        kind, value = self._fork._ask("get", path)
        if kind == "part":
            return Part(self._fork, path)
        if kind == "call":
            return lambda *given, **named: self._fork._ask("call", path, given, named)
        return value

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever is there
        if name.startswith("_"):
            raise AttributeError(name)
        return self._at(("attribute", name))

    def __setattr__(self, name: str, value: object) -> None:
        self._fork._ask("set", self._path, name, value)

    def __getitem__(self, place: object) -> Any:  # noqa: ANN401 - whatever is there
        return self._at(("item", place))

    def __setitem__(self, place: object, value: object) -> None:
        self._fork._ask("put", self._path, place, value)

    def __len__(self) -> int:
        return int(self._fork._ask("length", self._path))

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in self._fork._ask("list", self._path))

    def __repr__(self) -> str:
        return str(self._fork._ask("text", self._path))


class Fork(Part):
    """A machine in a process of its own: used as a `Vm` is, ``fork.run(seconds=1)``.

    `number` counts from 0; `pid` is the process.  What is asked for and what comes back must be
    picklable; hooks and other calls into the parent are not.  ForkError when what was asked for
    raised an error, or the process has ended.  `begin` asks and does not wait, so that several
    run at once.  `close`, or the end of a ``with`` block, ends the process.
    """

    number: int
    pid: int

    def __init__(self, number: int, pid: int, peer: socket.socket, *, busy: bool) -> None:
        super().__init__(self, ())
        for name, value in (("number", number), ("pid", pid), ("_peer", peer), ("_busy", busy)):
            object.__setattr__(self, name, value)
        _OPEN.add(peer)

    def __repr__(self) -> str:
        if self._busy or self._peer.fileno() < 0:
            return f"<Fork {self.number}: {'at work' if self._busy else 'closed'}>"
        return f"<Fork {self.number}: {super().__repr__()}>"

    def call(self, function: Callable[..., T], *given: object) -> T:
        """``function(vm, *given)`` in the fork; its result."""
        self.begin(function, *given)
        return self.result()  # type: ignore[no-any-return]

    def begin(self, function: Callable[..., object], *given: object) -> None:
        """Let the fork do ``function(vm, *given)``; `result` waits for it."""
        self._begin("work", (), function, given)

    def result(self) -> Any:  # noqa: ANN401 - whatever the function gave
        """What `begin` asked for."""
        if not self._busy:
            raise ConfigError(f"fork {self.number}: nothing was begun")
        try:
            data = _receive(self._peer)
        except BaseException:  # what comes later would be taken for another answer
            self.close()
            raise
        object.__setattr__(self, "_busy", False)
        if data is None:
            raise ForkError(f"fork {self.number}: its process ended with {self._status()}")
        well, value = pickle.loads(data)  # noqa: S301 - from our own child
        if not well:
            raise ForkError(f"fork {self.number}: {value}")
        return value

    def _ask(self, verb: str, path: Path, *given: object) -> Any:  # noqa: ANN401
        self._begin(verb, path, *given)
        return self.result()

    def _begin(self, verb: str, path: Path, *given: object) -> None:
        if self._busy:
            raise ConfigError(f"fork {self.number}: is at work: result() comes first")
        if self._peer.fileno() < 0:
            raise ForkError(f"fork {self.number}: is closed")
        try:
            data = pickle.dumps((verb, path, *given))
        except (pickle.PicklingError, AttributeError, TypeError) as fault:
            raise ConfigError(f"fork {self.number}: cannot be sent there: {fault}") from None
        try:
            _send(self._peer, data)
        except OSError:
            raise ForkError(
                f"fork {self.number}: its process ended with {self._status()}"
            ) from None
        object.__setattr__(self, "_busy", True)

    def _status(self) -> str:
        """How the process ended; it has."""
        _OPEN.discard(self._peer)
        self._peer.close()
        with contextlib.suppress(ChildProcessError):
            _, status = os.waitpid(self.pid, 0)
            code = os.waitstatus_to_exitcode(status)
            return f"signal {-code}" if code < 0 else f"status {code}"
        return "an unknown status"

    def close(self) -> None:
        """End the process; a second call does nothing."""
        if self._peer.fileno() >= 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._status()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            self.close()

    _peer: socket.socket
    _busy: bool


#: Our ends of the connections to forks.
_OPEN: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _results(forks: list[Fork]) -> list[Any]:
    """What each has been asked for, as it comes; ForkError names those that failed."""
    results: dict[int, Any] = {}
    faults: dict[int, str] = {}
    with selectors.DefaultSelector() as ready:
        for fork in forks:
            ready.register(fork._peer, selectors.EVENT_READ, fork)
        while ready.get_map():
            for key, _ in ready.select():
                ready.unregister(key.fileobj)
                fork = key.data
                try:
                    results[fork.number] = fork.result()
                except ForkError as fault:
                    faults[fork.number] = str(fault)
    if faults:
        raise ForkError("; ".join(text for _, text in sorted(faults.items())))
    return [results[fork.number] for fork in forks]


# --- between them ---------------------------------------------------------------------------------


def _send(peer: socket.socket, data: bytes) -> None:
    peer.sendall(len(data).to_bytes(_HEAD, "big") + data)


def _receive(peer: socket.socket) -> bytes | None:
    """A whole message; None when the other side has gone."""
    head = _exactly(peer, _HEAD)
    return None if head is None else _exactly(peer, int.from_bytes(head, "big"))


def _exactly(peer: socket.socket, length: int) -> bytes | None:
    out = bytearray()
    while len(out) < length:
        try:
            piece = peer.recv(min(length - len(out), 1 << 20))
        except ConnectionError:
            return None
        if not piece:
            return None
        out += piece
    return bytes(out)
