"""Units of tier 0: made when an instruction of theirs is met; no guest sees anything of it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossamer.base.errors import HostError
from gossamer.engine import build, llvm, units
from gossamer.engine.reference import Reference
from gossamer.engine.regions.regions import Regions
from gossamer.engine.tier0 import Tier0
from gossamer.engine.variants import variants
from gossamer.isa.spec.table import Decoder
from gossamer.isa.text import assemble

from .rig import Rig, difference
from .texts import architectures

CODE = 0x1_0000
MSR_VEC = 0x0200_0000
VECTOR = units.UNITS.index("vector")
LOOP = "1: addi 3,3,1; vaddubm 1,1,2; vsububm 3,3,1; addi 4,4,1; bdnz 1b; 2: b 2b"
WITH_UNITS = {name: a for name, a in architectures().items() if units.units_of(a)}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """A process that has loaded no unit, before and after."""
    build.native.cache_clear()
    yield
    build.native.cache_clear()


def rig_with(engine: type, text: str = LOOP, msr: int = MSR_VEC, ctr: int = 40) -> Rig:
    rig = Rig(engine, cpu="7400")
    rig.write(CODE, assemble(text, CODE))
    rig.set(ctr=ctr, msr=msr)
    for n in range(4):
        rig.cpu.block.set("vr", 0x0102_0304_0506_0708_090A_0B0C_0D0E_0F10 * (n + 1), n)
    return rig


def loaded(rig: Rig) -> set[int]:
    assert isinstance(rig.engine, Tier0)
    return set(rig.engine.native.units)


@pytest.mark.parametrize("stops", [(400,), (1, 1, 1, 1, 1, 3, 9, 100), (3, 2, 1, 500)])
def test_first_instruction_of_a_unit_loads_it_and_every_stop_is_exact(stops: tuple[int]) -> None:
    rig, other = rig_with(Tier0), rig_with(Reference)
    assert not loaded(rig)
    for count in stops:
        rig.run(count)
        other.run(count)
        assert not (d := difference(rig, other)), d
    assert loaded(rig) == {VECTOR}


def test_a_guest_without_such_instructions_loads_none() -> None:
    rig = rig_with(Tier0, "1: fadd 1,2,3; addi 3,3,1; lwz 5,0(4); bdnz 1b; 2: b 2b", msr=0x2000)
    rig.run(2000)
    assert not loaded(rig)


def test_a_word_of_a_unit_that_is_unavailable_is_an_interrupt() -> None:
    rig, other = rig_with(Tier0, msr=0), rig_with(Reference, msr=0)
    for each in (rig, other):
        each.run(2)
    assert not (d := difference(rig, other)), d
    assert rig.get("srr0") == CODE + 4


def test_a_second_machine_has_the_units_of_the_process() -> None:
    first = rig_with(Tier0)
    first.run(300)
    second = rig_with(Tier0)
    assert loaded(second) == {VECTOR}
    assert isinstance(second.engine, Tier0)
    second.run(300)
    assert not (d := difference(first, second)), d


def test_entries_lead_to_the_unit_once_it_is_there() -> None:
    rig = rig_with(Tier0, "vaddubm 1,1,2; b .")
    engine = rig.engine
    assert isinstance(engine, Tier0)
    rig.run(2000)
    rig.set(nia=CODE)
    rig.run(2000)
    entry = ctypes.c_uint64.from_address(engine.entries + CODE * 8)
    assert entry.value == engine.native.functions["h1_vaddubm_0"]


def test_a_unit_that_cannot_be_made_stops_the_run_before_its_instruction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(*_: object) -> bytes:
        raise HostError("memory for code: none is left")

    rig, other = rig_with(Tier0), rig_with(Reference)
    with monkeypatch.context() as patched:
        patched.setattr(build, "unit_for", none)
        for _ in range(2):
            with pytest.raises(HostError, match="memory for code: none is left"):
                rig.run(400)
    assert (rig.get("nia"), rig.engine.count) == (CODE + 4, 1)
    other.run(1)
    assert not (d := difference(rig, other)), d
    for each in (rig, other):
        each.run(300)
    assert not (d := difference(rig, other)), d


def test_breakpoint_at_such_an_instruction() -> None:
    rig = rig_with(Tier0, ctr=2000)
    other = rig_with(Reference, ctr=2000)
    rig.processor.debug().set(frozenset({CODE + 4}))
    rig.run(5000)
    assert (rig.get("nia"), rig.engine.count, loaded(rig)) == (CODE + 4, 1, set())
    for count in (6, 11, 16):
        rig.processor.debug().pass_once(CODE + 4)
        rig.run(5000)
        assert (rig.get("nia"), rig.engine.count, loaded(rig)) == (CODE + 4, count, {VECTOR})
    other.run(16)
    assert not (d := difference(rig, other)), d


def test_a_region_loads_the_unit_of_its_words() -> None:
    rig = rig_with(Tier0, ctr=3000)
    engine = rig.engine
    assert isinstance(engine, Tier0)
    regions = Regions(engine, engine.architecture, threshold=2, interval=128, after_blocks=1)
    functions = regions._loader.functions
    assert not engine.native.units
    assert functions["h1_vaddubm_0"] == functions.get("h1_vaddubm_0")
    assert loaded(rig) == {VECTOR}
    assert functions.get("h_of_nothing") is None


@pytest.mark.parametrize("model", sorted(WITH_UNITS))
def test_each_unit_has_its_handlers_and_finds_what_it_calls(model: str) -> None:
    architecture = WITH_UNITS[model]
    code = build.native(architecture)
    for v in variants(Decoder(architecture)):
        for name in v.names:
            assert code.functions[name] in (code.unit(v.unit) if v.unit else code).symbols.values()
    assert sorted(code.units) == units.units_of(architecture)


def test_units_are_kept_by_their_names_and_a_damaged_one_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = []
    monkeypatch.setattr(
        llvm, "compile_object", lambda text, quick: made.append(text) or b"\x7fELF" * 99
    )
    architecture = WITH_UNITS["7400"]
    first = build.unit_for(architecture, VECTOR, ())
    (path,) = (tmp_path / "gossamer").glob("tier0.vector-*.o")
    assert path.stat().st_mode & 0o777 == 0o600
    assert build.unit_for(architecture, VECTOR, ()) == first
    assert len(made) == 1
    damaged = bytearray(path.read_bytes())
    damaged[70] ^= 1
    path.write_bytes(damaged)
    assert build.unit_for(architecture, VECTOR, ()) == first
    assert len(made) == 2
