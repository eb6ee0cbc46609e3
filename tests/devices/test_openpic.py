"""OpenPIC: priorities, senses, IPIs, timers that count, and the recorded sections."""

from __future__ import annotations

import random

import pytest

from gossamer.base.errors import StreamError
from gossamer.base.wire import WireReader
from gossamer.core.clock import STALE, Clock
from gossamer.core.irq import IrqLine
from gossamer.devices.openpic import OpenPic
from gossamer.state.transfer import OURS, load
from tests.devices.captures import QEMU, load_body, named, save_body

LEVEL, EDGE = 0x0040_0000, 0
SPURIOUS = 0xFF


class Out:
    def __init__(self):
        self.level, self.rises = False, 0

    def input_changed(self, _pin, level):
        self.rises += level and not self.level
        self.level = level

    def input_assigned(self, _pin, level):
        self.level = level


@pytest.fixture
def rig():
    clock, out = Clock(), Out()
    pic = OpenPic(clock, IrqLine(out, 0))
    pic.write_register(0x1020, 4, 0x2000_0000)
    pic.write_register(0x20080, 4, 0)
    return pic, out, clock


def set_up(pic, n, priority, vector, sense=EDGE):
    pic.write_register(0x10000 + 32 * n, 4, sense | priority << 16 | vector)
    pic.write_register(0x10010 + 32 * n, 4, 1)


def ack(pic):
    return pic.read_register(0x200A0, 4)


def eoi(pic):
    pic.write_register(0x200B0, 4, 0)


def test_reset_values_are_those_that_qemu_shows():
    pic = OpenPic(Clock(), IrqLine(Out(), 0))
    assert pic.read_register(0x1000, 4) == 0x003F_0002
    assert pic.read_register(0x10A0, 4) == 0xA000_0000
    assert pic.read_register(0x10E0, 4) == 0xFF
    assert pic.read_register(0x10F0, 4) == 4_160_000
    assert pic.read_register(0x1110, 4) == 0x8000_0000
    assert pic.read_register(0x20080, 4) == 15
    assert pic.read_register(0x200A0, 4) == SPURIOUS


def test_level_source_comes_again_after_eoi_while_it_is_active(rig):
    pic, out, _ = rig
    set_up(pic, 0x1C, 8, 0x1C, LEVEL)
    pic.input_changed(0x1C, True)
    assert out.level
    assert ack(pic) == 0x1C
    assert not out.level
    eoi(pic)
    assert out.level
    pic.input_changed(0x1C, False)
    assert not out.level
    assert ack(pic) == SPURIOUS


def test_edge_is_latched_and_comes_once(rig):
    pic, out, _ = rig
    set_up(pic, 5, 3, 0x45)
    pic.input_changed(5, True)
    pic.input_changed(5, False)
    assert out.level
    assert ack(pic) == 0x45
    eoi(pic)
    assert not out.level


def test_edge_during_service_comes_after_eoi(rig):
    pic, out, _ = rig
    set_up(pic, 5, 3, 0x45)
    pic.input_changed(5, True)
    ack(pic)
    pic.input_changed(5, False)
    pic.input_changed(5, True)
    assert not out.level
    eoi(pic)
    assert out.level
    assert ack(pic) == 0x45


def test_masked_edge_is_remembered(rig):
    pic, out, _ = rig
    set_up(pic, 5, 3, 0x45)
    pic.write_register(0x100A0, 4, 0x8003_0045)
    pic.input_changed(5, True)
    assert not out.level
    pic.write_register(0x100A0, 4, 0x0003_0045)
    assert out.level


def test_higher_priority_preempts_and_lower_waits(rig):
    pic, out, _ = rig
    set_up(pic, 1, 4, 0x11, LEVEL)
    set_up(pic, 2, 9, 0x22, LEVEL)
    set_up(pic, 3, 4, 0x33, LEVEL)
    pic.input_changed(1, True)
    assert ack(pic) == 0x11
    pic.input_changed(3, True)
    assert not out.level
    pic.input_changed(2, True)
    assert out.level
    assert ack(pic) == 0x22
    assert pic.cpu.servicing.bits == 0b110
    pic.input_changed(2, False)
    eoi(pic)
    assert not out.level  # 0x11 still in service, 3 is no higher
    pic.input_changed(1, False)
    eoi(pic)
    assert ack(pic) == 0x33


def test_task_priority_holds_back(rig):
    pic, out, _ = rig
    set_up(pic, 1, 4, 0x11, LEVEL)
    pic.input_changed(1, True)
    pic.write_register(0x20080, 4, 4)
    assert not out.level
    assert ack(pic) == SPURIOUS
    pic.write_register(0x80, 4, 3)
    assert out.level


def test_spurious_acknowledge_takes_nothing_away(rig):
    """An edge that task priority holds back; QEMU 7.2 forgets it when IACK is read."""
    pic, out, _ = rig
    set_up(pic, 5, 3, 0x45)
    pic.write_register(0x20080, 4, 8)
    pic.input_changed(5, True)
    pic.input_changed(5, False)
    assert ack(pic) == SPURIOUS
    pic.write_register(0x20080, 4, 0)
    assert out.level
    assert ack(pic) == 0x45


def test_end_of_interrupt_heeds_the_task_priority(rig):
    """What waits below it stays out; QEMU 7.2 raises its output then, and loses an edge."""
    pic, out, _ = rig
    set_up(pic, 1, 9, 0x99)
    set_up(pic, 2, 4, 0x44)
    pic.write_register(0x20080, 4, 6)
    for pin in (2, 1):
        pic.input_changed(pin, True)
    assert ack(pic) == 0x99
    eoi(pic)
    assert not out.level
    pic.write_register(0x20080, 4, 0)
    assert ack(pic) == 0x44


def test_priority_zero_and_no_destination_never_interrupt(rig):
    pic, out, _ = rig
    set_up(pic, 1, 0, 0x11, LEVEL)
    pic.input_changed(1, True)
    assert not out.level
    assert ack(pic) == SPURIOUS
    assert pic.read_register(0x10020, 4) == 0x4040_0011  # requested all the same
    set_up(pic, 1, 1, 0x11, LEVEL)
    assert out.level
    pic.write_register(0x10030, 4, 2)
    assert not out.level


def test_activity_bit_while_requested_or_in_service(rig):
    pic, _, _ = rig
    set_up(pic, 7, 1, 0x77)
    pic.input_changed(7, True)
    assert pic.read_register(0x100E0, 4) == 0x4001_0077
    ack(pic)
    assert pic.read_register(0x100E0, 4) == 0x4001_0077
    eoi(pic)
    assert pic.read_register(0x100E0, 4) == 0x0001_0077


def test_ipi_to_this_processor(rig):
    pic, out, _ = rig
    pic.write_register(0x10B0, 4, 0x000A_00F1)
    pic.write_register(0x20050, 4, 2)
    assert not out.level
    pic.write_register(0x50, 4, 1)
    assert out.level
    assert ack(pic) == 0xF1
    eoi(pic)
    assert not out.level


def test_pass_through_hands_source_zero_on(rig):
    pic, out, _ = rig
    pic.input_changed(0, True)
    assert not out.level
    pic.write_register(0x1020, 4, 0)
    assert out.level
    pic.input_changed(0, False)
    assert not pic.level
    assert out.level == pic.level


def test_reset_bit_clears_all_but_the_inputs(rig):
    pic, out, _ = rig
    set_up(pic, 9, 5, 0x99, LEVEL)
    pic.input_changed(9, True)
    pic.write_register(0x1020, 4, 0xA000_0000)
    assert not out.level
    assert pic.read_register(0x1020, 4) == 0
    pic.write_register(0x20080, 4, 0)
    set_up(pic, 9, 5, 0x99, LEVEL)
    assert out.level


# --- timers ---------------------------------------------------------------------------------------


def test_timer_counts_toggles_and_interrupts_at_its_rate(rig):
    pic, out, clock = rig
    pic.write_register(0x1120, 4, 0x0005_0081)
    pic.write_register(0x1130, 4, 1)
    pic.write_register(0x1110, 4, 4160)  # 1 ms
    clock.advance(500_000)
    assert pic.read_register(0x1100, 4) == 2080
    clock.advance(999_999)
    assert not out.level
    clock.advance(1_000_000)
    assert out.level
    assert pic.read_register(0x1100, 4) == 0x8000_0000 | 4160
    assert ack(pic) == 0x81
    eoi(pic)
    clock.advance(1_999_999)
    assert not out.level
    clock.advance(2_000_000)
    assert out.level
    assert pic.read_register(0x1100, 4) == 4160


def test_unnoticed_periods_cost_no_alarms_and_lose_no_phase(rig):
    pic, _, clock = rig
    pic.write_register(0x1130, 4, 1)
    pic.write_register(0x1120, 4, 0x0005_0081)
    pic.write_register(0x1110, 4, 3)
    clock.advance(1_000_000)
    assert not pic.timers[0].timer.armed
    assert pic.read_register(0x1100, 4) & 0x7FFF_FFFF == 3 - 4160 % 3
    assert ack(pic) == 0x81
    assert pic.timers[0].timer.when == -(-4161 * 3125 // 13)


def test_new_base_is_used_from_the_next_reload_and_inhibit_freezes(rig):
    pic, _, clock = rig
    pic.write_register(0x1150, 4, 4160)
    clock.advance(250_000)
    pic.write_register(0x1150, 4, 416)
    assert pic.read_register(0x1140, 4) == 3120
    clock.advance(1_000_000)
    assert pic.read_register(0x1140, 4) == 0x8000_0000 | 416
    clock.advance(1_050_000)
    pic.write_register(0x1150, 4, 0x8000_0000 | 416)
    assert pic.read_register(0x1140, 4) == 0x8000_0000 | 208
    clock.advance(9_000_000)
    assert pic.read_register(0x1140, 4) == 0x8000_0000 | 208


def test_timer_toggled_without_end_leaves_no_entries(rig):
    """Case 16: base counts written in turn, unmasked, as fast as the guest can."""
    pic, _, clock = rig
    pic.write_register(0x1120, 4, 0x0005_0081)
    for _ in range(2000):
        pic.write_register(0x1110, 4, 0x8000_0000)
        pic.write_register(0x1110, 4, 0x7FFF_FFFF)
    assert len(clock._heap) <= STALE + 2 * len(clock.alarms)


# --- streams --------------------------------------------------------------------------------------


def test_recorded_sections_load_and_save_to_the_same_bytes(shared):
    found = named(shared, "openpic")
    assert len(found) >= 6
    for section in found:
        pic = OpenPic(Clock(), IrqLine(Out(), 0))
        load_body(pic, section)
        assert save_body(pic) == section.body, section
        assert save_body(pic, OURS) == section.body, section


def test_running_timer_goes_on_exactly_after_a_load(rig):
    pic, _, clock = rig
    pic.write_register(0x11A0, 4, 0x0007_0083)
    pic.write_register(0x11B0, 4, 1)
    pic.write_register(0x1190, 4, 4161)
    clock.advance(12_345_678)
    other_clock, out = Clock(), Out()
    other_clock.set(12_345_678)
    other = OpenPic(other_clock, IrqLine(out, 0))
    body = save_body(pic, OURS)
    load(other, WireReader(body), 3)
    other.resume()
    assert save_body(other, OURS) == body
    assert out.level  # pending since the first period
    assert ack(other) == ack(pic) == 0x83
    assert other.timers[2].timer.when == pic.timers[2].timer.when
    assert other.read_register(0x1180, 4) == pic.read_register(0x1180, 4)
    assert len(save_body(pic, QEMU)) == 1584


def test_level_that_does_not_fit_its_driver_is_put_right(rig):
    pic, out, _ = rig
    set_up(pic, 9, 5, 0x99, LEVEL)
    pic.input_assigned(9, True)
    assert out.level
    assert ack(pic) == 0x99


def test_queue_with_bits_of_no_source_is_refused(rig):
    pic, _, _ = rig
    body = bytearray(save_body(pic))
    body[1392 + 16] = 1
    with pytest.raises(StreamError, match="there are 72 sources, got bits"):
        load(pic, WireReader(bytes(body)), 3)


def test_random_accesses_leave_a_state_that_can_be_saved(rig):
    pic, _, clock = rig
    region, random_ = pic.region(), random.Random(3)
    now = 0
    for _ in range(10_000):
        base = random_.choice((0, 0x1000, 0x1080, 0x1100, 0x10000, 0x10800, 0x20000, 0x21000))
        offset, size = base + random_.randrange(0x200), random_.choice((1, 2, 4))
        if random_.random() < 0.5:
            region.load(offset, size)
        else:
            region.store(offset, random_.getrandbits(8 * size), size)
        if random_.random() < 0.1:
            pic.input_changed(random_.randrange(64), random_.random() < 0.5)
        now += random_.randrange(1000)
        clock.advance(now)
    body = save_body(pic, OURS)
    other_clock = Clock()
    other_clock.set(now)
    other = OpenPic(other_clock, IrqLine(Out(), 0))
    load(other, WireReader(body), 3)
    assert save_body(other, OURS) == body
