"""Break one row of each table of the instruction set and see which quick test says so.

``python -m tests.mutants [NAME ...]`` copies the checkout to a temporary folder once a mutant,
edits the copy, runs the tests of that area there up to the first failure, and prints a table.
Exit status 0 when no mutant survives.  Some 20 seconds a mutant.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ISA = "src/gossamer/isa/"
EMIT = "src/gossamer/engine/emit.py"
SPEC = ISA + "spec/"
VALUES = ("tests/engine/test_emit.py", "tests/isa/test_evaluate.py", "tests/isa/test_golden.py")
NATIVE = ("tests/engine/test_emit.py", "tests/isa/test_float_native.py")
GOLDEN = ("tests/isa/test_golden.py",)
WORDS = ("tests/isa/test_encoding.py", "tests/isa/test_disassembler.py", *GOLDEN)
FLOAT = (
    "tests/isa/test_float_espresso.py",
    "tests/isa/test_softfloat.py",
    "tests/isa/test_float_enabled.py",
    "tests/isa/test_float_arith.py",
)
STATUS = ("tests/isa/test_system.py", "tests/isa/test_float_enabled.py", *GOLDEN)
ENGINE = "src/gossamer/engine/"
REGIONS = ENGINE + "regions/"
CHANGES = ("tests/engine/test_code.py", "tests/engine/regions/test_changes.py")
AGREEMENT = ("tests/engine/regions/test_exits.py", "tests/engine/regions/test_agreement.py")
MAKING = ("tests/engine/regions/test_making.py",)
STENCILS = ENGINE + "stencils/"
BLOCKS = ("tests/engine/stencils", "tests/engine/regions/test_blocks.py")
COPIED = (*BLOCKS, "tests/engine/regions/test_agreement.py")
GROUPS = ("tests/engine/regions/test_groups.py", *AGREEMENT)
ESTIMATES = ("tests/isa/test_float_estimate.py", "tests/isa/test_float_native.py")


@dataclass(frozen=True)
class Mutant:
    """Edits (file, old text, new text; each old text stands there once) and the tests to run."""

    name: str
    table: str
    edits: tuple[tuple[str, str, str], ...]
    tests: tuple[str, ...]


def one(name: str, table: str, file: str, old: str, new: str, tests: tuple[str, ...]) -> Mutant:
    return Mutant(name, table, ((file, old, new),), tests)


OPS = ISA + "ops.py"
MUTANTS = (
    # operation values
    one(
        "ashr is lshr",
        "operation value",
        OPS,
        "(signed(v[0], w) >> v[1])",
        "(v[0] >> v[1])",
        VALUES,
    ),
    one(
        "lts is ltu",
        "operation value",
        OPS,
        "int(signed(v[0], n[0]) < signed(v[1], n[1]))",
        "int(v[0] < v[1])",
        VALUES,
    ),
    one(
        "clz one more",
        "operation value",
        OPS,
        "w - v[0].bit_length()",
        "w - v[0].bit_length() + 1",
        VALUES,
    ),
    one(
        "sdiv rounds down",
        "operation value",
        OPS,
        "abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)",
        "a // b",
        VALUES,
    ),
    one(
        "fused rounds twice",
        "operation value",
        OPS,
        "hostfloat.fused(v[0], v[1], v[2])",
        "hostfloat.add(hostfloat.multiply(v[0], v[1]), v[2])",
        VALUES,
    ),
    # LLVM rows
    one("lts is ult", "LLVM row", EMIT, '"lts": _compare("slt")', '"lts": _compare("ult")', NATIVE),
    one(
        "ashr is lshr",
        "LLVM row",
        EMIT,
        '"ashr": _binary("ashr")',
        '"ashr": _binary("lshr")',
        NATIVE,
    ),
    one("rotl is rotr", "LLVM row", EMIT, "llvm.fshl.", "llvm.fshr.", NATIVE),
    one(
        "fsub is fadd",
        "LLVM row",
        EMIT,
        '"fsub64": _float_binary("fsub")',
        '"fsub64": _float_binary("fadd")',
        NATIVE,
    ),
    one(
        "sext is zext",
        "LLVM row",
        EMIT,
        '"sext": _convert("sext")',
        '"sext": _convert("zext")',
        NATIVE,
    ),
    # both rows alike: engines agree, only results of others show it
    Mutant(
        "clz one more in both",
        "value and LLVM row",
        (
            (OPS, "w - v[0].bit_length()", "(w - v[0].bit_length() + 1) & ones(w)"),
            (
                EMIT,
                'return f.call(f"llvm.ctlz.{t}", t, (t, v[0]), ("i1", "false"))',
                'n = f.call(f"llvm.ctlz.{t}", t, (t, v[0]), ("i1", "false"))\n'
                '    return f.value(f"add {t} {n}, 1")',
            ),
        ),
        GOLDEN,
    ),
    # encodings
    one(
        "mulhw at 107",
        "encoding",
        SPEC + "fixed_arith.py",
        "OPCD=31, XO=75",
        "OPCD=31, XO=107",
        WORDS,
    ),
    one(
        "ME one to the left",
        "encoding",
        SPEC + "forms.py",
        "SH, MB, ME = Field(16, 20), Field(21, 25), Field(26, 30)",
        "SH, MB, ME = Field(16, 20), Field(21, 25), Field(25, 29)",
        WORDS,
    ),
    one(
        "SPR halves exchanged",
        "encoding",
        SPEC + "forms.py",
        "SPRL, SPRH = Field(11, 15), Field(16, 20)",
        "SPRH, SPRL = Field(11, 15), Field(16, 20)",
        WORDS,
    ),
    one(
        "SI unsigned",
        "encoding",
        SPEC + "forms.py",
        "SI = Field(16, 31, signed=True)",
        "SI = Field(16, 31)",
        WORDS,
    ),
    one(
        "fmul takes FRB",
        "encoding",
        SPEC + "forms.py",
        'FRB, FRC = Field(16, 20, "f{}"), Field(21, 25, "f{}")',
        'FRC, FRB = Field(16, 20, "f{}"), Field(21, 25, "f{}")',
        WORDS,
    ),
    # bodies
    one(
        "rlwinm rotates one more",
        "body",
        SPEC + "rotate.py",
        "rotated(s, s.gpr[i.RS], i.SH) & mask(s, i)\n",
        "rotated(s, s.gpr[i.RS], i.SH + 1) & mask(s, i)\n",
        GOLDEN,
    ),
    # FPSCR rules
    one(
        "FX without a transition",
        "FPSCR rule",
        ISA + "fpscr.py",
        "ne(events & ~fpscr, 0), FX",
        "ne(events, 0), FX",
        FLOAT,
    ),
    one(
        "enabled ZX writes FRT",
        "FPSCR rule",
        ISA + "fpscr.py",
        "stopped = invalid & has(fpscr, VE) | has(events, ZX) & has(fpscr, ZE)",
        "stopped = invalid & has(fpscr, VE)",
        FLOAT,
    ),
    one(
        "VX forgets VXCVI",
        "FPSCR rule",
        ISA + "fpscr.py",
        "| VXSOFT | VXSQRT | VXCVI\n",
        "| VXSOFT | VXSQRT\n",
        FLOAT,
    ),
    one(
        "FR when cut",
        "FPSCR rule",
        ISA + "softfloat/rounding.py",
        "grew = select(lost, away, up) & ~flushed",
        "grew = select(lost, away, ~up) & ~flushed",
        FLOAT,
    ),
    one(
        "tiny after rounding",
        "FPSCR rule",
        ISA + "softfloat/rounding.py",
        "tiny = lts(exponent, lowest)",
        "tiny = lts(exponent + 1, lowest)",
        FLOAT,
    ),
    one(
        "RN 2 and 3 exchanged",
        "FPSCR rule",
        ISA + "softfloat/rounding.py",
        "away = select(negative, eq(mode, 3), eq(mode, 2)) & ne(rest, 0)",
        "away = select(negative, eq(mode, 2), eq(mode, 3)) & ne(rest, 0)",
        FLOAT,
    ),
    one(
        "denormal singles class as normal",
        "FPSCR rule",
        ISA + "fpscr.py",
        "small = ltu(magnitude, 897 << 52)",
        "small = ltu(magnitude, 1 << 52)",
        FLOAT,
    ),
    one(
        "fast FX always",
        "FPSCR rule",
        ISA + "float_fast.py",
        "first = select(has(fpscr, XX), const(0, 32), const(FX, 32))",
        "first = const(FX, 32)",
        FLOAT,
    ),
    one(
        "singles round twice",
        "FPSCR rule",
        ISA + "float_fast.py",
        "x.ok & ok & ~midway",
        "x.ok & ok",
        (*FLOAT[-1:], "tests/isa/test_float_commit.py"),
    ),
    one(
        "mtfsb1 raises no FX",
        "FPSCR rule",
        SPEC + "float_status.py",
        "select(ne(raised, 0), const(FX, 32), 0)",
        "0",
        STATUS,
    ),
    one(
        "mcrfs keeps FX",
        "FPSCR rule",
        SPEC + "float_status.py",
        "& (EXCEPTIONS | FX)",
        "& EXCEPTIONS",
        STATUS,
    ),
    one(
        "mtmsr forgets FEX",
        "FPSCR rule",
        SPEC + "system.py",
        "waited = has(s.fpscr, FEX) &",
        "waited = const(0, 1) &",
        STATUS,
    ),
    # estimates
    one(
        "a slope of fres",
        "estimate table",
        ISA + "softfloat/estimate.py",
        "(0x4CC800, 0x27F)",
        "(0x4CC800, 0x27E)",
        ESTIMATES,
    ),
    one(
        "a base of frsqrte",
        "estimate table",
        ISA + "softfloat/estimate.py",
        "(0x2D26000, 0x4CC)",
        "(0x2D26800, 0x4CC)",
        ESTIMATES,
    ),
    one(
        "fres never sets FI",
        "FPSCR rule",
        ISA + "softfloat/estimate.py",
        "flag(lost & ~special, FI)",
        "const(0, 32)",
        FLOAT[:1],
    ),
    # special-purpose registers
    one(
        "SRR0 is read-only",
        "SPR row",
        SPEC + "spr.py",
        'plain("SRR0", 26, "srr0")',
        'Spr("SRR0", 26, reader("srr0"), None)',
        ("tests/isa/test_system.py", "tests/verify/isa/test_verify.py"),
    ),
    # code that is written, regions
    one(
        "code leaves no bit of its line",
        "decoded code",
        ENGINE + "runtime_code.py",
        "%new = or i8 %old, %b\n  store",
        "%new = or i8 %old, 0\n  store",
        CHANGES,
    ),
    one(
        "stores beside code are not looked at",
        "decoded code",
        ENGINE + "runtime_code.py",
        "  call void @code_written(ptr %cpu, i64 %off, i64 %len)\n  %wp",
        "  %wp",
        CHANGES,
    ),
    one(
        "regions with the word stay",
        "regions",
        REGIONS + "regions.py",
        "dropped = self.installed.drop_word(word)",
        "dropped = self.installed.drop_word(word ^ 1)",
        CHANGES,
    ),
    one(
        "a group's offsets are not counted",
        "regions",
        REGIONS + "memory.py",
        '"getelementptr i8, ptr {group.pointer}, i64 {apart}"',
        '"getelementptr i8, ptr {group.pointer}, i64 0"',
        GROUPS,
    ),
    one(
        "sums are not followed",
        "regions",
        REGIONS + "groups.py",
        "sums[s.index.value] = value, offset + place[1]",
        "sums[s.index.value] = value, offset",
        GROUPS,
    ),
    one(
        "a way out counts one instruction less",
        "regions",
        REGIONS + "exits.py",
        "16 * (self.longest - done)",
        "16 * (self.longest - done + (done > 3))",
        AGREEMENT,
    ),
    one(
        "a CR field is made wrong",
        "regions",
        REGIONS + "values.py",
        "'select i1 {d.less}, i8 8, i8 {low}'",
        "'select i1 {d.less}, i8 4, i8 {low}'",
        AGREEMENT,
    ),
    one(
        "pages may lie elsewhere",
        "regions",
        REGIONS + "writer.py",
        'return self.value(f"and i1 {hit}, {same}")',
        'return self.value(f"or i1 {hit}, {same}")',
        ("tests/engine/regions/test_changes.py", "tests/engine/regions/test_exits.py"),
    ),
    one(
        "a return goes on in its caller",
        "regions",
        REGIONS + "forming.py",
        'elif not code.links and ("lr", 0) not in code.reads:',
        "elif not code.links:",
        MAKING,
    ),
    one(
        "what is jumped to counts as covered",
        "regions",
        REGIONS + "regions.py",
        "if s.entry not in self._jumped_to and",
        "if",
        MAKING,
    ),
    # blocks, stencils
    one(
        "the first word of a block is not of it",
        "blocks",
        REGIONS + "blocks.py",
        "self._by_entry[entry].offset <= offset <",
        "self._by_entry[entry].offset < offset <",
        BLOCKS,
    ),
    one(
        "the last word of a block is not of it",
        "blocks",
        REGIONS + "blocks.py",
        "offset < self._by_entry[entry].end",
        "offset < self._by_entry[entry].end - 4",
        BLOCKS,
    ),
    one(
        "code is filled whatever its place",
        "stencils",
        STENCILS + "copying.py",
        "%plain = call i64 %f(i32 %word, i32 %place)",
        "%plain = call i64 %f(i32 %word, i32 0)",
        BLOCKS,
    ),
    one(
        "lines that changed are copied at once",
        "stencils",
        STENCILS + "copying.py",
        "%lasts = icmp sgt i64 %until, %now",
        "%lasts = icmp sgt i64 0, %now",
        BLOCKS,
    ),
    one(
        "constants stay where they were",
        "blocks",
        REGIONS + "blocks.py",
        "self.drop_all()\n        self._desk = None",
        "self.drop_all()",
        BLOCKS,
    ),
    one(
        "stubs are not fresh",
        "blocks",
        REGIONS + "blocks.py",
        "before, addresses = loader.arena.used,",
        "before, addresses = loader.arena.used + 64,",
        BLOCKS,
    ),
    one(
        "a block stays below its region",
        "blocks",
        REGIONS + "blocks.py",
        "        if entry in self._by_entry:\n            self._remove(entry)",
        "        if entry not in self._by_entry:\n            self._remove(entry)",
        BLOCKS,
    ),
    one(
        "pages of blocks are not marked",
        "blocks",
        REGIONS + "blocks.py",
        "view.mark(page, _OWNER, regions=True)",
        "view.mark(page, _OWNER, regions=False)",
        BLOCKS,
    ),
    one(
        "FPSCR is not settled",
        "stencils",
        STENCILS + "text.py",
        'looks_at(trace, "fpscr")',
        'looks_at(trace, "vscr")',
        COPIED,
    ),
    one(
        "a branch is one instruction cheaper",
        "stencils",
        STENCILS + "text.py",
        "{-_BIAS - 16}",
        "{-_BIAS}",
        BLOCKS,
    ),
    one(
        "no interrupt before the instruction",
        "stencils",
        STENCILS + "text.py",
        "if not s.when.is_const:",
        "if s.when.is_const:",
        COPIED,
    ),
    one(
        "RA|0 is always a register",
        "stencils",
        STENCILS + "text.py",
        "return select(e.args[0], zero, place)",
        "return place",
        BLOCKS,
    ),
    one(
        "a branch's block is looked for elsewhere",
        "stencils",
        STENCILS + "copying.py",
        "%far32 = phi i32 [ %s3, %short ], [ %l3, %long ]",
        "%far32 = phi i32 [ %s2, %short ], [ %l3, %long ]",
        BLOCKS,
    ),
    one(
        "constants lie elsewhere",
        "stencils",
        STENCILS + "reading.py",
        "place = self._sections[symbol.section] + symbol.value",
        "place = self._sections[symbol.section] + symbol.value + 16",
        COPIED,
    ),
    one(
        "AArch64's upper half is the lower one",
        "stencils",
        STENCILS + "copying.py",
        "i32 {signed(_MOVZ | _SHIFTED, 32)}",
        "i32 {signed(_MOVZ, 32)}",
        BLOCKS,
    ),
    one(
        "AArch64's other additions are taken",
        "stencils",
        STENCILS + "hosts.py",
        "and word & 31 == word >> 5 & 31",
        "and word >= 0",
        BLOCKS,
    ),
    one(
        "one stub for an arena of any size",
        "stencils",
        ENGINE + "elf.py",
        "0 if machine == X86_64 else self.arena.used // REACH",
        "0",
        BLOCKS,
    ),
)


def make(mutant: Mutant, folder: Path) -> None:
    """The checkout with the mutant's edits, in `folder`."""
    skip = shutil.ignore_patterns("__pycache__", ".*cache", ".hypothesis")
    for part in ("src", "tests", "docs"):
        shutil.copytree(ROOT / part, folder / part, ignore=skip)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name, old, new in mutant.edits:
        path = folder / name
        text = path.read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise SystemExit(f"{mutant.name}: {old!r} is not once in {name}")
        path.write_text(text.replace(old, new), encoding="utf-8")


def first_failure(mutant: Mutant) -> str:
    """The first test that fails with the mutant; empty when all pass."""
    with tempfile.TemporaryDirectory(prefix="gossamer-mutant-") as name:
        folder = Path(name)
        make(mutant, folder)
        environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "CI": "1"}
        environment |= {"PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        where = ["--override-ini=xfail_strict=true", *mutant.tests]
        run = subprocess.run(
            [*command, *where], cwd=folder, env=environment, capture_output=True, text=True
        )
    if run.returncode == 0:
        return ""
    if "Fatal Python error" in run.stdout + run.stderr:
        return "the process ended"
    found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", run.stdout, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{mutant.name}: pytest did not run:\n{run.stdout[-2000:]}{run.stderr}")
    return found[1]


def main(wanted: list[str]) -> int:
    """Run the mutants whose name or table is wanted (none: all); a table on stdout."""
    chosen = [m for m in MUTANTS if not wanted or m.name in wanted or m.table in wanted]
    survivors = 0
    print("| Table | Mutant | Caught first by |\n|---|---|---|", flush=True)
    for m in chosen:
        test = first_failure(m)
        survivors += not test
        print(f"| {m.table} | {m.name} | {f'`{test}`' if test else '**nothing**'} |", flush=True)
    print(f"\nmutants={len(chosen)} survivors={survivors}")
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
