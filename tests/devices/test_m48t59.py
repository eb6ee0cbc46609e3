"""The clock chip of the 405EP board, and the calendar under it."""

from __future__ import annotations

import datetime

import pytest

from gossamer.base.civil import date_of, days_of
from gossamer.core.clock import Clock
from gossamer.devices.m48t59 import CONTROL, DATE, HOURS, SECONDS, SIZE, YEAR, M48t59

NOON = int(datetime.datetime(2026, 11, 30, 12, 34, 56, tzinfo=datetime.UTC).timestamp())


def test_calendar() -> None:
    for day in range(-20_000, 60_000, 97):
        t = datetime.date(1970, 1, 1) + datetime.timedelta(days=day)
        assert date_of(day) == (t.year, t.month, t.day)
        assert days_of(t.year, t.month, t.day) == day
    with pytest.raises(ValueError, match="there is no 2023-02-29"):
        days_of(2023, 2, 29)


def test_clock_shows_and_counts() -> None:
    clock = Clock()
    chip = M48t59(clock, NOON)
    shown = [chip.read(n, 1) for n in range(SECONDS, SIZE)]
    assert shown == [0x56, 0x34, 0x12, 2, 0x30, 0x11, 0x58]  # a Monday
    clock.set(4 * 10**9)
    assert chip.read(SECONDS, 1) == 0


def test_clock_is_set() -> None:
    chip = M48t59(Clock(), NOON)
    chip.write(HOURS, 1, 0x07)
    chip.write(YEAR, 1, 0x32)
    chip.write(DATE, 1, 0x29)
    assert [chip.read(n, 1) for n in (HOURS, YEAR, DATE, SECONDS)] == [0x07, 0x32, 0x29, 0x56]
    chip.write(DATE, 1, 0x45)  # no such day
    assert chip.read(DATE, 1) == 0x29
    chip.write(CONTROL, 1, 0xC0)
    chip.write(0, 1, 0xAB)
    assert (chip.read(CONTROL, 1), chip.read(0, 1)) == (0xC0, 0xAB)
    chip.reset()
    assert chip.read(0, 1) == 0xAB
