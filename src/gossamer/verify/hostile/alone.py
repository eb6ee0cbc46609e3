"""A chip alone, saved and loaded after each access, beside the same chip that never was.

Two lanes get the same records.  The chips of one live on; those of the other are saved, thrown
away, made anew and loaded after each access and each alarm.  What is read, every declared value,
what is derived, lines, and all that leaves the chips must be the same, at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.base.wire import WireReader, WireWriter
from gossamer.core.clock import NEVER
from gossamer.machines.build import build
from gossamer.machines.guests import hostile_405
from gossamer.machines.guests.hostile import POLL_TURNS
from gossamer.machines.options import parse
from gossamer.state.transfer import load, save
from gossamer.verify.cuts.census import derived_of
from gossamer.verify.cuts.fields import attributes, described
from gossamer.verify.hostile.layout import Layout
from gossamer.verify.hostile.records import WIDTHS, Record
from gossamer.verify.hostile.rigs import RIGS, Rig, Surroundings, make
from gossamer.verify.hostile.scripts import run_script

TURN_NS: Final = 32
ACCESS_NS: Final = 8 * TURN_NS
MOST_ALARMS: Final = 40
"""Alarms of one wait behind which there is a cut; the rest fire without."""
CUT_EVERY: Final = 50
SHOWN: Final = 8


class Lane:
    """A rig and what it has done."""

    def __init__(self, name: str, layout: Layout) -> None:
        self.name, self.layout = name, layout
        self.around = Surroundings()
        self.rig = make(name, layout, self.around)

    def cut(self) -> None:
        """Save every chip, throw them away, make new ones, load them."""
        old = self.rig
        bodies = []
        for part in old.parts:
            w = WireWriter()
            save(part.device, w)
            bodies.append(bytes(w.data))
        self.rig = make(self.name, self.layout, self.around)
        self.rig.clock.set(int(old.clock.now))
        for part, body in zip(self.rig.parts, bodies, strict=True):
            load(part.device, WireReader(body), part.device.version)
        for part in self.rig.parts:
            part.device.resume()

    def look(self) -> dict[str, object]:
        """Everything that must be the same in both lanes, by name."""
        out: dict[str, object] = dict(attributes(self.rig))
        out.update(derived_of(self.rig))
        out["deadline"] = self.rig.clock.deadline
        out["seen"] = tuple(self.around.seen[-SHOWN:]), len(self.around.seen)
        return out


class Pair:
    """The two lanes of a chip."""

    def __init__(self, name: str, layout: Layout) -> None:
        self.uncut, self.cut = Lane(name, layout), Lane(name, layout)
        self.lanes = (self.uncut, self.cut)
        self.cuts = 0
        self.quiet = False
        self.different: list[str] = []

    # --- time -------------------------------------------------------------------------------------

    def pass_time(self, ns: int) -> bool:
        """Let time pass, with cuts between alarms; whether all is still the same."""
        until = int(self.uncut.rig.clock.now) + ns
        alarms = 0
        while (due := min(lane.rig.clock.deadline for lane in self.lanes)) <= until:
            for lane in self.lanes:
                lane.rig.clock.advance(max(due, int(lane.rig.clock.now)))
            alarms += 1
            if alarms < MOST_ALARMS and not self.compare():
                return False
        for lane in self.lanes:
            lane.rig.clock.advance(until)
        return self.compare()

    def compare(self) -> bool:
        """Cut one lane, and compare it with the other; unless `quiet`."""
        if self.quiet:
            return True
        self.cut.cut()
        self.cuts += 1
        for part in self.uncut.rig.parts:
            part.device.pre_save()  # which must change nothing that the guest sees
        a, b = self.uncut.look(), self.cut.look()
        if a != b:
            names = [n for n in [*a, *(n for n in b if n not in a)] if a.get(n) != b.get(n)]
            self.different = [line for n in names for line in described(n, a.get(n), b.get(n))]
        elif self.uncut.around.disk.content != self.cut.around.disk.content:
            self.different = ["the content of the disk differs"]
        return not self.different

    # --- records ----------------------------------------------------------------------------------

    def carry_out(self, record: Record) -> bool:
        """One record in both lanes; whether all is still the same."""
        for n in range(record.repeats):
            # Long runs of a data port are not cut at every step.
            self.quiet = n % CUT_EVERY > 1 and n != record.repeats - 1
            if not self._once(record):
                return False
        return True

    def _once(self, record: Record) -> bool:
        match record.kind:
            case "wait":
                return self.pass_time(record.value * TURN_NS)
            case "poll":
                return self._poll(record)
            case "nap" | "msr" | "execute":
                return True
        width = WIDTHS[record.kind]
        if record.kind.startswith("load"):
            values = [lane.rig.memory.load(record.at, width) for lane in self.lanes]
            if values[0] != values[1]:
                self.different = [f"read {values[0]:#x} uncut, {values[1]:#x} cut"]
                return False
        else:
            for lane in self.lanes:
                lane.rig.memory.store(record.at, record.value, width)
            if record.at < 1 << 20:
                return True  # memory; the chips know nothing of it
        return self.compare() and self.pass_time(ACCESS_NS + record.delay * TURN_NS)

    def _poll(self, record: Record) -> bool:
        mask, wanted = record.value >> 8, record.value & 0xFF
        for turn in range(POLL_TURNS, 0, -1):
            values = [lane.rig.memory.load(record.at, 1) for lane in self.lanes]
            if values[0] != values[1]:
                self.different = [f"read {values[0]:#x} uncut, {values[1]:#x} cut"]
                return False
            if values[0] & mask == wanted:
                return True
            if not self.pass_time((turn + 8) * TURN_NS):
                return False
        return True


def layout_for(name: str) -> Layout:
    """The layout that the chip called `name` lies in, as far as its rig has it."""
    machine = RIGS[name][0]
    usb = ("-usb",) if machine.startswith("mac99") else ()
    bios = () if machine == hostile_405.MACHINE else ("-bios", "builtin")
    config = parse(["-M", machine, "-m", "8", "-nographic", *bios, *usb])
    layout = Layout(build(config))
    rig = make(name, layout, Surroundings())
    for record in run_script(layout, 0, 0, ()):
        rig.memory.store(record.at, record.value, WIDTHS[record.kind])
    return layout.only(rig.memory)


def run_alone(name: str, accesses: int, seed: int, say: Callable[[str], None]) -> tuple[int, bool]:
    """(cuts, whether both lanes did the same) for so many records."""
    if name not in RIGS:
        raise ConfigError(f"--chip: expected all, {', '.join(RIGS)}; got {name!r}")
    layout = layout_for(name)
    records = run_script(layout, f"{name} {seed}", accesses, RIGS[name][1])
    pair = Pair(name, layout)
    for n, record in enumerate(records):
        if not pair.carry_out(record):
            say(f"{name}: divergence at access {n} of {accesses}, seed {seed}; the last ones:")
            for line in _last(records, n):
                say(line)
            for text in pair.different:
                say(f"  {text}")
            say(
                f"again: gossamer verify cuts --guest hostile --chip {name} --seed {seed} "
                f"--accesses {accesses}"
            )
            return pair.cuts, False
    return pair.cuts, True


def _last(records: list[Record], n: int) -> Iterator[str]:
    for k in range(max(n - SHOWN, 0), n + 1):
        yield f"  {k}: {records[k]}"


__all__ = ["NEVER", "Lane", "Pair", "Rig", "layout_for", "run_alone"]
