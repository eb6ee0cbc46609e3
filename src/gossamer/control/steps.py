"""What takes long, in steps: a generator that says what it waits for.

What runs it (`front.loop`, or `finish` for a program that has nothing else to do) comes back when
that has happened; in between the loop serves everything else.

    def receive(...) -> Steps[Received]:
        ready = yield Wait(read=(fd,), until_ns=end)   # False: the time is up
        loaded = yield InThread(lambda: read(fd))      # blocks a thread, not the loop
        return loaded

What `InThread` calls must not touch what other steps, commands or slices of the guest may change.
"""

from __future__ import annotations

import _thread
import select
import threading
from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar

from gossamer.base.data import Data
from gossamer.base.units import NS_PER_S
from gossamer.core import host

T = TypeVar("T")


class Wait(Data):
    """Until a file descriptor is ready, or the host's monotonic clock shows `until_ns`.

    Gives True when a descriptor is ready.
    """

    read: tuple[int, ...] = ()
    write: tuple[int, ...] = ()
    until_ns: int | None = None


class Running:
    """A thread.  Starting it does not wait until it is there, as `Thread.start` does."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._goes_on = threading.Lock()
        self._goes_on.acquire()
        _thread.start_new_thread(self._run, ())

    def _run(self) -> None:
        try:
            self._call()
        finally:
            self._goes_on.release()

    def is_alive(self) -> bool:
        """Whether it goes on."""
        return self._goes_on.locked()

    def join(self) -> None:
        """Return when it has ended."""
        with self._goes_on:
            return


def _nothing() -> None:
    """What a call that has been made is replaced by."""


class InThread:
    """A call in a thread of its own; gives its result, or raises what it raised.

    `ahead` begins it before it is waited for.
    """

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._done: Callable[[], None] | None = None
        self._over = False
        self._lock = threading.Lock()
        self._result: object = None
        self._fault: BaseException | None = None
        self.thread: Running | None = None

    def ahead(self) -> None:
        """Begin, unless it has begun."""
        if self.thread is None:
            self.thread = Running(self._run)

    def start(self, done: Callable[[], None]) -> None:
        """Begin, unless it has begun; `done` is called at the end, from whichever thread."""
        with self._lock:
            over, self._done = self._over, done
        if over:
            done()
        self.ahead()

    def _run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as fault:
            self._fault = fault
        self._call = _nothing  # what it holds must not wait for the garbage collector
        with self._lock:
            self._over, done = True, self._done
        if done is not None:
            done()

    def result(self) -> object:
        if self._fault is not None:
            raise self._fault
        return self._result

    def send_to(self, steps: Steps[T]) -> Waiting:
        """Go on with the steps that wait for this: what they wait for next."""
        if self._fault is not None:
            return steps.throw(self._fault)
        return steps.send(self._result)


Waiting: TypeAlias = Wait | InThread
Steps: TypeAlias = Generator[Waiting, Any, T]


def finish(steps: Steps[T]) -> T:
    """Run all steps here and now, waiting where they wait."""
    try:
        waiting = next(steps)
        while True:
            if isinstance(waiting, InThread):
                waiting.start(lambda: None)
                assert waiting.thread is not None
                waiting.thread.join()
                waiting = waiting.send_to(steps)
            else:
                waiting = steps.send(wait_for(waiting))
    except StopIteration as end:
        result: T = end.value
        return result


def wait_for(wait: Wait) -> bool:
    """Block until it has happened."""
    seconds = None
    if wait.until_ns is not None:
        seconds = max(0, wait.until_ns - host.monotonic_ns()) / NS_PER_S
    ready = select.select(wait.read, wait.write, [], seconds)
    return bool(ready[0] or ready[1])
