"""Live transfers: the guest runs while its memory goes, and nothing is lost."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.base.errors import ConfigError, GossamerError, HostError
from gossamer.control import standstill
from gossamer.control.departure import Departure
from gossamer.control.standstill import Sent
from gossamer.control.steps import InThread, Steps, wait_for
from gossamer.control.stream_out import StreamOut
from gossamer.control.switchover import Switchover
from gossamer.control.vm import Vm
from gossamer.core import host
from gossamer.machines.options import parse
from gossamer.migrate import dirty
from gossamer.migrate.channels import Channel, Limits, Listener
from gossamer.migrate.dirty import Pages

LINE = ["-M", "bare", "-m", "16", "-serial", "null", "-bios", "builtin", "-icount", "0,sleep=off"]
PATIENT = Limits(meet=600.0, stall=600.0, total=600.0)


def machine() -> Vm:
    return Vm(parse(LINE))


def running() -> Vm:
    vm = machine()
    vm.run(instructions=20_000)
    vm.cont()
    return vm


def interleave(
    vm: Vm, steps: Steps[Any], between: int = 50_000, at: Callable[[int], None] = lambda n: None
) -> Any:
    """Run all steps, and the guest in between, as the loop does."""
    number = 0
    try:
        waiting = next(steps)
        while True:
            number += 1
            at(number)
            if vm.run_state == "running":
                vm.run(instructions=between)
            if isinstance(waiting, InThread):
                waiting.start(lambda: None)
                assert waiting.thread is not None
                waiting.thread.join()
                waiting = waiting.send_to(steps)
            else:
                waiting = steps.send(wait_for(waiting))
    except StopIteration as end:
        return end.value


class Taker(threading.Thread):
    def __init__(self, listener: Listener) -> None:
        super().__init__(daemon=True)
        self.vm, self.listener = machine(), listener
        self.fault: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.vm.incoming(self.listener, limits=PATIENT)
        except BaseException as fault:
            self.fault = fault


def send(vm: Vm, folder: Path, **more: Any) -> tuple[Sent, Taker]:
    taker = Taker(Listener(f"unix:{folder}/m", PATIENT))
    sent = interleave(vm, vm.transfers.send(f"unix:{folder}/m", limits=PATIENT), **more)
    taker.join(600)
    assert taker.fault is None
    return sent, taker


def scribble(vm: Vm, seed: int) -> None:
    """Write to pages as a device would, all over memory; a machine that stands still has none."""
    if vm.run_state == "finish-migrate":
        return
    chance = np.random.default_rng(seed)
    for page in chance.integers(1024, 4096, 40):
        vm.write_physical(int(page) << 12, bytes(chance.integers(0, 256, 64, dtype=np.uint8)))


def test_the_guest_runs_while_it_is_sent_and_arrives_as_it_was_stopped(tmp_path: Path) -> None:
    vm = running()
    vm.transfers.parameters.max_bandwidth = 20 << 20
    vm.transfers.parameters.downtime_limit = 0
    before = vm.instructions

    def at(n: int) -> None:
        if n < 12:
            scribble(vm, n)

    sent, taker = send(vm, tmp_path, at=at)
    assert vm.instructions > before + 100_000, "it ran on meanwhile"
    assert vm.run_state == "postmigrate"
    assert taker.vm.run_state == "running"
    assert taker.vm.state_hash() == vm.state_hash()
    figures = vm.transfers.outgoing.figures  # type: ignore[union-attr]
    assert figures.dirty_sync_count > 2, "there was more than one round"
    assert figures.downtime is not None
    assert figures.transferred == sent.stream_bytes
    taker.vm.run(instructions=500_000)
    alone = machine()
    alone.load_bytes(taker.vm.save_bytes())
    assert alone.state_hash() == taker.vm.state_hash()


def test_a_page_that_is_forgotten_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault: the last look at the dirty pages finds nothing."""
    vm, right, calls = running(), dirty.DirtyPages.sync, [0]
    send_part = Departure.part

    def part(self: Departure, *given: Any, **named: Any) -> int:
        sent = send_part(self, *given, **named)
        scribble(vm, 1)
        return sent

    monkeypatch.setattr(Departure, "part", part)

    def sync(self: dirty.DirtyPages) -> int:
        calls[0] += 1
        return right(self) if calls[0] == 1 else 0

    monkeypatch.setattr(dirty.DirtyPages, "sync", sync)
    _, taker = send(vm, tmp_path)
    assert taker.vm.state_hash() != vm.state_hash()


@pytest.mark.parametrize("multifd", [False, True])
def test_what_is_left_goes_part_by_part_while_the_guest_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, multifd: bool
) -> None:
    """Not all at once when it is packed: the receiver would wait for it, and the loop, too."""
    monkeypatch.setattr(standstill, "_AT_ONCE", 8)
    monkeypatch.setattr(standstill, "_PART", 16)
    vm, parts, held = running(), [], []
    right, steps = Departure.part, Switchover.steps

    def part(self: Departure, pages: Pages) -> int:
        if self.vm.run_state == "finish-migrate":
            parts.append(sum(len(found) for _, found in pages))
        elif self.dirty.left < 100:
            scribble(vm, 1)  # 40 pages and less are left when it stops
        return right(self, pages)

    def last(self: Switchover, devices: bytes, end: bytes) -> Steps[int]:
        held.append(len(devices))
        return steps(self, devices, end)

    monkeypatch.setattr(Departure, "part", part)
    monkeypatch.setattr(Switchover, "steps", last)
    if multifd:
        vm.transfers.capabilities.add("multifd")
    taker = Taker(Listener(f"unix:{tmp_path}/m", PATIENT))
    if multifd:
        taker.vm.transfers.capabilities.add("multifd")
    interleave(vm, vm.transfers.send(f"unix:{tmp_path}/m", limits=PATIENT))
    taker.join(600)
    assert taker.fault is None
    assert parts[:-1] == [16] * (len(parts) - 1)
    assert sum(parts) >= 30
    assert held[0] < 16 << 12, "no page is among the devices"
    assert taker.vm.state_hash() == vm.state_hash()


def test_cancelled_in_the_middle_of_memory(tmp_path: Path) -> None:
    vm = running()
    vm.transfers.parameters.max_bandwidth = 32768
    listener = Listener(f"unix:{tmp_path}/m", PATIENT)
    taker = Taker(listener)

    def at(n: int) -> None:
        if n == 6:
            vm.transfers.cancel()

    with pytest.raises(HostError, match="cancelled"):
        interleave(vm, vm.transfers.send(f"unix:{tmp_path}/m", limits=PATIENT), at=at)
    assert (vm.run_state, vm.transfers.outgoing.status) == ("running", "cancelled")  # type: ignore[union-attr]
    taker.join(600)
    assert isinstance(taker.fault, GossamerError)
    vm.transfers.parameters.max_bandwidth = 0
    (tmp_path / "again").mkdir()
    _, taker = send(vm, tmp_path / "again")
    assert taker.vm.state_hash() == vm.state_hash()


def test_a_machine_that_is_replaced_meanwhile_is_not_sent_in_two_halves(tmp_path: Path) -> None:
    vm = running()
    vm.transfers.parameters.max_bandwidth = 32768
    state = vm.save_bytes()
    Taker(Listener(f"unix:{tmp_path}/m", PATIENT))

    def at(n: int) -> None:
        if n == 6:
            vm.load_bytes(state)

    with pytest.raises(ConfigError, match="another machine was loaded"):
        interleave(vm, vm.transfers.send(f"unix:{tmp_path}/m", limits=PATIENT), at=at)


def test_pause_before_switchover_waits_for_the_word(tmp_path: Path) -> None:
    vm = running()
    vm.transfers.capabilities.add("pause-before-switchover")
    seen: list[str] = []

    def at(n: int) -> None:
        transfer = vm.transfers.outgoing
        assert transfer is not None
        if transfer.status == "pre-switchover":
            seen.append(vm.run_state)
            if len(seen) == 3:
                vm.transfers.may_switch()

    _, taker = send(vm, tmp_path, at=at)
    assert seen == ["finish-migrate"] * 3
    assert taker.vm.state_hash() == vm.state_hash()


class Leaver(threading.Thread):
    """A receiver that reads all that comes, until it goes."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(daemon=True)
        self.listener, self.to_go = listener, threading.Event()
        self.start()

    def run(self) -> None:
        channel = self.listener.accept()
        channel.write(bytes.fromhex("0002000400000001"))  # PONG
        while not self.to_go.is_set():
            if channel.has_input(0.005):
                channel.read(1 << 16)
        channel.close()

    def go(self) -> None:
        self.to_go.set()
        self.join()


@pytest.mark.parametrize("place", range(2, 6))
def test_a_receiver_that_goes_at_any_step_leaves_the_guest_here(place: int, tmp_path: Path) -> None:
    vm = running()
    receiver = Leaver(Listener(f"unix:{tmp_path}/m", PATIENT))
    steps = []

    def at(n: int) -> None:
        steps.append(n)
        if n == place:
            receiver.go()

    with pytest.raises(HostError, match=r"the peer has gone|the receiver's answer ends"):
        interleave(vm, vm.transfers.send(f"unix:{tmp_path}/m", limits=PATIENT), at=at)
    assert place in steps
    assert vm.run_state == "running"
    before = vm.instructions
    vm.run(instructions=10_000)
    assert vm.instructions == before + 10_000


def test_a_wait_for_the_receivers_first_word_ends_when_it_is_cancelled() -> None:
    mine, theirs = socket.socketpair()
    channel = Channel(mine.detach(), "peer", Limits(stall=600.0, total=600.0), two_way=True)
    seen: list[bool] = []
    wait = threading.Thread(target=lambda: seen.append(channel.has_input(600.0)), daemon=True)
    wait.start()
    channel.cancel()
    wait.join(600)
    assert seen == [False]
    theirs.close()
    channel.close()


def test_a_throttled_guest_is_held_between_its_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller comes back early, as a loop does that has other things to serve."""
    vm = running()
    now = [0]

    def clock() -> int:
        now[0] += 1_000_000  # each look at the clock takes a millisecond
        return now[0]

    monkeypatch.setattr(host, "monotonic_ns", clock)
    counts = {}
    for throttle in (0, 80):
        vm.throttle = throttle
        end, before = now[0] + 400_000_000, vm.instructions
        slices = 0
        while now[0] < end:
            count = vm.instructions
            vm.run_slice(4_000_000)
            slices += vm.instructions != count
        assert vm.instructions > before
        counts[throttle] = slices
    assert counts[80] * 2 < counts[0]


def test_a_thread_that_is_started_ahead_gives_its_result_once() -> None:
    for late in (False, True):
        go, calls = threading.Event(), []
        thread = InThread(lambda go=go: go.wait(600) and 5)
        thread.ahead()
        assert thread.thread is not None
        assert thread.thread.is_alive()
        if late:
            go.set()
            thread.thread.join()
        ended = threading.Event()
        thread.start(lambda calls=calls, ended=ended: (calls.append(1), ended.set()))
        go.set()
        assert ended.wait(600)
        thread.thread.join()
        assert (thread.result(), calls) == (5, [1])


def test_a_device_that_cannot_be_saved_leaves_the_guest_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is on its way by then; the sender does not wait for the receiver's patience."""
    vm = running()
    taker = Taker(Listener(f"unix:{tmp_path}/m", PATIENT))

    right = StreamOut.devices

    def devices(self: StreamOut, *given: Any, **named: Any) -> None:
        if self.machine is vm.machine:
            raise ConfigError("no")
        right(self, *given, **named)

    monkeypatch.setattr(StreamOut, "devices", devices)
    with pytest.raises(ConfigError, match="no"):
        interleave(vm, vm.transfers.send(f"unix:{tmp_path}/m", limits=PATIENT))
    taker.join(600)
    assert isinstance(taker.fault, GossamerError)
    assert vm.run_state == "running"
    vm.run(instructions=1000)
