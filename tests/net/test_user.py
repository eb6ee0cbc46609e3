"""The user network: libslirp in its own process, by hand-made frames."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gossamer.base.errors import ConfigError, HostError
from gossamer.machines.net_options import forward, forwarded, parse_netdev
from gossamer.net import slirp_child
from gossamer.net.stream import Stream
from gossamer.net.user import User
from tests.conftest import unavailable
from tests.net.test_backends import collect, serve
from tests.ports import free_port

MAC = bytes.fromhex("525400123456")
pytestmark = pytest.mark.interop


@pytest.fixture(scope="module", autouse=True)
def libslirp() -> None:
    try:
        slirp_child.library()
    except OSError:
        unavailable("there is no libslirp.so.0 (Debian package libslirp0)")


@pytest.fixture
def user() -> Iterator[User]:
    made = User("u", options(""))
    yield made
    made.close()


def options(more: str) -> dict[str, Any]:
    return dict(parse_netdev(f"user,id=u{more}").values)


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def discover() -> bytes:
    """A frame that asks for an address (RFC 2131)."""
    asked = bytes((1, 1, 6, 0)) + b"\1\2\3\4" + bytes(20) + MAC + bytes(202)
    asked += bytes.fromhex("63825363") + bytes((53, 1, 1, 255))
    asked = asked.ljust(300, b"\0")
    udp = struct.pack(">HHHH", 68, 67, 8 + len(asked), 0) + asked
    size, everyone = 20 + len(udp), b"\xff" * 4
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, size, 0, 0, 64, 17, 0, bytes(4), everyone)
    head = head[:10] + checksum(head).to_bytes(2, "big") + head[12:]
    return b"\xff" * 6 + MAC + b"\x08\0" + head + udp


def test_address_connections_and_forwards(user: User) -> None:
    found = collect(user)
    user.send(discover())
    serve(user, until=lambda: any(frame[23:24] == b"\x11" for frame in found))
    offer = next(frame for frame in found if frame[23:24] == b"\x11")
    assert offer[58:62] == bytes((10, 0, 2, 15))
    assert user.info == "net=10.0.2.0,restrict=off"
    port = free_port()
    rule = f"tcp:127.0.0.1:{port}-:80"
    taken = socket.create_server(("127.0.0.1", port))
    with taken, pytest.raises(HostError, match="the port is taken"):
        user.add_forward(forward("hostfwd_add", rule, user.options))
    user.add_forward(forward("hostfwd_add", rule, user.options))
    assert f"127.0.0.1 {port}" in user.connections()
    with socket.create_connection(("127.0.0.1", port)):
        # The guest is asked for the address of its card, or gets the first packet.
        serve(user, until=lambda: any(f[12:14] in (b"\x08\x06", b"\x08\0") for f in found[1:]))
    assert user.remove_forward(forwarded("hostfwd_remove", f"tcp:127.0.0.1:{port}")) is True
    assert user.remove_forward(forwarded("hostfwd_remove", f"tcp:127.0.0.1:{port}")) is False


GUEST, SERVER = bytes((10, 0, 2, 15)), bytes((10, 0, 2, 100))


def segment(sequence: int, answer: int, flags: int, data: bytes = b"") -> bytes:
    """A frame of TCP from the guest's port 4000 to port 80 of SERVER (RFC 9293)."""
    tcp = struct.pack(">HHIIBBHHH", 4000, 80, sequence, answer, 0x50, flags, 8192, 0, 0) + data
    summed = GUEST + SERVER + struct.pack(">BBH", 0, 6, len(tcp)) + tcp
    tcp = tcp[:16] + checksum(summed + bytes(len(summed) % 2)).to_bytes(2, "big") + tcp[18:]
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0) + GUEST + SERVER
    head = head[:10] + checksum(head).to_bytes(2, "big") + head[12:]
    return bytes.fromhex("525500000202") + MAC + b"\x08\0" + head + tcp


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_connections_of_the_guest_are_led_to_a_socket(kind: str) -> None:
    with tempfile.TemporaryDirectory(prefix="gsm-") as folder, ExitStack() as stack:
        if kind == "tcp":
            listener = socket.create_server(("127.0.0.1", 0))
            to = f"tcp:127.0.0.1:{listener.getsockname()[1]}"
        else:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(f"{folder}/s")
            listener.listen()
            to = f"unix:{folder}/s"
        stack.enter_context(listener)
        user = User("u", options(f",restrict=on,guestfwd=tcp:10.0.2.100:80-{to}"))
        stack.callback(user.close)
        peer = stack.enter_context(listener.accept()[0])
        peer.settimeout(600)
        found = collect(user)
        asked = bytes.fromhex("0001080006040001") + MAC + GUEST + bytes(6) + bytes((10, 0, 2, 2))
        user.send(b"\xff" * 6 + MAC + b"\x08\x06" + asked)
        user.send(segment(100, 0, 2))

        def answers() -> list[bytes]:
            return [f for f in found if f[12:14] == b"\x08\0" and f[23] == 6]

        serve(user, until=answers)
        sequence = int.from_bytes(answers()[0][38:42], "big") + 1
        user.send(segment(101, sequence, 0x10))
        user.send(segment(101, sequence, 0x18, b"hello"))
        user.flush()
        assert peer.recv(100) == b"hello"
        peer.sendall(b"world")
        serve(user, until=lambda: any(b"world" in f for f in answers()))


def test_rules_of_guestfwd_that_make_no_sense() -> None:
    port = free_port()
    with pytest.raises(HostError, match=f"guestfwd: 127.0.0.1:{port}: cannot connect"):
        User("u", options(f",guestfwd=tcp:10.0.2.100:80-tcp:127.0.0.1:{port}"))
    for rule, text in {
        "tcp:10.0.2.100:80-cmd:ls": "cmd: the network's process starts no program",
        "tcp:10.0.3.100:80-unix:/x": "10.0.3.100 is no free address of 10.0.2.0/24",
        "tcp:10.0.2.2:80-unix:/x": "10.0.2.2 is no free address",
        "udp::80-unix:/x": "expected ",
        "tcp::80": "expected ",
        "tcp::x-unix:/x": "port must be a number",
    }.items():
        with pytest.raises(ConfigError, match=text):
            options(f",guestfwd={rule}")


def test_process_has_no_rights_and_ends_with_its_socket(user: User) -> None:
    status = Path(f"/proc/{user.process.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
    assert int(fields["CapEff"], 16) == 0 or os.geteuid() != 0
    assert int(fields["Uid"].split()[0]) != 0
    user.peer.close()
    assert user.process.wait(600) == 0


def test_garbage_and_a_flood_do_not_end_it(user: User) -> None:
    found = collect(user)
    for n in range(400):
        user.send(bytes((n & 0xFF,)) * (n * 13 % 2000 + 1))
        user.flush()
    user.send(discover())
    serve(user, until=lambda: any(frame[58:62] == bytes((10, 0, 2, 15)) for frame in found))


def test_process_that_dies_leaves_a_cable_to_nowhere(user: User) -> None:
    gone: list[str | None] = []
    user.changed = gone.append
    user.process.kill()
    serve(user, until=lambda: gone)
    user.send(b"x" * 60)
    assert (gone, user.dropped) == ([None], 1)
    with pytest.raises(HostError, match="its process has ended"):
        user.connections()


def test_stream_to_qemu_whose_own_network_answers(qemu: Path) -> None:
    """QEMU joins a stream and its user network in a hub; the offer comes back over the stream."""
    with tempfile.TemporaryDirectory(prefix="gsm-") as folder:
        server = Stream("s", f"{folder}/wire", server=True)
        found = collect(server)
        joined = ["-netdev", "hubport,hubid=0,id=h0,netdev=s0", "-netdev", "user,id=u0"]
        process = subprocess.Popen(
            [
                qemu, "-M", "none", "-display", "none", "-nodefaults", "-netdev",
                f"stream,id=s0,server=off,addr.type=unix,addr.path={folder}/wire", *joined,
                "-netdev", "hubport,hubid=0,id=h1,netdev=u0",
            ],
        )  # fmt: skip
        try:
            serve(server, until=lambda: server.peer)
            server.send(discover())
            serve(server, until=lambda: any(f[58:62] == bytes((10, 0, 2, 15)) for f in found))
        finally:
            process.terminate()
            process.wait()
            server.close()


def test_options_that_the_host_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HostError, match=f"forwarding of tcp:127.0.0.1:{port}"):
            User("u", options(f",hostfwd=tcp:127.0.0.1:{port}-:22"))
    with pytest.raises(ConfigError, match="guest port must be a number"):
        options(",hostfwd=tcp::1-:x")
