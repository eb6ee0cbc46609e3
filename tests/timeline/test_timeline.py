"""Back in time: to any instruction, with the inputs of then, and on into another future."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from gossamer.base.errors import ConfigError
from gossamer.control.stream_out import body_of
from gossamer.control.timeline import timeline as module
from gossamer.control.timeline.timeline import Timeline
from gossamer.control.vm import Vm
from gossamer.machines.guests.watcher import DATA
from gossamer.machines.options import parse

BASE = ("-bios", "builtin", "-m", "8", "-nographic", "-serial", "null", "-monitor", "none")


def make(*more: str, machine: str = "g3beige") -> Vm:
    return Vm(parse(["-M", machine, *BASE, "-icount", "5,sleep=off", *more]))


@pytest.fixture(params=[("g3beige", "0"), ("mac99", "0"), ("g3beige", "2")], ids=str)
def vm(request: pytest.FixtureRequest) -> Iterator[Vm]:
    machine, tier = request.param
    made = make("-accel", f"tcg,tier={tier}", machine=machine)
    yield made
    made.close()


def play(vm: Vm, rng: random.Random, count: int) -> list[tuple[int, int, int]]:
    """Run with keys, bytes and mouse movements; (instructions, ns, hash) on the way."""
    out = []
    for _ in range(count):
        vm.run(instructions=rng.randrange(1000, 120_000))
        match rng.randrange(4):
            case 0:
                vm.serial_receive(0, rng.choice(b"abc"))
            case 1:
                vm.send_key(["a"], 1)
            case 2:
                vm.mouse_move(rng.randrange(9), 3)
            case 3:
                vm.write_physical(0x6000, rng.randbytes(8))
        vm.run(instructions=rng.randrange(1000, 30_000))
        out.append((vm.instructions, vm.clock_ns, vm.state_hash()))
    return out


def test_every_moment_comes_back_with_its_inputs(vm: Vm) -> None:
    vm.run(instructions=400_000)
    timeline = Timeline(vm, every=200_000)
    rng = random.Random(20)
    seen = play(vm, rng, 24)
    assert len(timeline.ring.all) > 5
    for count, ns, value in rng.sample(seen, 8):
        assert timeline.go_to_count(count).instructions == count
        assert (vm.clock_ns, vm.state_hash()) == (ns, value)
    timeline.go(timeline.end)
    assert vm.state_hash() == seen[-1][2]


def test_the_same_future_comes_until_a_new_input(vm: Vm) -> None:
    timeline = Timeline(vm, every=200_000)
    seen = play(vm, random.Random(3), 10)
    timeline.rewind(instructions=vm.instructions - seen[3][0])
    vm.run_to(seen[7][0])  # as anything that runs the machine
    assert vm.state_hash() == seen[7][2]
    timeline.go_to_count(seen[3][0])
    end = timeline.end
    vm.serial_receive(0, ord("q"))
    assert timeline.end.key < end.key
    vm.run_to(seen[7][0])
    assert vm.state_hash() != seen[7][2]
    here = vm.state_hash()
    timeline.rewind(instructions=1000)
    vm.run(instructions=1000)
    assert vm.state_hash() == here


def test_a_run_with_a_timeline_is_the_run_without() -> None:
    one, other = make(), make()
    Timeline(one, every=50_000)
    hashes = [play(vm, random.Random(5), 6) for vm in (one, other)]
    assert hashes[0] == hashes[1]


def test_rewind_counts_in_time_in_instructions_and_by_marks() -> None:
    vm = make()
    timeline = Timeline(vm, every=100_000)
    vm.run(instructions=300_000)
    here = timeline.mark("here")
    value = vm.state_hash()
    vm.run(until_ns=vm.clock_ns + 20_000_000)
    assert timeline.rewind("here") == timeline.now
    assert vm.state_hash() == value
    timeline.rewind(timeline.end)
    timeline.rewind(ns=timeline.end.ns - here.ns)
    assert vm.state_hash() == value
    assert [m.label for m in timeline.moments()] == ["", "here", ""]
    with pytest.raises(ConfigError, match=r"is outside of it: instructions 0 to [\d,]+, 0.000000"):
        timeline.rewind(ns=10**12)
    with pytest.raises(ConfigError, match="is outside of it"):
        timeline.rewind(instructions=-(10**9))
    with pytest.raises(ConfigError, match="give one of to, ns and instructions"):
        timeline.rewind()
    with pytest.raises(ConfigError, match=r"no mark 'there' \(there are: here\)"):
        timeline.rewind("there")
    with pytest.raises(ConfigError, match="there is a mark 'here' already"):
        timeline.mark("here")


def test_what_is_speculated_is_undone() -> None:
    vm = make()
    timeline = Timeline(vm)
    vm.run(instructions=100_000)
    value = vm.state_hash()
    with timeline.speculate():
        vm.write_physical(DATA, b"xxxx")
        vm.run(instructions=50_000)
        assert vm.state_hash() != value
    assert vm.state_hash() == value
    with pytest.raises(ConfigError), timeline.speculate():
        vm.eject("nothing")
    assert vm.state_hash() == value
    timeline.rewind(instructions=1000)
    vm.run(instructions=1000)
    assert vm.state_hash() == value


def test_no_observer_hears_what_has_been_said_before() -> None:
    vm = make()
    said: list[int] = []
    vm.serial_sinks.append(said.extend)
    timeline = Timeline(vm)
    vm.run_to(4_000_000)
    before = bytes(said)
    assert before
    timeline.rewind(instructions=100)
    assert bytes(said) == before


def test_guest_that_is_off_comes_back_by_going_back() -> None:
    vm = Vm(parse(["-M", "bare", "-m", "4", "-serial", "null", "-icount", "5,sleep=off"]))
    timeline = Timeline(vm)
    vm.run(instructions=100_000)
    value = vm.state_hash()
    vm.serial_receive(0, ord("q"))
    vm.run(instructions=10_000_000)
    assert vm.ended
    timeline.rewind(timeline.begin)
    assert not vm.ended
    vm.run(instructions=100_000 - 1)
    timeline.forget_future()
    vm.run(instructions=1)
    assert vm.state_hash() == value


def test_ring_keeps_to_its_limit_and_reaches_far() -> None:
    vm = make()
    timeline = Timeline(vm, limit=1 << 20, every=4096)
    seen = play(vm, random.Random(9), 12)
    assert timeline.ring.size <= 1 << 20
    assert 10 < len(timeline.ring.all) <= 512
    for count, _, value in seen:
        if count >= timeline.begin.instructions:
            timeline.go_to_count(count)
            assert vm.state_hash() == value


def test_ring_that_holds_no_checkpoint_ends_the_timeline_and_not_the_guest() -> None:
    vm = make()
    timeline = Timeline(vm, limit=1 << 20, every=100_000)
    vm.write_physical(0x10_0000, random.Random(1).randbytes(2 << 20))
    vm.run(instructions=300_000)
    with pytest.raises(ConfigError, match=r"one checkpoint takes \d MiB, and the limit is 1 MiB"):
        timeline.rewind(instructions=1)
    assert vm.run(instructions=1000).value == "limit"


def test_inputs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_INPUTS", 50)
    vm = make()
    timeline = Timeline(vm, every=20_000)
    for n in range(200):
        vm.write_physical(0x6000, bytes([n]))
        vm.run(instructions=1000)
    assert len(timeline.inputs) <= 50
    value = vm.state_hash()
    timeline.rewind(timeline.begin)
    timeline.go(timeline.end)
    assert vm.state_hash() == value


def test_machine_without_a_past_is_refused() -> None:
    vm = Vm(parse(["-M", "bare", "-m", "4", "-serial", "null"]))
    with pytest.raises(ConfigError, match="timeline: needs -icount"):
        Timeline(vm)
    vm.disks.abandon()


def test_what_no_input_says_begins_it_anew(tmp_path) -> None:
    vm = make()
    timeline = Timeline(vm)
    vm.run(instructions=1000)
    vm.save(tmp_path / "cut")
    vm.run(instructions=1000)
    vm.restore(tmp_path / "cut")
    with pytest.raises(ConfigError, match="another machine was loaded"):
        timeline.rewind(instructions=500)
    vm.run(instructions=1000)
    timeline.rewind(instructions=500)
    assert vm.instructions == 1500


def test_going_back_to_a_mark_again_gives_every_section_its_state(vm: Vm) -> None:
    timeline = Timeline(vm, every=200_000)
    play(vm, random.Random(4), 4)
    mark = timeline.mark("here")
    value, bodies = vm.state_hash(), [body_of(part.device) for part in vm.machine.sections]
    for n in range(5):
        play(vm, random.Random(n), n // 2)
        vm.put_register("r3", n)
        timeline.go_back(mark)
        assert [body_of(part.device) for part in vm.machine.sections] == bodies
        assert vm.state_hash() == value
    vm.run(instructions=100_000)
    later = vm.state_hash()
    timeline.go_back(mark)
    vm.run(instructions=100_000)
    assert vm.state_hash() == later
