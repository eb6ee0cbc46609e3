"""The MMU is the model's strategy: another one is a class and a line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import llvmlite.binding as llvm
import pytest

from gossamer.core.memory import AddressMap, Arena
from gossamer.cpu import mmu
from gossamer.cpu.embedded import Embedded
from gossamer.cpu.hashed import Hashed
from gossamer.cpu.misses import Loaded
from gossamer.cpu.model import MODELS, PVRS_405
from gossamer.cpu.slb import Segments
from gossamer.cpu.translation import NOT_FOUND, WIMG_REAL, Translation
from gossamer.engine.emit import METADATA
from gossamer.engine.reference import Reference
from gossamer.engine.runtime import translation_functions
from gossamer.engine.tier0 import Tier0
from gossamer.isa.architecture import Architecture, architecture
from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, const, ltu, select
from gossamer.isa.interrupts import Access
from gossamer.isa.text import assemble

LIMIT: Final = 0x8000


@dataclass(frozen=True)
class Mirrored:
    """Data are where the address has bit 12 inverted; beyond a limit there are none."""

    architecture: Architecture
    lacking = ""
    searches_by_software = False
    miss = 0
    miss_vectors = ()

    def translate(self, s: Body, ea: Expr, access: Access) -> Translation:
        ra = ea if access is Access.FETCH else ea ^ 0x1000
        there = ltu(ea, LIMIT)
        fault = select(there, s.word(0), s.word(NOT_FOUND))
        return Translation(ra, fault, const(WIMG_REAL, 4), there)

    def enter(self, s: Body) -> None:
        """No registers of its own."""

    def enter_miss(self, s: Body, vector: Expr, srr0: Expr, ea: Expr) -> None:
        raise AssertionError


PART: Final = architecture("750", mmu="mirrored")


@pytest.fixture(autouse=True)
def mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mmu.STRATEGIES, "mirrored", Mirrored)


def test_models_have_the_mmus_of_their_parts() -> None:
    found = {name: type(mmu.of(model.architecture)) for name, model in MODELS.items()}
    others = {
        "603e": Loaded,
        "970mp_v1.1": Segments,
        "power8_v2.0": Segments,
        **dict.fromkeys(PVRS_405, Embedded),
    }
    assert found == {name: others.get(name, Hashed) for name in MODELS}


@pytest.mark.parametrize("made", [Reference, pytest.param(Tier0, marks=pytest.mark.slow)])
def test_an_engine_translates_as_the_strategy_says(
    made: type[Reference] | type[Tier0], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # native code that nothing else uses
    arena = Arena(0x1_0000)
    memory = AddressMap(arena)
    memory.map(arena.add("ram", 0x1_0000), 0)
    engine = made(memory, PART)
    memory.write(0x2100, assemble("stw 3,0(4); lwz 5,0(4); stw 3,0(6)"))
    for name, value in (("nia", 0x2100), ("msr", 0)):
        engine.block.set(name, value)
    for n, value in ((3, 0x1234_5678), (4, 0x4010), (6, LIMIT)):
        engine.block.set("gpr", value, n)
    assert engine.run(3) == 3
    assert memory.read(0x5010, 4).hex() == "12345678"
    assert engine.block.get("gpr", 5) == 0x1234_5678
    assert (engine.block.get("nia"), engine.block.get("dar")) == (0x300, LIMIT)
    assert engine.block.get("dsisr") == NOT_FOUND


def test_native_code_has_the_same_text() -> None:
    intrinsics: set[str] = set()
    text = translation_functions(intrinsics, PART)
    assert "@xlate_write(" in text
    assert "4096" in text
    module = llvm.parse_assembly("\n".join([*sorted(intrinsics), text, METADATA]))
    module.verify()
