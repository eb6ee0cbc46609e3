"""What a guest and its platform agree on, and what a hostile guest's words come to."""

from __future__ import annotations

import pytest

from gossamer.devices.spapr import cas
from gossamer.devices.spapr.calls import HARDWARE, PARAMETER, SUCCESS
from gossamer.isa.compat import LEVELS, Level, level_of
from tests.devices.spapr.option_vectors import LAST, LINUX, RAW, all_options, level, words
from tests.devices.spapr.rig import RAM, Rig

AT = 0x8000
POWER8 = cas.Platform(0x004D_0200, LEVELS, None, cas.ASSOCIATIVITY_1 | cas.MEMORY_LISTS)


def asked(data: bytes, platform: cas.Platform = POWER8, at: int = AT) -> cas.Agreement:
    ram = Rig().ram
    ram.write(at, data)
    return platform.negotiate(ram, at)


def named(name: str) -> Level:
    return next(one for one in LEVELS if one.name == name)


def below(name: str) -> cas.Platform:
    return cas.Platform(POWER8.pvr, LEVELS, named(name), POWER8.options)


def test_linux_and_a_power8_agree() -> None:
    found = asked(words())
    assert (found.code, found.level) == (SUCCESS, named("power8"))
    assert found.options == POWER8.options
    assert cas.as_property(found.options) == b"\x15" + bytes(4) + b"\x80" + bytes(16) + b"\x80"


def test_the_highest_level_wins_in_whatever_order() -> None:
    for pvrs in ([3, 2, 4], [4, 3], [2, 4, 5]):
        found = asked(words([*(level(0x0F00_0000 | n) for n in pvrs), RAW, LAST]))
        assert found.level is named("power8")


def test_a_limit_leaves_out_what_is_above_and_the_cpu_itself() -> None:
    assert asked(words(), below("power7")).level is named("power7")
    assert asked(words(LINUX), below("power6")).level is named("power6")
    itself = words([RAW, LAST])
    assert asked(itself).level is None
    assert asked(itself).code == SUCCESS
    assert asked(itself, below("power8")).code == HARDWARE


@pytest.mark.parametrize(
    ("data", "code", "why"),
    [
        (words([level(0x0F00_0005), LAST]), HARDWARE, "no such processor"),
        (words([LAST, level(0x0F00_0004)]), HARDWARE, "no such processor"),
        (words(five=b""), PARAMETER, "vector 5 is missing"),
        (words(five=all_options(byte23=0x40)), PARAMETER, "XIVE"),
        (words(five=all_options(byte24=0x80)), PARAMETER, "hashed and radix"),
    ],
)
def test_what_cannot_be_is_said(data: bytes, code: int, why: str) -> None:
    found = asked(data)
    assert found.code == code
    assert why in found.why
    assert not found.options


def test_words_that_end_outside_memory() -> None:
    whole = words()
    for cut in (1, 8, 8 * len(LINUX), 8 * len(LINUX) + 1, len(whole) - 1):
        found = asked(whole[:cut], at=RAM - cut)
        assert found.code in (PARAMETER, HARDWARE), cut
    for at in (RAM, RAM + 8, 0xFFFF_FFFF, 1 << 62):
        assert POWER8.negotiate(Rig().ram, at).code == PARAMETER
    assert asked(b"\0" * 8 * cas.MOST_PVRS).code == PARAMETER  # it ends after 512


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (b"\x00\x00\x80", 1),
        (b"\x00\x03\x00\x00\x00\x01", 1 << 31),
        (b"\x01\x00\xff\x00\x40", 2),
    ],
)
def test_vectors_are_bits_from_the_most_significant_on(data: bytes, options: int) -> None:
    ram = Rig().ram
    ram.write(AT, data)
    assert cas.vector(ram, AT, data[0] + 1) == options
    assert cas.vector(ram, AT, data[0] + 2) is None


def test_levels_are_found_by_their_pvr() -> None:
    assert [level_of(one.pvr) for one in LEVELS] == list(LEVELS)
    assert level_of(0) is level_of(0x0F00_0005) is None
