"""Compiling regions beside the machine: one thread, a bounded queue, results when they are done.

LLVM works without the interpreter's lock, so the guest runs on meanwhile.  The main thread looks
between two native runs whether something is done; only it loads code and changes entries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Final

from gossamer.engine.regions.forming import Region
from gossamer.engine.regions.names import names_of
from gossamer.isa.architecture import Architecture

if TYPE_CHECKING:
    from gossamer.engine.regions.compiling import Compiled

#: Regions that wait to be compiled, at the most; a place that is still hot asks again.
QUEUE: Final = 32


class Worker:
    """Compiles regions in their order."""

    def __init__(self, architecture: Architecture) -> None:
        self._architecture = architecture
        self._pool = ThreadPoolExecutor(1, "regions")
        self._waiting: deque[tuple[Region, Future[Compiled | Exception | None]]] = deque()
        self._closed = False

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= QUEUE

    def add(self, region: Region) -> None:
        self._waiting.append((region, self._pool.submit(self._compile, region)))

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
        self._pool.submit(action)

    @contextmanager
    def standing(self) -> Iterator[None]:
        """The thread stands still meanwhile, and holds no lock of LLVM's: the process may fork.

        A fork has no such thread: what is added there waits for ever, as much as the queue holds.
        """
        if self._closed:
            yield
            return
        stands, goes_on = Event(), Event()

        def stand() -> None:
            stands.set()
            goes_on.wait()

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
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._waiting.clear()
