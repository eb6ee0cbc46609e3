"""Rows of fixed point on words of 64 bits against results of QEMU (vectors/word64_qemu.csv)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gossamer.core.memory import AddressMap, Arena
from gossamer.engine.reference import Reference
from gossamer.isa.architecture import MSR_SF, architecture
from tests.isa.width_vectors import (
    MEMORY,
    RUNS,
    TEXTS,
    AccessVector,
    Vector,
    read,
    read_accesses,
    record,
    record_accesses,
)

VECTORS = Path(__file__).parents[1] / "vectors"
RECORDED = VECTORS / "word64_qemu.csv"


class Runner:
    """The reference engine with 64-bit words, one instruction at a time."""

    def __init__(self) -> None:
        arena = Arena(0x3000)
        memory = AddressMap(arena)
        memory.map(arena.add("ram", 0x1000), 0)
        memory.map(arena.add("records", 0x2000), MEMORY)
        self.engine = Reference(memory, architecture(word=64, mmu="untranslated"))
        self.engine.block.set("msr", MSR_SF)

    def after(self, v: Vector) -> tuple[int, ...]:
        """R3, CR and XER that the vector's instruction leaves."""
        block = self.engine.block
        self.engine.memory.write(0, v.word.to_bytes(4, "big"))
        block.set("nia", 0)
        *gprs, block.cr, block.xer = v.before
        for n, value in enumerate(gprs, 3):
            block.set("gpr", value, n)
        assert self.engine.run(1) == 1
        return block.get("gpr", 3), block.cr, block.xer

    def access(self, v: AccessVector) -> tuple[int, ...]:
        """R3, R5, CR and the buffer that a load or store leaves."""
        block, memory = self.engine.block, self.engine.memory
        memory.write(0, v.word.to_bytes(4, "big"))
        memory.write(v.ea - 8, b"".join(n.to_bytes(8, "big") for n in v.before[3:]))
        block.set("nia", 0)
        block.cr = v.after[2]  # no row here writes it
        given = {3: v.before[0], 4: v.before[1], 5: v.ea, 6: v.before[2], 31: v.ea - 32}
        for n, value in given.items():
            block.set("gpr", value, n)
        assert self.engine.run(1) == 1
        buffer = (int.from_bytes(memory.read(v.ea + n, 8), "big") for n in (-8, 0))
        return block.get("gpr", 3), block.get("gpr", 5), block.cr, *buffer


def wrong(vectors: list[Vector]) -> list[str]:
    runner = Runner()
    found = [(v, runner.after(v)) for v in vectors]
    return [f"{v.line()}: {' '.join(map(hex, got))}" for v, got in found if got != v.after]


def test_recorded_results() -> None:
    vectors = list(read(RECORDED.read_text().splitlines()))
    assert [v.text for v in vectors] == [text for text in TEXTS for _ in range(RUNS)]
    assert wrong(vectors) == []


def test_recorded_loads_and_stores() -> None:
    vectors = read_accesses((VECTORS / "word64_access_qemu.csv").read_text().splitlines())
    runner = Runner()
    wrong = []
    for v in vectors:
        got = runner.access(v)
        if got != v.after:
            wrong.append(f"{v.line()}: {' '.join(map(hex, got))}")
    assert wrong == []


def test_a_planted_fault_is_seen() -> None:
    v = next(v for v in read(RECORDED.read_text().splitlines()) if v.text.startswith("adde"))
    planted = Vector(v.text, v.word, v.before, (v.after[0] ^ 1 << 63, *v.after[1:]))
    assert len(wrong([planted])) == 1


@pytest.mark.interop
@pytest.mark.skipif(
    not (shutil.which("qemu-ppc64") and shutil.which("powerpc-linux-gnu-as")),
    reason="needs qemu-ppc64 and GNU as for PowerPC",
)
def test_results_now() -> None:
    assert wrong(record(seed=2)) == []
    runner = Runner()
    assert [v for v in record_accesses(seed=2) if runner.access(v) != v.after] == []
