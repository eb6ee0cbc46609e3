"""Our evaluator against AltiVec results that a peer gave (tests/vectors/vector_qemu.csv)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from gossamer.isa.insn import Decoder
from gossamer.verify.isa.command import known_forms
from gossamer.verify.isa.vector import LocalVector
from gossamer.verify.isa.vector_golden import changes, read

FILE = Path(__file__).parents[1] / "vectors" / "vector_qemu.csv"


def test_vectors() -> None:
    cpu = LocalVector(Decoder(("7400",)))
    lines = FILE.read_text().splitlines()
    assert lines[0].startswith("# Origin: qemu-ppc 7.2")
    wrong, forms, count = [], set(), 0
    for form, before, expected in read(lines):
        got = changes(before, cpu.run(before))
        forms.add(form)
        count += 1
        if got != expected:
            wrong.append(f"{form} {before.word:#010x}: {got} not {expected}")
    assert not wrong
    assert count > 700
    listed = {f for f, word in known_forms("7400").items() if word >> 26 == 4}
    assert listed <= forms


def test_a_wrong_result_would_show() -> None:
    cases = read(FILE.read_text().splitlines())
    _, before, expected = next(c for c in cases if c[0] == "vaddubm")
    wrong = dataclasses.replace(before, word=before.word | 0x40)  # vadduhm
    assert changes(wrong, LocalVector(Decoder(("7400",))).run(wrong)) != expected
