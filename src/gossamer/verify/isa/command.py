"""Compare every instruction with an independent peer, vector by vector, whole results.

All our engines are made from one text, so they cannot check it; a peer can.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, Protocol

from gossamer.base.data import Data, field
from gossamer.base.errors import ConfigError, GossamerError
from gossamer.cpu.model import PVRS_405, find
from gossamer.isa.insn import Decoder, Insn
from gossamer.isa.text.disassembler import flags_of
from gossamer.machines.kind import CPU_ALIASES
from gossamer.verify.isa.decimal_excuses import DECIMAL_EXCUSES
from gossamer.verify.isa.decimal_vectors import DecimalVectors, is_decimal
from gossamer.verify.isa.excuses import ALL, EXCUSES, masks
from gossamer.verify.isa.local import OUTSIDE, LocalCpu
from gossamer.verify.isa.native import NativeCpu, NativeVector
from gossamer.verify.isa.packed_excuses import PACKED_EXCUSES
from gossamer.verify.isa.qemu import QemuUser
from gossamer.verify.isa.record import STOPPED, Record
from gossamer.verify.isa.supervisor import cases
from gossamer.verify.isa.system import QemuSystem
from gossamer.verify.isa.unicorn import Unicorn
from gossamer.verify.isa.vector import LocalVector, QemuVector, VectorRecord
from gossamer.verify.isa.vector_cases import VectorCases
from gossamer.verify.isa.vector_excuses import VECTOR_EXCUSES, compare_vectors
from gossamer.verify.isa.vectors import Vectors
from gossamer.verify.isa.vsx_excuses import VSX_EXCUSES
from gossamer.verify.isa.wide import (
    NOT_RUN_64,
    QemuWide,
    QemuWideVector,
    WideCases,
    WideCpu,
    WideVector,
    WideVectors,
)

#: The assembler's forms of a model.  All parts without AltiVec have those of the 750.
FORM_LISTS: Final = (
    dict.fromkeys(("603e", "604e", "750", "750fx"), "forms.csv")
    | dict.fromkeys(("7400", "7447a", "7455"), "forms_7400.csv")
    | dict.fromkeys(PVRS_405, "forms_405.csv")
    | {"970mp_v1.1": "forms_970.csv", "power8_v2.0": "forms_power8.csv"}
)
#: Units whose instructions are run with vector records.
VECTORS: Final = ("VEC", "VSX")
#: What runs the vectors on our side.
ENGINES: Final = ("reference", "regions", "blocks")
ROUNDS: Final = 2000  # of the supervisor's vectors, some 80 each
SHOWN: Final = 3  # differences printed for one instruction

#: Forms that a user program cannot run to a comparable end, and why.
NOT_RUN: Final = {
    "sc": "the peer makes a system call of its host",
    "mfspr_pvr": "Linux answers for the CPU, which is supervisor's",
    "mftb": "the peer's time is its host's",
    "mftbu": "the peer's time is its host's",
    "mfspr_tbl": "the peer's time is its host's",
    "mfspr_tbu": "the peer's time is its host's",
    "dlmzb": "QEMU 7.2 takes it for illegal",
    "mfspr_srr2": "QEMU 7.2 lets user programs at it",
    "mfspr_srr3": "QEMU 7.2 lets user programs at it",
    "mtspr_srr2": "QEMU 7.2 lets user programs at it",
    "mtspr_srr3": "QEMU 7.2 lets user programs at it",
    "mfspr_tbl284": "the peer's time is its host's",
    "mfspr_tbu285": "the peer's time is its host's",
    "mtspr_usprg0": "QEMU 7.2 raises an interrupt",
    "mtspr_xer_405": "QEMU 7.2 keeps bits that the part does not have",
}
#: What Unicorn in supervisor mode cannot show: undefined SPRs and EAR.
ABSENT: Final = ("mfspr_undefined", "mtspr_undefined", "mftb_undefined", "eciwx", "ecowx")


class Peer(Protocol):
    """Something that runs records."""

    name: str

    def run(self, records: Sequence[Record]) -> list[Record]: ...


class Excused(IntEnum):
    """How much of a vector an excuse hid."""

    NOT = 0
    PARTLY = 1
    WHOLLY = 2


class Tally(Data, frozen=False):
    """What was compared."""

    vectors: int = 0
    mismatches: int = 0
    excused: int = 0
    forms: set[str] = field(default_factory=set)
    bad: Counter[str] = field(default_factory=Counter)
    compared: Counter[str] = field(default_factory=Counter)
    """Vectors of an instruction that were not excused wholly."""

    @property
    def blind(self) -> list[str]:
        """Instructions of which no vector was compared: they prove nothing."""
        return sorted(name for name, count in self.compared.items() if not count)

    def add(self, name: str, word: int, left: dict[str, tuple[int, int]], excused: int) -> None:
        """Count one vector with what differs, and show the first of an instruction."""
        self.vectors += 1
        self.excused += bool(excused)
        self.compared[name] += excused != Excused.WHOLLY
        if not left:
            return
        self.mismatches += 1
        self.bad[name] += 1
        if self.bad[name] <= SHOWN:
            shown = ", ".join(f"{k} {a:#x} not {b:#x}" for k, (a, b) in left.items())
            print(f"{name} {word:#010x}: {shown}", file=sys.stderr)


def compare(
    name: str, peer: str, before: Record, ours: Record, theirs: Record
) -> tuple[dict[str, tuple[int, int]], Excused]:
    """What differs beyond the excuses, and how much an excuse hid."""
    found = ours.differences(theirs)
    if not found:
        return {}, Excused.NOT
    hidden = masks(name, peer, before, ours, theirs, (*EXCUSES, *DECIMAL_EXCUSES))
    if "outcome" in hidden:
        return {}, Excused.WHOLLY
    left = {}
    for what, (mine, yours) in found.items():
        mask = hidden.get("memory" if what.startswith("memory") else what, 0)
        if (mine ^ yours) & ~mask & ALL:
            left[what] = (mine, yours)
    return left, Excused(len(left) != len(found))


def judge(name: str, peer: str, before: Record, ours: Record, theirs: Record, t: Tally) -> None:
    """Count one vector and show it when it differs."""
    left, excused = compare(name, peer, before, ours, theirs)
    t.add(name, before.word, left, excused)


def check(row: Insn, peer: Peer, cpu: LocalCpu, records: Sequence[Record], tally: Tally) -> None:
    """Run the records of one instruction on both sides."""
    for before, theirs in zip(records, peer.run(records), strict=True):
        ours = cpu.run(before)
        assert ours.pad != OUTSIDE, f"{row.name} {before.word:#010x}: went nowhere"
        if ours.signal:  # what a peer says of the address differs from kind to kind
            ours.dar = theirs.dar
            if theirs.signal == STOPPED:
                ours.signal, ours.pad = theirs.signal, theirs.pad
        judge(row.name, peer.name, before, ours, theirs, tally)


def check_supervisor(decoder: Decoder, model: str, count: int, seed: int, tally: Tally) -> None:
    """Run what only a supervisor can, on a whole machine."""
    part_of = find(model)
    made = list(cases(count, seed, part_of.features))
    peer = QemuSystem(model=model)
    cpu = LocalCpu(decoder, supervisor=True, pvr=part_of.pvr)
    step = QemuSystem.most
    for start in range(0, len(made), step):
        part = made[start : start + step]
        results = peer.run([r for _, r in part])
        for (name, before), theirs in zip(part, results, strict=True):
            judge(name, peer.name, before, cpu.run(before), theirs, tally)
            row = decoder.decode(before.word)
            assert row
            tally.forms.add(form_of(row, before.word))


def check_vectors(
    cpu: LocalVector, model: str, rows: Iterable[Insn], count: int, seed: int, tally: Tally
) -> None:
    """Run AltiVec instructions (none: no peer is started)."""
    decoder = cpu.decoder
    for row in rows:
        peer = QemuWideVector(model) if is_wide(model) else QemuVector(model)
        kind = WideCases if is_wide(model) else VectorCases
        excuses = VSX_EXCUSES if row.needs == "VSX" else (*VECTOR_EXCUSES, *PACKED_EXCUSES)
        cases = kind(row, random.Random(f"{seed} {row.name}"))  # noqa: S311 (not a secret)
        made = (cases.make() for _ in range(max(count, 2)))
        mine: list[VectorRecord] = [r for r in made if decoder.decode(r.word) is row]
        for before, theirs in zip(mine, peer.run(mine), strict=True):
            left, excused = compare_vectors(row.name, before, cpu.run(before), theirs, excuses)
            tally.add(row.name, before.word, left, excused)
            tally.forms.add(form_of(row, before.word))


def make_peer(name: str, model: str) -> Peer:
    if name == "qemu":
        return QemuWide(model) if is_wide(model) else QemuUser(model)
    if name == "unicorn" and model != "750":
        raise ConfigError(f"peer unicorn: compares the 750 only, not the {model}")
    if name == "unicorn":
        return Unicorn()
    raise ConfigError(f"peer {name!r}: expected qemu or unicorn")


def is_wide(model: str) -> bool:
    """Whether the model's words have 64 bits."""
    return find(model).architecture.word == 64


def known_forms(model: str) -> dict[str, int]:
    """The forms of the assembler's list for a model, each with an example word."""
    if model not in FORM_LISTS:
        raise ConfigError(f"model {model!r}: expected one of {', '.join(FORM_LISTS)}")
    text = Path(__file__).with_name(FORM_LISTS[model]).read_text(encoding="utf-8")
    rows = [line.split(",") for line in text.splitlines() if not line.startswith("#")]
    return {form: int(word, 16) for form, word in rows}


def form_of(row: Insn, word: int) -> str:
    """The mnemonic with its flags, never simplified."""
    return flags_of(row, word, row.asm.partition(" ")[0])


def absent(decoder: Decoder, there: Peer, cpu: LocalCpu, forms: dict[str, int]) -> list[str]:
    """Forms of the list that the model lacks: both sides must refuse them."""
    lacking = [f for f, word in forms.items() if decoder.decode(word) is None]
    records = [cpu.kind(forms[f]) for f in lacking]
    results = zip(lacking, records, there.run(records), strict=True)
    return [f for f, before, theirs in results if theirs.signal and cpu.run(before).signal]


def wanted_rows(decoder: Decoder, peer: str, only: Iterable[str]) -> Iterator[Insn]:
    wanted = set(only)
    not_run = NOT_RUN | (NOT_RUN_64 if decoder.architecture.word == 64 else {})
    for row in decoder.rows:
        hidden = row.supervisor or row.needs or row.name in ABSENT
        if row.name in not_run or row.needs in VECTORS or (peer == "unicorn" and hidden):
            continue
        if not wanted or row.name in wanted:
            yield row


def verify(
    peer: str,
    count: int,
    seed: int,
    model: str = "750",
    only: Iterable[str] = (),
    engine: str = "reference",
) -> int:
    """Compare `count` vectors of each instruction; 0 when nothing differs.

    `engine` "regions" runs them compiled, each as a region, "blocks" copied from stencils; neither
    runs what only a supervisor can.
    `only` names the instructions wanted (none: all, and then at least 95 % of the assembler's
    forms must have been run on a peer that has them all).  Prints one line at the end.
    """
    only = list(only)
    if count < 1:
        raise ConfigError(f"--count {count}: expected at least 1")
    model = CPU_ALIASES.get(model, model)
    forms = known_forms(model)
    decoder = Decoder(find(model).architecture)
    if strange := set(only) - {row.name for row in decoder.rows}:
        raise ConfigError(f"no instruction of the {model} is called {sorted(strange)[0]!r}")
    there = make_peer(peer, model)
    if engine not in ENGINES:
        raise ConfigError(f"--engine {engine!r}: expected {', '.join(ENGINES)}")
    architecture = find(model).architecture
    compiled, blocks = engine != "reference", engine == "blocks"
    wide = architecture.word == 64
    if wide and compiled:
        raise ConfigError(f"--engine {engine}: not for the {model} yet")
    local = WideCpu if wide else LocalCpu
    make_vectors = WideVectors if wide else Vectors
    plain_vector = WideVector if wide else LocalVector
    cpu = (
        NativeCpu(decoder, architecture, blocks=blocks)
        if compiled
        else local(decoder, floating=True)
    )
    vector_cpu = (
        NativeVector(decoder, architecture, blocks=blocks) if compiled else plain_vector(decoder)
    )
    tally = Tally()
    for row in wanted_rows(decoder, peer, only):
        rng = random.Random(f"{seed} {row.name}")  # noqa: S311 (not a secret)
        kind = DecimalVectors if is_decimal(row) else make_vectors
        vectors = kind(row, rng)
        enough = max(count, 1 << len(vectors.flags))  # every mnemonic at least once
        records = (vectors.make() for _ in range(2 * enough))
        mine = [r for r in records if decoder.decode(r.word) is row][:enough]
        check(row, there, cpu, mine, tally)
        tally.forms |= {form_of(row, r.word) for r in mine}
    vector_rows = [r for r in decoder.rows if r.needs in VECTORS and (not only or r.name in only)]
    check_vectors(vector_cpu, model, vector_rows, count, seed, tally)
    if isinstance(cpu, NativeCpu) and isinstance(vector_cpu, NativeVector):
        through = cpu.bench.through + vector_cpu.bench.through
        print(f"{engine} executed instructions of {through} vectors", file=sys.stderr)
        if not through:
            raise GossamerError(f"none of the {engine} was entered: this run proves nothing")
    if not only and peer == "qemu" and not compiled:
        if model not in PVRS_405 and not wide:  # its SPRs are another part's
            check_supervisor(decoder, model, min(count, ROUNDS), seed, tally)
        tally.forms |= set(absent(decoder, there, cpu, forms))
    run_forms = tally.forms & set(forms)
    missing = sorted(set(forms) - run_forms)
    if not only:
        print(f"forms of the list not run: {', '.join(missing) or 'none'}", file=sys.stderr)
    print(
        f"forms={len(run_forms)} vectors={tally.vectors} mismatches={tally.mismatches}"
        f" excused={tally.excused}"
    )
    if tally.blind:
        print(f"excused in every vector: {', '.join(tally.blind)}", file=sys.stderr)
    covered = bool(only) or peer != "qemu" or compiled or len(run_forms) >= 0.95 * len(forms)
    return 0 if tally.vectors and covered and not tally.blind and not tally.mismatches else 1


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps its type private
    """Add the command to a parser."""
    p = subparsers.add_parser("isa", help="compare every instruction with an independent peer")
    p.add_argument("--peer", default="qemu", help="qemu or unicorn (qemu)")
    p.add_argument("--count", type=int, default=1000, help="vectors an instruction (1000)")
    p.add_argument("--seed", type=int, default=1, help="chooses the vectors (1)")
    p.add_argument("--model", default="750", help="CPU model (750)")
    p.add_argument(
        "--engine", default="reference", help="reference, regions: compiled, or blocks: copied"
    )
    p.add_argument("--only", action="append", default=[], help="one instruction; may be repeated")


def run(arguments: argparse.Namespace) -> int:
    """The command: 0 only when nothing differs."""
    a = arguments
    return verify(a.peer, a.count, a.seed, a.model, a.only, a.engine)
