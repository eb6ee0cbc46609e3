"""OHCI: registers, frames, lists with real memory, root hub, interrupts, and the wire."""

from __future__ import annotations

import random

import pytest

from gossamer.base.errors import StreamError
from gossamer.base.wire import WireReader
from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.core.memory import AddressMap, Arena
from gossamer.devices.pci import PciBus, Window
from gossamer.devices.usb.hid import UsbKeyboard, UsbMouse
from gossamer.devices.usb.ohci import Ohci
from gossamer.state.transfer import OURS, load
from tests.devices.captures import QEMU, load_body, named, save_body
from tests.devices.usb import ohci_rig as r
from tests.devices.usb.ohci_rig import Driver, setup

MS = 1_000_000
GET_DEVICE = setup(0x80, 6, 0x100, 0, 18)
DEVICE = bytes.fromhex("120100020000000827060100000001040b01")


class Rig:
    """A controller with keyboard and mouse, and a megabyte of memory; `Access` of the driver."""

    def __init__(self, clock=None, memory=None):
        self.clock = clock or Clock()
        self.map = AddressMap(Arena(1 << 20))
        self.ram = self.map.arena.add("ram", 1 << 20)
        self.map.map(self.ram, 0)
        self.lines = [IrqLine() for _ in range(4)]
        window = Window(self.map, 0x8000_0000, 0x1000_0000, 0x8000_0000)
        self.bus = PciBus(self.clock, "pci.2", self.lines, memory=window)
        self.ohci = Ohci(self.clock, self.bus, 0x0D << 3)
        self.keyboard = UsbKeyboard(self.clock, "pci.2:0d.0/1/usb-kbd")
        self.mouse = UsbMouse(self.clock, "pci.2:0d.0/2/usb-ptr")
        self.ohci.connect(0, self.keyboard)
        self.ohci.connect(1, self.mouse)
        self.ohci.write_config(4, 2, 0x06)
        if memory is not None:
            self.map.write(0, memory)

    def reg(self, offset):
        return self.ohci.read(offset, 4)

    def set_reg(self, offset, value):
        self.ohci.write(offset, 4, value)

    def word(self, ra):
        return int.from_bytes(self.map.read(ra, 4), "little")

    def set_word(self, ra, value):
        self.map.write(ra, value.to_bytes(4, "little"))

    def bytes(self, ra, size):
        return self.map.read(ra, size)

    def set_bytes(self, ra, data):
        self.map.write(ra, data)

    def frames(self, count):
        self.clock.advance(self.clock.now + count * MS)

    @property
    def irq(self):
        return any(line.level for line in self.lines)

    @property
    def parts(self):
        return [self.bus, self.ohci, self.keyboard, self.mouse]

    def cut(self):
        """Another machine that goes on where this one is."""
        other = Rig(memory=self.map.read(0, 1 << 20))
        other.clock.set(self.clock.now)
        for one, two in zip(self.parts, other.parts, strict=True):
            load(two, WireReader(save_body(one, OURS)), two.version)
        for two in other.parts:
            two.resume()
        assert other.state() == self.state()
        assert other.irq == self.irq
        return other

    def state(self):
        return b"".join(save_body(part, OURS) for part in self.parts) + self.map.read(0, 1 << 20)


@pytest.fixture
def rig():
    return Rig()


@pytest.fixture
def driver(rig):
    d = Driver(rig)
    d.start()
    return d


def enumerate_device(d, port, address):
    """Reset, address, configuration."""
    d.reset_port(port)
    assert d.control(0, setup(0, 5, address, 0, 0)) == (0, b"")
    assert d.control(address, setup(0, 9, 1, 0, 0)) == (0, b"")


# --- registers ------------------------------------------------------------------------------------


def test_registers_after_reset_are_those_of_qemu(rig):
    expected = [
        *(0x10, 0, 0, 0x40, 0x80000000, 0x80000000, 0, 0, 0, 0, 0, 0, 0),
        *(0x27782EDF, 0, 0, 0, 0x628, 0x203, 0, 0, 0x10101, 0x10101, 0x100),
    ]
    assert [rig.reg(4 * n) for n in range(24)] == expected
    assert rig.ohci.config[:4] == bytes.fromhex("6b103f00")
    assert rig.ohci.config[8:12] == bytes.fromhex("0010030c")


def test_registers_are_little_endian_words_on_the_bus(rig):
    region = rig.ohci.bars[0].target
    assert region.size == 256
    assert region.load(0x00, 4) == 0x10000000
    region.store(0x18, 0x00030201, 4)
    assert rig.reg(r.HCCA) == 0x01020300
    assert region.load(0x18, 1) == 0x00
    assert region.load(0x1B, 1) == 0x01


def test_writable_bits(rig):
    for offset, bits in ((0x18, 0xFFFFFF00), (0x20, 0xFFFFFFF0), (0x28, 0xFFFFFFF0)):
        rig.set_reg(offset, 0xFFFFFFFF)
        assert rig.reg(offset) == bits
    for offset in (0x00, 0x1C, 0x30, 0x38, 0x3C, 0x48, 0x4C):
        before = rig.reg(offset)
        rig.set_reg(offset, 0xFFFFFFFF)
        assert rig.reg(offset) == before, hex(offset)
    rig.set_reg(r.FM_INTERVAL, 0xFFFFFFFF)
    assert rig.reg(r.FM_INTERVAL) == 0xFFFF3FFF
    rig.set_reg(0x34 + 0xA0, 1)
    assert rig.ohci.trace.counts["Ohci", "write to unknown or read-only register 0xd4"] >= 1


def test_host_controller_reset_suspends_and_leaves_the_ports(rig, driver):
    driver.reset_port(0)
    rig.set_reg(r.COMMAND, 1)
    assert rig.reg(r.CONTROL) == 0xC0
    assert rig.reg(r.PORT) == 0x103
    assert rig.reg(r.HCCA) == 0
    assert rig.reg(r.FM_INTERVAL) == 0x27782EDF
    assert not rig.ohci.core.eof_timer.armed


def test_enable_and_disable_are_one_register(rig):
    rig.set_reg(r.ENABLE, 0x42)
    assert rig.reg(r.ENABLE) == rig.reg(r.DISABLE) == 0x80000042
    rig.set_reg(r.DISABLE, 0x80000002)
    assert rig.reg(r.ENABLE) == 0x40


# --- frames ---------------------------------------------------------------------------------------


def test_frames_are_a_millisecond_and_counted(rig, driver):
    begun = rig.clock.now
    assert rig.reg(r.FM_REMAINING) == 0x2EDF
    rig.clock.advance(begun + MS // 2)
    assert rig.reg(r.FM_REMAINING) == 0x2EDF - 6000
    rig.clock.advance(begun + 5 * MS - 1)
    assert rig.reg(r.FM_NUMBER) == 4
    rig.clock.advance(begun + 5 * MS + 1234)
    assert rig.reg(r.FM_NUMBER) == 5
    assert rig.word(r.HCCA_AT + 0x80) == 5
    assert rig.ohci.core.eof_timer.when == begun + 6 * MS
    rig.set_reg(r.CONTROL, 0xC0)
    rig.frames(3)
    assert rig.reg(r.FM_NUMBER) == 5


def test_interval_that_is_no_millisecond_keeps_its_exact_length(rig, driver):
    rig.set_reg(r.FM_INTERVAL, 0x80002EE0)  # one bit more: 250/3 ns
    begun = rig.ohci.core.eof_timer.when
    rig.clock.advance(begun)
    for n in range(1, 10):
        at = begun * 3 + n * 12001 * 250
        assert rig.ohci.core.eof_timer.when == at // 3
        rig.clock.advance(rig.ohci.core.eof_timer.when)
    assert rig.reg(r.FM_REMAINING) >> 31


def test_absurd_interval_does_not_make_absurd_frames(rig, driver):
    rig.set_reg(r.FM_INTERVAL, 0)
    rig.frames(10)
    assert rig.reg(r.FM_NUMBER) <= 12
    assert rig.ohci.trace.counts["Ohci", "frame interval 0 is no USB frame"] >= 1


@pytest.mark.parametrize("interval", [0x27782EDF, 0x80002EE0], ids=["ms", "thirds"])
def test_frames_passed_over_are_those_that_ended_one_by_one(interval):
    """An idle CPU's quiet frames, in one go and each at its time: the same state everywhere."""
    random_ = random.Random(5)
    one, other = Rig(), Rig()
    for rig in (one, other):
        Driver(rig).start()
        rig.set_reg(r.FM_INTERVAL, interval)
        rig.ohci.core.frame_number = 0x7F00
        rig.frames(1)
    assert one.ohci.core.quiet()
    for _ in range(200):
        until = (
            one.clock.now + random_.choice((1, MS // 2, MS, 7 * MS, 64 * MS)) + random_.randrange(9)
        )
        one.clock.skip_quiet(until)
        steps = 0
        while one.clock.deadline <= until:
            one.clock.advance(one.clock.deadline)
            one.clock.skip_quiet(until)
            steps += 1
        assert steps <= 3
        one.clock.set(until)
        other.clock.advance(until)
        assert one.state() == other.state()
        assert one.irq == other.irq


def test_frames_with_anything_to_do_are_not_passed_over(rig, driver):
    core = rig.ohci.core
    rig.frames(2)
    assert core.quiet()
    rig.set_word(r.HCCA_AT + 4 * 7, r.ED_AT)
    assert not core.quiet()
    rig.set_word(r.HCCA_AT + 4 * 7, 0)
    rig.set_reg(r.COMMAND, 0x02)
    assert not core.quiet()
    rig.frames(2)
    assert core.quiet()
    rig.set_reg(r.ENABLE, 0x80000004)
    assert not core.quiet()
    assert rig.clock.idle_deadline == rig.clock.deadline


def test_frame_interrupt_and_overflow(rig, driver):
    rig.set_reg(r.STATUS, 0xFFFFFFFF)
    rig.set_reg(r.ENABLE, 0x80000004)
    assert not rig.irq
    rig.frames(1)
    assert rig.irq
    rig.set_reg(r.STATUS, 0x04)
    assert not rig.irq
    rig.ohci.core.frame_number = 0x7FFE
    rig.frames(1)
    assert not rig.reg(r.STATUS) & 0x20
    rig.frames(1)
    assert rig.reg(r.STATUS) & 0x20
    assert rig.word(r.HCCA_AT + 0x80) == 0x8000


# --- root hub -------------------------------------------------------------------------------------


def test_port_reset_takes_half_a_millisecond_and_enables(rig, driver):
    rig.set_reg(r.ENABLE, 0x80000040)
    rig.set_reg(r.STATUS, 0x40)
    rig.set_reg(r.PORT, 0x1F0000)
    rig.set_reg(r.PORT, 0x10)
    begun = rig.clock.now
    rig.clock.advance(begun + MS // 2 - 1)
    assert rig.reg(r.PORT) == 0x111
    assert not rig.irq
    rig.clock.advance(begun + MS // 2)
    assert rig.reg(r.PORT) == 0x100103
    assert rig.irq
    rig.set_reg(r.PORT, 0x100000)
    assert rig.reg(r.PORT) == 0x103


def test_empty_port_only_says_so(rig):
    rig.set_reg(r.PORT + 8, 0x10)
    assert rig.reg(r.PORT + 8) == 0x10100
    rig.set_reg(r.PORT + 12, 0x10)
    assert rig.reg(r.PORT + 12) == 0


def test_disabled_and_suspended_ports_are_deaf(rig, driver):
    enumerate_device(driver, 0, 5)
    assert driver.control(5, GET_DEVICE)[0] == 0
    rig.set_reg(r.PORT, 0x04)
    assert driver.control(5, GET_DEVICE)[0] == 5
    rig.set_reg(r.PORT, 0x08)
    rig.frames(20)
    assert rig.reg(r.PORT) & 0x40004 == 0x40000
    assert driver.control(5, GET_DEVICE)[0] == 0
    rig.set_reg(r.PORT, 0x01)
    assert driver.control(5, GET_DEVICE)[0] == 5


def test_key_wakes_a_suspended_port_and_a_suspended_bus(rig, driver):
    enumerate_device(driver, 0, 5)
    rig.keyboard.key(0, True)
    rig.set_reg(r.PORT, 0x04)
    rig.keyboard.key(0, False)
    rig.frames(30)
    assert rig.reg(r.PORT) & 4, "no one allowed it to wake"
    rig.set_reg(r.PORT, 0x08)
    rig.frames(30)
    assert driver.control(5, setup(0, 3, 1, 0, 0))[0] == 0
    rig.set_reg(r.PORT, 0x04)
    rig.keyboard.key(0, True)
    rig.frames(20)
    assert not rig.reg(r.PORT) & 4
    rig.set_reg(r.CONTROL, 0xC0)
    rig.set_reg(r.ENABLE, 0x80000008)
    rig.keyboard.key(0, False)
    assert rig.reg(r.CONTROL) & 0xC0 == 0x40
    assert rig.irq


# --- lists ----------------------------------------------------------------------------------------


def test_control_read_arrives_in_memory(rig, driver):
    driver.reset_port(0)
    assert driver.control(0, GET_DEVICE) == (0, DEVICE)
    assert driver.control(0, setup(0x80, 6, 0x100, 0, 8)) == (0, DEVICE[:8])
    assert driver.control(0, setup(0x80, 6, 0x100, 0, 64)) == (0, DEVICE)


def test_done_queue_is_handed_over_once_and_interrupts(rig, driver):
    driver.reset_port(0)
    rig.set_reg(r.ENABLE, 0x80000002)
    rig.set_reg(r.STATUS, 0xFFFFFFFF)
    count = driver.queue_control(0, GET_DEVICE)
    rig.set_word(r.TD_AT + 32 * 2, rig.word(r.TD_AT + 32 * 2) & ~(7 << 21))  # the last: no delay
    rig.frames(1)
    assert driver.finished()
    assert not rig.irq
    assert rig.reg(r.DONE) == r.TD_AT + 64
    rig.frames(1)
    assert rig.irq
    assert rig.reg(r.DONE) == 0
    chain = []
    at = rig.word(r.HCCA_AT + 0x84)
    assert at & 1 == 0
    while at:
        chain.append(at)
        at = rig.word(at + 8)
    assert chain == [r.TD_AT + 32 * n for n in reversed(range(count))]
    driver.queue_control(0, GET_DEVICE)
    rig.set_word(r.TD_AT + 32 * 2, rig.word(r.TD_AT + 32 * 2) & ~(7 << 21))
    rig.frames(5)
    assert rig.reg(r.DONE), "the last queue was not yet seen"
    rig.set_reg(r.STATUS, 2)
    rig.frames(1)
    assert rig.reg(r.STATUS) & 2
    assert not rig.reg(r.DONE)


def test_delay_of_the_interrupt_is_kept(rig, driver):
    driver.reset_port(0)
    driver.queue_control(0, GET_DEVICE)
    for n in range(3):
        rig.set_word(r.TD_AT + 32 * n, rig.word(r.TD_AT + 32 * n) & ~(7 << 21) | 3 << 21)
    frames = 0
    while not rig.reg(r.STATUS) & 2:
        rig.frames(1)
        frames += 1
        assert frames < 20
    assert frames == 1 + 1 + 3


def test_stall_halts_the_endpoint_with_its_code(rig, driver):
    driver.reset_port(0)
    code, _ = driver.control(0, setup(0xC0, 0x55, 0, 0, 8))
    assert code == 4
    assert rig.word(r.ED_AT + 8) & 1
    assert driver.control(0, GET_DEVICE) == (0, DEVICE)


def test_no_device_answers_three_times(rig, driver):
    driver.reset_port(0)
    driver.queue_control(99, GET_DEVICE)
    for errors in (1, 2):
        rig.frames(1)
        assert rig.word(r.TD_AT) >> 26 & 3 == errors
        assert not driver.finished()
    rig.frames(1)
    assert driver.finished()
    assert rig.word(r.TD_AT) >> 28 == 5


def test_short_packet_without_rounding_is_an_underrun(rig, driver):
    driver.reset_port(0)
    driver.queue_control(0, setup(0x80, 6, 0x100, 0, 64))
    rig.set_word(r.TD_AT + 32, rig.word(r.TD_AT + 32) & ~(1 << 18))
    rig.frames(3)
    assert rig.word(r.TD_AT + 32) >> 28 == 9
    assert rig.word(r.TD_AT + 36) == r.DATA_AT + 0x100 + 18
    assert rig.word(r.ED_AT + 8) & 1


def test_buffer_across_two_pages_that_do_not_touch(rig, driver):
    driver.reset_port(0)
    driver.queue_control(0, GET_DEVICE)
    first, second = 0x21FF9, 0x40000
    rig.set_word(r.TD_AT + 36, first)
    rig.set_word(r.TD_AT + 44, second + 10)
    rig.frames(2)
    assert driver.finished()
    assert rig.bytes(first, 7) + rig.bytes(second, 11) == DEVICE
    assert rig.word(r.TD_AT + 36) == 0


def test_skipped_endpoint_is_left_alone(rig, driver):
    driver.reset_port(0)
    driver.queue_control(0, GET_DEVICE)
    rig.set_word(r.ED_AT, rig.word(r.ED_AT) | 1 << 14)
    rig.frames(5)
    assert not driver.finished()
    rig.set_word(r.ED_AT, rig.word(r.ED_AT) & ~(1 << 14))
    rig.set_reg(r.COMMAND, 2)
    rig.frames(2)
    assert driver.finished()


def test_bulk_list_runs_too(rig, driver):
    driver.reset_port(0)
    driver.queue_control(0, GET_DEVICE)
    rig.set_reg(r.CTRL_HEAD, 0)
    rig.set_reg(r.CONTROL, r.OPERATIONAL | r.BLE)
    rig.set_reg(r.BULK_HEAD, r.ED_AT)
    rig.set_reg(r.COMMAND, 4)
    rig.frames(2)
    assert driver.finished()
    assert rig.bytes(r.DATA_AT + 0x100, 18) == DEVICE


def test_lists_that_are_off_or_no_bus_master_move_nothing(rig, driver):
    driver.reset_port(0)
    rig.set_reg(r.CONTROL, r.OPERATIONAL)
    driver.queue_control(0, GET_DEVICE)
    rig.frames(3)
    assert not driver.finished()
    rig.set_reg(r.CONTROL, r.OPERATIONAL | r.CLE)
    rig.ohci.write_config(4, 2, 0x02)
    before = rig.bytes(0, 1 << 20)
    rig.frames(3)
    assert rig.bytes(0, 1 << 20) == before


def test_isochronous_transfers_end_with_no_device_there(rig, driver):
    """No device here has an isochronous endpoint; such a list still moves on in time."""
    enumerate_device(driver, 0, 5)
    rig.set_reg(r.CONTROL, r.OPERATIONAL | r.PLE | r.IE)
    number = rig.reg(r.FM_NUMBER)
    at, td = r.ED_AT + 0x100, r.TD_AT + 0x100
    start = number + 3
    flags = 0xF << 28 | 1 << 24 | start & 0xFFFF
    for n, word in enumerate((flags, r.DATA_AT, td + 32, r.DATA_AT + 127, 0xE040E000, 0, 0, 0)):
        rig.set_word(td + 4 * n, word)
    driver.ed(at, 64 << 16 | 1 << 15 | 2 << 11 | 1 << 7 | 5, td, td + 32)
    for n in range(32):
        rig.set_word(r.HCCA_AT + 4 * n, at)
    rig.frames(2)
    assert rig.word(at + 8) == td
    rig.frames(2)
    assert rig.word(at + 8) == td + 32
    assert rig.word(td) >> 28 == 0
    assert rig.word(td + 16) == 0x50005000


# --- hostile guests -------------------------------------------------------------------------------


def test_circular_and_wild_lists_end_with_their_frame(rig, driver):
    driver.ed(r.ED_AT, 8 << 16, r.TD_AT, r.TD_AT + 32, r.ED_AT)
    for n in range(32):
        rig.set_word(r.HCCA_AT + 4 * n, r.ED_AT)
    driver.td(r.TD_AT, 0, 0, 0, r.TD_AT)
    rig.set_reg(r.CONTROL, r.OPERATIONAL | r.PLE | r.CLE | r.BLE | r.IE)
    rig.set_reg(r.CTRL_HEAD, r.ED_AT)
    rig.set_reg(r.BULK_HEAD, 0xFFFFFFF0)
    rig.set_reg(r.COMMAND, 6)
    rig.frames(20)
    assert rig.reg(r.FM_NUMBER) >= 19


def test_random_registers_and_memory_leave_a_state_that_can_be_saved():
    rig, random_ = Rig(), random.Random(5)
    region = rig.ohci.bars[0].target
    for n in range(10_000):
        offset, size = random_.randrange(0x100), random_.choice((1, 2, 4))
        if random_.random() < 0.3:
            region.load(offset, size)
        else:
            region.store(offset, random_.getrandbits(8 * size), size)
        if n % 50 == 0:
            region.store(0x04, 0xBC000000 | random_.getrandbits(16), 4)
            region.store(0x18, 0x00000100, 4)
        if n % 100 == 0:
            rig.set_bytes(random_.randrange(1 << 17), random_.randbytes(256))
            rig.clock.advance(rig.clock.now + random_.randrange(3 * MS))
    rig.cut()


def test_random_descriptors_are_carried_out_without_harm():
    rig, random_ = Rig(), random.Random(11)
    d = Driver(rig)
    d.start(r.PLE | r.CLE | r.BLE | r.IE)
    d.reset_port(0)
    d.reset_port(1)
    for _ in range(150):
        for n in range(32):
            rig.set_word(r.HCCA_AT + 4 * n, 0x20000 + 16 * random_.randrange(64))
        for n in range(64):
            at = 0x20000 + 16 * n
            info = random_.getrandbits(32) & 0x07FF7F80 | random_.choice((0, 0, 0, 3))
            head, tail = (0x21000 + 32 * random_.randrange(64) for _ in range(2))
            d.ed(at, info, head, tail, random_.choice((0, 0x20000 + 16 * random_.randrange(64))))
        for n in range(64):
            words = [random_.getrandbits(32), 0x22000 + random_.randrange(0x3000)]
            words += [0x21000 + 32 * random_.randrange(64), words[1] + random_.randrange(0x1800)]
            for k, word in enumerate(words):
                rig.set_word(0x21000 + 32 * n + 4 * k, word)
        rig.set_reg(r.CTRL_HEAD, 0x20000)
        rig.set_reg(r.BULK_HEAD, 0x20100)
        rig.set_reg(r.COMMAND, 6)
        rig.set_reg(r.STATUS, 0xFFFFFFFF)
        rig.frames(2)
    rig.cut()


# --- the wire -------------------------------------------------------------------------------------


def test_recorded_sections_load_and_save_to_the_same_bytes(shared):
    found = named(shared, "ohci")
    assert len(found) >= 5
    for section in found:
        ohci = Rig().ohci
        load_body(ohci, section)
        assert save_body(ohci) == section.body, section
        assert save_body(ohci, OURS) == section.body, section


def test_cut_at_every_frame_and_alarm_changes_nothing():
    """A transfer on a machine that is never cut and on one that is cut around each alarm."""
    steady, moving = Rig(), Rig()
    for one in (steady, moving):
        d = Driver(one)
        d.start()
        one.set_reg(r.ENABLE, 0x80000046)
        one.set_reg(r.PORT, 0x10)
    for step in range(30):
        if step == 15:
            for one in (steady, moving):
                Driver(one).queue_control(0, setup(0x80, 6, 0x200, 0, 34))
                one.set_word(r.ED_AT, 8 << 16)
        at = steady.clock.deadline
        steady.clock.advance(at)
        moving = moving.cut()
        moving.clock.advance(at)
        moving = moving.cut()
        assert moving.state() == steady.state(), step
    assert Driver(moving).finished()


def test_cut_in_the_middle_of_a_control_transfer(rig, driver):
    driver.reset_port(0)
    driver.queue_control(0, setup(0x80, 6, 0x200, 0, 34))
    tail = rig.word(r.ED_AT + 4)
    rig.set_word(r.ED_AT + 4, r.TD_AT + 64)  # the status stage is not yet there
    rig.set_word(r.TD_AT + 32 + 12, r.DATA_AT + 0x100 + 15)
    rig.frames(1)
    assert driver.finished()
    other = rig.cut()
    again = Driver(other)
    again.td(r.TD_AT + 64, 0xF << 28 | 2 << 19 | 7 << 21 | 1 << 18, r.DATA_AT + 0x110, 18, tail)
    other.set_word(r.ED_AT + 4, tail)
    other.set_reg(r.COMMAND, 2)
    other.frames(2)
    whole = other.keyboard.configuration_descriptor()
    assert len(whole) == 34
    assert other.bytes(r.DATA_AT + 0x100, 34) == whole


def test_section_for_qemu_has_the_frame_timer_only_while_it_runs(rig):
    assert len(save_body(rig.ohci, QEMU)) == 8639
    Driver(rig).start()
    assert len(save_body(rig.ohci, QEMU)) == 8639 + 33


def test_truncated_section_is_refused(rig):
    body = save_body(rig.ohci, OURS)
    with pytest.raises(StreamError, match="usb_buf"):
        load(rig.ohci, WireReader(body[: len(body) // 2]), 1)
