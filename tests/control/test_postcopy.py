"""The machine runs at the receiver before its memory is there: on demand, exact, recoverable."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.base.errors import ConfigError, GossamerError, HostError, StreamError
from gossamer.control.commands.rows import TABLE
from gossamer.control.session import Session
from gossamer.control.steps import InThread, Steps, finish, wait_for
from gossamer.control.transfer import Transfer
from gossamer.control.vm import Vm
from gossamer.machines.options import parse
from gossamer.migrate import ram
from gossamer.migrate.arrival import Arrival
from gossamer.migrate.channels import Channel, Limits, Listener
from gossamer.migrate.demand import Demand
from gossamer.migrate.dirty import DirtyPages
from gossamer.migrate.outgoing import Outgoing
from gossamer.migrate.returnpath import Message, Reply

LINE = ["-M", "bare", "-m", "16", "-serial", "null", "-bios", "builtin", "-icount", "0,sleep=off"]
PATIENT = Limits(meet=600.0, stall=600.0, total=600.0)
START, LATER = 20_000, 400_000
ON_DEMAND = 1
"""Bytes a second of what was not asked for: nothing goes by itself."""


def machine(*more: str) -> Vm:
    vm = Vm(parse([*LINE, *more]))
    vm.transfers.capabilities.add("postcopy-ram")
    return vm


def running(*more: str) -> Vm:
    vm = machine(*more)
    vm.run(instructions=START)
    vm.cont()
    return vm


def until(true: Callable[[], bool]) -> None:
    """Wait for another thread to come so far."""
    end = time.monotonic() + 600
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


class Beside(threading.Thread):
    """Steps in a thread of their own."""

    def __init__(self, steps: Steps[Any]) -> None:
        super().__init__(daemon=True)
        self.steps, self.fault = steps, None
        self.fault: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            finish(self.steps)
        except BaseException as fault:
            self.fault = fault


class Move:
    """A move of `source` to `target` over a connection that is there."""

    def __init__(self, source: Vm, folder: Path, target: Vm | None = None) -> None:
        self.source, self.target = source, target or machine()
        self.folder, self.follows = folder, list[Steps[None]]()
        source.transfers.parameters.max_postcopy_bandwidth = ON_DEMAND
        listener = Listener(f"unix:{folder}/m", PATIENT)
        steps = source.transfers.send(listener.uri, limits=PATIENT)
        source.transfers.start_postcopy()
        self.sending = Beside(steps)
        receive = self.target.transfers.receive(listener, beside=self.follows.append)
        self.received = finish(receive)
        until(lambda: self.out.status == "postcopy-active")

    @property
    def out(self) -> Transfer:
        assert self.source.transfers.outgoing is not None
        return self.source.transfers.outgoing

    @property
    def coming(self) -> Transfer:
        assert self.target.transfers.arriving is not None
        return self.target.transfers.arriving

    @property
    def left(self) -> int:
        return int(np.count_nonzero(self.target.machine.arena.absent))

    def recover(self, name: str) -> None:
        """Both ends meet again."""
        until(lambda: self.coming.status == self.out.status == "postcopy-paused")
        self.target.transfers.recover(f"unix:{self.folder}/{name}")
        finish(self.source.transfers.resuming(f"unix:{self.folder}/{name}"))
        until(lambda: self.coming.status == self.out.status == "postcopy-active")

    def end(self) -> None:
        """Let everything come."""
        self.source.transfers.parameters.max_postcopy_bandwidth = 0
        for steps in self.follows:
            finish(steps)
        self.sending.join(600)
        assert not self.sending.is_alive()
        assert self.sending.fault is None


def alone(*more: str) -> Iterator[tuple[int, int]]:
    """Hash and instructions of the machine that never moves, at START and LATER."""
    vm = running(*more)
    yield vm.state_hash(), vm.instructions
    vm.run(instructions=LATER)
    yield vm.state_hash(), vm.instructions


@pytest.mark.parametrize("tier", ["0", "2"])
def test_pages_come_as_the_guest_reaches_for_them(tier: str, tmp_path: Path) -> None:
    more = ("-accel", f"tcg,tier={tier}")
    there, later = alone(*more)
    source = running(*more)
    assert (source.state_hash(), source.instructions) == there
    move = Move(source, tmp_path, machine(*more))
    target = move.target
    assert (target.run_state, move.coming.status) == ("running", "postcopy-active")
    assert source.run_state == "finish-migrate"
    pages = move.left
    assert pages > 3000, "nothing has gone before"
    target.run(instructions=LATER)
    assert 0 < pages - move.left < 400, "only what was needed has come"
    assert move.out.figures.postcopy_requests > 0
    with pytest.raises(ConfigError, match="migration process in progress"):
        target.save(tmp_path / "s")
    move.end()
    assert (target.state_hash(), target.instructions) == later
    assert (move.coming.status, move.out.status) == ("completed", "completed")
    assert source.run_state == "postmigrate"
    assert target.machine.arena.arriving is None
    with pytest.raises(ConfigError, match="it is in state postmigrate"):
        source.transfers.send("unix:/x").send(None)


def test_a_page_that_is_not_waited_for_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault: the guest goes on with what lies there."""
    _, later = alone()
    monkeypatch.setattr(Arrival, "need", lambda self, first, last: None)
    move = Move(running(), tmp_path)
    with contextlib.suppress(GossamerError):
        move.target.run(instructions=LATER)
    move.end()
    assert (move.target.state_hash(), move.target.instructions) != later


def test_what_python_reads_and_writes_is_waited_for(tmp_path: Path) -> None:
    """DMA, monitors and debuggers come through here; a page written in part keeps its rest."""
    source = running()
    source.write_physical(0x40_0000, bytes(range(256)) * 64)
    move = Move(source, tmp_path)
    target = move.target
    coming = target.machine.arena.arriving.__self__  # type: ignore[union-attr]
    assert target.read_physical(0x40_0FF0, 0x20) == bytes(range(0xF0, 0x100)) + bytes(range(16))
    target.write_physical(0x40_2080, b"here")
    assert coming.requests == 3
    assert target.read_physical(0x40_2000, 256)[0x7E:0x86] == b"\x7e\x7fhere\x84\x85"
    source.write_physical(0x40_0000, b"old")  # what is here already does not come again
    move.end()
    assert target.read_physical(0x40_0000, 4) == bytes(range(4))
    assert target.read_physical(0x40_3FFC, 4) == b"\xfc\xfd\xfe\xff"


class Live:
    """A move that begins with rounds while the guest writes, and switches over in their midst."""

    def __init__(self, folder: Path) -> None:
        self.source, self.target = running(), machine()
        self.source.transfers.parameters.max_bandwidth = 0
        self.source.transfers.parameters.downtime_limit = 0
        follows: list[Beside] = []
        listener = Listener(f"unix:{folder}/m", PATIENT)
        taking = Beside(
            self.target.transfers.receive(listener, beside=lambda s: follows.append(Beside(s)))
        )
        steps = self.source.transfers.send(listener.uri, limits=PATIENT)
        waiting, number = next(steps), 0
        with contextlib.suppress(StopIteration):
            while True:
                number += 1
                self._write(number)
                if isinstance(waiting, InThread):
                    waiting.start(lambda: None)
                    assert waiting.thread is not None
                    waiting.thread.join()
                    self._write(number + 1)  # what is on its way is old
                    self._go_ahead()
                    waiting = waiting.send_to(steps)
                else:
                    waiting = steps.send(wait_for(waiting))
        for thread in (taking, *follows):
            thread.join(600)
            assert thread.fault is None
        assert follows

    def _write(self, number: int) -> None:
        if self.source.run_state == "running":
            for page in range(1024, 1064):
                self.source.write_physical(page << 12, bytes([number]) * 8)

    def _go_ahead(self) -> None:
        """Switch over once all of memory has gone."""
        transfer = self.source.transfers.outgoing
        assert transfer is not None
        figures = transfer.figures
        if figures.duplicate + figures.normal >= 4096 and self.source.run_state == "running":
            self.source.transfers.start_postcopy()
            self.hash = self.source.state_hash()


def test_what_had_gone_and_was_written_to_since_comes_again(tmp_path: Path) -> None:
    live = Live(tmp_path)
    assert live.source.transfers.outgoing is not None
    assert live.source.transfers.outgoing.status == "completed"
    assert live.target.state_hash() == live.hash


def test_a_page_that_is_not_discarded_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault: the receiver keeps what it had of pages that were written to since."""
    monkeypatch.setattr(Arrival, "discard", lambda self, data, offset: None)
    live = Live(tmp_path)
    assert live.target.state_hash() != live.hash


# --- a connection that breaks ---------------------------------------------------------------------


@pytest.mark.parametrize("breaks", ["source", "target"])
def test_a_broken_connection_is_mended(breaks: str, tmp_path: Path) -> None:
    _, later = alone()
    move = Move(running(), tmp_path)
    target = move.target
    target.run(instructions=LATER // 2)
    following = Beside(move.follows.pop())
    for n in range(2):
        getattr(move, breaks).transfers.pause()
        until(lambda: move.coming.status == move.out.status == "postcopy-paused")
        assert move.out.error
        assert move.coming.error
        with pytest.raises(HostError, match="migrate-recover here and migrate resume there"):
            target.read_physical(0x80_0000 + n * 4096, 4)
        move.recover(f"again{n}")
        assert (move.out.error, move.coming.error) == ("", "")
        assert target.read_physical(0x80_0000 + n * 4096, 4) == bytes(4)
    target.run(instructions=LATER - LATER // 2)
    move.end()
    following.join(600)
    assert (move.coming.status, following.fault) == ("completed", None)
    assert (target.state_hash(), target.instructions) == later


def test_a_guest_that_waits_goes_on_when_the_connection_is_mended(tmp_path: Path) -> None:
    """A slice waits in the middle of an instruction; what others want is done meanwhile."""
    move = Move(running(), tmp_path)
    target = move.target
    following = Beside(move.follows.pop())
    target.transfers.pause()
    until(lambda: move.coming.status == move.out.status == "postcopy-paused")
    served: list[tuple[str, str]] = []

    def serve() -> None:
        served.append((target.busy, target.run_state))
        for name in ("cont", "system_reset"):  # in the middle of an instruction
            with pytest.raises(ConfigError, match="being sent its memory"):
                TABLE.call(Session(target), name)
        if len(served) == 2:
            move.recover("again")

    target.serve_others = serve
    before = target.instructions
    target.run_slice(1_000_000)
    assert served[0] == ("sent its memory", "running")
    assert target.instructions > before
    assert (target.busy, target.run_state) == ("", "running")
    move.end()
    following.join(600)
    assert move.coming.status == "completed"


def test_a_machine_whose_memory_comes_is_stopped_and_goes_on(tmp_path: Path) -> None:
    move = Move(running(), tmp_path)
    there, here = Session(move.target), Session(move.source)
    TABLE.call(there, "stop")
    assert move.target.run_state == "paused"
    TABLE.call(there, "cont")
    assert move.target.run_state == "running"
    for name in ("stop", "cont"):
        with contextlib.suppress(GossamerError):
            TABLE.call(here, name)
        assert move.source.run_state == "finish-migrate", "it is no longer here"
    move.end()


def test_a_process_that_ends_waits_for_no_page(tmp_path: Path) -> None:
    move = Move(running(), tmp_path)
    move.target.serve_others = move.target.quit
    move.target.transfers.pause()
    move.target.run_slice(1_000_000)
    assert move.target.ended
    move.target.transfers.abandon()
    finish(move.follows.pop())
    assert move.coming.status == "failed"
    until(lambda: move.out.status == "postcopy-paused")


def test_a_guest_that_had_to_do_without_a_page_runs_no_more(tmp_path: Path) -> None:
    move = Move(running(), tmp_path)
    arrival = move.target.machine.arena.arriving.__self__  # type: ignore[union-attr]
    assert move.coming.channel is not None
    move.coming.channel.cancel()  # a sender that is there would answer in time, now and then
    arrival.give_up("the sender has gone")
    with pytest.raises(HostError, match="the sender has gone"):
        move.target.run(instructions=LATER)
    assert move.target.run_state == "internal-error"
    with pytest.raises(HostError, match="the sender has gone"):
        move.target.run(instructions=1000)


def test_the_loss_of_the_receiver_is_named(tmp_path: Path) -> None:
    move = Move(running(), tmp_path)
    with pytest.raises(ConfigError, match="at both ends"):
        move.source.transfers.cancel()
    with pytest.raises(ConfigError, match="at both ends"):
        move.target.transfers.cancel()
    assert move.coming.channel is not None
    move.coming.channel.close()  # as the host does for a process that was killed
    until(lambda: move.out.status == "postcopy-paused")
    assert "receiver" in move.out.error
    assert move.source.run_state == "finish-migrate"
    move.source.transfers.cancel()
    move.sending.join(600)
    assert move.out.status == "failed"
    assert "is whole at neither end and lost" in move.out.error
    assert move.source.run_state == "postmigrate"


def test_it_cannot_be_cancelled_once_the_receiver_may_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last word is about to be written: the memory is at both ends, whatever comes."""
    source, asked = running(), list[str]()
    handed_over = source.disks.handed_over

    @contextlib.contextmanager
    def meanwhile() -> Iterator[None]:
        with handed_over():
            with pytest.raises(ConfigError, match="at both ends"):
                source.transfers.cancel()
            asked.append(source.transfers.outgoing.status)  # type: ignore[union-attr]
            yield

    monkeypatch.setattr(source.disks, "handed_over", meanwhile)
    move = Move(source, tmp_path)
    assert asked == ["postcopy-active"]
    before = move.target.machine.engine.count
    move.end()
    assert (move.out.status, source.run_state) == ("completed", "postmigrate")
    assert move.target.machine.engine.count == before


def test_cancelled_before_the_last_word_it_stays_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver has said that it could run the guest, and has not been asked to."""
    source, target = running(), machine()
    before = source.state_hash()
    arrived = Outgoing.arrived

    def then_cancelled(out: Outgoing) -> None:
        arrived(out)
        source.transfers.cancel()

    monkeypatch.setattr(Outgoing, "arrived", then_cancelled)
    listener = Listener(f"unix:{tmp_path}/m", PATIENT)
    steps = source.transfers.send(listener.uri, limits=PATIENT)
    source.transfers.start_postcopy()
    taking = Beside(target.transfers.receive(listener))
    with pytest.raises(HostError, match="cancelled"):
        finish(steps)
    taking.join(600)
    assert isinstance(taking.fault, GossamerError)
    assert source.transfers.outgoing is not None
    assert (source.transfers.outgoing.status, source.run_state) == ("cancelled", "running")
    assert source.state_hash() == before


def test_a_receiver_that_never_ran_it_leaves_it_here(tmp_path: Path) -> None:
    """It goes before it is asked to run the guest."""
    vm = running()
    before = vm.state_hash()
    listener = Listener(f"unix:{tmp_path}/m", PATIENT)
    steps = vm.transfers.send(listener.uri, limits=PATIENT)
    vm.transfers.start_postcopy()
    sending = Beside(steps)
    channel = listener.accept()
    channel.write(bytes.fromhex("0002000400000001"))  # PONG
    while vm.run_state != "finish-migrate":
        channel.read(1 << 16)
    channel.close()
    sending.join(600)
    assert isinstance(sending.fault, HostError)
    assert (vm.run_state, vm.state_hash()) == ("running", before)
    vm.run(instructions=1000)


def test_without_the_capability(tmp_path: Path) -> None:
    vm, there = running(), machine()
    there.transfers.capabilities.clear()
    listener = Listener(f"unix:{tmp_path}/m", PATIENT)
    sending = Beside(vm.transfers.send(listener.uri, limits=PATIENT))
    with pytest.raises(StreamError, match="switch its capability postcopy-ram off, or on here"):
        there.incoming(listener)
    sending.join(600)
    assert vm.run_state == "running"
    vm.transfers.capabilities.clear()
    with pytest.raises(ConfigError, match="Enable postcopy with migrate_set_capability"):
        vm.transfers.start_postcopy()


@pytest.mark.parametrize("more", ["multifd", "mapped-ram"])
def test_capabilities_that_do_not_go_together(more: str, tmp_path: Path) -> None:
    vm = running()
    vm.transfers.capabilities.add(more)
    uri = f"file:{tmp_path}/f" if more == "mapped-ram" else f"unix:{tmp_path}/m"
    with pytest.raises(ConfigError, match="goes with neither multifd nor mapped-ram"):
        finish(vm.transfers.send(uri))
    assert vm.run_state == "running"


def test_postcopy_into_a_file_is_refused(tmp_path: Path) -> None:
    vm = running()
    with pytest.raises(ConfigError, match="needs a peer that can answer"):
        finish(vm.transfers.send(f"file:{tmp_path}/f"))
    assert vm.run_state == "running"


def test_words_that_come_at_the_wrong_time() -> None:
    vm = machine()
    for do, text in (
        (vm.transfers.start_postcopy, "must be started after migration"),
        (vm.transfers.pause, "only supported during postcopy-active"),
        (lambda: vm.transfers.recover("unix:/x"), "only be run when postcopy is paused"),
        (lambda: vm.transfers.resuming("unix:/x"), "no paused migration"),
    ):
        with pytest.raises(ConfigError, match=text):
            do()


# --- a hostile peer -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "at", "size"),
    [("ram", 0, 0), ("ram", 1, 4096), ("ram", 0, 100), ("ram", 16 << 20, 4096), ("x", 0, 4096),
     ("", 0, 4096), ("ram", (1 << 64) - 4096, 8192)],
)  # fmt: skip
def test_requests_for_what_there_is_not(block: str, at: int, size: int) -> None:
    vm = machine()
    dirty = DirtyPages(vm.machine.arena, list(vm.machine.arena.blocks), lambda: None)
    with pytest.raises(HostError, match="which there are not"):
        Demand(dirty).ask(Message(Reply.REQ_PAGES, 0, at, size, block))


def test_requests_have_a_bound() -> None:
    vm = machine()
    demand = Demand(DirtyPages(vm.machine.arena, list(vm.machine.arena.blocks), lambda: None))
    asked = Message(Reply.REQ_PAGES, 0, 0, 4096, "ram")
    for _ in range(1 << 16):
        demand.ask(asked)
    with pytest.raises(HostError, match="more than 65536 pieces"):
        demand.ask(asked)


def test_what_is_asked_for_comes_first_and_the_rest_behind_it() -> None:
    vm = machine()
    (block,) = vm.machine.arena.blocks
    demand = Demand(DirtyPages(vm.machine.arena, [block], lambda: None))
    demand.ask(Message(Reply.REQ_PAGES, 0, 100 << 12, 2 << 12, "ram"))
    order: list[int] = []
    while pages := demand.take(0):
        order += [int(n) for _, numbers in pages for n in numbers]
    assert order[:3] == [100, 101, 102]
    assert sorted(order) == list(range(4096))


def arrival() -> tuple[Arrival, Channel, socket.socket]:
    ours, theirs = socket.socketpair()
    channel = Channel(ours.detach(), "x", PATIENT, two_way=True)
    return Arrival(machine().machine.arena, channel), channel, theirs


@pytest.mark.parametrize(
    "data",
    ["01" "0372616d" "00", "00" "0178" "00", "00" "0372616d" "01", "00" "0372616d" "00" + "00" * 15,
     "00" "0372616d" "00" + "00" * 7 + "01" + "00" * 8,
     "00" "0372616d" "00" + "0000000001000000" + "0000000000001000", "00", ""],
)  # fmt: skip
def test_discards_that_make_no_sense(data: str) -> None:
    one, channel, theirs = arrival()
    with contextlib.closing(channel), contextlib.closing(theirs), pytest.raises(StreamError):
        one.discard(bytes.fromhex(data), 0)


def test_what_a_bitmap_says() -> None:
    one, channel, theirs = arrival()
    with contextlib.closing(channel), contextlib.closing(theirs):
        block = one.arena.blocks[0]
        listed = ram.Block("ram", block.size)
        numbers = np.array([0, 9 << 12], np.uint64)
        run = ram.Run(ram.ZERO, listed, False, numbers, 0, 9, 8, fills=np.zeros(2, np.uint8))
        one.stored(run, block)
        bitmap = one.received("ram", 0)
        assert (len(bitmap), bitmap[:3]) == (512, b"\x01\x02\x00")
        with pytest.raises(StreamError, match="'x'"):
            one.received("x", 0)
        dirty = DirtyPages(one.arena, [block], lambda: None)
        dirty.arrived(block, bitmap)
        assert dirty.left == 4094
        assert dirty.ranges(block) == [(1, 8), (10, 4086)]
