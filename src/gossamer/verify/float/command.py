"""Compare native floating point with exact arithmetic in Python's integers, by the million.

Every case compares FRT (and whether it is written), all of FPSCR, the trap, and CR1 or the field
of a comparison.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from gossamer.base.errors import ConfigError
from gossamer.verify.float.estimates import reciprocal, reciprocal_root
from gossamer.verify.float.exact import Answers, answers
from gossamer.verify.float.native import NativeFloat
from gossamer.verify.float.operands import Chance, Operands, operands

NAMES: Final = (
    *("fadd", "fadds", "fsub", "fsubs", "fmul", "fmuls", "fdiv", "fdivs"),
    *("fmadd", "fmadds", "fmsub", "fmsubs", "fnmadd", "fnmadds", "fnmsub", "fnmsubs"),
    *("frsp", "fctiw", "fctiwz", "fcmpu", "fcmpo", "fsel", "fres", "frsqrte"),
)
MODES: Final = ("nearest", "zero", "+infinity", "-infinity")
CHUNK: Final = 50_000
SHOWN: Final = 3


class Tally(NamedTuple):
    """Of one instruction and rounding mode."""

    cases: int
    mismatches: int


def wanted(name: str, cases: Operands) -> Answers:
    """What is right."""
    if name == "fres":
        return reciprocal(cases.b, cases.fpscr)
    if name == "frsqrte":
        return reciprocal_root(cases.b, cases.fpscr)
    return answers(name, *cases)


def differing(ours: Answers, exact: Answers) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The numbers of the cases that differ in anything."""
    wrong = ours.written != exact.written
    wrong |= (ours.frt != exact.frt) & exact.written
    wrong |= (ours.fpscr != exact.fpscr) | (ours.traps != exact.traps)
    wrong |= ours.field != exact.field
    return np.flatnonzero(wrong)


def mismatch(name: str, cases: Operands, ours: Answers, exact: Answers, k: int) -> str:
    """One mismatch as text: operands, what we left, what is right."""
    a, c, b, fpscr = (int(x[k]) for x in cases)
    left, right = (
        f"FRT {int(x.frt[k]):016x} ({'written' if x.written[k] else 'kept'})"
        f" FPSCR {int(x.fpscr[k]):08x} {'trap' if x.traps[k] else 'no trap'}"
        f" CR {int(x.field[k]):x}"
        for x in (ours, exact)
    )
    operands_text = f"FRA {a:016x} FRC {c:016x} FRB {b:016x} FPSCR {fpscr:08x}"
    return f"{name} {operands_text}: {left}, exactly {right}"


def check(engine: NativeFloat, name: str, mode: int, count: int, seed: int) -> Tally:
    """`count` cases of one instruction in one rounding mode."""
    rng = Chance(f"{seed} {name} {mode}")
    bad = 0
    for start in range(0, count, CHUNK):
        cases = operands(rng, min(CHUNK, count - start), mode)
        ours = engine.run(name, cases)
        exact = wanted(name, cases)
        for k in differing(ours, exact):
            bad += 1
            if bad <= SHOWN:
                print(mismatch(name, cases, ours, exact, int(k)), file=sys.stderr)
    return Tally(count, bad)


def check_modes(job: tuple[str, int, int]) -> tuple[str, list[Tally]]:
    """All rounding modes of one instruction; a job of its own process."""
    name, count, seed = job
    engine = NativeFloat([name])
    return name, [check(engine, name, mode, count, seed) for mode in range(len(MODES))]


def results(jobs: Sequence[tuple[str, int, int]], processes: int) -> Iterable[Any]:
    if processes == 1:
        yield from map(check_modes, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(check_modes, jobs)


def verify(count: int, seed: int, only: Iterable[str] = (), processes: int = 1) -> int:
    """`count` cases of each instruction and rounding mode; 0 when nothing differs."""
    names = list(only) or list(NAMES)
    if count < 1 or processes < 1:
        raise ConfigError(f"--count {count} --jobs {processes}: expected at least 1")
    if strange := [n for n in names if n not in NAMES]:
        raise ConfigError(f"--only {strange[0]}: expected one of {', '.join(NAMES)}")
    total = bad = 0
    for name, tallies in results([(n, count, seed) for n in names], processes):
        parts = " ".join(f"{m}={t.mismatches}" for m, t in zip(MODES, tallies, strict=True))
        print(f"{name:8} cases={sum(t.cases for t in tallies)} mismatches: {parts}", flush=True)
        total += sum(t.cases for t in tallies)
        bad += sum(t.mismatches for t in tallies)
    print(f"operations={len(names)} cases={total} mismatches={bad}")
    return 1 if bad else 0


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps its type private
    """Add the command to a parser."""
    p = subparsers.add_parser("float", help="compare floating point with exact integers")
    p.add_argument("--count", type=int, default=10_000, help="cases a rounding mode (10000)")
    p.add_argument("--seed", type=int, default=1, help="chooses the operands (1)")
    p.add_argument("--only", action="append", default=[], help="one instruction; may be repeated")
    p.add_argument("--jobs", type=int, default=1, help="processes (1)")


def run(arguments: argparse.Namespace) -> int:
    """The command: 0 only when nothing differs."""
    a = arguments
    return verify(a.count, a.seed, a.only, a.jobs)
