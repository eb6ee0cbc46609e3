"""Cards on cables: frames of a guest's chip go out and come in, held, logged, pulled, replayed."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gossamer.control.announcing import Announcement, announcing
from gossamer.control.network import Network
from gossamer.control.steps import finish
from gossamer.control.timeline.timeline import Timeline
from gossamer.control.vm import Vm
from gossamer.devices.sungem import SunGem
from gossamer.machines.options import parse
from tests.front.qmp.client import Host

WORDS = ("-M", "g3beige", "-bios", "builtin", "-m", "8", "-nodefaults")
MAC = bytes.fromhex("525400123456")
FRAME = MAC + bytes(6) + b"\x08\x00" + b"gossamer" * 8
BUFFER, RING = 0x40_0000, 0x41_0000


@pytest.fixture
def wire() -> Iterator[tuple[socket.socket, int]]:
    """The other end of a cable, and the descriptor that the emulator gets."""
    theirs, mine = socket.socketpair()
    theirs.settimeout(600)
    yield theirs, mine.detach()
    theirs.close()


def ready(vm: Vm, card: SunGem) -> None:
    """Let the card receive, as a driver does."""
    for n in range(32):
        descriptor = (1 << 31 | 1536 << 16).to_bytes(8, "little") + BUFFER.to_bytes(8, "little")
        vm.machine.memory.write(RING + 16 * n, descriptor)
    card.config[4] |= 6
    for offset, value in ((0x4004, RING), (0x4000, 1), (0x4100, 4), (0x6034, 1)):
        card.write_register(offset, 4, value)


def gem(vm: Vm) -> SunGem:
    return next(p.device for p in vm.machine.parts if isinstance(p.device, SunGem))


def test_frames_in_and_out_pulled_cable_and_a_load(wire: tuple[socket.socket, int]) -> None:
    theirs, fd = wire
    vm = Vm(parse([*WORDS, "-netdev", f"socket,id=n0,fd={fd}", "-device", "sungem,netdev=n0"]))
    network = Network(vm)
    card = gem(vm)
    assert card.phy.link
    ready(vm, card)
    card.send(b"from the guest")
    network.pump()
    assert theirs.recv(100) == b"\0\0\0\x0efrom the guest"
    theirs.sendall(len(FRAME).to_bytes(4, "big") + FRAME)
    (held,) = network.events()
    network.handle(held, 1)
    # It stands still: the frame waits.
    assert card.rxdmaregs[0x41] == 0
    vm.cont()
    assert network.pump()
    assert card.rxdmaregs[0x41] == 1
    assert vm.read_physical(BUFFER, len(FRAME)) == FRAME
    # Room for two more, and then for none.
    theirs.sendall((len(FRAME).to_bytes(4, "big") + FRAME) * 5)
    network.handle(held, 1)
    assert (card.rxdmaregs[0x41], len(network.backends["n0"].pending)) == (3, 3)
    card.write_register(0x4100, 4, 8)
    assert network.pump()
    assert (card.rxdmaregs[0x41], len(network.backends["n0"].pending)) == (6, 0)
    vm.outside.links["sungem.0"] = False
    vm.outside.attach(vm.machine)
    assert not card.phy.link
    theirs.sendall(len(FRAME).to_bytes(4, "big") + FRAME)
    network.handle(held, 1)
    assert card.rxdmaregs[0x41] == 6
    vm.outside.links["sungem.0"] = True
    value = vm.state_hash()
    # What is loaded in the machine's place has the cable, and the state has nothing of it.
    vm.load_bytes(vm.save_bytes())
    assert gem(vm) is not card
    assert gem(vm).phy.link
    assert vm.state_hash() == value
    gem(vm).send(b"again")
    network.pump()
    assert theirs.recv(100) == b"\0\0\0\5again"
    network.close()
    vm.close()


def test_frames_come_again_when_the_past_does(wire: tuple[socket.socket, int]) -> None:
    theirs, fd = wire
    words = ["-netdev", f"socket,id=n0,fd={fd}", "-device", "sungem,netdev=n0"]
    vm = Vm(parse([*WORDS, "-icount", "5,sleep=off", *words]))
    network = Network(vm)
    ready(vm, gem(vm))
    vm.run(instructions=1000)
    timeline = Timeline(vm)
    begin = timeline.now
    vm.run(instructions=100_000)
    vm.run_state = "running"
    theirs.sendall(len(FRAME).to_bytes(4, "big") + FRAME)
    network.handle(next(iter(network.events())), 1)
    assert [one.kind for one in timeline.inputs] == ["frame"]
    gem(vm).send(b"heard once")
    vm.run(instructions=100_000)
    here, value = timeline.now, vm.state_hash()
    timeline.go(begin)
    assert gem(vm).rxdmaregs[0x41] == 0
    timeline.go(here)
    assert vm.state_hash() == value
    assert gem(vm).rxdmaregs[0x41] == 1
    network.pump()
    assert theirs.recv(100) == b"\0\0\0\x0aheard once"
    network.close()
    vm.close()


def test_commands_and_events(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="gsm-"))
    path = folder / "w"
    words = (
        f"stream,id=n0,server=on,addr.type=unix,addr.path={path}", "-device", "sungem,netdev=n0",
    )  # fmt: skip
    host = Host(tmp_path, *WORDS[:-1], "-S", "-netdev", *words)
    do: Callable[..., Any] = host.client.do
    try:
        assert f"listening on unix:{path}" in do(
            "human-monitor-command", command_line="info network"
        )
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(path))
            event = host.client.wait_event("NETDEV_STREAM_CONNECTED")["data"]
            assert event == {"netdev-id": "n0", "addr": {"type": "unix", "path": str(path)}}
        assert host.client.wait_event("NETDEV_STREAM_DISCONNECTED")["data"] == {"netdev-id": "n0"}
        assert do("set_link", name="n0", up=False) == {}
        (card,) = do("x-query-network")
        assert (card["link"], card["netdev"]) == (False, "n0")
        assert (
            "there is no user network" in host.client.refused("x-hostfwd-add", rule="tcp::1-:1")[1]
        )
        assert "no user network" in do(
            "human-monitor-command", command_line="hostfwd_remove tcp::1"
        )
        assert do("human-monitor-command", command_line="info usernet") == ""
        assert (
            "Duplicate ID 'n0'"
            in host.client.refused(
                "netdev_add", type="stream", id="n0", addr={"type": "unix", "path": f"{path}2"}
            )[1]
        )
        assert do("netdev_del", id="n0") == {}
        assert not path.exists()
        (card,) = do("x-query-network")
        assert (card["link"], card["netdev"], card.get("peer")) == (False, "n0", None)
        assert host.client.refused("netdev_del", id="n0")[0] == "DeviceNotFound"
        given = {"type": "unix", "path": f"{path}2"}
        assert do("netdev_add", type="stream", id="n0", server=True, addr=given) == {}
        (card,) = do("x-query-network")
        assert (card["link"], card["peer"]) == (True, f"type=stream,listening on unix:{path}2")
        said = do("human-monitor-command", command_line="netdev_add dgram,id=n1,local.type=unix")
        assert "local.path has 1 to 107 bytes" in said
        word = "netdev_add socket,id=n1,udp=127.0.0.1:9,localaddr=127.0.0.1"
        assert do("human-monitor-command", command_line=word) == ""
        assert [(d["id"], d.get("card")) for d in do("x-query-netdevs")] == [
            ("n0", "sungem.0"), ("n1", None),
        ]  # fmt: skip
        assert "\nn1: index=0,type=" in do("human-monitor-command", command_line="info network")
        assert do("human-monitor-command", command_line="netdev_del n1") == ""
    finally:
        assert host.end() == 0
    assert not path.exists()
    folder.rmdir()


@pytest.mark.parametrize("model", ["sungem", "ne2k_pci"])
def test_frames_of_64_kib_and_a_flood_have_a_bound(
    model: str, wire: tuple[socket.socket, int]
) -> None:
    theirs, fd = wire
    vm = Vm(parse([*WORDS, "-netdev", f"socket,id=n0,fd={fd}", "-device", f"{model},netdev=n0"]))
    network = Network(vm)
    backend = network.backends["n0"]
    if model == "sungem":
        ready(vm, gem(vm))
    vm.cont()

    def serve() -> None:
        for held in network.events():
            network.handle(held, 1)
        network.pump()

    for size in (0, 1, 13, 14, 59, 1514, 1519, 9000, 65535, 65536, 68 << 10):
        whole = size.to_bytes(4, "big") + (MAC + bytes(size))[:size]
        theirs.setblocking(False)
        while whole:
            try:
                whole = whole[theirs.send(whole) :]
            except BlockingIOError:
                serve()
    theirs.setblocking(False)
    sent, whole = 0, b""
    while True:
        serve()
        whole = whole or (len(FRAME).to_bytes(4, "big") + FRAME) * 500
        try:
            count = theirs.send(whole)
        except BlockingIOError:
            break  # nothing more is taken: the peer waits
        sent, whole = sent + count, whole[count:]
        if model != "sungem" and sent > 1 << 20:
            break  # a card that nothing has set up throws all away
    assert len(backend.pending) <= 70
    vm.run(instructions=1000)
    vm.load_bytes(vm.save_bytes())
    network.close()
    vm.close()


def test_netdev_where_there_was_none_and_too_many(tmp_path: Path) -> None:
    host = Host(tmp_path, *WORDS[:-1], "-S")
    do: Callable[..., Any] = host.client.do
    try:
        assert do("x-query-netdevs") == []
        for n in range(64):
            local = {"type": "inet", "host": "127.0.0.1", "port": "0"}
            remote = {"type": "inet", "host": "127.0.0.1", "port": "9"}
            assert do("netdev_add", type="dgram", id=f"n{n}", local=local, remote=remote) == {}
        assert (
            "64 netdevs are there"
            in host.client.refused(
                "netdev_add", type="dgram", id="more", local=local, remote=remote
            )[1]
        )
        refused = host.client.refused("netdev_add", type="user", id="u", hostfwd=[{"str": 1}])
        assert "hostfwd: expected a list of texts" in refused[1]
        assert (
            "unknown value for netdev_add"
            in host.client.refused("netdev_add", type="usr", id="u")[1]
        )
    finally:
        assert host.end() == 0


def test_what_has_arrived_is_announced_as_qemu_does(wire: tuple[socket.socket, int]) -> None:
    theirs, fd = wire
    vm = Vm(parse([*WORDS, "-netdev", f"socket,id=n0,fd={fd}", "-device", "sungem,netdev=n0"]))
    network = Network(vm)
    value = vm.state_hash()
    how = Announcement(initial=1, max=3, rounds=3, step=2)
    assert [how.delay_ms(n) for n in range(4)] == [0, 1, 3, 3]
    finish(announcing(network, how))
    frame = (60).to_bytes(4, "big") + (
        b"\xff" * 6 + MAC + bytes.fromhex("80350001080006040003") + (MAC + bytes(4)) * 2
    ).ljust(60, b"\0")
    got = b""
    while len(got) < 3 * len(frame):
        got += theirs.recv(1000)
    assert got == 3 * frame
    finish(announcing(network, how, ("another",)))
    vm.outside.links["sungem.0"] = False
    finish(announcing(network, how))
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(1)
    assert vm.state_hash() == value
    network.close()
    vm.close()
