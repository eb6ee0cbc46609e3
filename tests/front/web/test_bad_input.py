"""What a hostile peer does to the page's server: it has a bound and a line, the guest goes on."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

import pytest
from websockets.exceptions import ConnectionClosed

from gossamer.control.events import Stopped
from gossamer.front.vnc.server import MOST_VIEWERS
from gossamer.front.vnc.viewer import LOW
from gossamer.front.web import channels, connection
from gossamer.front.web.server import MOST_CONNECTIONS, MOST_UNASKED, WebServer
from tests.front.web.browser import TOKEN, Served

Make = Callable[..., Served]


def server(host: Served) -> WebServer:
    return next(one for one in host.console.loop.sources if isinstance(one, WebServer))


def raw(host: Served) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", host.port), timeout=600)
    host.peers.callback(made.close)
    return made


def upgraded(host: Served, path: str) -> socket.socket:
    """A WebSocket of which the test sees the bytes."""
    peer = raw(host)
    peer.sendall(
        f"GET {path}?token={TOKEN} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += peer.recv(1)
    assert b" 101 " in head
    return peer


def frame(data: bytes, opcode: int = 2) -> bytes:
    """A masked message; the mask is nothing."""
    length = (
        bytes((0x80 | len(data),)) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
    )
    return bytes((0x80 | opcode,)) + length + bytes(4) + data


def all_of(peer: socket.socket) -> bytes:
    out = b""
    with contextlib.suppress(OSError):
        while piece := peer.recv(65536):
            out += piece
    return out


def goes_on(host: Served) -> None:
    """The machine answers, and its page is served."""
    assert host.client.do("query-status")["running"] in (True, False)
    assert host.get("/")[0] == 200


def until(host: Served, call: Callable[[], bool]) -> None:
    end = time.monotonic() + 600
    while not host.do(call):
        assert time.monotonic() < end
        time.sleep(0.01)


GARBAGE: Final = (
    b"rubbish\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(400) + b"\n",
    b"GET / HTTP/1.1\r\n" + b"a: " + b"x" * 100_000 + b"\r\n\r\n",
    b"GET /" + b"y" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 1000 + b"\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
    b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /?" + b"a=1&" * 99 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
)  # fmt: skip


def test_what_is_no_request_is_refused_in_a_line(served: Make) -> None:
    host = served()
    for data in GARBAGE:
        peer = raw(host)
        with contextlib.suppress(OSError):  # it may be refused before it is all sent
            peer.sendall(data)
        reply = all_of(peer)
        if reply:  # a reset can take it away
            assert reply[:10] == b"HTTP/1.1 4", (data[:50], reply[:100])
            assert reply.count(b"HTTP/1.1 ") == 1, "one answer"
        goes_on(host)


def test_connections_that_ask_for_nothing_give_way(served: Make) -> None:
    host = served()
    idle = [raw(host) for _ in range(MOST_UNASKED + 20)]
    idle[-1].sendall(b"GET / HT")
    goes_on(host)
    until(host, lambda: len(server(host).connections) <= MOST_UNASKED + 1)
    assert idle[0].recv(1) == b"", "the oldest has gone"


def test_connections_have_a_bound(served: Make) -> None:
    host = served()
    held = [upgraded(host, "/serial0") for _ in range(MOST_CONNECTIONS)]
    more = [raw(host) for _ in range(5)]
    assert [one.recv(1) for one in more] == [b""] * 5
    assert len(host.said) == 1
    assert f"{MOST_CONNECTIONS} connections are open already" in host.said[0]
    held.pop().close()
    until(host, lambda: len(server(host).connections) < MOST_CONNECTIONS)
    goes_on(host)


def test_viewers_have_a_bound_and_garbage_ends_one(served: Make) -> None:
    host = served()
    held = [upgraded(host, "/vnc") for _ in range(8)]
    for peer in held:
        assert peer.recv(2) == b"\x82\x0c"
    for peer, data in zip(held, (b"GARBAGE 3.8\n", b"RFB 009.009\n", b"\0" * 12), strict=False):
        peer.sendall(frame(data))
        all_of(peer)
    held[3].sendall(b"\xff" * 64)  # no frame at all
    held[4].sendall(frame(b"x" * 125, opcode=3))
    for peer in held[3:5]:
        all_of(peer)
    until(host, lambda: len(server(host).vnc.viewers) == 3)
    assert len(host.said) == 1, "one line in ten seconds"
    goes_on(host)


def test_a_hundred_viewers_look_at_once(served: Make) -> None:
    host = served()
    peers = []
    for _ in range(MOST_VIEWERS):
        peer = upgraded(host, "/vnc")
        # Version, security none, shared; then all of the screen.
        peer.sendall(frame(b"RFB 003.008\n") + frame(b"\1") + frame(b"\1"))
        peer.sendall(frame(struct.pack(">BBHHHH", 3, 0, 0, 0, 640, 480)))
        peers.append(peer)
        until(host, lambda: all(one.joined for one in server(host).vnc.viewers.values()))
    assert host.do(lambda: len(server(host).vnc.viewers)) == MOST_VIEWERS
    late = raw(host)
    late.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert all_of(late).startswith(b"HTTP/1.1 403 ")
    goes_on(host)


def test_a_viewer_that_stops_reading_holds_nothing_up(served: Make) -> None:
    host = served(machine=("-M", "g3beige", "-bios", "builtin-screen", "-m", "8", "-vga", "std"))
    peer = upgraded(host, "/vnc")
    peer.sendall(frame(b"RFB 003.008\n") + frame(b"\1") + frame(b"\1"))
    ask = frame(struct.pack(">BBHHHH", 3, 0, 0, 0, 640, 480))
    peer.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        for _ in range(20_000):
            peer.send(ask)
    before = host.do(lambda: host.vm.instructions)
    until(host, lambda: host.vm.instructions > before)
    waiting = host.do(lambda: [len(one.out) for one in server(host).vnc.viewers.values()])
    assert all(count < 4 * LOW + (2 << 20) for count in waiting)
    goes_on(host)


def test_a_page_that_stops_reading_gets_no_more_answers(
    served: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MOST_WAITING", 1 << 20)
    monkeypatch.setattr(channels, "MOST_WAITING", 1 << 18)
    host = served()
    peer = upgraded(host, "/qmp")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.settimeout(0.5)
    ask = frame(json.dumps({"execute": "qmp_capabilities"}).encode(), 1)
    more = frame(json.dumps({"execute": "query-qmp-schema"}).encode(), 1)
    with contextlib.suppress(OSError):
        peer.sendall(ask + more * 500)
    goes_on(host)
    assert host.do(lambda: all(len(c.out) < 2 << 20 for c in server(host).connections.values()))


def test_events_that_are_not_read_end_a_page(served: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MOST_WAITING", 1 << 16)
    host = served()
    peer = upgraded(host, "/qmp")
    peer.sendall(frame(json.dumps({"execute": "qmp_capabilities"}).encode(), 1))
    until(host, lambda: bool(server(host).connections))
    end = time.monotonic() + 600
    while host.do(lambda: bool(server(host).connections)):
        host.do(lambda: [host.vm.events.report(Stopped()) for _ in range(5000)])
        assert time.monotonic() < end
    assert any("it does not read" in line for line in host.said)
    goes_on(host)


def test_floods_of_pings_and_of_large_messages(served: Make) -> None:
    host = served()
    peer = upgraded(host, "/serial0")
    peer.settimeout(0.5)
    with contextlib.suppress(OSError):
        peer.sendall(frame(b"p" * 125, opcode=9) * 100_000)
    assert host.do(lambda: all(len(c.out) < 1 << 20 for c in server(host).connections.values()))
    page = host.monitor()
    page.peer.send(" " * (connection.MOST_MESSAGE + 1))
    with pytest.raises(ConnectionClosed, match="1009"):
        page.peer.recv(30)
    deep = host.monitor()
    deep.peer.send("[" * 100_000)
    assert "error" in deep.peer.recv(30)
    closing = upgraded(host, "/qmp")
    # A command and the end in one piece: its answer has nowhere to go.
    closing.sendall(frame(b'{"execute":"qmp_capabilities"}', 1) + frame(b"", opcode=8))
    all_of(closing)
    goes_on(host)


def test_a_terminal_that_does_not_read_is_ended(
    served: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "LATE", 1 << 12)
    host = served()
    peer = upgraded(host, "/serial0")
    until(host, lambda: bool(server(host).connections))
    write = server(host).channels[0].write

    def much() -> bool:
        write(bytes(1 << 20))
        return not server(host).connections

    with contextlib.suppress(AssertionError):
        until(
            host, lambda: much() or bool([c for c in server(host).connections.values() if c.ending])
        )
    peer.close()
    assert host.do(lambda: len(server(host).channels[0].recent)) <= 2 << 16
    goes_on(host)
