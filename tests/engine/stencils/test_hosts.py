"""Holes of AArch64's code, on any host: encodings as LLVM's assembler (14) writes them."""

from __future__ import annotations

from typing import Final

import pytest

from gossamer.base.units import MiB
from gossamer.cpu.model import find
from gossamer.engine.arena import CodeArena
from gossamer.engine.build import native, stencils_for
from gossamer.engine.elf import AARCH64, X86_64, Loader, Object
from gossamer.engine.stencils.hosts import HOSTS
from gossamer.engine.stencils.made import made
from gossamer.engine.stencils.text import STENCIL
from gossamer.engine.units import units_of

PAGE, LOW = 275, 277
ADRP: Final = bytes.fromhex("08000090")  # adrp x8, symbol
ADD: Final = bytes.fromhex("08010091")  # add x8, x8, :lo12:symbol
NOP: Final = "1f2003d5"


@pytest.mark.parametrize(
    ("value", "first", "second"),
    [
        (0, NOP, "080080d2"),  # movz x8, 0
        (0x5678, NOP, "08cf8ad2"),  # movz x8, 0x5678
        (0x1_0000, "2800a0d2", "080080f2"),  # movz x8, 1, lsl 16; movk x8, 0
        (0x1234_5678, "8846a2d2", "08cf8af2"),
        (0xFFFF_FFFF, "e8ffbfd2", "e8ff9ff2"),
        (-1, "0800a092", "e8ff9ff2"),  # movn x8, 0, lsl 16; movk x8, 0xffff
        ((-0x1235 << 16) + 0x5678, "8846a292", "08cf8af2"),
    ],
)
def test_pair_holds_the_value(value: int, first: str, second: str) -> None:
    host, code = HOSTS[AARCH64], bytearray(ADRP + ADD)
    for at, kind in ((0, PAGE), (4, LOW)):
        assert host.holds(code, at, kind)
        host.fills[kind](code, at, value)
    assert (code[:4].hex(), code[4:].hex()) == (first, second)


def test_value_that_no_pair_holds_is_a_fault() -> None:
    for value in (1 << 32, -(1 << 31) - 1):
        with pytest.raises(AssertionError, match="a hole for"):
            HOSTS[AARCH64].fills[PAGE](bytearray(ADRP), 0, value)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("09010091", LOW),  # add x9, x8, :lo12:symbol: movk has no other source
        ("080140f9", LOW),  # ldr x8, [x8, :lo12:symbol]
        ("08000010", PAGE),  # adr x8, symbol
    ],
)
def test_other_instructions_are_refused(code: str, kind: int) -> None:
    assert not HOSTS[AARCH64].holds(bytes.fromhex(code), 0, kind)


def test_every_stencil_of_this_host_is_understood() -> None:
    architecture = find("7400").architecture
    tier0 = native(architecture)
    stencils = made(architecture, tier0)
    for unit in units_of(architecture):
        tier0.unit(unit)
    stencils.follow(beside=False)
    objects = [Object(stencils_for(architecture, unit)) for unit in (0, *units_of(architecture))]
    names = {s.name for o in objects for s in o.symbols}
    assert len(stencils.by_handler) == sum(n.startswith(STENCIL) for n in names) > 500
    assert sum(s.goes_on for s in stencils.by_handler.values()) > 500
    assert any(s.constants for s in stencils.by_handler.values())


def test_branches_of_128_mib_find_a_stub_in_reach() -> None:
    arena = CodeArena(200 * MiB)
    loader, reach = Loader(arena, {"h_jump": 0x1234}), 128 * MiB
    for machine in (X86_64, AARCH64):
        loader.clear()
        first = loader.stub("h_jump", machine)
        assert loader.stub("h_jump", machine) == first
        arena.used = reach
        again = loader.stub("h_jump", machine)
        assert first is not None
        assert again is not None
        assert (arena.used - again < reach // 2) == (machine == AARCH64)
    arena.close()
