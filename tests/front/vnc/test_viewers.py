"""Viewers: who is let in, what they type and point at, what commands say of them, their bounds."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gossamer.front.vnc import layers
from tests.front.vnc.rfb import MACHINE, RAW, Rfb, Shown

Make = Callable[..., Shown]
RUNS = MACHINE[:-1]
MOTION, KEY_EVENT, XVP, FENCE, CONTINUOUS = -257, -258, -309, -312, -313


def wait_for(claim: Callable[[], object]) -> None:
    end = time.monotonic() + 600
    while not claim():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)


# --- who looks ----------------------------------------------------------------------------------


def test_queries_and_events(shown: Make) -> None:
    host = shown()
    viewer = host.rfb(RAW)
    port = str(host.port)
    server = {"host": "127.0.0.1", "service": port, "family": "ipv4", "websocket": False}
    mine = {**server, "service": str(viewer.peer.getsockname()[1])}
    for name, client in (("VNC_CONNECTED", mine), ("VNC_INITIALIZED", mine)):
        event = host.client.wait_event(name)
        assert event["data"] == {"server": {**server, "auth": "none"}, "client": client}
    info = host.client.do("query-vnc")
    assert info == {
        "enabled": True, "host": "127.0.0.1", "service": port, "family": "ipv4", "auth": "none",
        "clients": [mine],
    }  # fmt: skip
    (one,) = host.client.do("query-vnc-servers")
    assert one == {
        "id": "default", "auth": "none", "clients": [mine], "server": [{**server, "auth": "none"}],
    }  # fmt: skip
    said = host.client.do("human-monitor-command", command_line="info vnc")
    assert f"Server: 127.0.0.1:{port} (ipv4)" in said
    assert f"Client: 127.0.0.1:{mine['service']} (ipv4)" in said
    assert host.client.do("query-display-options") == {"type": "vnc"}
    viewer.close()
    assert host.client.wait_event("VNC_DISCONNECTED")["data"]["client"] == mine


def test_who_wants_to_look_alone(shown: Make) -> None:
    host = shown()
    first, second = host.rfb(RAW), host.rfb(RAW)
    first.full()
    alone = host.rfb(RAW, shared=False)
    for one in (first, second):
        with pytest.raises((EOFError, ConnectionError)):
            one.full()
    alone.full()
    with pytest.raises((EOFError, ConnectionError)):
        host.rfb(RAW)
    alone.full()


def test_two_servers_one_of_them_a_unix_socket(shown: Make, tmp_path: Path) -> None:
    path = f"/tmp/gsm-vnc-{os.getpid()}"
    host = shown("-vnc", f"unix:{path},id=second,share=force-shared")
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    assert peer.recv(12) == b"RFB 003.008\n"
    peer.close()
    ids = [one["id"] for one in host.client.do("query-vnc-servers")]
    assert ids == ["default", "second"]
    host.end()
    assert not Path(path).exists()


# --- passwords, TLS, browsers -------------------------------------------------------------------


def knock(port: int, password: str) -> tuple[int, bytes]:
    """The status of a try with a password, and the reason that it is given."""
    auth = pytest.importorskip("gossamer.front.vnc.auth")
    viewer = Rfb(port, begin=False)
    assert viewer.take(12) == b"RFB 003.008\n"
    viewer.peer.sendall(b"RFB 003.008\n")
    assert viewer.take(2) == b"\1\2"
    viewer.peer.sendall(b"\2")
    viewer.peer.sendall(auth.response(viewer.take(16), password))
    status = struct.unpack(">I", viewer.take(4))[0]
    reason = viewer.take(struct.unpack(">I", viewer.take(4))[0]) if status else b""
    viewer.close()
    return status, reason


def test_passwords(shown: Make) -> None:
    pytest.importorskip("cryptography")
    host = shown(vnc="password=on")
    do, no = host.client.do, host.client.refused
    assert do("query-vnc")["auth"] == "vnc"
    assert knock(host.port, "") == (1, b"Authentication failed")  # none is set
    do("set_password", protocol="vnc", password="geheim")
    assert knock(host.port, "geheim")[0] == 0
    assert knock(host.port, "gehein")[0] == 1
    do("change-vnc-password", password="other")
    assert knock(host.port, "geheim")[0] == 1
    assert knock(host.port, "other")[0] == 0
    do("expire_password", protocol="vnc", time="now")
    assert knock(host.port, "other")[0] == 1
    do("expire_password", protocol="vnc", time="+1000")
    assert knock(host.port, "other")[0] == 0
    do("expire_password", protocol="vnc", time="1")
    assert knock(host.port, "other")[0] == 1
    do("expire_password", protocol="vnc", time="never")
    assert do("human-monitor-command", command_line="change vnc password third") == ""
    assert do("human-monitor-command", command_line="set_password vnc third") == ""
    assert knock(host.port, "third")[0] == 0
    assert "there is vnc" in no("set_password", protocol="spice", password="x")[1]
    assert "takes keep alone" in no(
        "set_password", protocol="vnc", password="x", connected="disconnect"
    )[1]  # fmt: skip
    assert "expected now, never" in no("expire_password", protocol="vnc", time="soon")[1]
    assert "not found" in no("set_password", protocol="vnc", password="x", display="d")[1]


def test_known_answer_of_the_password() -> None:
    auth = pytest.importorskip("gossamer.front.vnc.auth")
    pytest.importorskip("cryptography")
    # DES of eight zeros under the zero key, FIPS 46; the key bits of a password are reversed.
    assert auth.response(bytes(16), "").hex() == "8ca64de9c1b123a7" * 2
    # Key 0x80 00...: the password is the character 0x01.
    assert auth.response(bytes(8), "\x01").hex() == "95a8d72813daa94d"


def test_password_where_none_is_wanted_and_where_no_server_is(shown: Make) -> None:
    host = shown()
    assert "password=on" in host.client.refused("change-vnc-password", password="x")[1]


def test_tls_with_certificates(shown: Make, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    make = pytest.importorskip("gossamer.migrate.tls_init").make
    make(tmp_path, ["localhost"])
    tls = f"tls-creds-x509,id=t,dir={tmp_path},endpoint=server"
    host = shown("-object", tls, vnc="tls-creds=t,websocket=on")
    (info,) = host.client.do("query-vnc-servers")
    assert (info["auth"], info["vencrypt"]) == ("vencrypt", "x509-none")
    viewer = Rfb(host.port, begin=False)
    host.viewers.append(viewer)
    viewer.take(12)
    viewer.peer.sendall(b"RFB 003.008\n")
    assert viewer.take(2) == bytes((1, 19))
    viewer.peer.sendall(bytes((19,)))
    assert viewer.take(2) == bytes((0, 2))
    viewer.peer.sendall(bytes((0, 2)))
    assert viewer.take(6) == bytes((0, 1)) + struct.pack(">I", 260)
    viewer.peer.sendall(struct.pack(">I", 260))
    assert viewer.take(1) == b"\1"
    context = ssl.create_default_context(cafile=tmp_path / "ca-cert.pem")
    context.load_cert_chain(tmp_path / "client-cert.pem", tmp_path / "client-key.pem")
    viewer.peer = context.wrap_socket(viewer.peer, server_hostname="localhost")
    assert viewer.take(4) == bytes(4)
    viewer.init()
    viewer.encodings(RAW)
    assert (viewer.full() == host.screen()).all()
    (client,) = host.client.do("query-vnc")["clients"]
    assert "CN=" in client["x509_dname"]


def test_browser(shown: Make) -> None:
    host = shown(vnc="websocket=127.0.0.1:0")
    port = host.ports[True]

    def request(origin: str) -> socket.socket:
        peer = socket.create_connection(("127.0.0.1", port), timeout=600)
        key = base64.b64encode(bytes(16)).decode()
        peer.sendall(
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            f"Sec-WebSocket-Protocol: binary\r\n{origin}\r\n".encode()
        )
        return peer

    with request("Origin: http://evil.example\r\n") as peer:
        assert peer.recv(65536).startswith(b"HTTP/1.1 403 ")
    with request("Origin: http://127.0.0.1:8006\r\n") as peer:
        said = b""
        while not said.endswith(b"RFB 003.008\n"):
            piece = peer.recv(65536)
            assert piece
            said += piece
        assert said.startswith(b"HTTP/1.1 101 ")
        assert b"\x82\x0cRFB 003.008\n" in said
        mask = b"\1\2\3\4"
        text = bytes(b ^ mask[n % 4] for n, b in enumerate(b"RFB 003.008\n"))
        peer.sendall(b"\x82\x8c" + mask + text)
        assert peer.recv(4) == b"\x82\x02\x01\x01"
    host.rfb(RAW).full()


# --- input --------------------------------------------------------------------------------------


def test_keys_by_scan_code_and_by_name(shown: Make) -> None:
    host = shown(machine=RUNS)
    viewer = host.rfb(RAW, KEY_EVENT)
    assert viewer.message() == 0
    assert viewer.seen == [(0, 0, *viewer.picture.shape[::-1], KEY_EVENT)]
    down: list[tuple[int, bool]] = []
    host.vm.noted = lambda kind, code, on: down.append((code, bool(on)))  # type: ignore[method-assign,assignment,misc]
    viewer.peer.sendall(struct.pack(">BBHII", 255, 0, 1, 0x61, 0x1E))  # A by its place
    viewer.peer.sendall(struct.pack(">BBHII", 255, 0, 1, 0x61, 0x1E))  # a repeat is none
    viewer.peer.sendall(struct.pack(">BBHII", 255, 0, 0, 0x61, 0x1E))
    viewer.peer.sendall(struct.pack(">BBHII", 255, 0, 1, 0, 0xDB))  # left command
    viewer.peer.sendall(struct.pack(">BBHII", 255, 0, 1, 0, 0x6F))  # no key at all
    viewer.peer.sendall(struct.pack(">BBxxI", 4, 1, 0xFF0D))  # Return by its name
    wait_for(lambda: len(down) == 4)
    assert down == [(0, True), (0, False), (0x37, True), (0x24, True)]
    viewer.close()
    wait_for(lambda: len(down) == 6)
    assert sorted(down[4:]) == [(0x24, False), (0x37, False)]


def test_pointer_is_relative_until_the_guest_has_set_its_tablet_up(shown: Make) -> None:
    host = shown("-M", "g3beige,usb=on", "-device", "usb-tablet", machine=RUNS)
    viewer = host.rfb(RAW, MOTION)
    assert viewer.message() == 0
    assert viewer.seen == [(0, 0, *viewer.picture.shape[::-1], MOTION)]
    moves: list[tuple[int | str, ...]] = []
    tablet = host.vm.machine.mouse
    host.vm.noted = lambda kind, *values: moves.append((kind, *values))  # type: ignore[method-assign]
    send = viewer.peer.sendall
    send(struct.pack(">BBHH", 5, 1, 0x7FFF + 5, 0x7FFF - 3))
    send(struct.pack(">BBHH", 5, 8, 0x7FFF, 0x7FFF))
    wait_for(lambda: len(moves) == 2)
    assert moves == [("mouse", 5, -3, 1, 0), ("mouse", 0, 0, 0, 1)]
    pointers = {one["name"]: one["current"] for one in host.client.do("query-mice")}
    assert pointers == {"QEMU ADB Mouse": True, "QEMU HID Tablet": False}
    host.do(lambda: setattr(tablet.dev, "configuration", 1))  # type: ignore[union-attr]
    viewer.seen.clear()
    viewer.ask()
    while (1, 0, *viewer.picture.shape[::-1], MOTION) not in viewer.seen:
        viewer.message()
    width = viewer.picture.shape[1]
    send(struct.pack(">BBHH", 5, 4, width - 1, 0))
    wait_for(lambda: len(moves) == 3)
    assert moves[2] == ("point", 0x7FFF, 0, 4)


def test_view_only_and_a_machine_that_stands(shown: Make) -> None:
    host = shown("-vnc", "127.0.0.1:0,to=9999,id=two,view-only=on,power-control=on")
    second = host.client.do("query-vnc-servers")[1]
    looks, types = Rfb(int(second["server"][0]["service"]), RAW), host.rfb(RAW)
    host.viewers.append(looks)
    value = host.do(host.vm.state_hash)
    for viewer in (looks, types):
        viewer.peer.sendall(struct.pack(">BBxxI", 4, 1, 0x61) + struct.pack(">BBHH", 5, 1, 9, 9))
        viewer.peer.sendall(struct.pack(">BxBB", 250, 1, 3))
        viewer.full()
    assert host.do(host.vm.state_hash) == value


def test_power_control(shown: Make) -> None:
    host = shown(vnc="power-control=on")
    viewer = host.rfb(RAW, XVP, FENCE, CONTINUOUS)
    assert [viewer.message() for _ in range(3)] == [250, 248, 150]
    viewer.peer.sendall(struct.pack(">BxBB", 250, 1, 4))
    host.client.wait_event("RESET")
    viewer.peer.sendall(struct.pack(">BxBB", 250, 1, 2))
    host.client.wait_event("POWERDOWN")


def test_continuous_updates_and_fences(shown: Make) -> None:
    host = shown()
    host.mode(64, 64, 32)
    viewer = host.rfb(RAW)
    viewer.full()
    viewer.peer.sendall(struct.pack(">BBHHHH", 150, 1, 0, 0, 64, 64))
    viewer.peer.sendall(struct.pack(">BxxxIB4s", 248, 1 << 31 | 1, 4, b"here"))
    assert viewer.take(13) == struct.pack(">BxxxIB4s", 248, 1, 4, b"here")
    for value in (b"\1\2\3\4", b"\5\6\7\x08"):
        host.do(lambda value=value: host.write(0, value))
        viewer.message()
        assert viewer.picture[0, 0] == int.from_bytes(value[1:], "big")
    viewer.peer.sendall(struct.pack(">BBHHHH", 150, 0, 0, 0, 0, 0))
    assert viewer.message() == 150


# --- bounds -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"RFB 004.000\n",
        b"RFB 003.008\n\x05",
        b"RFB 003.008\n\1\1\x63",
        b"RFB 003.008\n\1\1\0\0\0\0" + bytes((24, 24, 0, 1)) + bytes(12),
        b"RFB 003.008\n\1\1\6\0\0\0\x7f\xff\xff\xff",
        b"RFB 003.008\n\1\1\xff\x09",
        b"RFB 003.008\n\1\1\xf8\0\0\0\0\0\0\0\xff",
    ],
)
def test_who_breaks_a_rule_is_dropped_and_the_next_one_served(shown: Make, data: bytes) -> None:
    host = shown()
    viewer = Rfb(host.port, begin=False)
    viewer.peer.sendall(data)
    with pytest.raises((EOFError, ConnectionError)):
        viewer.take(1 << 20)
    viewer.close()
    host.rfb(RAW).full()


def test_viewer_that_does_not_read_costs_little(shown: Make) -> None:
    host = shown()
    host.mode(1600, 1200, 32)
    lazy = host.rfb(RAW)
    for _ in range(50):
        lazy.ask()
        lazy.peer.sendall(struct.pack(">BxxxIB", 248, 1 << 31, 0) * 100)
    wait_for(lambda: any(v.updating for v in server(host).viewers.values()))
    time.sleep(0.3)
    (held,) = server(host).viewers.values()
    assert len(held.out) + len(held._later) < 4 << 20
    host.rfb(RAW).full()


def server(host: Shown):
    return host.vm and host.console._session.vnc_servers[0]  # type: ignore[union-attr]


def test_a_hundred_viewers(shown: Make) -> None:
    host = shown()
    host.mode(320, 240, 16)
    viewers = [host.rfb(RAW) for _ in range(100)]
    for viewer in viewers:
        viewer.ask()
    expected = host.screen()
    for viewer in viewers:
        viewer.message()
        assert (viewer.picture == expected).all()
    assert len(host.client.do("query-vnc")["clients"]) == 100


def test_modes_that_change_all_the_time_are_looked_at_now_and_then(shown: Make) -> None:
    host = shown()
    viewer = host.rfb(RAW, -223)
    looks = 0
    real = server(host).screen.look

    def counted():
        nonlocal looks
        looks += 1
        return real()

    server(host).screen.look = counted
    begin, n = time.monotonic(), 0
    while time.monotonic() - begin < 0.5:
        n += 1
        host.mode(64 + 8 * (n % 50), 48 + n % 60, (8, 16, 32)[n % 3])
        if n % 5 == 0:
            viewer.full()
    assert looks <= 1.2 * (time.monotonic() - begin) / 0.0333 + 2
    assert (viewer.full() == host.screen()).all()


def test_browser_that_floods_is_dropped() -> None:
    layer = layers.WebSocketLayer()
    key = base64.b64encode(bytes(16)).decode()
    layer.received(
        f"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    with pytest.raises(layers.PeerError, match="WebSocket"):
        layer.received(b"\x82\xff" + (1 << 40).to_bytes(8, "big") + bytes(4))
    bad = layers.WebSocketLayer()
    with pytest.raises(layers.PeerError):
        bad.received(b"\x16\x03\x01\r\n\r\n" * 10)
