"""Holes of AArch64's code, on any host: encodings as LLVM's assembler (14) writes them."""

from __future__ import annotations

import pytest

from gossamer.base.units import MiB
from gossamer.cpu.model import find
from gossamer.engine.arena import CodeArena
from gossamer.engine.build import native
from gossamer.engine.elf import AARCH64, X86_64, Loader
from gossamer.engine.stencils.copying import STENCIL
from gossamer.engine.stencils.hosts import HOSTS
from gossamer.engine.stencils.made import made
from gossamer.engine.stencils.text import stencils_text
from gossamer.engine.units import units_of

PAGE, LOW = 275, 277


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
    texts = [stencils_text(architecture, unit) for unit in (0, *units_of(architecture))]
    written = sum(text.count(f'@"{STENCIL}') for text in texts)
    sheets = stencils.sheets.values()
    assert sum(len(sheet.rows) for sheet in sheets) == written > 500
    assert all(sheet.stop == (stencils.stop if n == 0 else 0) for n, sheet in enumerate(sheets))
    assert any(sheet.constants for sheet in sheets)


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
