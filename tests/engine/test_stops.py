"""Breakpoints and watchpoints: each is met, at its place, and the guest notices nothing."""

from __future__ import annotations

import pytest

from gossamer.control.vm import Vm
from gossamer.engine.processor import Stop
from gossamer.engine.stops import Met, Watch
from gossamer.machines.options import parse

START = 400_000
"""The built-in guest counts ticks of its decrementer by then."""
SPAN = 30_000


def guest(*more: str) -> Vm:
    options = ["-M", "g3beige", "-bios", "builtin", "-m", "8", "-nographic", "-serial", "null"]
    vm = Vm(parse([*options, "-icount", "5,sleep=off", *more]))
    vm.run(instructions=START)
    return vm


@pytest.fixture(scope="module")
def path() -> list[int]:
    """The address of each of `SPAN` instructions from `START` on, as single steps find it."""
    vm = guest()
    out = []
    for _ in range(SPAN):
        out.append(vm.register("pc"))
        vm.run(instructions=1)
    return out


@pytest.mark.parametrize("tier", ["0", "2"])
@pytest.mark.parametrize("apart", [1, 3, 7])
def test_every_breakpoint_is_met_where_steps_pass_it(
    path: list[int], apart: int, tier: str
) -> None:
    vm = guest("-accel", f"tcg,tier={tier}")
    rare = sorted(set(path), key=path.count)
    chosen = frozenset(rare[: len(rare) // 2 : apart])
    processor = vm.machine.processor
    stops = processor.debug()
    stops.set(chosen)
    found = []
    stops.pass_once(-1)
    while processor.run(START + SPAN) is Stop.BREAK:
        found.append((vm.instructions - START, vm.register("pc")))
        assert processor.met == Met("break", vm.register("pc"))
        stops.pass_once(vm.register("pc"))
    assert found == [(n, ea) for n, ea in enumerate(path) if ea in chosen]
    assert len(found) >= 3
    stops.set(frozenset())
    plain = guest()
    plain.run_to(START + SPAN)
    assert vm.state_hash() == plain.state_hash()


def test_breakpoint_is_met_where_runs_end_close_before_it(path: list[int]) -> None:
    """The last instructions of a run are stepped: they look too."""
    vm = guest()
    processor = vm.machine.processor
    processor.debug().set(frozenset({path[100]}))
    first = path.index(path[100])
    for count in range(START + 1, START + first + 3):
        stop = processor.run(count)
        assert stop is (Stop.BREAK if count > START + first else Stop.LIMIT)
    assert vm.instructions == START + first


@pytest.mark.parametrize("kind", ["read", "write"])
def test_watched_word_ends_the_run_behind_each_access(kind: str) -> None:
    """The count of ticks, which the interrupt's handler loads, adds to and stores."""
    from gossamer.machines.guests.watcher import DATA

    vm = guest()
    processor = vm.machine.processor
    ticks = DATA  # the first of its cells
    before = int.from_bytes(vm.read_physical(ticks, 4), "big")
    watch = Watch(ticks, 4, reads=kind == "read", writes=kind == "write")
    processor.debug().set(frozenset(), (watch,))
    met = []
    while processor.run(START + 4_000_000) is Stop.BREAK:
        assert processor.met == Met(kind, ticks)
        met.append(int.from_bytes(vm.read_physical(ticks, 4), "big"))
    assert len(met) >= 10
    if kind == "write":
        assert met == [before + 1 + n for n in range(len(met))]
    processor.debug().set(frozenset())
    plain = guest()
    plain.run_to(START + 4_000_000)
    assert vm.state_hash() == plain.state_hash()
