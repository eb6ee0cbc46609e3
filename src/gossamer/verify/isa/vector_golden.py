"""Golden AltiVec vectors: what qemu-ppc gave, one case a line, as in `golden`.

``form,word,before,after``: `before` names the registers that the word names (others are zero),
`after` what changed.  Memory starts as `golden.pattern`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from gossamer.isa.insn import Decoder, Insn
from gossamer.verify.isa.command import form_of
from gossamer.verify.isa.golden import pattern, rows, text
from gossamer.verify.isa.vector import LocalVector, QemuVector, VectorRecord
from gossamer.verify.isa.vector_cases import VectorCases

Case = tuple[str, VectorRecord, dict[str, int]]
SCALARS = ("cr", "vscr")
VR_FIELDS = ("VRT", "VRS", "VRA", "VRB", "VRC")


def set_named(r: VectorRecord, name: str, value: int) -> None:
    if name in SCALARS:
        setattr(r, name, value)
    else:
        assert name[0] in "rv", name
        (r.gpr if name[0] == "r" else r.vr)[int(name[1:])] = value


def changes(before: VectorRecord, after: VectorRecord) -> dict[str, int]:
    """Registers and memory bytes that differ after the instruction."""
    found = {n: getattr(after, n) for n in SCALARS if getattr(after, n) != getattr(before, n)}
    for letter, old, new in (("r", before.gpr, after.gpr), ("v", before.vr, after.vr)):
        pairs = enumerate(zip(old, new, strict=True))
        found |= {f"{letter}{n}": b for n, (a, b) in pairs if a != b}
    for n, (a, b) in enumerate(zip(before.memory, after.memory, strict=True)):
        if a != b:
            found[f"m{n}"] = b
    if after.signal:
        found["signal"] = after.signal
    return found


def reduced(row: Insn, r: VectorRecord) -> tuple[VectorRecord, dict[str, int]]:
    """The record with only the registers that the word names, and those by name."""
    names = {n: getattr(r, n) for n in SCALARS if getattr(r, n)}
    for fields, letter, values in ((("RA", "RB"), "r", r.gpr), (VR_FIELDS, "v", r.vr)):
        for f in fields:
            if row.form.has(f) and f in row.asm.partition(" ")[2].split(","):
                n = row.form.field(f).get(r.word)
                names[f"{letter}{n}"] = values[n]
    less = VectorRecord(r.word, memory=pattern())
    for name, value in names.items():
        set_named(less, name, value)
    return less, names


def record(peer: QemuVector, count: int, seed: int, features: Iterable[str]) -> Iterator[str]:
    """Lines of `count` cases an instruction on which the peer and we agree wholly."""
    decoder = Decoder(features)
    cpu = LocalVector(decoder)
    for row in decoder.rows:
        if row.needs != "VEC":
            continue
        cases = VectorCases(row, random.Random(f"golden {seed} {row.name}"))  # noqa: S311
        made = [reduced(row, cases.make()) for _ in range(8 * count)]
        kept = [(r, names) for r, names in made if decoder.decode(r.word) is row]
        lines = []
        for (before, names), theirs in zip(kept, peer.run([r for r, _ in kept]), strict=True):
            if not cpu.run(before).differences(theirs):
                after = text(changes(before, theirs))
                form = form_of(row, before.word)
                lines.append(f"{form},{before.word:#010x},{text(names)},{after}")
        yield from lines[:count]


def read(lines: Iterable[str]) -> Iterator[Case]:
    """The cases of a file: form, record before, what changes."""
    for form, word, before, after in rows(lines):
        r = VectorRecord(word, memory=pattern())
        for name, value in before.items():
            set_named(r, name, value)
        yield form, r, after
