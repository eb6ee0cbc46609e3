"""A logical LAN: buffers lent, frames in both directions, what a stream has, and a bad guest."""

from __future__ import annotations

import pytest

from gossamer.base.errors import StreamError
from gossamer.base.wire import WireReader, WireWriter
from gossamer.devices.spapr import llan
from gossamer.devices.spapr.llan import LogicalLan, descriptor
from gossamer.devices.spapr.vio_bus import H_VIO_SIGNAL
from gossamer.state.transfer import load, save
from tests.devices.spapr.vio_rig import UNIT, VioRig

LIST, QUEUE, FILTERS, BUFFERS = 0x1000, 0x2000, 0x3000, 0x8000
MAC = 0x5254_0012_3456


@pytest.fixture
def rig() -> VioRig:
    return VioRig()


@pytest.fixture
def card(rig: VioRig) -> LogicalLan:
    made = rig.put(LogicalLan)
    queue = descriptor(QUEUE, 64)
    assert rig.call(llan.H_REGISTER_LOGICAL_LAN, UNIT, LIST, queue, FILTERS, MAC)[0] == 0
    assert rig.call(H_VIO_SIGNAL, UNIT, 1)[0] == 0
    return made


def lend(rig: VioRig, n: int, size: int = 0x800) -> int:
    at = BUFFERS + 0x800 * n
    rig.memory.write(at, n.to_bytes(8, "big"))
    return rig.call(llan.H_ADD_LOGICAL_LAN_BUFFER, UNIT, descriptor(at, size))[0]


def test_a_frame_comes_into_the_last_buffer_that_was_lent(rig: VioRig, card: LogicalLan) -> None:
    assert [lend(rig, n) for n in (1, 2)] == [0, 0]
    assert card.receive(b"a frame")
    assert rig.memory.read(BUFFERS + 0x1008, 7) == b"a frame"
    entry = rig.memory.read(QUEUE, 16)
    assert entry == bytes((0x40, 0, 0, 8, 0, 0, 0, 7)) + (2).to_bytes(8, "big")
    assert (rig.edges.count, card.rx_bufs, card.rxq_ptr) == (1, 1, 16)


def test_the_queue_turns_over_with_its_toggle(rig: VioRig, card: LogicalLan) -> None:
    for n in range(5):
        assert lend(rig, n) == 0
        assert card.receive(b"x")
    assert rig.memory.read(QUEUE, 1) == b"\xc0"
    assert rig.memory.read(QUEUE + 16, 1) == b"\x40"


def test_a_frame_goes_to_the_smallest_buffer_that_holds_it(rig: VioRig, card: LogicalLan) -> None:
    assert [lend(rig, 1, 0x800), lend(rig, 2, 64), lend(rig, 3, 32)] == [0, 0, 0]
    assert card.receive(bytes(40))
    assert rig.memory.read(QUEUE + 8, 8) == (2).to_bytes(8, "big")
    assert card.receive(bytes(2000))
    assert card.receive(bytes(2000))  # there is no such buffer any more: lost, and counted
    assert int.from_bytes(rig.memory.read(LIST + 4088, 8), "big") == 1
    assert card.rx_bufs == 1


def test_no_more_buffers_than_pools_hold(rig: VioRig, card: LogicalLan) -> None:
    codes = [lend(rig, n, 16 + 4 * n) for n in range(6)]
    assert codes == [0, 0, 0, 0, 0, -16]
    while (code := lend(rig, 0, 16)) == 0:
        pass
    assert (code, card.rx_bufs) == (-16, 4096 + 4)


def test_a_frame_is_sent_from_its_parts(rig: VioRig, card: LogicalLan) -> None:
    sent: list[bytes] = []
    card.connect(sent.append)
    rig.memory.write(BUFFERS, b"first second")
    parts = (descriptor(BUFFERS, 6), descriptor(BUFFERS + 6, 6))
    assert rig.call(llan.H_SEND_LOGICAL_LAN, UNIT, *parts)[0] == 0
    assert sent == [b"first second"]
    card.plug(False)
    assert rig.call(llan.H_SEND_LOGICAL_LAN, UNIT, *parts)[0] == 0
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("bd", "code"),
    [
        (descriptor(0x10_0000, 64), -14),
        (descriptor(0x8000, 0x2_0000), -16),
        (descriptor(0xFFFF_FFF0, 64), -14),
    ],
)
def test_what_cannot_be_sent(rig: VioRig, card: LogicalLan, bd: int, code: int) -> None:
    assert rig.call(llan.H_SEND_LOGICAL_LAN, UNIT, bd)[0] == code


@pytest.mark.parametrize("bd", [0, (1 << 64) - 1, descriptor(0x8002, 64), descriptor(0x8000, 8)])
def test_no_buffer(rig: VioRig, card: LogicalLan, bd: int) -> None:
    assert rig.call(llan.H_ADD_LOGICAL_LAN_BUFFER, UNIT, bd)[0] == -4
    assert not card.receive(b"x")


def test_a_window_that_is_taken_away_loses_the_frame(rig: VioRig, card: LogicalLan) -> None:
    assert lend(rig, 1) == 0
    rig.call(0x138, UNIT, 0, 0, 256)
    assert card.receive(b"x")
    assert not card.receive(b"y")
    assert rig.edges.count == 0


def test_a_unit_that_is_no_card(rig: VioRig) -> None:
    for number in (0x114, 0x118, 0x11C, 0x120, 0x130, 0x14C):
        assert rig.call(number, UNIT)[0] == -4
    assert rig.call(llan.H_FREE_LOGICAL_LAN_BUFFER, UNIT)[0] == -2


def test_a_stream_has_the_buffers(rig: VioRig, card: LogicalLan) -> None:
    lend(rig, 1)
    lend(rig, 2, 64)
    writer = WireWriter()
    save(card, writer)
    data = writer.data
    assert len(data) == 163966
    other = VioRig().put(LogicalLan)
    load(other, WireReader(data), 1)
    assert other.rx_bufs == 2
    assert [pool.bufsize for pool in other.rx_pool][:2] == [64, 0x800]
    again = WireWriter()
    save(other, again)
    assert again.data == data
    pools = data.index(b"spapr_llan/rx_pools") + 23
    broken = data[: pools + 4] + b"\0\1\0\0" + data[pools + 8 :]
    with pytest.raises((StreamError, ValueError), match="0 to 4096 buffers"):
        load(other, WireReader(broken), 1)
