"""The past of a machine, for programs; and many futures from one present."""

from __future__ import annotations

import os
import pickle
import selectors
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from gossamer.api.stopped import Stopped
from gossamer.api.symbols import Symbols, address_of
from gossamer.base.errors import ConfigError, GossamerError, HostError
from gossamer.base.units import NS_PER_S
from gossamer.control.timeline import record, search
from gossamer.control.timeline.journal import Moment
from gossamer.control.timeline.timeline import EVERY, LIMIT, Timeline
from gossamer.control.vm import Vm as Control
from gossamer.core import ahead
from gossamer.engine.stops import Watch

if TYPE_CHECKING:
    from typing import Self

#: Processes that one `fork` makes at the most.
MOST_FORKS: Final = 256
T = TypeVar("T")


class ForkError(GossamerError):
    """What was done in a fork raised an error, or its process ended."""


class Past:
    """What `Vm` can do with ``icount`` beside running forward."""

    control: Control
    symbols: Symbols

    def keep_past(self, *, limit: int = LIMIT, every: int = EVERY) -> Timeline:
        """Keep the past from now on: `limit` bytes, a checkpoint each `every` instructions.

        ConfigError without ``icount``, and with a disk that the guest can write.
        """
        return Timeline(self.control, limit=limit, every=every)

    @property
    def timeline(self) -> Timeline:
        """The machine's past; it begins here where none is kept yet."""
        history = self.control.history
        return history if isinstance(history, Timeline) else self.keep_past()

    def mark(self, label: str = "") -> Moment:
        """Remember this moment, to go back to."""
        return self.timeline.mark(label)

    def rewind(
        self,
        to: Moment | str | None = None,
        *,
        seconds: float | None = None,
        ns: int | None = None,
        instructions: int | None = None,
    ) -> Moment:
        """Go to a moment or mark, or back by `seconds` or `ns` of its time, or by `instructions`.

        What consoles have heard stays heard.
        """
        if seconds is not None:
            if ns is not None:
                raise ConfigError("rewind: give one of to, seconds, ns and instructions")
            ns = int(seconds * NS_PER_S)
        return self.timeline.rewind(to, ns=ns, instructions=instructions)

    def reset_to(self, mark: Moment | str) -> None:
        """Go back to a mark, and forget what came after it; only what changed is put back."""
        timeline = self.timeline
        timeline.go_back(timeline.find(mark))

    def run_back(
        self,
        *,
        pc: int | str | None = None,
        write: int | str | None = None,
        read: int | str | None = None,
        length: int = 4,
    ) -> Stopped | None:
        """Go back to before the last instruction at `pc`, or that wrote or read there.

        None, and the machine at its timeline's begin, when there was none.
        """
        breaks = frozenset() if pc is None else frozenset({address_of(self.symbols, pc)})
        given = ((write, False, True), (read, True, False))
        watches = tuple(
            Watch(address_of(self.symbols, place), length, reads, writes)
            for place, reads, writes in given
            if place is not None
        )
        if not breaks and not watches:
            raise ConfigError("run_back: give pc, write or read")
        hit = search.run_back(self.timeline, breaks, watches)
        if hit is None:
            return None
        control = self.control
        kind = "pc" if hit.met.kind == "break" else hit.met.kind
        at = control.instructions, control.clock_ns
        return Stopped(kind, *at, control.register("pc"), hit.met.ea)

    def last_write(self, place: int | str, length: int = 4) -> search.Write | None:
        """Which store wrote last to memory at an address or symbol; None when none did.

        The machine stays where it is; ``vm.rewind(found.moment)`` goes to just before the store.
        """
        return search.last_write(self.timeline, address_of(self.symbols, place), length)

    @contextmanager
    def speculate(self) -> Iterator[Moment]:
        """What is done inside is undone at the end, always."""
        with self.timeline.speculate() as here:
            yield here

    def record(self, path: Path | str, points: int = 100) -> None:
        """Write the past to a file: start state, inputs, and hashes at `points` places."""
        record.write_record(self.control, self.timeline, path, points)

    @classmethod
    def replay(
        cls, path: Path | str, *, files: Mapping[str, Path | str | None] | None = None
    ) -> Self:
        """The machine of a record at its end, after all its hashes were met; ConfigError if not.

        ``vm.rewind`` goes anywhere in between.
        """
        control, timeline, points = record.read_record(path, files)
        try:
            record.verify(control, timeline, points)
        except BaseException:
            control.disks.abandon()
            raise
        vm = cls.__new__(cls)
        vm._hold(control)
        return vm

    def _hold(self, control: Control) -> None:
        raise NotImplementedError

    # --- forks --------------------------------------------------------------------------------

    def fork(self, count: int, work: Callable[[Self, int], T]) -> list[T]:
        """Call ``work(vm, n)`` in `count` processes, each with this machine as it is; the results.

        Memory is shared until it is written.  A result must be picklable.  ForkError when one of
        them raised or ended; ConfigError with a disk that the guest can write.  A fork translates
        no more code: what is translated by now stays in force.
        """
        if not 1 <= count <= MOST_FORKS:
            raise ConfigError(f"fork: expected 1 to {MOST_FORKS} processes, got {count}")
        config = self.control.config
        if any(d.media != "cdrom" and not d.readonly for d in config.drives):
            raise ConfigError("fork: a disk can be written, and only one process may do that")
        regions = self.control.machine.regions
        ahead.settle()
        with nullcontext() if regions is None else regions.standing():
            pipes = [self._forked(n, work) for n in range(count)]
        return _results(pipes)

    def _forked(self, n: int, work: Callable[[Self, int], object]) -> tuple[int, int]:
        """A process that does it: its number, and a descriptor that its result comes from."""
        out, into = os.pipe()
        try:
            pid = os.fork()
        except OSError as fault:
            os.close(out)
            os.close(into)
            raise HostError(f"fork {n}: {fault.strerror}") from None
        if pid:
            os.close(into)
            return pid, out
        try:
            try:
                if self.control.machine.regions is not None:
                    self.control.machine.regions.forked()
                data = pickle.dumps((True, work(self, n)))
            except BaseException as fault:  # whatever it is, the parent hears of it
                data = pickle.dumps((False, f"{type(fault).__name__}: {fault}"))
            while data:
                data = data[os.write(into, data) :]
        finally:
            os._exit(0)


def _results(pipes: list[tuple[int, int]]) -> list[Any]:
    """What the processes send, in their order; ForkError names the first that failed."""
    parts: dict[int, bytearray] = {out: bytearray() for _, out in pipes}
    with selectors.DefaultSelector() as ready:
        for _, out in pipes:
            ready.register(out, selectors.EVENT_READ)
        while ready.get_map():
            for key, _ in ready.select():
                assert isinstance(key.fileobj, int)
                data = os.read(key.fileobj, 1 << 16)
                parts[key.fileobj] += data
                if not data:
                    ready.unregister(key.fileobj)
                    os.close(key.fileobj)
    results: list[Any] = []
    faults: list[str] = []
    for n, (pid, out) in enumerate(pipes):
        _, status = os.waitpid(pid, 0)
        if not parts[out] or status:
            faults.append(f"fork {n}: its process ended with status {status}")
            continue
        well, value = pickle.loads(bytes(parts[out]))  # noqa: S301 - from our own child
        (results if well else faults).append(value if well else f"fork {n}: {value}")
    if faults:
        raise ForkError("; ".join(faults))
    return results
