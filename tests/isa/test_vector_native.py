"""AltiVec compiled: every instruction on tier 0 against the evaluator, random and edge vectors."""

from __future__ import annotations

import random

import pytest

from gossamer.core.memory import AddressMap, Arena
from gossamer.cpu.model import find
from gossamer.engine.tier0 import Tier0
from gossamer.isa.insn import Decoder
from gossamer.isa.registers import REGISTERS
from gossamer.verify.isa.vector import MSR_USER, SLOT, WINDOW_EA, LocalVector, VectorRecord
from gossamer.verify.isa.vector_cases import VectorCases

DECODER = Decoder(("7400",))
ROWS = [row for row in DECODER.rows if row.needs == "VEC"]
#: User mode without translation: the window lies at its address in RAM.
MSR = MSR_USER & ~0x30


class Native:
    """Runs records on tier 0."""

    def __init__(self) -> None:
        arena = Arena(1 << 16)
        self.memory = AddressMap(arena)
        self.memory.map(arena.add("ram", 1 << 16), 0)
        self.engine = Tier0(self.memory, find("7400").architecture)

    def run(self, before: VectorRecord) -> VectorRecord:
        block = self.engine.block
        for name, values in (("gpr", before.gpr), ("vr", before.vr)):
            for n, value in enumerate(values):
                block.set(name, value, n)
        block.cr = before.cr
        state = {"vscr": before.vscr, "vrsave": before.vrsave, "msr": MSR, "nia": SLOT}
        for name, value in state.items():
            block.set(name, value)
        self.memory.write(SLOT, before.word.to_bytes(4, "big"))
        self.memory.write(WINDOW_EA, before.memory)
        self.engine.flush()
        assert self.engine.run(1) == 1
        assert block.get("nia") == SLOT + 4
        return VectorRecord(
            before.word,
            0,
            block.cr,
            block.get("vscr"),
            block.get("vrsave"),
            block.all("gpr"),
            block.all("vr"),
            bytes(self.memory.read(WINDOW_EA, len(before.memory))),
        )


@pytest.fixture(scope="module")
def native() -> Native:
    return Native()


def sweep(native: Native, row_name: str, count: int, seed: str) -> int:
    """Compare `count` records; how many did not fault."""
    row = next(r for r in ROWS if r.name == row_name)
    cases = VectorCases(row, random.Random(f"{seed} {row_name}"))
    local = LocalVector(DECODER)
    run = 0
    for _ in range(count):
        before = cases.make()
        if DECODER.decode(before.word) is not row:
            continue
        expected = local.run(before)
        if expected.signal:
            continue
        run += 1
        found = native.run(before).differences(expected)
        shown = {k: f"native {a:#x}, evaluator {b:#x}" for k, (a, b) in found.items()}
        assert not found, f"{row_name} {before.word:#010x} {before.vscr:#x}: {shown}"
    return run


@pytest.mark.parametrize("name", [row.name for row in ROWS])
def test_native_code_is_the_evaluator(native: Native, name: str) -> None:
    assert sweep(native, name, 25, "native") >= 15


@pytest.mark.once
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [row.name for row in ROWS])
def test_native_code_is_the_evaluator_on_many_vectors(native: Native, name: str) -> None:
    assert sweep(native, name, 1000, "native, slow") >= 800


def test_without_msr_vec_the_unavailable_interrupt_is_taken(native: Native) -> None:
    block = native.engine.block
    for name, (_, count) in REGISTERS.items():
        for n in range(count):
            if name not in ("tb_hz", "irq"):
                block.set(name, 0, n)
    block.set("nia", SLOT)
    native.memory.write(SLOT, (0x1022_1800).to_bytes(4, "big"))  # vaddubm v1,v2,v3
    native.engine.flush()
    native.engine.run(1)
    assert (block.get("nia"), block.get("srr0")) == (0xF20, SLOT)
    assert block.get("vr", 1) == 0
