"""Our evaluator against results of other programs (tests/vectors; each file names its own)."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.isa.insn import Decoder
from gossamer.verify.isa.golden import changes, read
from gossamer.verify.isa.local import LocalCpu

VECTORS = Path(__file__).parents[1] / "vectors"


@pytest.mark.parametrize("name", ["forms_integer_qemu.csv", "forms_float_qemu.csv"])
def test_vectors(name):
    cpu = LocalCpu(Decoder(("750",)), floating=True)  # the part they are of
    lines = (VECTORS / name).read_text().splitlines()
    assert lines[0].startswith("# Origin: ")
    wrong, count = [], 0
    for form, before, expected in read(lines):
        got = changes(before, cpu.run(before))
        count += 1
        if got != expected:
            wrong.append(f"{form} {before.word:#010x}: {got} not {expected}")
    assert not wrong
    assert count > 500
