"""A Python program goes back, asks who wrote, tries what is undone, and forks."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossamer import ForkError, GossamerError, Vm
from gossamer.machines.guests.watcher import DATA

BUILTIN = {"ram": "8M", "icount": 5, "bios": "builtin", "nographic": True}


@pytest.fixture
def vm() -> Iterator[Vm]:
    with Vm("g3beige", **BUILTIN) as made:
        made.keep_past(every=200_000)
        made.run(instructions=700_000)
        yield made


def test_run_back_and_rewind_lead_where_forward_runs_were(vm: Vm) -> None:
    value = vm.state_hash
    stop = vm.run_back(pc=0x900)
    assert stop is not None
    assert (stop.why, stop.pc) == ("pc", 0x900)
    written = vm.run_back(write=DATA)
    assert written is not None
    assert (written.why, written.pc) == ("write", 0x944)
    assert vm.run_until(write=DATA).instructions == written.instructions + 1
    assert vm.run_back(pc=0x2) is None
    assert vm.instructions == 0
    vm.rewind(vm.timeline.end)
    assert vm.state_hash == value
    vm.rewind(seconds=0.001)
    assert vm.timeline.end.ns - vm.ns == 1_000_000
    with pytest.raises(GossamerError, match="give pc, write or read"):
        vm.run_back()
    with pytest.raises(GossamerError, match="give one of to"):
        vm.rewind(seconds=1, ns=1)


def test_who_wrote_and_what_if(vm: Vm) -> None:
    found = vm.last_write(DATA)
    assert found is not None
    assert int.from_bytes(found.after, "big") == vm.memory.u32(DATA)
    value = vm.state_hash
    with vm.speculate():
        vm.memory[DATA : DATA + 4] = 0
        vm.run(instructions=100)
    assert vm.state_hash == value
    mark = vm.mark("now")
    for n in range(3):
        vm.regs.r3 = n
        vm.run(instructions=1000)
        vm.reset_to(mark)
        assert vm.state_hash == value
    assert "now" in repr(vm.timeline)
    vm.mark("<b>")
    page = vm.timeline._repr_html_()
    assert "<td>now</td>" in page
    assert "<td>&lt;b&gt;</td>" in page


def test_record_is_replayed_in_a_new_machine(vm: Vm, tmp_path: Path) -> None:
    vm.serial.send("x")
    vm.run(instructions=200_000)
    vm.record(tmp_path / "run", points=20)
    again = Vm.replay(tmp_path / "run")
    assert (again.instructions, again.state_hash) == (vm.instructions, vm.state_hash)
    again.rewind(instructions=150_000)
    vm.rewind(instructions=150_000)
    assert again.state_hash == vm.state_hash
    again.close()


def test_forks_share_the_present_and_not_the_future(vm: Vm) -> None:
    value = vm.state_hash

    def work(vm: Vm, n: int) -> tuple[int, int]:
        vm.memory[0x6000] = n
        vm.run(instructions=50_000)
        return vm.memory.u8(0x6000), vm.state_hash

    results = vm.fork(4, work)
    assert [n for n, _ in results] == [0, 1, 2, 3]
    assert len({value for _, value in results}) == 4
    assert vm.state_hash == value
    vm.memory[0x6000] = 2
    vm.run(instructions=50_000)
    assert vm.state_hash == results[2][1]


def test_fork_that_fails_is_named_and_the_machine_goes_on(vm: Vm) -> None:
    def fails(vm: Vm, n: int) -> int:
        if n == 1:
            raise ValueError("no")
        if n == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    with pytest.raises(ForkError, match="fork 1: ValueError: no; fork 2: its process ended with"):
        vm.fork(3, fails)
    with pytest.raises(GossamerError, match="expected 1 to 256 processes, got 0"):
        vm.fork(0, fails)
    assert vm.run(instructions=10).why == "instructions"


def ticks(vm: Vm, more: int) -> int:
    vm.run(instructions=more)
    return vm.memory.u32(DATA)


def test_handles_of_forks_are_used_as_the_machine_is(vm: Vm) -> None:
    value = vm.state_hash
    with vm.fork(1)[0] as one:
        assert (one.number, one.state_hash, one.regs.pc) == (0, value, vm.regs.pc)
        stop = one.run(instructions=50_000)
        assert (stop.why, stop.instructions) == ("instructions", vm.instructions + 50_000)
        one.regs.r5, one.memory[0x6000] = 7, 9
        assert (one.regs["r5"], one.memory[0x6000:0x6001]) == (7, b"\x09")
        one.serial.send("x")
        assert len(one.serials) == len(vm.serials)
        assert repr(one).startswith("<Fork 0: <Vm g3beige")
        assert "r3" in list(one.regs)
        one.rewind(instructions=10_000)
        assert one.instructions == vm.instructions + 40_000
        assert one.call(ticks, 100_000) > vm.memory.u32(DATA)
        with pytest.raises(ForkError, match="fork 0: ConfigError: run: instructions must not be"):
            one.run(instructions=-1)
        with pytest.raises(GossamerError, match="fork 0: cannot be sent there"):
            one.on_pc(0x900, lambda vm: None)
        one.begin(ticks, 1000)
        with pytest.raises(GossamerError, match="is at work"):
            one.regs.r3  # noqa: B018
        assert one.result() > 0
        with pytest.raises(GossamerError, match="nothing was begun"):
            one.result()
    with pytest.raises(ForkError, match="is closed"):
        one.state_hash  # noqa: B018
    assert vm.state_hash == value
    with pytest.raises(ProcessLookupError):
        os.kill(one.pid, 0)


def test_forks_that_run_at_once_and_one_that_dies(vm: Vm) -> None:
    forks = vm.fork(3)
    for fork in forks:
        fork.memory[0x6000] = fork.number
        fork.begin(ticks, 100_000 * (fork.number + 1))
    seen = [fork.result() for fork in forks]
    assert seen == sorted(set(seen))
    assert [fork.memory.u8(0x6000) for fork in forks] == [0, 1, 2]
    os.kill(forks[1].pid, signal.SIGKILL)
    with pytest.raises(ForkError, match="fork 1: its process ended with signal 9"):
        forks[1].run(instructions=1)
    assert forks[2].run(instructions=1).why == "instructions"
    for fork in forks:
        fork.close()


def test_what_the_running_machine_calls_neither_runs_it_nor_types(vm: Vm) -> None:
    for call in (lambda byte: vm.run(instructions=1), lambda byte: vm.serial.send("x")):
        end = vm.on_serial(call)
        with pytest.raises(GossamerError, match=r"cannot run it|not inside one"):
            vm.run(seconds=0.2)
        end()
    vm.run(seconds=0.01)


def test_past_needs_icount() -> None:
    with (
        Vm("g3beige", ram="8M", bios="builtin", nographic=True) as vm,
        pytest.raises(GossamerError, match="needs -icount"),
    ):
        vm.mark()


def test_example_takes_a_stream_and_hands_it_on(openbios: Path, tmp_path: Path) -> None:
    import importlib.util

    place = Path(__file__).resolve().parents[2] / "examples" / "from_qemu_and_back.py"
    spec = importlib.util.spec_from_file_location("example", place)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    with Vm("g3beige", **BUILTIN) as vm:
        vm.run(instructions=500_000)
        vm.send(f"file:{tmp_path / 'a'}", profile="qemu-7.2")
    example.main(str(tmp_path / "a"), str(tmp_path / "b"), "0x6000", "0xcafe", "8M")
    with Vm("g3beige", ram="8M", nographic=True) as vm:
        vm.receive(f"file:{tmp_path / 'b'}")
        assert vm.physical.u32(0x6000) == 0xCAFE
