"""Compiling regions beside the machine: one thread, a bounded queue, results when they are done.

LLVM works without the interpreter's lock, so the guest runs on meanwhile.  The main thread looks
between two native runs whether something is done; only it loads code and changes entries.

LLVM's code is 64 MiB of the process.  When nothing has been compiled for a while it goes; what is
compiled next brings back what it needs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from threading import Event
from typing import TYPE_CHECKING, Final

from gossamer.core import mappings
from gossamer.engine.regions.forming import Region
from gossamer.engine.regions.names import names_of
from gossamer.isa.architecture import Architecture

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from gossamer.engine.regions.compiling import Compiled

#: Regions that wait to be compiled, at the most; a place that is still hot asks again.
QUEUE: Final = 32
#: Seconds without work after which LLVM's code is given back, and the end of its file's name.
_REST_S: Final = 0.25
_LIBRARY: Final = "/libllvmlite.so"


class Worker:
    """Compiles regions in their order."""

    def __init__(self, architecture: Architecture) -> None:
        self._architecture = architecture
        self._waiting: deque[tuple[Region, Future[Compiled | Exception | None]]] = deque()
        self._closed = False
        #: How often it was asked for something; set whenever it is.
        self._asked = 0
        self._wanted = Event()

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor  # most processes compile nothing

        return ThreadPoolExecutor(1, "regions")

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= QUEUE

    def add(self, region: Region) -> None:
        number = self._wake()
        self._waiting.append((region, self._pool.submit(self._work, region, number)))

    def _wake(self) -> int:
        """Let the thread rest no longer; the number of what it is asked for next."""
        self._asked += 1
        self._wanted.set()
        return self._asked

    def _work(self, region: Region, number: int) -> Compiled | Exception | None:
        compiled = self._compile(region)
        if number == self._asked:
            with suppress(RuntimeError):  # closed meanwhile
                self._pool.submit(self._rest, number)
        return compiled

    def _rest(self, number: int) -> None:
        """Give LLVM's code back, unless something is asked for soon."""
        self._wanted.clear()
        if self._closed or number != self._asked:
            return
        if not self._wanted.wait(_REST_S):
            mappings.give_back(_LIBRARY)

    def _compile(self, region: Region) -> Compiled | Exception | None:
        """What fails is reported as a result: a region less must not end the machine."""
        if self._closed:
            return None
        try:
            from gossamer.engine.regions.compiling import compile_text

            return compile_text(region, names_of(self._architecture))
        except Exception as fault:
            return fault

    def run(self, action: Callable[[], None]) -> None:
        """Do something else in the thread."""
        self._wake()
        self._pool.submit(action)

    @contextmanager
    def standing(self) -> Iterator[None]:
        """The thread stands still meanwhile, and holds no lock of LLVM's: the process may fork.

        A fork has no such thread: what is added there waits for ever, as much as the queue holds.
        """
        if self._closed or "_pool" not in self.__dict__:
            yield
            return
        stands, goes_on = Event(), Event()

        def stand() -> None:
            stands.set()
            goes_on.wait()

        self._wake()
        self._pool.submit(stand)
        stands.wait()
        try:
            yield
        finally:
            goes_on.set()

    def done(self) -> list[tuple[Region, Compiled | Exception]]:
        """What was compiled since the last call, or why it was not."""
        out = []
        while self._waiting and self._waiting[0][1].done():
            region, future = self._waiting.popleft()
            compiled = future.result()
            if compiled is not None:
                out.append((region, compiled))
        return out

    def last(self) -> list[tuple[Region, Compiled | Exception]]:
        """Give up what waits, let what is under way end; all that is done then.

        The thread would end it in any case, before the process does.
        """
        from concurrent.futures import wait

        for _, future in self._waiting:
            future.cancel()
        kept = [(region, future) for region, future in self._waiting if not future.cancelled()]
        wait([future for _, future in kept])
        self._waiting = deque(kept)
        return self.done()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is done that was not taken."""
        return not self._waiting or not self._waiting[0][1].done()

    @property
    def has_work(self) -> bool:
        """Whether something waits, is compiled or was not taken."""
        return bool(self._waiting)

    def close(self) -> None:
        """Give up what waits; what is under way ends by itself."""
        self._closed = True
        self._wanted.set()
        if "_pool" in self.__dict__:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._waiting.clear()
