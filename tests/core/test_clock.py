"""Virtual time: alarms in order, each exactly once, at its time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gossamer.base.units import tick_time, ticks_at
from gossamer.core.clock import NEVER, STALE, Alarm, Clock


def test_alarms_fire_in_order_of_time_then_path() -> None:
    clock, fired = Clock(), []
    alarms = {
        name: clock.alarm(lambda name=name: fired.append((name, clock.now))) for name in "dabc"
    }
    for name, alarm in alarms.items():
        alarm.key = (name, "")
    for name, when in (("d", 10), ("c", 20), ("b", 10), ("a", 20)):
        alarms[name].set(when)
    assert clock.deadline == 10
    clock.advance(10)
    assert fired == [("b", 10), ("d", 10)]
    clock.advance(25)
    assert fired[2:] == [("a", 25), ("c", 25)]
    assert clock.deadline == NEVER


def test_order_does_not_depend_on_arming_history() -> None:
    for order in ("ab", "ba", "aba", "bab"):
        clock, fired = Clock(), list[str]()
        alarms = {n: clock.alarm(lambda n=n, to=fired: to.append(n)) for n in "ab"}
        for name, alarm in alarms.items():
            alarm.key = (name, "")
        for name in order:
            alarms[name].set(7)
        clock.advance(7)
        assert fired == ["a", "b"], order


def test_alarm_rearmed_cancelled_or_moved_fires_only_at_its_last_time() -> None:
    clock, fired = Clock(), []
    alarm = clock.alarm(lambda: fired.append(clock.now))
    alarm.set(5)
    alarm.set(9)
    clock.advance(8)
    assert fired == []
    alarm.set(20)
    alarm.cancel()
    assert (alarm.armed, clock.deadline) == (False, NEVER)
    clock.advance(30)
    assert fired == []


def test_periodic_alarm_counts_on_from_its_due_time() -> None:
    clock, due = Clock(), []

    def fire() -> None:
        due.append(alarm.due)
        alarm.set(alarm.due + 10)

    alarm: Alarm = clock.alarm(fire)
    alarm.set(10)
    clock.advance(35)
    assert (due, alarm.when) == ([10, 20, 30], 40)


def test_alarm_for_the_past_fires_at_the_next_boundary() -> None:
    clock, fired = Clock(), []
    clock.advance(100)
    alarm = clock.alarm(lambda: fired.append(clock.now))
    alarm.set(-5)
    assert (alarm.when, clock.deadline) == (0, 0)
    clock.advance(100)
    assert fired == [100]


def test_deadline_before_the_horizon_is_announced_and_a_later_one_is_not() -> None:
    clock, moved = Clock(), []
    clock.horizon = 150
    clock.deadline_moved = lambda: moved.append(clock.deadline)
    a, b = clock.alarm(lambda: None), clock.alarm(lambda: None)
    a.set(100)
    b.set(200)
    b.set(50)
    assert moved == [100, 50]


def test_quiet_alarms_wake_no_host_and_stop_before_what_is_due() -> None:
    clock, skipped = Clock(), []
    quiet, other = clock.alarm(lambda: None), clock.alarm(lambda: None)
    calm = [True]
    clock.may_skip(quiet, lambda: calm[0], skipped.append)
    quiet.set(10)
    assert clock.idle_deadline == NEVER
    other.set(50)
    assert (clock.deadline, clock.idle_deadline) == (10, 50)
    clock.skip_quiet(100)
    assert skipped == [50]
    clock.skip_quiet(30)
    assert skipped == [50, 30]
    clock.skip_quiet(10)
    assert skipped == [50, 30]
    calm[0] = False
    clock.skip_quiet(100)
    assert skipped == [50, 30]
    assert clock.idle_deadline == 10


def test_set_moves_time_without_firing() -> None:
    clock, fired = Clock(), []
    clock.alarm(lambda: fired.append(1)).set(5)
    clock.set(50)
    assert (clock.now, fired, clock.deadline) == (50, [], 5)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(-1, 60)), max_size=60))
def test_deadline_is_the_least_of_the_armed(steps: list[tuple[int, int]]) -> None:
    clock = Clock()
    alarms = [clock.alarm(lambda: None) for _ in range(10)]
    for which, when in steps:
        if when < 0:
            alarms[which].cancel()
        else:
            alarms[which].set(when)
        armed = [a.when for a in alarms if a.armed]
        assert clock.deadline == min(armed, default=NEVER)


@given(st.integers(0, 2**62), st.sampled_from([16_600_000, 25_000_000, 99_999_999, 3, 10**9]))
def test_tick_times_are_exact(tick: int, frequency: int) -> None:
    when = tick_time(tick, frequency)
    assert ticks_at(when, frequency) == tick if frequency <= 10**9 else True
    assert when == 0 or ticks_at(when - 1, frequency) < tick


def test_alarm_armed_again_and_again_leaves_a_bounded_heap() -> None:
    """Case 16: whatever a guest re-arms or cancels, the host keeps a few entries of it."""
    clock, fired = Clock(), []
    alarms = [clock.alarm(lambda n=n: fired.append(n)) for n in range(5)]
    for n in range(100_000):
        alarms[n % 4].set(10**9 + n)
        if n % 3 == 0:
            alarms[n % 4].cancel()
    alarms[4].set(5)
    assert len(clock._heap) <= STALE + 2 * len(alarms)
    clock.advance(5)
    assert fired == [4]
    live = sorted((alarm.when, n) for n, alarm in enumerate(alarms) if alarm.armed)
    clock.advance(2 * 10**9)
    assert fired[1:] == [n for _, n in live]
