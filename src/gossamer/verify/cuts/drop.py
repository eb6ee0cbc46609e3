"""`verify cuts --drop FIELD|all`: a save that forgets a field must be noticed.

This checks the checker: a comparison that cannot see a field missing proves nothing about it.  At
moments of a guest's run each field that is not at its reset value is set to it before the save;
the run that goes on from that save must part from the one that goes on from a whole save.  A field
that the guest leaves at its reset value is given another one first, in both.  Without a choice of
guest all that the machine runs are tried: it is enough that one of them notices.

A name with [*] stands for every element of an array of objects.
"""

from __future__ import annotations

import argparse
import fnmatch
import random
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError, GossamerError
from gossamer.base.units import NS_PER_S
from gossamer.control.vm import Vm
from gossamer.cpu.sprs import elements
from gossamer.devices.spapr.spapr import PageTable, Spapr
from gossamer.devices.spapr.tce import TceWindow
from gossamer.devices.virtio.core import Core, Modern
from gossamer.devices.virtio.pci import VirtioPci
from gossamer.isa.registers import registers
from gossamer.machines.config import Config
from gossamer.machines.machine import Machine
from gossamer.machines.turn import Turn
from gossamer.state.codec import Array, Bitmap, Bool, Buffer, Int
from gossamer.state.declare import AlarmState, State, Stateful
from gossamer.state.layout import Nested, View
from gossamer.state.transfer import OURS, layout_of, subsection_items
from gossamer.verify.cuts.events import find
from gossamer.verify.cuts.fields import objects, plain
from gossamer.verify.cuts.guests import Plan
from gossamer.verify.cuts.track import Track

MOMENTS: Final = 5
"""Random moments, besides one at each event that the guest has."""
TRIES: Final = 4
"""Moments at which one field is tried before its drop counts as not noticed."""
HORIZONS: Final = (50, 60_000)
"""Instructions that both runs go on before they are compared, twice."""
FIRMWARE: Final = 6
"""Moments, at the most, behind which the firmware has claimed memory or opened a node."""
_LOOK: Final = 10_000
"""Instructions between two looks whether the firmware is still asked."""
AT_EVENTS: Final = (
    *("interrupt", "shift", "cuda", "pmu", "adb", "dma"),
    *("fetch", "openpic", "ipi", "usb"),
)
EXCUSES: Final = "schemas/excused.toml"
#: Registers that are the model's, not state: the CPU puts them right after a load.
OF_THE_MODEL: Final = ("pvr", "tb_hz", "dcr_there")
#: Parts of a pseries whose sections show state that no attribute declares.  Not the bridge's MSIs:
#: its rows are put one behind the other, and none can be put anew.
SHOWN_BY_VIEWS: Final = (Turn, PageTable, TceWindow, Spapr, VirtioPci, Core, Modern)


class Field(Data):
    """A piece of state: how to read it from a machine and how to set it."""

    name: str
    read: Callable[[Machine], Any]
    write: Callable[[Machine, Any], None]
    probes: Callable[[Machine], list[Any]]

    @property
    def declared(self) -> str:
        """Its name in the declaration: the same for all elements of an array of objects."""
        return re.sub(r"\[\d+\]", "[*]", self.name)


def all_fields(machine: Machine) -> Iterator[Field]:
    """Every declared state field of a machine, its CPU's registers, its clock and its memory."""
    for path, owner in objects(machine):
        for declared in owner.declared.values():
            if isinstance(declared, State):
                yield _attribute(path, declared)
    architecture = machine.cpu.model.architecture
    for cpu in range(len(machine.cpus)):
        for name, numbers in elements(architecture.features, architecture.word).items():
            if name not in OF_THE_MODEL and registers(architecture.word)[name][0] <= 64:
                yield _register(cpu, name, numbers)
    if machine.hash_table is not None:
        for path, owner in objects(machine):
            if isinstance(owner, SHOWN_BY_VIEWS):
                yield from _views(path, owner)
    yield _plain("timer.clock", lambda m: m.clock.now, lambda m, v: m.processor.set_clock(v))
    yield _plain("timer.count", lambda m: m.engine.count, _set_count)
    for block in machine.arena.blocks:
        yield _memory(block.name)


@lru_cache(maxsize=1)
def _owners(machine: Machine) -> dict[str, Stateful]:
    return dict(objects(machine))


def _owner(machine: Machine, path: str) -> Stateful:
    return _owners(machine)[path]


def _attribute(path: str, declared: State) -> Field:
    return Field(
        f"{path}.{declared.name}",
        lambda m: plain(declared.value(_owner(m, path))),
        lambda m, value: declared.assign(_owner(m, path), _mutable(value)),
        lambda m: probes(declared, declared.value(_owner(m, path)), m),
    )


def _mutable(value: Any) -> Any:  # noqa: ANN401 - a codec's value
    if isinstance(value, bytes):
        return bytearray(value)
    return list(value) if isinstance(value, list) else value


def probes(declared: State, value: Any, machine: Machine) -> list[Any]:  # noqa: ANN401
    """Other values that the field may be able to have."""
    codec = declared.codec
    if isinstance(declared, AlarmState):
        return [machine.clock.now + NS_PER_S // 1000]
    if isinstance(codec, Bool):
        return [not value]
    if isinstance(codec, Int):
        top = (1 << 8 * codec.size - codec.signed) - 1
        return [v for v in (value ^ 1, value + 1, value ^ 2, value ^ 0x80, top) if 0 <= v <= top]
    if isinstance(codec, Bitmap):
        return [value ^ 1]
    if isinstance(codec, Buffer):
        return [bytes((value[0] ^ 1, *value[1:])), bytes((*value[:-1], value[-1] ^ 1))]
    if isinstance(codec, Array):
        return [[value[0] ^ 1, *value[1:]], [*value[:-1], value[-1] ^ 1]]
    return []


def _register(cpu: int, name: str, numbers: list[int]) -> Field:
    def read(m: Machine) -> list[int]:
        return [m.cpus[cpu].block.get(name, n) for n in numbers]

    def write(m: Machine, values: list[int]) -> None:
        for n, value in zip(numbers, values, strict=True):
            m.cpus[cpu].block.set(name, value, n)

    def others(m: Machine) -> list[list[int]]:
        first, *rest = read(m)
        return [[first ^ bit, *rest] for bit in (1, 2, 8)]

    return Field(f"cpu{cpu or ''}.{name}", read, write, others)


def _views(path: str, owner: Stateful) -> Iterator[Field]:
    """What a section shows of a part's state by functions, in place of declared attributes."""
    layouts = [layout_of(owner, OURS)]
    layouts += [subsection_items(owner, one) for one in owner.subsections]
    items = [item for items in layouts for item in items]
    for name, view, target in _shown("", items, lambda part: part):
        other = " on the wire" if name in owner.declared else ""
        yield _view(f"{path}.{name}{other}", path, view, target)


Target = Callable[[Any], Any]
"""From a part to what a view of its section shows."""


def _shown(
    above: str, items: Iterable[object], target: Target
) -> Iterator[tuple[str, View, Target]]:
    for item in items:
        if isinstance(item, View):
            yield f"{above}{item.name}", item, target
        elif isinstance(item, Nested) and item.layout is not None:
            inside = partial(_inside, item, target)
            yield from _shown(f"{above}{item.name}.", item.layout, inside)


def _inside(nested: Nested, target: Target, part: Any) -> Any:  # noqa: ANN401 - as `Target`
    return nested.target(target(part))


def _view(name: str, path: str, view: View, target: Target) -> Field:
    def read(m: Machine) -> Any:  # noqa: ANN401 - a codec's value
        return plain(view.get(target(_owner(m, path))))

    def write(m: Machine, value: Any) -> None:  # noqa: ANN401
        view.put(target(_owner(m, path)), _mutable(value))

    def others(m: Machine) -> list[Any]:
        value = read(m)
        if isinstance(value, int):
            return [value ^ 1, value + 1]
        return [bytes((value[0] ^ 1, *value[1:]))] if isinstance(value, bytes) and value else []

    return Field(name, read, write, others)


def _plain(
    name: str, read: Callable[[Machine], int], write: Callable[[Machine, int], None]
) -> Field:
    return Field(name, read, write, lambda m: [])


def _set_count(machine: Machine, count: int) -> None:
    now = machine.clock.now
    machine.engine.count = count
    machine.processor.set_clock(now)


def _memory(name: str) -> Field:
    def write(m: Machine, content: bytes) -> None:
        block = m.block(name)
        m.arena.view[block.offset : block.offset + block.size] = content
        m.arena.dirty[:] = 0xFF

    def flipped(m: Machine) -> list[bytes]:
        content = bytes(m.arena.bytes_of(m.block(name)))
        return [bytes((content[0] ^ 1, *content[1:16])) + content[16:]]

    return Field(name, lambda m: bytes(m.arena.bytes_of(m.block(name))), write, flipped)


# --- trying ---------------------------------------------------------------------------------------


class Moment:
    """A moment of the guest's run, stirred: a key, the mouse and a typed byte are on their way.

    With `power_down` the guest is asked to end, too.
    """

    def __init__(self, plan: Plan, count: int, label: str, *, power_down: bool = False) -> None:
        self.plan, self.label = plan, label
        self.source = plan.track()
        self.source.run_to(count)
        machine = self.source.vm.machine
        if machine.keyboard is not None:
            machine.keyboard.key(0, True)
        if machine.mouse is not None:
            machine.mouse.move(5, -3, 1)
        if self.source.vm.serial_room(0):
            for byte in b"typed":  # more than its FIFO takes: an overrun
                self.source.vm.serial_receive(0, byte)
        if power_down:
            self.source.vm.power_down()
        self.whole = self.digest(self.source.save())

    def digest(
        self, stream: bytes, carried: Callable[[Machine], bool] = lambda m: True
    ) -> list[int] | str:
        """Where a run from `stream` is at the horizons; the text of the error if it fails.

        A machine that has not `carried` what it should is not run: its place is the whole one's.
        """
        track = Track(self.plan.config, self.plan.inputs, self.source.done)
        try:
            track.load(stream)
            if not carried(track.vm.machine):
                return self.whole
            found = []
            for horizon in HORIZONS:
                track.run_to(self.source.vm.instructions + horizon)
                found.append(track.digest())
        except GossamerError as fault:
            return str(fault)
        return found

    def forgets(self, field: Field, reset: Any) -> bool:  # noqa: ANN401
        """Whether the run from a save with `field` at `reset` parts from the whole one."""
        machine = self.source.vm.machine
        value = field.read(machine)
        try:
            field.write(machine, reset)
        except ValueError:  # a load refuses it, too: it does not go with another field
            field.write(machine, value)
            return True
        stream = self.source.save()
        field.write(machine, value)
        return self.digest(stream) != self.whole

    def planted(self, field: Field) -> bool:
        """The same with another value of `field` planted in the whole save."""
        machine = self.source.vm.machine
        value = field.read(machine)
        for probe in field.probes(machine):
            try:
                field.write(machine, probe)
            except ValueError:  # no machine can have it
                continue
            stream = self.source.save()
            field.write(machine, value)
            loads: list[bool] = []
            check = partial(_carried, field, probe, loads)
            if self.digest(stream, check) != self.whole and loads:
                return True
        return False


def _carried(field: Field, value: Any, loads: list[bool], machine: Machine) -> bool:  # noqa: ANN401
    """Whether `field` came through a load; what does not load at all is not noted in `loads`."""
    loads.append(True)
    return bool(field.read(machine) == value)


class Tally:
    """What became of each declared field, with all guests that were tried."""

    def __init__(self) -> None:
        self.natural: set[str] = set()
        self.planted: set[str] = set()

    @property
    def noticed(self) -> set[str]:
        return self.natural | self.planted


def moments(plan: Plan, seed: int) -> list[Moment]:
    rng = random.Random(seed)  # noqa: S311 - choice of test points
    last = plan.end_count - HORIZONS[-1]
    found = {name: places[0] for name, places in find(plan, list(AT_EVENTS), rng).items()}
    if plan.inputs:
        found["typing"] = plan.inputs[-1].at + 500
    if plan.sent:
        found["sending"] = plan.sent[len(plan.sent) // 2] - 100
    out = [Moment(plan, min(at, last), name) for name, at in found.items()]
    for n in range(MOMENTS):
        out.append(Moment(plan, rng.randrange(plan.start_count, last), f"random {n + 1}"))
    return [*out, *_of_a_server(plan, last)]


def _of_a_server(plan: Plan, last: int) -> list[Moment]:
    """A pseries: while its kernel starts and asks the firmware, and when it is to power down."""
    start = Plan(plan.guest, plan.config)
    track = start.track()
    found = [one for _, one in objects(track.vm.machine) if isinstance(one, Spapr)]
    if not found:
        return []
    (spapr,) = found
    places, last_seen = [0], (list[tuple[int, int]](), dict[int, int]())
    while spapr.firmware.active and track.vm.instructions < last:
        if (seen := _of_firmware(spapr)) != last_seen:
            places.append(track.vm.instructions)
            last_seen = seen
        track.run_to(track.vm.instructions + _LOOK)
    chosen = places[:: -(-len(places) // FIRMWARE)]
    return [
        *(Moment(start, count, f"firmware at {count}") for count in dict.fromkeys(chosen)),
        Moment(plan, plan.start_count, "up"),
        Moment(plan, last, "power down", power_down=True),
    ]


def _of_firmware(spapr: Spapr) -> tuple[list[tuple[int, int]], dict[int, int]]:
    return list(spapr.firmware.claims), dict(spapr.firmware.instances)


def try_all(
    plan: Plan, wanted: str, seed: int, tally: Tally, say: Callable[[str], None]
) -> set[str]:
    """Drop each field that `wanted` (a pattern, or all) names if unnoticed yet; all names."""
    fresh = Vm(plan.config).machine
    fields = [f for f in all_fields(fresh) if wanted == "all" or _matches(f, wanted)]
    if not fields:
        raise ConfigError(f"--drop: no field is called {wanted}")
    names = {f.declared for f in fields}
    if not names - tally.noticed:
        return names
    places = moments(plan, seed)
    _try_reset(places, fields, {f.name: f.read(fresh) for f in fields}, tally, say)
    _try_planted(places, fields, tally, say)
    return names


def _try_reset(
    places: list[Moment],
    fields: list[Field],
    resets: dict[str, Any],
    tally: Tally,
    say: Callable[[str], None],
) -> None:
    """Fields as the guest left them, set to their reset values in the save."""
    tried: dict[str, int] = {}
    for moment in places:
        for field in fields:
            name = field.declared
            if name in tally.natural or tried.get(field.name, 0) >= TRIES:
                continue
            if field.read(moment.source.vm.machine) != resets[field.name]:
                tried[field.name] = tried.get(field.name, 0) + 1
                if moment.forgets(field, resets[field.name]):
                    tally.natural.add(name)
        say(f"{moment.label}: {len(tally.natural)} fields noticed so far")


def _try_planted(
    places: list[Moment], fields: list[Field], tally: Tally, say: Callable[[str], None]
) -> None:
    """What is left, with another value in the whole save."""
    for moment in places:
        left: dict[str, list[Field]] = {}
        for field in fields:
            if field.declared not in tally.noticed:
                left.setdefault(field.declared, []).append(field)
        if not left:
            break
        for name, same in left.items():
            ends = (same[0], same[-1])[: len(same)]
            if any(moment.planted(field) for field in ends):
                tally.planted.add(name)
        say(f"{moment.label}: {len(tally.planted)} more with a planted value")


def _matches(field: Field, wanted: str) -> bool:
    return wanted in (field.name, field.declared) or fnmatch.fnmatchcase(
        field.declared, wanted.replace("[*]", "[[][*]]")
    )


def excuses(path: Path, machine: str) -> dict[str, str]:
    """Reason by field, for one configuration of a machine, from the file of excuses."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as fault:
        raise ConfigError(f"{path}: {fault}") from None
    return dict(table.get(machine, {}))


def configuration(config: Config) -> str:
    """What the file of excuses calls a machine: its model, and `via` where it is not cuda."""
    via = config.properties.get("via", "cuda")
    return config.machine if via == "cuda" else f"{config.machine},via={via}"


def excuse_file() -> Path:
    """The file in the checkout that this package is in."""
    return Path(__file__).parents[4] / EXCUSES


def run_drop(arguments: argparse.Namespace, plans: list[Plan]) -> int:
    """Drop each field; 0 when every one is noticed or excused, and no excuse is idle."""

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    tally, names = Tally(), set[str]()
    for plan in plans:
        names = try_all(plan, arguments.drop, arguments.seed, tally, say)
        say(f"{plan.guest}: {len(tally.noticed)} of {len(names)} fields noticed")
    known = excuses(excuse_file(), configuration(plans[0].config))
    missed = names - tally.noticed
    excused = missed & set(known)
    for name in sorted(missed - excused):
        say(f"not noticed: {name}")
    idle = sorted(set(known) & tally.noticed)
    for name in idle:
        say(f"excused and yet noticed, take it out of {EXCUSES}: {name}")
    planted = len(tally.planted - tally.natural)
    say(f"{len(tally.natural)} as a guest left them, {planted} with a planted value")
    print(f"fields={len(names)} noticed={len(tally.noticed)} excused={len(excused)}")
    return 0 if names and missed == excused and not idle else 1
