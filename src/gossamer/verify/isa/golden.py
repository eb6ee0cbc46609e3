"""Golden vectors: what a peer gave, one case a line, kept where no peer is installed.

``form,word,before,after``: `before` names the registers that the instruction reads with their
values (others are zero), `after` those that changed.  Memory starts as `pattern`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from gossamer.isa.insn import Decoder, Insn
from gossamer.verify.isa.command import Peer, compare, form_of, wanted_rows
from gossamer.verify.isa.local import LocalCpu
from gossamer.verify.isa.record import SIZE, WINDOW, Record
from gossamer.verify.isa.vectors import Vectors

Case = tuple[str, Record, dict[str, int]]
SCALARS = ("cr", "xer", "lr", "ctr", "fpscr")
GPR_FIELDS = ("RT", "RS", "RA", "RB")
FPR_FIELDS = ("FRT", "FRS", "FRA", "FRB", "FRC")


def pattern() -> bytes:
    """The memory window before every case."""
    return bytes((7 * n + 3) & 0xFF for n in range(SIZE - WINDOW))


def set_named(r: Record, name: str, value: int) -> None:
    if name[0] in "rf" and name[1:].isdigit():
        (r.gpr if name[0] == "r" else r.fpr)[int(name[1:])] = value
    else:
        assert name in SCALARS, name
        setattr(r, name, value)


def changes(before: Record, after: Record) -> dict[str, int]:
    """Registers, memory bytes and the way on that differ after the instruction."""
    found = {n: getattr(after, n) for n in SCALARS if getattr(after, n) != getattr(before, n)}
    for letter, old, new in (("r", before.gpr, after.gpr), ("f", before.fpr, after.fpr)):
        found |= {
            f"{letter}{n}": b for n, (a, b) in enumerate(zip(old, new, strict=True)) if a != b
        }
    for n, (a, b) in enumerate(zip(before.memory, after.memory, strict=True)):
        if a != b:
            found[f"m{n}"] = b
    if after.signal:
        found["signal"] = after.signal
    elif after.pad:
        found["pad"] = after.pad
    return found


def reduced(row: Insn, r: Record) -> tuple[Record, dict[str, int]]:
    """The record with only the registers that the word names, and those by name."""
    names: dict[str, int] = {n: getattr(r, n) for n in SCALARS if getattr(r, n)}
    form = row.form
    for n in (form.field(f).get(r.word) for f in GPR_FIELDS if form.has(f) and f in row.asm):
        names[f"r{n}"] = r.gpr[n]
    for n in (form.field(f).get(r.word) for f in FPR_FIELDS if form.has(f) and f in row.asm):
        names[f"f{n}"] = r.fpr[n]
    less = Record(r.word, memory=pattern())
    for name, value in names.items():
        set_named(less, name, value)
    return less, names


def text(values: dict[str, int]) -> str:
    return " ".join(f"{n}={v:#x}" for n, v in values.items())


def record(peer: Peer, count: int, seed: int, floating: bool) -> Iterator[str]:
    """Lines of `count` cases an instruction on which the peer and we agree without an excuse."""
    decoder = Decoder(())
    cpu = LocalCpu(decoder, floating=True)
    for row in wanted_rows(decoder, peer.name, ()):
        if row.supervisor or (row.needs == "FP") != floating or row.name == "stwcx.":
            continue
        rng = random.Random(f"golden {seed} {row.name}")  # noqa: S311 (not a secret)
        made = [reduced(row, Vectors(row, rng).make()) for _ in range(3 * count)]
        kept = [(r, names) for r, names in made if decoder.decode(r.word) is row]
        results = peer.run([r for r, _ in kept])
        lines = []
        for (before, names), theirs in zip(kept, results, strict=True):
            ours = cpu.run(before)
            ours.dar = theirs.dar
            left, excused = compare(row.name, peer.name, before, ours, theirs)
            if not left and not excused:
                after = text(changes(before, theirs))
                lines.append(
                    f"{form_of(row, before.word)},{before.word:#010x},{text(names)},{after}"
                )
        yield from lines[:count]


def rows(lines: Iterable[str]) -> Iterator[tuple[str, int, dict[str, int], dict[str, int]]]:
    """The lines of a file: form, word, values before, values after."""
    for line in lines:
        if line.startswith("#") or not line.strip():
            continue
        form, word, before, after = line.rstrip("\n").split(",")
        yield form, int(word, 16), _values(before), _values(after)


def _values(given: str) -> dict[str, int]:
    pairs = (item.partition("=") for item in given.split())
    return {name: int(value, 16) for name, _, value in pairs}


def read(lines: Iterable[str]) -> Iterator[Case]:
    """The cases of a file: form, record before, what changes."""
    for form, word, before, after in rows(lines):
        r = Record(word, memory=pattern())
        for name, value in before.items():
            set_named(r, name, value)
        yield form, r, after
