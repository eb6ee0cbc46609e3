"""6522: timers in exact ratio, flags, ports, the wire."""

from __future__ import annotations

import random

import pytest

from gossamer.base.wire import WireReader
from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.devices.via import SR, Via
from gossamer.state.transfer import OURS, load
from tests.devices.captures import load_body, named, save_body

RS = 0x200
B, A, DDRB, T1CL, T1CH, T1LL, T1LH, T2CL, T2CH = 0, 1, 2, 4, 5, 6, 7, 8, 9
SHIFT, ACR, IFR, IER = 10, 11, 13, 14
FREE_RUN, T1, T2 = 0x40, 0x40, 0x20


class Bench:
    """A 6522 with a register interface; tick n of a timer loaded at 0 begins at `at(n)`."""

    def __init__(self):
        self.clock = Clock()
        self.irq = IrqLine()
        self.via = Via(self.clock, self.irq)
        self.region = self.via.region()

    def read(self, register):
        return self.region.load(register * RS, 1)

    def write(self, register, value):
        self.region.store(register * RS, value, 1)

    def counter(self, low, high):
        """High and low byte without disturbing the flag."""
        return self.via.counter(0 if low == T1CL else 1)

    @staticmethod
    def at(tick):
        return -(-tick * 60_000 // 47)


@pytest.fixture
def bench():
    return Bench()


def test_t1_one_shot_counts_down_flags_once_and_goes_on(bench):
    bench.write(T1CL, 0x10)
    bench.write(T1CH, 0x00)
    bench.clock.advance(bench.at(0x10))
    assert (bench.via.counter(0), bench.read(IFR)) == (0, 0)
    bench.clock.advance(bench.at(0x11) - 1)
    assert bench.read(IFR) == 0
    bench.clock.advance(bench.at(0x11))
    assert (bench.via.counter(0), bench.read(IFR)) == (0xFFFF, T1)
    bench.read(T1CL)
    bench.clock.advance(bench.at(0x30000))
    assert bench.read(IFR) == 0
    assert bench.via.counter(0) == (0x10 - 0x30000) & 0xFFFF


def test_t1_free_run_has_a_period_of_latch_plus_two(bench):
    bench.write(ACR, FREE_RUN)
    bench.write(T1CL, 98)
    bench.write(T1CH, 0)
    seen = []
    for tick in range(1, 1000):
        bench.clock.advance(bench.at(tick))
        if bench.read(IFR) & T1:
            seen.append(tick)
            bench.read(T1CL)
    assert seen == list(range(99, 1000, 100))
    assert bench.via.timers[0].load_time == 0


def test_t1_when_watched_rarely_then_still_in_phase(bench):
    bench.write(ACR, FREE_RUN)
    bench.write(T1CL, 98)
    bench.write(T1CH, 0)
    bench.clock.advance(bench.at(99 + 100 * 1_000_000) - 1)
    bench.read(IFR)
    bench.read(T1CL)
    assert bench.read(IFR) == 0
    bench.clock.advance(bench.at(99 + 100 * 1_000_000))
    assert bench.read(IFR) == T1


def test_t1_latch_when_written_while_running_then_used_from_the_next_reload(bench):
    bench.write(ACR, FREE_RUN)
    bench.write(T1CL, 98)
    bench.write(T1CH, 0)
    bench.clock.advance(bench.at(150))
    bench.read(T1CL)
    bench.write(T1LL, 8)
    bench.write(T1LH, 0)
    seen = []
    for tick in range(151, 250):
        bench.clock.advance(bench.at(tick))
        if bench.read(IFR) & T1:
            seen.append(tick)
            bench.read(T1CL)
    assert seen == [199, 209, 219, 229, 239, 249]


def test_linux_calibration_measures_60_ms_of_47000_plus_2_ticks(bench):
    """via_calibrate_decr: latch 47000, two expiries."""
    bench.write(ACR, FREE_RUN)
    bench.write(T1CH, 2)
    bench.write(T1LL, 47000 & 0xFF)
    bench.write(T1LH, 47000 >> 8)
    times = []
    for _ in range(2):
        while not bench.read(IFR) & T1:
            bench.clock.advance(bench.clock.now + 1000)
        times.append(int(bench.clock.now))
        bench.read(T1CL)
    assert abs(times[1] - times[0] - 47002 * 60_000 // 47) <= 1000


def test_t1_interrupt_comes_at_the_first_ns_of_its_tick_and_rearms(bench):
    bench.write(ACR, FREE_RUN)
    bench.write(IER, 0x80 | T1)
    bench.write(T1CL, 98)
    bench.write(T1CH, 0)
    assert bench.clock.deadline == bench.at(99)
    bench.clock.advance(bench.at(99))
    assert bench.irq.level
    assert bench.read(IFR) == 0x80 | T1
    bench.read(T1CL)
    assert not bench.irq.level
    assert bench.clock.deadline == bench.at(199)


@pytest.mark.parametrize(
    ("latch", "until"),
    [(0, 3), (1, 77_777), (98, 1), (98, 1_000_000), (0xFFFF, 5_000_000), (0xFFFF, 1_234_567_890)],
)
def test_rounds_of_t1_that_change_nothing_are_passed_over_in_phase(latch, until):
    fired, skipped = Bench(), Bench()
    for bench in (fired, skipped):
        bench.write(ACR, FREE_RUN)
        bench.write(T1CL, latch & 0xFF)
        bench.write(T1CH, latch >> 8)
        bench.clock.advance(bench.at(latch + 1))
        assert bench.read(IFR) == T1
    end = fired.clock.now + until
    skipped.clock.skip_quiet(end)
    assert skipped.clock.deadline >= end
    while fired.clock.deadline < end:
        fired.clock.advance(fired.clock.deadline)
    for bench in (fired, skipped):
        bench.clock.advance(end)
    assert fired.clock.deadline == skipped.clock.deadline
    assert save_body(fired.via, OURS) == save_body(skipped.via, OURS)


def test_a_round_of_t1_that_sets_its_flag_is_never_passed_over(bench):
    bench.write(ACR, FREE_RUN)
    bench.write(T1CL, 98)
    bench.write(T1CH, 0)
    bench.clock.skip_quiet(bench.at(5000))
    assert bench.clock.deadline == bench.at(99)


def test_mode_changes_keep_the_count(bench):
    bench.write(T1CL, 98)
    bench.write(T1CH, 0)
    bench.clock.advance(bench.at(120))
    was = bench.via.counter(0)
    bench.write(ACR, FREE_RUN)
    assert bench.via.counter(0) == was == (98 - 120) & 0xFFFF
    bench.read(T1CL)
    bench.clock.advance(bench.at(120 + was + 1) + 1)
    assert bench.read(IFR) & T1
    bench.clock.advance(bench.at(120 + was + 2 + 10) + 1)
    assert bench.via.counter(0) == 88
    bench.write(ACR, 0)
    assert bench.via.counter(0) == 88


def test_t2_flags_once_and_stops_while_it_counts_pulses(bench):
    bench.write(T2CL, 10)
    bench.write(T2CH, 0)
    bench.clock.advance(bench.at(5))
    bench.write(ACR, 0x20)
    bench.clock.advance(bench.at(500))
    assert (bench.via.counter(1), bench.read(IFR)) == (5, 0)
    bench.write(ACR, 0)
    bench.clock.advance(bench.at(505) + 1)
    assert bench.read(IFR) == 0
    bench.clock.advance(bench.at(506) + 1)
    assert bench.read(IFR) == T2
    bench.read(T2CL)
    bench.clock.advance(bench.at(200_000))
    assert bench.read(IFR) == 0


def test_ifr_is_written_with_ones_and_ier_sets_or_clears(bench):
    bench.via.raise_flag(SR)
    assert bench.read(IFR) == SR
    bench.write(IER, 0x84)
    assert bench.irq.level
    assert bench.read(IER) == 0x84
    bench.write(IFR, SR)
    assert not bench.irq.level
    bench.write(IER, 0x04)
    assert bench.read(IER) == 0x80


def test_shift_register_access_clears_its_flag(bench):
    bench.via.raise_flag(SR)
    bench.write(SHIFT, 0x5A)
    assert (bench.read(IFR), bench.read(SHIFT)) == (0, 0x5A)
    assert bench.via.last_irq_levels == 0


def test_port_latch_keeps_what_is_written_to_inputs(bench):
    bench.write(DDRB, 0x0F)
    bench.write(B, 0xFF)
    assert bench.read(B) == 0x0F
    assert bench.via.extra_needed()
    bench.write(DDRB, 0xFF)
    assert bench.read(B) == 0xFF
    assert not bench.via.extra_needed()


def test_recorded_sections_load_and_save_to_the_same_bytes(shared):
    found = named(shared, "mos6522")
    assert len(found) >= 15
    for section in found:
        bench = Bench()
        load_body(bench.via, section)
        assert save_body(bench.via) == section.body, section
        assert save_body(bench.via, OURS) == section.body, section


def test_our_stream_carries_latch_and_phase(bench):
    bench.write(ACR, FREE_RUN)
    bench.write(T1CL, 98)
    bench.write(T1CH, 0)
    bench.clock.advance(bench.at(150))
    bench.write(T1LL, 8)
    bench.write(DDRB, 0)
    bench.write(B, 0x55)
    assert bench.via.phases[0] != 0
    saved = save_body(bench.via, OURS)
    other = Bench()
    other.clock.set(bench.clock.now)
    load(other.via, WireReader(saved), 1)
    assert save_body(other.via, OURS) == saved
    for tick in (198, 199, 208, 209, 210, 1_000_003):
        for b in (bench, other):
            b.clock.advance(bench.at(tick))
        assert bench.via.counter(0) == other.via.counter(0)
        assert bench.read(IFR) == other.read(IFR)


def test_hostile_accesses_leave_a_state_that_can_be_saved(bench):
    rng = random.Random(2)
    for _ in range(10_000):
        at = rng.randrange(bench.region.size - 8)
        size = rng.choice((1, 2, 4, 8))
        if rng.random() < 0.4:
            bench.clock.advance(bench.clock.now + rng.choice((1, 1000, 10**6, 10**11)))
        if rng.random() < 0.5:
            assert 0 <= bench.region.load(at, size) < 1 << 8 * size
        else:
            bench.region.store(at, rng.getrandbits(8 * size), size)
    assert len(save_body(bench.via)) == 66
    save_body(bench.via, OURS)


def test_an_event_before_the_clock_began_can_be_saved(bench):
    """Only a stream holds one; what has taken it on must not fail to be saved."""
    bench.write(IER, 0x80 | T1)
    bench.write(T1CL, 0x10)
    bench.write(T1CH, 0x00)
    bench.via.timers[0].next_irq_time = -5
    body = save_body(bench.via)
    load(bench.via, WireReader(body), bench.via.version, OURS)
    assert save_body(bench.via) == body
