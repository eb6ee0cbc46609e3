"""Machines handed over between two virtual machines, and to peers that misbehave."""

from __future__ import annotations

import io
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError, GossamerError, HostError, StreamError
from gossamer.base.units import MiB
from gossamer.control import stream_in
from gossamer.control.globalstate import GlobalState
from gossamer.control.receiving import Received
from gossamer.control.stream_out import Extra, save_stream
from gossamer.control.vm import Vm
from gossamer.machines.config import Config
from gossamer.migrate.channels import Limits, Listener, connect, parse
from gossamer.migrate.framing import Cmd
from gossamer.migrate.outgoing import COOKIE
from gossamer.migrate.returnpath import Message, Reply, encode
from tests.front.fakes import ask

PATIENT = Limits(meet=600.0, stall=600.0, total=600.0)
QUICK = Limits(meet=600.0, stall=0.3, total=600.0)
"""For a peer that stalls; a good one may stand still for longer on a host that does much else."""


def config(**kw) -> Config:
    return Config(
        machine="bare", bios="builtin", ram_size=4 * MiB, icount=0, icount_sleep=False, nic=False,
        **kw,
    )  # fmt: skip


def started(count: int = 20_000) -> Vm:
    vm = Vm(config())
    vm.run_to(count)
    return vm


class Taker(threading.Thread):
    """Receives in a thread; `join` gives what came or raises what went wrong."""

    def __init__(self, vm: Vm, listener: Listener | str) -> None:
        super().__init__(daemon=True)
        self.vm, self.listener = vm, listener
        self.received: Received | None = None
        self.fault: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.received = self.vm.incoming(self.listener, limits=PATIENT)
        except BaseException as fault:
            self.fault = fault

    def done(self) -> Received:
        self.join(600)
        assert not self.is_alive()
        if self.fault is not None:
            raise self.fault
        assert self.received is not None
        return self.received


LIST_END = b"\x7e\x00\x00\x00\x02"
"""The footer of the list of memory's blocks, after which a sender waits for the first word."""


class Peer(threading.Thread):
    """The other end of a socket, with a mind of its own; its own end is `fd`."""

    def __init__(self, behaviour: Callable[[socket.socket], None]) -> None:
        super().__init__(daemon=True)
        mine, theirs = socket.socketpair()
        self.socket, self.behaviour = mine, behaviour
        self.fd = theirs.detach()
        self.start()

    def run(self) -> None:
        try:
            self.behaviour(self.socket)
        except OSError:
            pass
        finally:
            self.socket.close()


def takes(end: socket.socket, count: int) -> None:
    """Read so many bytes."""
    while count:
        part = end.recv(min(65536, count))
        if not part:
            raise ConnectionError
        count -= len(part)


def greeted(end: socket.socket) -> None:
    """Read what a sender sends before it waits for the first word."""
    got = b""
    while not got.endswith(LIST_END):
        part = end.recv(4096)
        if not part:
            raise ConnectionError
        got += part


def until_closed(end: socket.socket) -> None:
    """Do nothing until the other end is closed."""
    closing = select.poll()
    closing.register(end, 0)  # a hang-up is always reported
    assert closing.poll(600_000)


# --- between two of ours ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["unix", "tcp", "fd"])
def test_handed_over_and_goes_on_as_if_nothing_had_been(kind: str, tmp_path: Path) -> None:
    alone, sender, taker = started(), started(), Vm(config())
    if kind == "fd":
        a, b = socket.socketpair()
        thread, uri = Taker(taker, f"fd:{b.detach()}"), f"fd:{a.detach()}"
    else:
        place = f"unix:{tmp_path}/m" if kind == "unix" else "tcp:127.0.0.1:0"
        listener = Listener(place, PATIENT)
        thread, uri = Taker(taker, listener), listener.uri
    before = sender.state_hash()
    sent = sender.migrate(uri)
    received = thread.done()
    assert taker.state_hash() == before
    assert (sent.lost, received.repaired, received.foreign) == ((), (), False)
    assert sender.run_state == "postmigrate"
    assert taker.run_state == "running"
    assert received.stream_bytes >= sent.stream_bytes > 0
    alone.run_to(60_000)
    taker.run_to(60_000)
    assert taker.state_hash() == alone.state_hash()


def test_socket_whose_path_is_too_long_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot listen: AF_UNIX path too long"):
        Listener(f"unix:{tmp_path}/{'m' * 108}")


@pytest.mark.parametrize("kind", ["exec", "file"])
def test_through_a_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "m"
    sender, taker = started(), Vm(config())
    before = sender.state_hash()
    sender.migrate(f"exec:cat > {path}" if kind == "exec" else f"file:{path}")
    taker.incoming(f"exec:cat {path}" if kind == "exec" else f"file:{path}")
    assert taker.state_hash() == before


def test_a_file_with_an_offset(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"something else")
    sender, taker = started(), Vm(config())
    sender.migrate(f"file:{path},offset=8192")
    assert path.read_bytes()[:14] == b"something else"
    taker.incoming(f"file:{path},offset=8192")
    assert taker.state_hash() == sender.state_hash()


def test_a_machine_that_has_been_sent_is_not_sent_again(tmp_path: Path) -> None:
    vm = started()
    vm.migrate(f"file:{tmp_path}/m")
    with pytest.raises(ConfigError, match="cannot be sent: it is in state postmigrate"):
        vm.migrate(f"file:{tmp_path}/n")
    assert "sent to file:" in ask(vm, "info migrate")


PONG = encode(Message(Reply.PONG, 0, COOKIE))


# --- a failure leaves the sender as it was --------------------------------------------------------


def closes_after(count: int) -> Callable[[socket.socket], None]:
    return lambda end: takes(end, count)


def closes_in_ram(end: socket.socket) -> None:
    greeted(end)
    end.sendall(PONG)
    takes(end, 500)


def says(*replies: bytes) -> Callable[[socket.socket], None]:
    def behave(end: socket.socket) -> None:
        greeted(end)
        for reply in replies:
            end.sendall(reply)

    return behave


def stalls(end: socket.socket) -> None:
    end.recv(10)
    until_closed(end)


BAD_PEERS = {
    "closes at once": (closes_after(0), "gone|went away"),
    "closes in the header": (closes_after(3), "gone|went away"),
    "closes in RAM": (closes_in_ram, "gone|went away"),
    "stalls": (
        stalls,
        r"reads nothing for 0.3 s; if it expects several connections \(capability multifd\)",
    ),
    "takes all and is silent": (says(), "went away without a word"),
    "pongs and goes": (says(PONG), "gone|ends or makes no sense"),
    "refuses": (says(PONG, encode(Message(Reply.SHUT, 0, 1))), "could not load the machine"),
    "garbage": (says(b"\xff" * 64), "makes no sense"),
    "claims much": (says(b"\x00\x05\xff\xff" + bytes(64)), "makes no sense"),
    "asks for pages": (says(encode(Message(Reply.REQ_PAGES, 0, 0, 4096))), "asks for REQ_PAGES"),
}


@pytest.mark.parametrize("name", BAD_PEERS)
def test_a_bad_receiver(name: str) -> None:
    behaviour, text = BAD_PEERS[name]
    vm, alone = started(), started()
    before = vm.state_hash()
    peer = Peer(behaviour)
    with pytest.raises(HostError, match=text) as fault:
        vm.migrate(f"fd:{peer.fd}", limits=QUICK if behaviour is stalls else PATIENT)
    assert "\n" not in str(fault.value)
    assert (vm.run_state, vm.state_hash()) == ("running", before)
    peer.join(600)
    vm.run_to(30_000)
    alone.run_to(30_000)
    assert vm.state_hash() == alone.state_hash()


def test_a_command_that_fails(tmp_path: Path) -> None:
    vm = started()
    with pytest.raises(HostError, match="ended with status 3"):
        vm.migrate("exec:cat > /dev/null; exit 3")
    vm.write_physical(0x10_0000, b"more than a pipe holds." * 40_000)
    with pytest.raises(HostError, match="gone"):
        vm.migrate("exec:exit 0")
    with pytest.raises(HostError, match="cannot be created: No such file"):
        vm.migrate(f"file:{tmp_path}/no/such/folder")
    with pytest.raises(HostError, match="cannot connect"):
        vm.migrate(f"unix:{tmp_path}/nothing")
    assert vm.run_state == "running"


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("nonsense", "expected one of exec:"),
        ("rdma:host:1", "expected one of exec:"),
        ("unix:", "nothing after unix:"),
        ("tcp:host", "expected tcp:HOST:PORT"),
        ("tcp:host:70000", "expected tcp:HOST:PORT"),
        ("fd:name", "number of an open file"),
        ("file:x,offset=y", "offset= needs a number"),
    ],
)
def test_uris_that_are_none(uri: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        parse(uri)


def test_an_unknown_profile(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown profile 'qemu-1' \(there is: gossamer-1"):
        started(100).migrate(f"file:{tmp_path}/m", profile="qemu-1")


# --- a bad sender leaves the receiver as it was -----------------------------------------------


def receive_from(
    vm: Vm, behaviour: Callable[[socket.socket], None], limits: Limits = PATIENT
) -> GossamerError:
    peer = Peer(behaviour)
    before = vm.state_hash()
    with pytest.raises(GossamerError) as fault:
        vm.incoming(f"fd:{peer.fd}", limits=limits)
    assert "\n" not in str(fault.value)
    assert vm.state_hash() == before
    return fault.value


def sends(data: bytes) -> Callable[[socket.socket], None]:
    return lambda end: end.sendall(data)


@pytest.fixture(scope="module")
def stream() -> bytes:
    return started().save_bytes()


def test_a_sender_that_breaks_off_anywhere(stream: bytes) -> None:
    end = stream.rindex(b'{"page_size"') - 6
    vm = started(500)
    for at in [0, 1, 7, 8, 9, 20, 60, *range(100, end, end // 23), end]:
        fault = receive_from(vm, sends(stream[:at]))
        assert isinstance(fault, StreamError), at
    vm.run_to(1000)


def test_a_sender_that_stalls(stream: bytes) -> None:
    def stall(end: socket.socket) -> None:
        end.sendall(stream[:5000])
        until_closed(end)

    fault = receive_from(started(500), stall, QUICK)
    assert "the peer sends nothing for 0.3 s (after 5000 bytes)" in str(fault)


def patched(stream: bytes, old: bytes, new: bytes) -> bytes:
    assert old in stream
    return stream.replace(old, new, 1)


CHANGES = {
    "another machine": (b"\x00\x00\x00\x04bare", b"\x00\x00\x00\x04mac9", "machine mac9, expected"),
    "a huge name": (b"\x07\x00\x00\x00\x04", b"\x07\x7f\xff\xff\xff", "machine name of"),
    "another PVR": (b"\x00\x08\x03\x01", b"\x00\x08\x02\x02", "PVR must be 0x00080301"),
    "a section of no machine": (b"\x0bglobalstate", b"\x0bglobalstats", "no such section"),
    "an unknown subsection": (b"cpu/gossamer", b"cpu/gossamar", "unknown subsection"),
    "no run state": (b"\x08running", b"\x08rumming", "unknown run state 'rumming'"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_stream_that_does_not_fit(name: str, stream: bytes) -> None:
    old, new, text = CHANGES[name]
    fault = receive_from(started(500), sends(patched(stream, old, new)))
    assert text in str(fault)


def after_configuration(stream: bytes, extra: bytes) -> bytes:
    head = stream.index(b"bare") + 4
    return stream[:head] + extra + stream[head:]


def test_what_was_not_agreed_on(stream: bytes) -> None:
    vm = started(500)
    name = b"\x05\x1aconfiguration/capabilities\x00\x00\x00\x01\x00\x00\x00\x01\x0dmapped-ram-zz"
    fault = receive_from(vm, sends(after_configuration(stream, name)))
    assert "capability mapped-ram-zz was not agreed on" in str(fault)
    advise = b"\x08\x00\x03\x00\x10" + bytes(7) + b"\x10" + bytes(6) + b"\x10\x00"
    fault = receive_from(vm, sends(after_configuration(stream, advise)))
    assert "switch its capability postcopy-ram off" in str(fault)
    fault = receive_from(vm, sends(b"\x11\x22\x33\x44" + bytes(60)))
    assert "one connection of a multifd migration" in str(fault)


def test_a_block_of_2_63_bytes(stream: bytes) -> None:
    at = stream.index(b"\x03ram") + 12
    changed = stream[:at] + b"\x7f" + b"\xff" * 6 + b"\x04" + stream[at + 8 :]
    fault = receive_from(started(500), sends(changed))
    assert "ram" in str(fault)


def test_another_size_of_ram(stream: bytes) -> None:
    vm = Vm(Config(machine="bare", bios="builtin", ram_size=8 * MiB, icount=0, nic=False))
    fault = receive_from(vm, sends(stream))
    assert "4194304 bytes, this machine has 8388608" in str(fault)


def test_the_receiver_answers_a_sender_that_asks(stream: bytes) -> None:
    replies, heard = bytearray(), threading.Event()

    def ask(end: socket.socket) -> None:
        commands = b"\x08\x00\x01\x00\x00" + b"\x08\x00\x02\x00\x04\x00\x00\x00\x07"
        end.sendall(after_configuration(stream, commands)[:3000])
        end.shutdown(socket.SHUT_WR)
        while part := end.recv(100):
            replies.extend(part)
        heard.set()

    fault = receive_from(started(500), ask)
    assert isinstance(fault, StreamError)
    assert heard.wait(600)
    assert bytes(replies) == encode(Message(Reply.PONG, 0, 7)) + encode(Message(Reply.SHUT, 0, 1))


def test_no_sender_comes(tmp_path: Path) -> None:
    vm = started(500)
    with pytest.raises(HostError, match=r"no sender came within 0\.1 s"):
        vm.incoming(f"unix:{tmp_path}/m", limits=Limits(meet=0.1))
    assert not (tmp_path / "m").exists()
    with pytest.raises(HostError, match="Bad file descriptor"):
        vm.incoming("fd:987")


def test_a_command_is_ended_with_its_channel() -> None:
    channel = connect("exec:sleep 60", QUICK)
    process = channel.process
    assert process is not None
    channel.close()
    assert process.returncode is not None


def test_case_25_in_a_pipe_no_one_waits_for_answers(stream: bytes) -> None:
    read, write = os.pipe()
    data = after_configuration(stream, b"\x08\x00\x01\x00\x00")

    def feed() -> None:
        with os.fdopen(write, "wb") as end:
            end.write(data)

    threading.Thread(target=feed).start()
    vm = started(500)
    vm.incoming(f"fd:{read}", limits=PATIENT)
    assert vm.state_hash() == started().state_hash()


def test_the_last_word_reaches_a_sender_that_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is closed with bytes unread is reset, and what it said last is lost."""
    monkeypatch.setattr(stream_in, "_END_WAIT", 0.05)
    out = io.BytesIO()
    sender = started()
    commands = [(Cmd.OPEN_RETURN_PATH, b""), (Cmd.PING, b"\0\0\0\1")]
    save_stream(
        sender.machine, out, Extra("globalstate", GlobalState("running")), commands=commands
    )
    data = out.getvalue()
    text = data.rindex(b'{"page_size"') - 5
    taker, listener = Vm(config()), Listener("tcp:127.0.0.1:0", PATIENT)
    thread = Taker(taker, listener)
    with socket.create_connection(("127.0.0.1", int(listener.uri.rpartition(":")[2]))) as end:
        end.sendall(data[:text])
        while taker.run_state != "running":  # it has given its word, which is not read yet
            assert thread.is_alive()
            time.sleep(0.01)
        for part in (data[text:-100], data[-100:]):
            end.sendall(part)
            time.sleep(0.05)
        answer = b""
        while not answer.endswith(encode(Message(Reply.SHUT, 0, 0))):
            got = end.recv(100)
            assert got
            answer += got
    assert thread.done().stream_bytes == text
    assert taker.state_hash() == sender.state_hash()
