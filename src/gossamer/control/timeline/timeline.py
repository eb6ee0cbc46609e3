"""The past of a machine that runs with ``-icount``: marks, and ways back to any instruction.

Nothing is recorded of the run itself.  Inputs from outside are logged with their place, and
checkpoints are taken on the way; a moment between two checkpoints is reached by running from the
earlier one with the same inputs.  After going back the same inputs come again as the guest runs on,
until a new one comes: from there on it is another future.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from typing import Final

from gossamer.base.errors import ConfigError, GossamerError, HostError
from gossamer.base.units import MiB
from gossamer.control.disks import View
from gossamer.control.runner import Runner
from gossamer.control.timeline.blocks import Blocks
from gossamer.control.timeline.journal import Input, Moment, give
from gossamer.control.timeline.ring import Checkpoint, Ring

#: Bytes that checkpoints may take, and instructions between two of them, unless said otherwise.
LIMIT: Final = 256 * MiB
EVERY: Final = 100_000_000
MOST_INPUTS: Final = 1 << 20
MOST_MARKS: Final = 1024
_ENDLESS: Final = 1 << 62
#: A step back leaves a checkpoint so many instructions before, for the next ones.
_NEAR: Final = 4096


class DivergedError(GossamerError):
    """A run from a checkpoint did not come to where the first one came: a fault of gossamer's."""


class Timeline:
    """The past of `vm`, from now on.

    `limit` bytes of checkpoints, one at least each `every` instructions, and when as much virtual
    time has passed as so many take (an idle guest executes few).  ConfigError without
    ``-icount``: the past could not be run again.  Disks go back too (`control.timeline.blocks`).
    """

    def __init__(self, vm: Runner, *, limit: int = LIMIT, every: int = EVERY) -> None:
        if vm.config.icount is None:
            raise ConfigError("timeline: needs -icount: without it the host's clock is an input")
        if vm.history is not None:
            raise ConfigError("timeline: there is one already")
        if limit < MiB or every < _NEAR:
            raise ConfigError(f"timeline: expected 1 MiB and {_NEAR} instructions at the least")
        self.vm, self.limit, self.every = vm, limit, every
        self._shift = vm.config.icount
        self.next_cut = _ENDLESS
        self.why = "it begins here"
        self.fault = ""
        self._speculates = 0
        self._start()
        if self.fault:
            raise ConfigError(self.fault)
        vm.history = self

    def _start(self) -> None:
        """Begin anew, with the machine as it is."""
        self.inputs: list[Input] = []
        #: Inputs that were forgotten with the checkpoints before the first one.
        self.forgotten = 0
        self.cursor = 0
        self.marks: dict[str, Moment] = {}
        self._latest: Moment | None = None
        self._most: int | None = None
        self._asked: set[int] = set()
        self._cut_ns = _ENDLESS
        self._break: int | None = None
        disks = [Blocks(disk, self.limit) for disk in self.vm.disks]
        self._show_disks({disk.disk.index: disk for disk in disks})
        self.ring = Ring(self.vm.machine, self.limit, disks)
        self._take()

    def _show_disks(self, views: Mapping[int, View]) -> None:
        if views or self.vm.disks.views:
            self.vm.disks.views = dict(views)
            self.vm.plug_disks()

    def close(self) -> None:
        """Have no past any more; HostError where a disk cannot be made what the guest sees."""
        self._settle_disks()
        if self.vm.history is self:
            self.vm.history = None
            self._show_disks({})

    # --- what the machine reports -------------------------------------------------------------

    def note(self, kind: str, values: tuple[int | str, ...]) -> None:
        if self.fault:
            self._settle_disks()
            return
        vm = self.vm
        if vm.machine.engine.is_running:
            raise ConfigError("timeline: an input comes between two instructions, not inside one")
        vm.machine.processor.run(vm.instructions)  # what is due here comes before the input
        self._diverge()
        if len(self.inputs) >= MOST_INPUTS:
            self._forget_inputs()
        self.inputs.append(Input(vm.clock_ns, kind, values))
        self.cursor += 1

    def _forget_inputs(self) -> None:
        """Let the oldest half of the past go, so that there is room for more inputs."""
        ring = self.ring
        ring.forget_before(len(ring.all) // 2)
        first = ring.all[0].moment.inputs
        del self.inputs[: first - self.forgotten]
        self.forgotten = first
        if len(self.inputs) >= MOST_INPUTS:
            self._start()
            self.why = f"more than {MOST_INPUTS} inputs had come"

    def broken(self, why: str) -> None:
        if self.ring.machine is self.vm.machine:  # else its disks are those of a load
            self._settle_disks()
        self.fault = ""
        self._start()
        self.why = why

    def cut(self) -> bool:
        stops = self._break is not None and self.vm.instructions >= self._break
        if stops:
            self._break = None
        self._take()
        return stops

    def break_at(self, count: int) -> None:
        """Stop the machine, once, where so many instructions have been executed."""
        self._check()
        if count <= self.vm.instructions:
            raise ConfigError(
                f"replay_break: instruction {count:,} has been; here is {self.vm.instructions:,}"
            )
        self._break = count
        self._plan()

    def delete_break(self) -> None:
        """Do not stop there; ConfigError where no place was given."""
        if self._break is None:
            raise ConfigError("replay_delete_break: none is set")
        self._break = None
        self._plan()

    def _plan(self) -> None:
        """The machine runs at most to the next checkpoint, or to where it is to stop."""
        if self.fault:
            self.next_cut = self._cut_ns = _ENDLESS
        else:
            self.next_cut = self.vm.instructions + self.every
            self._cut_ns = self.vm.clock_ns + (self.every << self._shift)
        if self._break is not None and not self.vm.replays:
            self.next_cut = min(self.next_cut, self._break)
        self._schedule()

    def _take(self, *, pinned: bool = False) -> Checkpoint | None:
        """A checkpoint, now; a ring that cannot hold one ends the timeline, not the guest."""
        self._plan()
        if self.fault:
            return None
        try:
            return self.ring.take(self.now, pinned=pinned)
        except GossamerError as fault:
            self.fault = f"timeline: {str(fault).removeprefix('timeline: ')}"
            self._plan()
            return None

    # --- places -------------------------------------------------------------------------------

    @property
    def now(self) -> Moment:
        """Where the machine is."""
        return Moment(self.vm.instructions, self.vm.clock_ns, self.cursor)

    @property
    def begin(self) -> Moment:
        """The earliest moment that can be gone back to."""
        self._check()
        return self.ring.all[0].moment

    @property
    def end(self) -> Moment:
        """The latest moment that the machine has come to."""
        now = self.now
        return self._latest if self._latest is not None and self._latest.key > now.key else now

    @property
    def mode(self) -> str:
        """QEMU's word: record at the latest moment, play before it."""
        return "play" if self.end.key > self.now.key else "record"

    def moments(self) -> list[Moment]:
        """Begin, marks and end, in order."""
        return sorted((self.begin, *self.marks.values(), self.end), key=lambda m: m.key)

    @property
    def size(self) -> int:
        """Bytes that checkpoints and inputs take."""
        return self.ring.size + 200 * len(self.inputs)

    def _check(self) -> None:
        for disk in self.ring.disks:
            self.fault = self.fault or (disk.fault and f"timeline: {disk.fault}")
        if self.fault:
            raise ConfigError(self.fault)

    # --- disks --------------------------------------------------------------------------------

    def _settle_disks(self) -> None:
        """From here on what the guest writes is in the images; not where all will be undone."""
        if not self._speculates:
            for disk in self.ring.disks:
                if disk.held:
                    disk.settle()

    def _check_disks(self) -> None:
        """What was done again is what has been, unless the host refused something."""
        for disk in self.ring.disks:
            missed, disk.missed = disk.missed, None
            if missed is not None:
                raise HostError(f"timeline: {disk.disk.name}: {missed}") from None

    def _arrived(self) -> None:
        """The machine may be at the latest moment again."""
        if self.now.key >= self.end.key:
            try:
                self._settle_disks()
            except GossamerError:
                for disk in self.ring.disks:  # the guest's next write or flush hears of it
                    disk.late = disk.held

    def mark(self, label: str = "") -> Moment:
        """Remember where the machine is; going back there needs no running."""
        self._check()
        if len(self.marks) >= MOST_MARKS:
            raise ConfigError(f"timeline: {MOST_MARKS} marks are set, and no more are kept")
        now = self.now
        label = label or f"mark{len(self.marks) + 1}"
        if label in self.marks:
            raise ConfigError(f"timeline: there is a mark {label!r} already")
        self._take(pinned=True)
        self._check()
        self.marks[label] = Moment(now.instructions, now.ns, now.inputs, label)
        return self.marks[label]

    def find(self, to: Moment | str) -> Moment:
        """A moment, or the mark of that label; ConfigError where the past does not reach it."""
        self._check()
        if isinstance(to, str):
            if to not in self.marks:
                known = ", ".join(self.marks) or "none"
                raise ConfigError(f"timeline: no mark {to!r} (there are: {known})")
            to = self.marks[to]
        if not self.begin.key <= to.key <= self.end.key:
            raise self._outside(f"instruction {to.instructions:,}")
        return to

    def _outside(self, what: str) -> ConfigError:
        a, b = self.begin, self.end
        return ConfigError(
            f"timeline: {what} is outside of it: instructions {a.instructions:,} to "
            f"{b.instructions:,}, {a.ns / 1e9:.6f} to {b.ns / 1e9:.6f} s; {self.why}"
        )

    # --- going there --------------------------------------------------------------------------

    def rewind(
        self,
        to: Moment | str | None = None,
        *,
        ns: int | None = None,
        instructions: int | None = None,
    ) -> Moment:
        """Go to a moment or mark, or back by virtual `ns` or by `instructions`."""
        self._check()
        if sum(x is not None for x in (to, ns, instructions)) != 1:
            raise ConfigError("rewind: give one of to, ns and instructions")
        if to is not None:
            return self.go(self.find(to))
        if instructions is not None:
            return self.go_to_count(self.vm.instructions - instructions)
        assert ns is not None
        when = self.vm.clock_ns - ns
        if not self.begin.ns <= when <= self.end.ns:
            raise self._outside(f"{when / 1e9:.6f} s")
        self._keep_end()
        start = self.ring.before(Moment(0, when, _ENDLESS))
        assert start is not None
        with self.come_back(), self._again(start):
            self.vm.run_to(until_ns=when)
        return self.now

    def go(self, to: Moment) -> Moment:
        """Be at `to`."""
        with self.come_back():
            return self._go(to)

    def _go(self, to: Moment) -> Moment:
        self._keep_end()
        start = self.ring.before(to)
        if start is None:
            raise self._outside(f"instruction {to.instructions:,}")
        with self._again(start, to.inputs):
            if self.now.key < to.key:
                self.vm.run_to(until_ns=to.ns)
        if self.now.key != to.key or self.vm.instructions != to.instructions:
            raise DivergedError(f"timeline: came to {self.now}, expected {to}")
        return self.now

    def go_back(self, to: Moment) -> None:
        """Be at `to` and forget what came after it: no checkpoint is taken of that."""
        start = self.ring.before(to)
        if start is None or start.key != to.key:
            self.go(to)
        else:
            with self._again(start, to.inputs):
                pass
        self._diverge()

    def go_to_count(self, count: int) -> Moment:
        """Be where `count` instructions had been executed for the first time."""
        self._check()
        if not self.begin.instructions <= count <= self.end.instructions:
            raise self._outside(f"instruction {count:,}")
        self._keep_end()
        start = self.ring.before_count(count)
        assert start is not None
        vm = self.vm
        with self.come_back(), self._again(start):
            if count - vm.instructions > 4 * _NEAR:
                vm.run_to(count - _NEAR)
                self._check_disks()
                self._take()
            vm.run_to(count)
        return self.now

    @contextmanager
    def come_back(self) -> Iterator[None]:
        """Where something fails on the way, or it is broken off, the machine is where it was."""
        here = self.now
        try:
            yield
        except BaseException:
            if self.now.key != here.key:
                self._go(here)
            raise

    def _keep_end(self) -> None:
        """The machine leaves the latest moment: coming back there needs no running."""
        if self._latest is None or self.now.key > self._latest.key:
            self._take()
            self._check()
            self._latest = self.now

    def forward(self, ns: int) -> None:
        """Run on to virtual `ns` with the inputs of then; no event is reported."""
        self._check()
        if not self.vm.clock_ns <= ns <= self.end.ns:
            raise self._outside(f"{ns / 1e9:.6f} s")
        self._keep_end()
        with self._unheard():
            self._plan()
            self.vm.run_to(until_ns=ns)
        self._plan()
        self.vm.went_back()
        self._arrived()

    def expect(self, inputs: list[Input], end: Moment) -> None:
        """From here on these inputs come, up to `end`: a run that was recorded."""
        self.inputs, self._latest = inputs, end
        self._schedule()

    @contextmanager
    def _unheard(self) -> Iterator[None]:
        """What is run inside has been before; its calls are made in it alone."""
        kept, self._asked = self._asked, set()
        try:
            with self.vm.unheard():
                yield
        finally:
            self._asked = kept

    @contextmanager
    def _again(self, start: Checkpoint, inputs: int | None = None) -> Iterator[None]:
        """The machine at `start`; what is run inside has been before: no event is reported."""
        vm = self.vm
        processor = vm.machine.processor
        stops = processor.stops
        kept = None if stops is None else (stops.breakpoints, stops.watchpoints)
        if stops is not None:
            stops.set(frozenset())
        self._most = inputs
        try:
            with self._unheard():
                self.next_cut = self._cut_ns = _ENDLESS
                self._restore(start)
                yield
                self._check_disks()
        except BaseException:
            latest = self.ring.before(self.end)  # where no running is needed
            assert latest is not None
            self._restore(latest)
            raise
        finally:
            if stops is not None and kept is not None:
                stops.set(*kept)
            self._most = None
            self._plan()
            vm.went_back()
            self._arrived()

    def _restore(self, to: Checkpoint) -> None:
        self.ring.restore(to)
        self.cursor = to.moment.inputs
        self._schedule()

    def _schedule(self) -> None:
        """Be called when the next input that was given then comes, at the end, and for a cut."""
        n = self.cursor - self.forgotten
        if n < len(self.inputs):
            if self._most is None or self.cursor < self._most:
                self._ask(self.inputs[n].ns)
        elif self._latest is not None and self._latest.ns > self.vm.clock_ns:
            self._ask(self._latest.ns)
        if self._cut_ns < _ENDLESS:
            self._ask(min(self._cut_ns, *self._asked) if self._asked else self._cut_ns)

    def _ask(self, ns: int) -> None:
        if ns not in self._asked:
            self._asked.add(ns)
            self.vm.at(ns, lambda: self._called(ns))

    def _called(self, ns: int) -> None:
        if self.vm.history is not self:
            return
        self._asked.discard(ns)
        vm = self.vm
        while (n := self.cursor - self.forgotten) < len(self.inputs):
            if self.inputs[n].ns > vm.clock_ns or self.cursor == self._most:
                break
            give(vm.machine, self.inputs[n])
            self.cursor += 1
        if not vm.replays:
            self._arrived()
        if vm.clock_ns >= self._cut_ns:
            self._take()
        self._schedule()

    def _diverge(self) -> None:
        """What comes now has not been before: forget the future that was."""
        now = self.now
        if self.end.key <= now.key and self.cursor - self.forgotten == len(self.inputs):
            self._settle_disks()
            return
        for disk in () if self._speculates else self.ring.disks:
            disk.commit()  # before anything is forgotten: it may fail
        del self.inputs[self.cursor - self.forgotten :]
        self.ring.forget_after(now)
        self.marks = {k: m for k, m in self.marks.items() if m.key <= now.key}
        self._latest = None
        for disk in self.ring.disks:
            disk.forget_failures()
        self._settle_disks()

    def forget_future(self) -> None:
        """From here on it is another future."""
        self._diverge()

    def __repr__(self) -> str:
        if self.fault:
            return f"<Timeline: {self.fault}>"
        lines = [
            f"{m.instructions:>16,} {m.ns / 1e9:14.6f} s  {m.label}".rstrip()
            + ("  <- here" if m.key == self.now.key else "")
            for m in self.moments()
        ]
        return "\n".join([*lines, f"{len(self.ring.all)} checkpoints, {self.size:,} bytes"])

    def _repr_html_(self) -> str:
        """A notebook shows it as a table, with a bar from its begin to its end."""
        if self.fault:
            return f"<p>{escape(self.fault)}</p>"
        begin, end, here = self.begin, self.end, self.now
        span = max(end.ns - begin.ns, 1)
        rows = "".join(
            f"<tr{' style=font-weight:bold' if m.key == here.key else ''}>"
            f"<td>{m.instructions:,}</td><td>{m.ns / 1e9:.6f} s</td><td>{escape(m.label)}</td></tr>"
            for m in self.moments()
        )
        share = (here.ns - begin.ns) / span
        return (
            f"<progress value='{share:.4f}' style='width:30em'></progress>"
            f"<p>here: {here.instructions:,} instructions, {here.ns / 1e9:.6f} s; "
            f"{len(self.ring.all)} checkpoints, {self.size / MiB:.1f} MiB</p><table>"
            f"<tr><th>instructions</th><th>time</th><th>mark</th></tr>{rows}</table>"
        )

    @contextmanager
    def speculate(self) -> Iterator[Moment]:
        """What is done inside is undone at the end, always; the past stays."""
        self._check()
        if self.end.key > self.now.key:
            self._diverge()
        self._take(pinned=True)
        self._check()
        here = self.now
        self._speculates += 1
        for disk in self.ring.disks:
            disk.held = True
        try:
            yield here
        finally:
            try:
                self.go(here)
                self._diverge()
            finally:
                self._speculates -= 1
            self._arrived()

    # --- checkpoints for searches -------------------------------------------------------------

    def segments(self) -> Iterator[tuple[Checkpoint, Checkpoint]]:
        """Neighbours, from the machine's place backwards; the later one of the first is here."""
        self._keep_end()
        self._take()
        self._check()
        ring = self.ring.all
        n = bisect_right(ring, self.now.key, key=lambda c: c.key)
        places = ring[:n]
        yield from zip(reversed(places[:-1]), reversed(places[1:]), strict=True)

    def again(self, start: Checkpoint, run: Callable[[], None]) -> None:
        """Run from `start` on with the inputs of then; the machine is wherever that leads."""
        with self._again(start):
            run()


def timeline_of(vm: Runner) -> Timeline:
    """The timeline of a machine; ConfigError where it has none."""
    if not isinstance(vm.history, Timeline):
        raise ConfigError("there is no timeline: the monitor's timeline begins one (needs -icount)")
    return vm.history
