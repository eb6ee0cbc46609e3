"""The terminal's hypercalls, and both devices as a stream has them."""

from __future__ import annotations

import pytest

from gossamer.base.errors import StreamError
from gossamer.base.wire import WireReader, WireWriter
from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.devices.spapr import vio
from gossamer.devices.spapr.vio import Nvram, Terminal
from gossamer.devices.spapr.vio_bus import H_VIO_SIGNAL, VioBus
from gossamer.state.transfer import load, save
from tests.devices.spapr.rig import Rig

UNIT = 0x7100_0000


class Edges:
    def __init__(self) -> None:
        self.count = 0

    def input_changed(self, pin: int, level: bool) -> None:
        self.count += level

    def input_assigned(self, pin: int, level: bool) -> None:
        raise AssertionError


@pytest.fixture
def edges() -> Edges:
    return Edges()


@pytest.fixture
def terminal(edges: Edges) -> Terminal:
    return Terminal(Clock(), UNIT, 0x1100, IrqLine(edges, 0))


@pytest.fixture
def rig(terminal: Terminal) -> Rig:
    made = Rig()
    made.add(vio.terminal_calls([terminal]))
    bus = VioBus({})
    bus.add(terminal)
    made.add(bus.calls())
    return made


def test_output_goes_out_byte_by_byte(rig: Rig, terminal: Terminal) -> None:
    sent = bytearray()
    terminal.transmit = sent.extend
    text = b"nine bytes, and more"
    words = [int.from_bytes(text[n : n + 8], "big") for n in (0, 8)]
    assert rig.call(vio.H_PUT_TERM_CHAR, UNIT, 9, *words)[0] == 0
    assert rig.call(vio.H_PUT_TERM_CHAR, 0, 16, *words)[0] == 0
    assert sent == text[:9] + text[:16]


@pytest.mark.parametrize("length", [17, 1 << 32, (1 << 64) - 1])
def test_too_much_at_once(rig: Rig, length: int) -> None:
    assert rig.call(vio.H_PUT_TERM_CHAR, UNIT, length)[0] == -4


def test_unknown_units(rig: Rig) -> None:
    for unit in (1, UNIT + 1, (1 << 64) - 1):
        assert rig.call(vio.H_PUT_TERM_CHAR, unit, 1)[0] == -4
        assert rig.call(vio.H_GET_TERM_CHAR, unit)[0] == -4
    assert rig.call(H_VIO_SIGNAL, UNIT, 1)[0] == -4
    assert rig.call(H_VIO_SIGNAL, UNIT + 1, 0)[0] == -4
    assert rig.call(H_VIO_SIGNAL, UNIT, 0)[0] == 0


def test_input_asks_once_and_comes_at_once(rig: Rig, terminal: Terminal, edges: Edges) -> None:
    for byte in b"typed":
        terminal.receive(byte)
    assert edges.count == 1
    assert rig.call(vio.H_GET_TERM_CHAR, UNIT)[1][:3] == [
        5,
        int.from_bytes(b"typed\0\0\0", "big"),
        0,
    ]
    assert rig.call(vio.H_GET_TERM_CHAR, UNIT)[1][:3] == [0, 0, 0]
    for byte in range(20):
        terminal.receive(byte)
    assert terminal.room() == 0
    assert edges.count == 2
    assert rig.call(vio.H_GET_TERM_CHAR, UNIT)[1][0] == vio.ROOM


def test_terminal_on_the_wire(terminal: Terminal) -> None:
    terminal.receive(0x41)
    w = WireWriter()
    save(terminal, w)
    assert w.data.hex() == (
        "71000000"
        "00001100"
        "0000000000000000"
        "0000000000000000"
        "00000000"
        "00000000"
        "00000001"
        "00000000"
        "41" + "00" * 15
    )
    other = Terminal(Clock(), UNIT, 0x1100, IrqLine(Edges(), 0))
    load(other, WireReader(bytes(w.data)), 1)
    assert other.take() == b"A"
    for at, byte in ((3, 1), (7, 5), (35, 99)):  # another unit, another source, too many bytes
        bad = bytearray(w.data)
        bad[at] = byte
        with pytest.raises((StreamError, ValueError)):
            load(other, WireReader(bytes(bad)), 1)


def test_nvram_keeps_its_content_through_a_reset() -> None:
    nvram = Nvram(Clock(), UNIT + 1, 0x1101)
    nvram.buf[5] = 7
    nvram.reset()
    w = WireWriter()
    save(nvram, w)
    assert (len(w.data), w.data[:4].hex(), w.data[9]) == (65540, "00010000", 7)
