"""Backends by themselves: framing, bounds, peers that go, datagrams, an open tap."""

from __future__ import annotations

import contextlib
import select
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gossamer.base.errors import HostError
from gossamer.net.backend import MOST_PENDING, MOST_WAITING, Backend
from gossamer.net.packets import Datagrams, Tap
from gossamer.net.stream import Stream
from tests import waiting


@pytest.fixture
def keep() -> Iterator[Callable[[Backend], Backend]]:
    """Closes backends when the test is over."""
    made: list[Backend] = []

    def add(one: Backend) -> Backend:
        made.append(one)
        return one

    yield add
    for one in made:
        one.close()


def collect(backend: Backend) -> list[bytes]:
    """What it delivers."""
    found: list[bytes] = []
    backend.deliver = lambda frames: found.extend(frames) or len(frames)
    return found


def serve(*backends: Backend, until: Callable[[], object]) -> None:
    def turn() -> None:
        for one in backends:
            one.flush()
            one.retry()
            poller = select.poll()
            for fd, mask in one.events().items():
                poller.register(fd, mask)
            for fd, mask in poller.poll(1):
                one.handle(fd, mask)

    waiting.until(until, turn, pause=0)


def test_frames_over_tcp_in_both_directions(keep: Callable[[Backend], Stream]) -> None:
    server = keep(Stream("a", ("127.0.0.1", 0), server=True))
    places: list[str | None] = []
    server.changed = places.append
    client = keep(Stream("b", ("127.0.0.1", server.port), server=False))
    here, there = collect(server), collect(client)
    frames = [bytes((n,)) * (14 + 97 * n % 1500) for n in range(200)]
    serve(server, client, until=lambda: server.peer)
    for frame in frames:
        client.send(frame)
        server.send(frame[::-1])
    serve(server, client, until=lambda: len(here) == len(there) == 200)
    assert here == frames
    assert there == [frame[::-1] for frame in frames]
    client.close()
    serve(server, until=lambda: len(places) == 2)
    assert places == ["tcp:127.0.0.1:0", None]
    again = keep(Stream("c", ("127.0.0.1", server.port), server=False))
    again.send(b"once more")
    serve(server, again, until=lambda: here[-1] == b"once more")


def test_what_is_on_the_wire_is_qemus(keep: Callable[[Backend], Stream]) -> None:
    mine, theirs = socket.socketpair()
    backend = keep(Stream("a", "", server=False, fd=mine.detach()))
    found = collect(backend)
    backend.send(b"hello")
    backend.flush()
    assert theirs.recv(100) == b"\0\0\0\5hello"
    theirs.sendall(b"\0\0\0\3abc\0\0\0\2d")
    theirs.sendall(b"e\x7f\xff")
    serve(backend, until=lambda: len(found) == 2)
    assert found == [b"abc", b"de"]
    theirs.sendall(b"\xff\xff")  # a length that no frame has ends the connection
    serve(backend, until=lambda: backend.peer is None)
    assert theirs.recv(100) == b""
    theirs.close()


def test_peer_that_does_not_read_and_card_without_room(keep: Callable[[Backend], Stream]) -> None:
    mine, theirs = socket.socketpair()
    backend = keep(Stream("a", "", server=False, fd=mine.detach()))
    for _ in range(3000):
        backend.send(bytes(1500))
        backend.flush()
    assert len(backend._out) <= MOST_WAITING
    assert backend.dropped > 1000
    backend._out.clear()
    backend.deliver = lambda frames: 0
    theirs.setblocking(False)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while sent < 1 << 20:
            sent += theirs.send(b"\0\0\0\4abcd") // 8
            if any(mask & select.POLLIN for mask in backend.events().values()):
                backend.handle(backend.peer.fileno(), select.POLLIN)
    assert sent < 1 << 20
    assert len(backend.pending) == MOST_PENDING
    found = collect(backend)
    serve(backend, until=lambda: len(found) >= sent - 1)
    theirs.close()


def test_client_that_connects_again_and_refusals(keep: Callable[[Backend], Stream]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="gsm-"))
    path = str(folder / "s")
    with pytest.raises(HostError, match=r"-netdev n: unix:.*: cannot connect: No such file"):
        Stream("n", path, server=False)
    client = keep(Stream("n", path, server=False, retry_ns=1_000_000))
    assert client.peer is None
    server = keep(Stream("m", path, server=True))
    assert (folder / "s").stat().st_mode & 0o777 == 0o600
    found = collect(server)
    serve(client, server, until=lambda: client.peer and server.peer)
    client.send(b"late")
    serve(client, server, until=lambda: found)
    with pytest.raises(HostError, match="cannot listen"):
        Stream("x", str(folder / "none" / "s"), server=True)
    server.close()
    folder.rmdir()


def test_datagrams(keep: Callable[[Backend], Datagrams]) -> None:
    with tempfile.TemporaryDirectory(prefix="gsm-") as folder:
        a = keep(Datagrams("a", f"{folder}/a", f"{folder}/b"))
        b = keep(Datagrams("b", f"{folder}/b", f"{folder}/a"))
        found = collect(b)
        a.send(b"one")
        a.send(b"another")
        serve(a, b, until=lambda: len(found) == 2)
        assert found == [b"one", b"another"]
        b.close()
        a.send(b"to no reader")
        a.flush()
        assert a.dropped == 1
        a.close()


def test_tap_that_was_opened(keep: Callable[[Backend], Tap]) -> None:
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    tap = keep(Tap("t", mine.detach()))
    found = collect(tap)
    theirs.send(b"in")
    tap.send(b"out")
    serve(tap, until=lambda: found)
    assert theirs.recv(100) == b"out"
    theirs.close()
    with pytest.raises(HostError, match="fd=1000000"):
        Tap("t", 1_000_000)
