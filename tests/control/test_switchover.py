"""The end of a transfer: done in the loop's thread while the receiver is quick, else in another."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from contextlib import closing

import pytest

from gossamer.base.errors import HostError
from gossamer.base.units import NS_PER_S
from gossamer.control import switchover
from gossamer.control.globalstate import GlobalState
from gossamer.control.joined import Joined
from gossamer.control.steps import InThread, finish
from gossamer.control.stream_out import Extra, StreamOut, save_stream
from gossamer.control.switchover import Switchover
from gossamer.control.vm import Vm
from gossamer.machines.options import parse
from gossamer.migrate.channels import Channel, Limits
from gossamer.migrate.outgoing import ARRIVED, Outgoing
from gossamer.migrate.returnpath import Message, Reply, encode

LINE = ["-M", "bare", "-m", "4", "-serial", "null", "-bios", "builtin", "-icount", "0,sleep=off"]
PONG = encode(Message(Reply.PONG, 0, ARRIVED))
SHUT = encode(Message(Reply.SHUT, 0, 0))
REFUSED = encode(Message(Reply.SHUT, 0, 1))


class Ends:
    """A machine, its end of a connection, and the receiver's."""

    def __init__(self) -> None:
        self.vm = Vm(parse(LINE))
        mine, self.peer = socket.socketpair()
        self.channel = Channel(mine.detach(), "peer", Limits(600, 600, 600), two_way=True)
        self.out = Outgoing(self.channel)
        self.last = Switchover(self.vm, self.out, None)

    def go(self) -> int:
        """What the steps give."""
        return finish(self.last.steps(b"devices", b"end"))

    def leave_after(self, data: bytes) -> None:
        """As a receiver that has had all of `data`."""
        got = b""
        while got != data:
            got += self.peer.recv(len(data) - len(got))
        self.peer.close()

    def close(self) -> None:
        self.channel.close()
        self.peer.close()
        self.vm.close()


def test_a_quick_receiver_costs_no_thread() -> None:
    with closing(Ends()) as ends:
        ends.peer.sendall(PONG + SHUT)
        with pytest.raises(StopIteration) as over:
            next(ends.last.steps(b"devices", b"end"))
        assert over.value.value == len(b"devicesend")
        assert ends.peer.recv(100) == b"devicesend"
        assert not ends.last.doubtful


def test_a_slow_one_is_waited_for_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switchover, "QUICK_NS", 0)
    with closing(Ends()) as ends:
        steps = ends.last.steps(b"devices", b"end")
        waiting = next(steps)
        assert isinstance(waiting, InThread)
        ends.peer.sendall(PONG + SHUT)
        waiting.start(lambda: None)
        assert waiting.thread is not None
        waiting.thread.join()
        with pytest.raises(StopIteration) as over:
            waiting.send_to(steps)
        assert over.value.value == len(b"devicesend")


@pytest.mark.parametrize("said", [PONG[:3], PONG[:-1], b"\x00\x05\x02\x00", PONG + SHUT[:5]])
def test_half_a_word_does_not_hold_the_loop(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not there whole is waited for in a thread."""
    monkeypatch.setattr(switchover, "QUICK_NS", NS_PER_S // 1000)
    with closing(Ends()) as ends:
        ends.peer.sendall(said)
        steps = ends.last.steps(b"devices", b"end")
        assert isinstance(next(steps), InThread)
        assert ends.last.doubtful == (len(said) > len(PONG))


def test_a_receiver_that_reads_nothing_does_not_hold_the_loop() -> None:
    with closing(Ends()) as ends:
        ends.peer.sendall(PONG)  # and yet it says that all has come
        assert isinstance(next(ends.last.steps(bytes(64 << 20), b"end")), InThread)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (REFUSED, "could not load"),
        (SHUT, "before it can have it"),
        (b"\x00\x02\x00\x02", "makes no sense"),
    ],
)
def test_a_wrong_word_leaves_the_machine_here(said: bytes, text: str) -> None:
    with closing(Ends()) as ends:
        ends.peer.sendall(said)
        with pytest.raises(HostError, match=text):
            ends.go()
        assert not ends.last.doubtful
        assert not ends.vm.disks.lent


@pytest.mark.parametrize(("said", "doubtful"), [(b"", False), (PONG, True)])
def test_a_receiver_that_goes_gives_the_disks_back(said: bytes, doubtful: bool) -> None:
    with closing(Ends()) as ends:
        ends.peer.sendall(said)
        gone = threading.Thread(
            target=ends.leave_after, args=(b"devicesend" if said else b"devices",)
        )
        gone.start()
        with pytest.raises(HostError):
            ends.go()
        gone.join()
        assert ends.last.doubtful == doubtful
        assert not ends.vm.disks.lent


def test_what_does_not_go_at_once_is_kept_in_its_place() -> None:
    with closing(Ends()) as ends:
        joined = Joined(ends.out)
        joined.keep = True
        joined.write(b"a" * (8 << 20))
        joined.put()
        joined.write(b"b")
        rest = joined.take()
        assert 1 < len(rest) < 8 << 20
        assert rest == b"a" * ((8 << 20) - ends.channel.sent) + b"b"


# --- what is made ahead ---------------------------------------------------------------------------


class Kept(bytearray):
    def write(self, data: bytes | memoryview, /) -> None:
        self += data


def _devices(vm: Vm, *, ahead: bool, between: Callable[[], None] = lambda: None) -> bytes:
    kept = Kept()
    stream, extra = StreamOut(vm.machine, kept), Extra("globalstate", GlobalState("running"))
    if ahead:
        stream.prepare(extra)
    between()
    stream.devices(extra)
    stream.end()
    return bytes(kept)


def test_a_description_made_ahead_is_the_one_made_now() -> None:
    with closing(Vm(parse(["-M", "mac99", "-bios", "builtin", "-serial", "null"]))) as vm:
        assert _devices(vm, ahead=True) == _devices(vm, ahead=False)


def test_one_that_no_longer_fits_is_made_anew() -> None:
    """A subsection has come since: its fields are in the description."""
    with closing(Vm(parse(["-M", "mac99", "-bios", "builtin", "-serial", "null"]))) as vm:
        before = _devices(vm, ahead=False)
        after = _devices(vm, ahead=True, between=lambda: vm.machine.cpu.set_rate(16_600_000))
        assert after == _devices(vm, ahead=False) != before
        assert after.count(b"cpu/") > before.count(b"cpu/")


def test_a_whole_stream_has_a_description_without_one_made_ahead() -> None:
    with closing(Vm(parse(LINE))) as vm:
        kept = Kept()
        save_stream(vm.machine, kept, Extra("globalstate", GlobalState("running")))
        text = bytes(kept[kept.rindex(b'{"page_size"') :])
        assert {"cpu", "globalstate"} <= {one["name"] for one in json.loads(text)["devices"]}


def test_sections_go_behind_the_first_the_second_the_fourth() -> None:
    """The receiver is kept busy from the first on, by few calls; what is left goes at the end."""
    with closing(Ends()) as ends:
        joined, seen = Joined(ends.out), []
        joined.keep = True
        for n in range(11):
            joined.write(bytes([n]))
            joined.piece()
            seen.append(ends.channel.sent)
        assert seen == [1, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8]
        assert ends.peer.recv(100) + joined.take() == bytes(range(11))
