"""The loop of the process: what waits for the host, what waits for a time, what goes on in steps.

    loop.add(source)                 file descriptors: `events()` says which, `handle(fd, mask)`
    loop.after(0.5, call)            a timer, once; `.cancel()`
    loop.spawn(steps)                a generator of `control.steps`: it goes on as it can
    loop.post(call)                  from another thread: call it in the loop's

`run` lets the machine run a slice, looks at everything, and so on.  Nothing that it calls may
block: what takes long is steps, what must block is an `InThread` of theirs.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import select
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Final, Protocol

from gossamer.base.units import NS_PER_S
from gossamer.control.steps import InThread, Steps, Wait, Waiting

LONGEST_WAIT_S: Final = 1.0
_ENDED: Final = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Source(Protocol):
    """Something with file descriptors."""

    def events(self) -> Mapping[int, int]:
        """Poll masks by descriptor, as they are wanted now."""

    def handle(self, fd: int, mask: int) -> None:
        """Descriptor `fd` is ready; one that `events` no longer names may come once more."""


class Timer:
    """A call at a time of the host's monotonic clock."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Task:
    """Steps on their way."""

    def __init__(self, loop: Loop, steps: Steps[Any]) -> None:
        self.loop, self.steps = loop, steps
        self.over = False
        self.waiting: Waiting | None = None
        self._go_on(lambda: next(steps))

    def _go_on(self, advance: Callable[[], Waiting]) -> None:
        """Take the next step, and see what it waits for."""
        loop = self.loop
        loop.waits.pop(self, None)
        try:
            waiting = self.waiting = advance()
        except StopIteration:
            self.over = True
            loop.tasks.discard(self)
            return
        except BaseException:
            self.over = True
            loop.tasks.discard(self)
            raise
        loop.tasks.add(self)
        if isinstance(waiting, InThread):
            thread = waiting
            thread.start(lambda: loop.post(lambda: self._returned(thread)))
        else:
            loop.waits[self] = waiting

    def _returned(self, thread: InThread) -> None:
        if not self.over:
            self._go_on(lambda: thread.send_to(self.steps))

    def wake(self, *, ready: bool) -> None:
        """What it waited for has happened, or the time is up."""
        self._go_on(lambda: self.steps.send(ready))

    def close(self) -> None:
        """Give it up where it is."""
        if not self.over:
            self.over = True
            self.loop.waits.pop(self, None)
            self.loop.tasks.discard(self)
            self.steps.close()


class Loop:
    """All of the above; used in one thread at a time."""

    def __init__(self) -> None:
        self.sources: list[Source] = []
        self.tasks: set[Task] = set()
        self.waits: dict[Task, Wait] = {}
        self._timers: list[tuple[int, int, Timer]] = []
        self._serial = count()
        self._posted: deque[Callable[[], None]] = deque()
        self._masks: dict[int, int] = {}
        self._poller = select.poll()
        #: How long it has waited with nothing to do, in all.
        self.waited_ns = 0
        self._wake_out, self._wake_in = os.pipe()
        for fd in (self._wake_out, self._wake_in):
            os.set_blocking(fd, False)

    # --- clients ------------------------------------------------------------------------------

    def add(self, source: Source) -> None:
        self.sources.append(source)

    def remove(self, source: Source) -> None:
        with contextlib.suppress(ValueError):
            self.sources.remove(source)

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call `call` once, in so many seconds of the host."""
        timer = Timer(call)
        when = time.monotonic_ns() + int(seconds * NS_PER_S)
        heapq.heappush(self._timers, (when, next(self._serial), timer))
        return timer

    def spawn(self, steps: Steps[Any]) -> Task:
        """Begin steps; what they raise before their first wait is the caller's."""
        return Task(self, steps)

    def post(self, call: Callable[[], None]) -> None:
        """From any thread: call `call` in the loop's."""
        self._posted.append(call)
        with contextlib.suppress(OSError):  # full: it will wake; closed: no loop is left to wake
            os.write(self._wake_in, b"w")

    @property
    def wake_fd(self) -> int:
        """A byte written here wakes the loop (signals)."""
        return self._wake_in

    # --- a round ------------------------------------------------------------------------------

    def poll(self, timeout_s: float = 0.0) -> None:
        """Serve what is ready; wait up to `timeout_s` for something to be."""
        owners: dict[int, list[Source]] = {}
        masks: dict[int, int] = {self._wake_out: select.POLLIN}
        for source in self.sources:
            for fd, mask in source.events().items():
                owners.setdefault(fd, []).append(source)
                masks[fd] = masks.get(fd, 0) | mask
        for wait in self.waits.values():
            for fds, mask in ((wait.read, select.POLLIN), (wait.write, select.POLLOUT)):
                for fd in fds:
                    masks[fd] = masks.get(fd, 0) | mask
        if masks != self._masks:  # most rounds are like the one before
            self._masks, self._poller = masks, select.poll()
            for fd, mask in masks.items():
                self._poller.register(fd, mask)
        wait_ms = self._milliseconds(timeout_s)
        began = time.monotonic_ns() if wait_ms else 0
        ready = dict(self._poller.poll(wait_ms))
        if wait_ms:
            self.waited_ns += time.monotonic_ns() - began
        if self._wake_out in ready:
            self._drain()
        for fd, mask in ready.items():
            for source in owners.get(fd, ()):
                source.handle(fd, mask)
        self._wake_tasks(ready)
        self._fire_timers()

    def _milliseconds(self, timeout_s: float) -> int:
        """How long to wait at most: for the caller, a timer, a step."""
        now = time.monotonic_ns()
        end = now + int(timeout_s * NS_PER_S)
        if self._posted:
            return 0
        if self._timers:
            end = min(end, self._timers[0][0])
        for wait in self.waits.values():
            if wait.until_ns is not None:
                end = min(end, wait.until_ns)
        return max(0, -(-(end - now) // 1_000_000))

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_out, 4096)
        for _ in range(len(self._posted)):
            self._posted.popleft()()

    def _wake_tasks(self, ready: Mapping[int, int]) -> None:
        now = time.monotonic_ns()
        for task, wait in tuple(self.waits.items()):
            if self.waits.get(task) is not wait:
                continue
            come = any(ready.get(fd, 0) & (select.POLLIN | _ENDED) for fd in wait.read)
            gone = any(ready.get(fd, 0) & (select.POLLOUT | _ENDED) for fd in wait.write)
            if come or gone or (wait.until_ns is not None and wait.until_ns <= now):
                task.wake(ready=come or gone)

    def _fire_timers(self) -> None:
        now = time.monotonic_ns()
        while self._timers and self._timers[0][0] <= now:
            call = heapq.heappop(self._timers)[2].call
            if call is not None:
                call()

    def run(self, turn: Callable[[], float | None]) -> None:
        """Go on until `turn` gives None; else it says for how many seconds it has nothing to do."""
        while (wait := turn()) is not None:
            self.poll(min(wait, LONGEST_WAIT_S))

    def close(self) -> None:
        """Give up every task, and the loop's own descriptors."""
        for task in tuple(self.tasks):
            task.close()
        for fd in (self._wake_out, self._wake_in):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._wake_in = self._wake_out = -1
