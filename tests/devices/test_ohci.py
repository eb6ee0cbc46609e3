"""OHCI: registers, frames, root hub, lists, and the recorded sections."""

from __future__ import annotations

import random

import pytest
from tests.devices.captures import QEMU, load_body, named, save_body

from gossamer.base.wire import WireReader
from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.core.memory import AddressMap, Arena
from gossamer.devices.ohci import Ohci
from gossamer.devices.pci import PciBus, Window
from gossamer.devices.usb_hid import UsbKeyboard, UsbMouse
from gossamer.state.transfer import OURS, load

MS = 1_000_000
HCCA, ED, TD, DATA = 0x1000, 0x2000, 0x3000, 0x4000
CONTROL, COMMAND, STATUS, ENABLE, DISABLE = 0x04, 0x08, 0x0C, 0x10, 0x14
SETUP_TD, OUT_TD, IN_TD, ROUND = 0 << 19, 1 << 19, 2 << 19, 1 << 18
DATA0, DATA1, NO_DELAY = 2 << 24, 3 << 24, 7 << 21


class Rig:
    """A controller with a keyboard, and a driver's view of it."""

    def __init__(self):
        self.clock = Clock()
        self.memory = AddressMap(Arena(0x8000))
        self.memory.map(self.memory.arena.add("ram", 0x8000), 0)
        self.lines = [IrqLine() for _ in range(4)]
        window = Window(self.memory, 0x8000_0000, 0x1000_0000, 0x8000_0000)
        bus = PciBus(self.clock, "pci.2", self.lines, memory=window)
        self.ohci = Ohci(self.clock, bus, 0x0D << 3)
        self.keyboard = UsbKeyboard(self.clock, "usb-kbd")
        self.mouse = UsbMouse(self.clock, "usb-ptr")
        self.ohci.connect(0, self.keyboard)
        self.ohci.connect(1, self.mouse)
        self.ohci.write_config(4, 2, 6)

    @property
    def irq(self):
        return self.lines[1].level

    def get(self, at):
        return self.ohci.read(at, 4)

    def put(self, at, value):
        self.ohci.write(at, 4, value)

    def words(self, at, *values):
        self.memory.write(at, b"".join((v & 0xFFFFFFFF).to_bytes(4, "little") for v in values))

    def word(self, at):
        return int.from_bytes(self.memory.read(at, 4), "little")

    def run(self, ns):
        self.clock.advance(self.clock.now + ns)

    def start(self):
        """Operational, first port enabled."""
        self.put(0x18, HCCA)
        self.put(CONTROL, 0x80)
        self.put(0x54, 0x10)
        self.run(10 * MS)
        self.put(0x54, 0x1F_0000)

    def control(self, *tds, address=0, packet=8):
        """Queue transfers on a control endpoint; each (flags, data or length)."""
        for n, (flags, what) in enumerate(tds):
            length = what if isinstance(what, int) else len(what)
            at = DATA + 0x100 * n
            if not isinstance(what, int):
                self.memory.write(at, what)
            end = at + length - 1 if length else 0
            self.words(TD + 16 * n, flags | 0xF0000000, at if length else 0, TD + 16 * n + 16, end)
        self.words(ED, packet << 16 | address, TD + 16 * len(tds), TD, 0)
        self.put(0x20, ED)
        self.put(CONTROL, 0x90)
        self.put(COMMAND, 2)


@pytest.fixture
def rig():
    return Rig()


def test_reset_values_are_those_that_qemu_shows(rig):
    assert rig.get(0x00) == 0x10
    assert rig.get(ENABLE) == rig.get(DISABLE) == 0x8000_0000
    assert rig.get(0x34) == 0x2778_2EDF
    assert rig.get(0x44) == 0x628
    assert rig.get(0x48) == 0x203
    assert [rig.get(0x54 + 4 * n) for n in range(3)] == [0x10101, 0x10101, 0x100]
    assert rig.get(STATUS) == 0x40
    assert rig.get(0x60) == 0
    rig.put(0x18, 0xFFFF_FFFF)
    assert rig.get(0x18) == 0xFFFF_FF00


def test_frames_are_counted_and_written_each_millisecond(rig):
    rig.put(0x18, HCCA)
    rig.put(CONTROL, 0x80)
    rig.run(MS - 1)
    assert rig.get(0x3C) == 0
    rig.run(1)
    assert rig.get(0x3C) == 1
    assert rig.word(HCCA + 0x80) == 1
    rig.run(250_000)
    assert rig.get(0x38) == 11999 - 3000
    rig.run(1000 * MS)
    assert rig.get(0x3C) == 1001
    rig.put(CONTROL, 0xC0)
    rig.run(10 * MS)
    assert rig.get(0x3C) == 1001


def test_odd_frame_interval_accumulates_no_rounding(rig):
    rig.put(0x34, 0x2778_0000 | 12000)  # 12001 bit times: 1000083 and a third ns
    rig.put(CONTROL, 0x80)
    rig.run(3 * 1_000_083 + 1)
    assert rig.get(0x3C) == 3
    rig.run(997 * 1_000_083 + 332)
    assert rig.get(0x3C) == 1000
    assert rig.ohci.core.sof_time == 1000 * 12001 * 250 // 3


def test_start_of_frame_interrupts_when_enabled(rig):
    rig.put(STATUS, 0x7F)
    rig.put(ENABLE, 0x8000_0004)
    rig.put(CONTROL, 0x80)
    assert rig.irq
    rig.put(STATUS, 4)
    assert not rig.irq
    rig.run(MS)
    assert rig.irq
    rig.put(DISABLE, 0x8000_0000)
    assert not rig.irq


def test_number_overflow_at_half_and_whole(rig):
    rig.put(CONTROL, 0x80)
    rig.ohci.core.frame_number = 0x7FFF
    rig.put(STATUS, 0x7F)
    rig.run(MS)
    assert rig.get(STATUS) & 0x20


def test_port_reset_takes_10_ms_enables_and_tells(rig):
    rig.put(0x54, 0x1F_0000)
    rig.put(STATUS, 0x7F)
    rig.put(0x54, 0x10)
    assert rig.get(0x54) == 0x111
    rig.run(10 * MS - 1)
    assert rig.get(0x54) == 0x111
    rig.run(1)
    assert rig.get(0x54) == 0x10_0103
    assert rig.get(STATUS) & 0x40
    rig.put(0x54, 1)
    assert rig.get(0x54) == 0x10_0101


def test_empty_port_notes_the_attempt(rig):
    rig.put(0x5C, 0x10)
    assert rig.get(0x5C) == 0x1_0100


def test_suspended_port_is_woken_by_a_key(rig):
    rig.start()
    rig.keyboard.dev.remote_wakeup = 1
    rig.put(0x54, 4)
    assert rig.get(0x54) == 0x107
    rig.put(CONTROL, 0xC0)
    rig.put(STATUS, 0x7F)
    rig.keyboard.key(0, True)
    assert rig.get(CONTROL) & 0xC0 == 0x40
    assert rig.get(STATUS) & 8
    rig.run(20 * MS)
    assert rig.get(0x54) == 0x4_0103


def test_control_read_moves_through_its_stages(rig):
    rig.start()
    setup = bytes([0x80, 6, 0, 1, 0, 0, 18, 0])
    rig.control(
        (SETUP_TD | DATA0 | NO_DELAY, setup),
        (IN_TD | DATA1 | ROUND | NO_DELAY, 18),
        (OUT_TD | DATA1, 0),
    )
    rig.put(STATUS, 0x7F)
    rig.put(ENABLE, 0x8000_0002)
    rig.run(MS)
    assert rig.memory.read(DATA + 0x100, 18) == rig.keyboard.device_descriptor()
    assert not rig.irq
    rig.run(MS)
    assert rig.irq
    assert rig.word(HCCA + 0x84) == TD + 32
    assert [rig.word(TD + 16 * n + 8) for n in range(3)] == [0, TD, TD + 16]
    assert [rig.word(TD + 16 * n) >> 28 for n in range(3)] == [0, 0, 0]
    assert [rig.word(TD + 16 * n + 4) for n in range(3)] == [0, 0, 0]
    assert rig.word(ED + 8) & ~2 == TD + 48
    assert rig.get(COMMAND) == 0


def test_done_queue_waits_for_the_shortest_delay_and_for_the_driver(rig):
    rig.start()
    setup = bytes([0, 5, 3, 0, 0, 0, 0, 0])
    rig.control((SETUP_TD | DATA0 | NO_DELAY, setup), (IN_TD | DATA1 | 2 << 21, 0))
    rig.put(STATUS, 2)
    rig.run(3 * MS)
    assert rig.word(HCCA + 0x84) == 0
    rig.run(MS)
    assert rig.word(HCCA + 0x84) == TD + 16
    assert rig.keyboard.dev.addr == 3


def test_stall_halts_the_endpoint(rig):
    rig.start()
    rig.control(
        (SETUP_TD | DATA0 | NO_DELAY, bytes([0x80, 0x77, 0, 0, 0, 0, 4, 0])),
        (IN_TD | DATA1 | NO_DELAY, 4),
        (OUT_TD | DATA1, 0),
    )
    rig.run(3 * MS)
    assert rig.word(TD + 16) >> 28 == 4
    assert rig.word(ED + 8) & 1
    assert rig.word(ED + 8) & ~3 == TD + 32


def test_nobody_at_the_address_is_an_error_after_three_tries(rig):
    rig.start()
    rig.control((SETUP_TD | DATA0 | NO_DELAY, bytes(8)), address=77)
    rig.run(2 * MS)
    assert not rig.word(ED + 8) & 1
    rig.run(2 * MS)
    assert rig.word(TD) >> 28 == 5
    assert rig.word(ED + 8) & 1


def test_short_read_is_an_underrun_unless_rounding_is_allowed(rig):
    rig.start()
    for rounding, code in ((0, 9), (ROUND, 0)):
        rig.control(
            (SETUP_TD | DATA0 | NO_DELAY, bytes([0x80, 6, 0, 1, 0, 0, 64, 0])),
            (IN_TD | DATA1 | rounding | NO_DELAY, 64),
        )
        rig.run(4 * MS)
        assert rig.word(TD + 16) >> 28 == code
        assert rig.word(TD + 16 + 4) == DATA + 0x100 + 18
        assert bool(rig.word(ED + 8) & 1) == bool(code)
        rig.put(CONTROL, 0x80)


def test_interrupt_endpoint_delivers_a_key_in_its_frame(rig):
    rig.start()
    rig.keyboard.dev.addr = rig.keyboard.dev.configuration = 1
    rig.words(TD, ROUND | IN_TD | 0xF000_0000, DATA, TD + 16, DATA + 7)
    rig.words(ED, 8 << 16 | 2 << 11 | 1 << 7 | 1, TD + 16, TD, 0)
    for n in range(0, 32, 8):
        rig.words(HCCA + 4 * n, ED)
    rig.put(STATUS, 0x7F)
    rig.put(CONTROL, 0x84)
    rig.run(16 * MS)
    assert rig.word(ED + 8) == TD
    rig.keyboard.key(0x00, True)
    rig.run(9 * MS)
    assert rig.memory.read(DATA, 8) == bytes([0, 0, 4, 0, 0, 0, 0, 0])
    assert rig.word(HCCA + 0x84) & ~1 == TD
    assert rig.word(ED + 8) == TD + 16 | 2


def test_transfer_over_two_pages(rig):
    rig.start()
    at = 0x4FF8
    rig.words(TD, SETUP_TD | DATA0 | NO_DELAY, DATA, TD + 16, DATA + 7)
    rig.memory.write(DATA, bytes([0x80, 6, 0, 2, 0, 0, 34, 0]))
    rig.words(TD + 16, IN_TD | DATA1 | NO_DELAY, at, TD + 32, 0x6019)
    rig.words(ED, 8 << 16, TD + 32, TD, 0)
    rig.put(0x20, ED)
    rig.put(CONTROL, 0x90)
    rig.put(COMMAND, 2)
    rig.run(2 * MS)
    got = rig.memory.read(at, 8) + rig.memory.read(0x6000, 26)
    assert got == rig.keyboard.configuration_descriptor()


def test_endless_list_ends_with_the_frame(rig):
    rig.start()
    rig.words(ED, 1 << 14, 0, 0, ED)
    for n in range(32):
        rig.words(HCCA + 4 * n, ED)
    rig.put(0x20, ED)
    rig.put(0x28, ED)
    rig.put(CONTROL, 0xB4)
    rig.put(COMMAND, 6)
    before = rig.get(0x3C)
    rig.run(3 * MS)
    assert rig.get(0x3C) == before + 3


def test_soft_reset_suspends_and_keeps_the_ports(rig):
    rig.start()
    rig.put(COMMAND, 1)
    assert rig.get(CONTROL) == 0xC0
    assert rig.get(0x18) == 0
    assert rig.get(0x54) == 0x103
    rig.put(CONTROL, 0x00)
    assert rig.get(0x54) == 0x1_0101


def test_recorded_sections_load_and_save_to_the_same_bytes(shared):
    found = named(shared, "ohci")
    assert len(found) >= 6
    for section in found:
        rig = Rig()
        load_body(rig.ohci, section)
        assert save_body(rig.ohci) == section.body, section
        assert save_body(rig.ohci, OURS) == section.body, section


def test_port_reset_and_phase_go_on_after_a_load(rig):
    rig.put(0x34, 0x2778_0000 | 12000)
    rig.put(CONTROL, 0x80)
    rig.run(MS + 100_000)
    rig.put(0x58, 0x10)
    body, other = save_body(rig.ohci, OURS), Rig()
    other.clock.set(rig.clock.now)
    load(other.ohci, WireReader(body), 1)
    other.ohci.resume()
    assert save_body(other.ohci, OURS) == body
    for one in (rig, other):
        one.run(10 * MS)
    assert other.get(0x58) == rig.get(0x58) == 0x11_0103
    assert save_body(other.ohci, OURS) == save_body(rig.ohci, OURS)
    assert len(save_body(rig.ohci, QEMU)) == 8672


def test_random_accesses_leave_a_state_that_can_be_saved(rig):
    region, random_ = rig.ohci.bars[0].target, random.Random(9)
    rig.memory.write(0, random_.randbytes(0x8000))
    for n in range(10_000):
        offset, size = random_.randrange(0x70), random_.choice((1, 2, 4))
        if random_.random() < 0.4 or (offset - 3 < 0x38 and offset + size > 0x34):
            region.load(offset, size)  # short frames would only cost time: see below
        else:
            region.store(offset, random_.getrandbits(8 * size), size)
        rig.run(random_.randrange(500) if n % 100 else MS)
    rig.put(0x34, 0)
    rig.run(2_000)
    rig.memory.write(HCCA, bytes(0x1000))
    body = save_body(rig.ohci, OURS)
    other = Rig()
    other.clock.set(rig.clock.now)
    load(other.ohci, WireReader(body), 1)
    assert save_body(other.ohci, OURS) == body
