"""Pages over several connections: the machine arrives whole, or not at all."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from gossamer.base.errors import ConfigError, GossamerError, HostError
from gossamer.control import departure
from gossamer.control.vm import Vm
from gossamer.migrate.channels import Channel, Limits, Listener
from gossamer.migrate.multifd_out import MultifdOut
from tests.control.test_live import PATIENT, Taker, interleave, machine, running, scribble


def on(vm: Vm, method: str = "none", channels: int = 3) -> Vm:
    vm.transfers.capabilities.add("multifd")
    vm.transfers.parameters.multifd_channels = channels
    vm.transfers.parameters.multifd_compression = method
    vm.transfers.parameters.downtime_limit = 0
    return vm


class Takes(Taker):
    def __init__(self, listener: Listener, there: Vm) -> None:
        self.there = there
        super().__init__(listener)

    def run(self) -> None:
        self.vm.close()
        self.vm = self.there
        super().run()


def send(vm: Vm, there: Vm, folder: Path) -> tuple[Any, Takes]:
    taker = Takes(Listener(f"unix:{folder}/m", PATIENT), there)
    steps = vm.transfers.send(f"unix:{folder}/m", limits=PATIENT)
    try:
        sent = interleave(vm, steps, at=lambda n: scribble(vm, n) if n < 12 else None)
    finally:
        taker.join(600)
    return sent, taker


@pytest.mark.parametrize("method", ["none", "zlib", "zstd"])
@pytest.mark.parametrize("flushes", [False, True])
def test_a_guest_that_writes_arrives_as_it_was_stopped(
    method: str, flushes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`flushes`: connections are in step where a record says so, as from QEMU 8.1 on."""
    always = property(lambda self: flushes, lambda self, value: None)
    monkeypatch.setattr(MultifdOut, "flushes", always, raising=False)
    vm = on(running(), method)
    sent, taker = send(vm, on(machine(), method), tmp_path)
    assert taker.fault is None
    assert taker.vm.state_hash() == vm.state_hash()
    received = taker.vm.transfers.last_received
    assert received is not None
    assert received.stream_bytes >= sent.stream_bytes
    taker.vm.run(instructions=100_000)


def test_a_page_that_overtakes_another_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault: a page that is sent again carries what it was before."""
    vm, right, first = on(running()), MultifdOut.pages, dict[int, Any]()

    def pages(self: MultifdOut, name: str, addresses: Any, content: Any) -> None:
        old = content.copy()
        for n, place in enumerate(addresses.tolist()):
            old[n] = first.setdefault(place, old[n].copy())
        right(self, name, addresses, old)

    monkeypatch.setattr(MultifdOut, "pages", pages)
    _, taker = send(vm, on(machine()), tmp_path)
    assert taker.vm.state_hash() != vm.state_hash()


@pytest.mark.parametrize("place", [64, 65, 64 + 1343, 64 + 1344, 4000])
def test_one_connection_that_ends_leaves_the_guest_here(
    place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm, right = on(running()), Channel.write
    made: list[Channel] = []

    def spread(self: Any, channels: list[Channel], parameters: Any) -> Any:
        made.append(channels[1])
        return original(self, channels, parameters)

    def write(self: Channel, data: Any) -> int:
        view = memoryview(data).cast("B")
        if made and self is made[0] and self.sent + len(view) > place:
            right(self, view[: place - self.sent])
            self.shut()
            raise HostError("the peer has gone")
        return right(self, view)

    original = departure.Departure.spread
    monkeypatch.setattr(departure.Departure, "spread", spread)
    monkeypatch.setattr(Channel, "write", write)
    taker = Takes(Listener(f"unix:{tmp_path}/m", PATIENT), on(machine()))
    with pytest.raises(HostError):
        interleave(vm, vm.transfers.send(f"unix:{tmp_path}/m", limits=PATIENT))
    taker.join(600)
    assert isinstance(taker.fault, GossamerError)
    assert vm.run_state == "running"


def garbage(flags: int, name: bytes, place: int, allocated: int = 128, normal: int = 1) -> bytes:
    head = struct.pack(">IIIIIIQ32x256s", 0x11223344, 1, flags, allocated, normal, 4096, 0, name)
    return head + struct.pack(">Q", place) + bytes(1016) + bytes(4096)


@pytest.mark.parametrize(
    ("packet", "said"),
    [
        (garbage(0, b"nothing", 0), "RAM block 'nothing'"),
        (garbage(0, b"ram", 1 << 40), "a page that is not one of"),
        (garbage(0, b"ram", 4097), "a page that is not one of"),
        (garbage(0, b"ram", 0, allocated=1 << 20), "places"),
        (garbage(0, b"ram", 0, normal=129), "places"),
        (garbage(16, b"ram", 0), "qpl cannot be read"),
        (b"\0" * 1344, "magic"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    packet: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm, right, sent = on(running()), MultifdOut.sync, []
    block = vm.machine.arena.blocks[0].name.encode()
    packet = packet.replace(b"ram".ljust(len(block), b"\0"), block, 1)

    def sync(self: MultifdOut) -> None:
        right(self)
        if self.channels[0].sent > 64 + 1344 and not sent:  # behind the list of blocks
            sent.append(self.channels[0].write(packet))

    monkeypatch.setattr(MultifdOut, "sync", sync)
    taker = Takes(Listener(f"unix:{tmp_path}/m", PATIENT), on(machine()))
    with pytest.raises(HostError):
        interleave(vm, vm.transfers.send(f"unix:{tmp_path}/m", limits=PATIENT))
    taker.join(600)
    assert said in str(taker.fault)
    assert "\n" not in str(taker.fault)
    assert vm.run_state == "running"


def test_a_sender_without_the_capability_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    vm, quick = running(), Limits(meet=0.3, stall=0.3, total=5.0)
    taker = Takes(Listener(f"unix:{tmp_path}/m", quick), on(machine()))
    with pytest.raises(HostError):
        interleave(vm, vm.transfers.send(f"unix:{tmp_path}/m", limits=quick))
    taker.join(600)
    assert "no sender came" in str(taker.fault)
    assert vm.run_state == "running"


def test_only_sockets_have_more_than_one_connection(tmp_path: Path) -> None:
    vm = on(running())
    with pytest.raises(ConfigError, match="multifd needs tcp: or unix:"):
        vm.migrate(f"file:{tmp_path}/m")
    assert vm.run_state == "running"
