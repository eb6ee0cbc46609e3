"""The past of a machine, for programs; and many futures from one present."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast, overload

from gossamer.api.forks import Fork, fork_all, make_forks
from gossamer.api.stopped import Stopped
from gossamer.api.symbols import Symbols, address_of
from gossamer.base.errors import ConfigError
from gossamer.base.units import NS_PER_S
from gossamer.control.timeline import record, search
from gossamer.control.timeline.journal import Moment
from gossamer.control.timeline.timeline import EVERY, LIMIT, Timeline
from gossamer.control.vm import Vm as Control
from gossamer.engine.stops import Watch

if TYPE_CHECKING:
    from typing import Self

    from gossamer.api.vm import Vm

T = TypeVar("T")


class Past:
    """What `Vm` can do with ``icount`` beside running forward."""

    control: Control
    symbols: Symbols

    def keep_past(self, *, limit: int = LIMIT, every: int = EVERY) -> Timeline:
        """Keep the past from now on: `limit` bytes, a checkpoint each `every` instructions.

        ConfigError without ``icount``.
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

    @overload
    def fork(self, count: int) -> list[Fork]: ...
    @overload
    def fork(self, count: int, work: Callable[[Self, int], T]) -> list[T]: ...

    def fork(
        self, count: int, work: Callable[[Self, int], T] | None = None
    ) -> list[Fork] | list[T]:
        """Make `count` processes, each with this machine as it is, that share memory until written.

        Without `work` their handles come, which are used as this machine is.  With it each calls
        ``work(vm, n)``, and the results come back: they must be picklable.  ForkError when one of
        them raised or ended; ConfigError with a disk that the guest can write.  A fork translates
        no more code: what is translated by now stays in force.
        """
        vm: Vm = cast("Vm", self)
        return make_forks(vm, count) if work is None else fork_all(vm, count, work)
