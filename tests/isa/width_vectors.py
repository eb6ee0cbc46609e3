"""Instructions on words of 64 bits, as qemu-ppc64 executes them: makes vectors/word64_qemu.csv.

``python -m tests.isa.width_vectors`` writes the file to its output, with ``accesses``
word64_access_qemu.csv, the same of loads and stores; it needs qemu-ppc64 (user mode)
and GNU as and ld for PowerPC.  A line: text, word, then r3, r4, r5, CR, XER before, and r3, CR, XER
after.  Left out is what the books leave undefined: quotients that do not exist, CR0 of 32-bit
multiplies and divides with a record bit.
"""

from __future__ import annotations

import random
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CPU: Final = "970"
HEAD: Final = """\
# Origin: results of qemu-ppc64 7.2 -cpu 970 (user mode, 64-bit mode), recorded by
# tests/isa/width_vectors.py.  text, word, r3 r4 r5 CR XER before, r3 CR XER after
"""
TEXTS: Final = (
    *("addi 3,4,-9", "addis 3,4,-7", "addic 3,4,-1", "addic. 3,4,77", "subfic 3,4,-3"),
    *(
        f"{name}{flags} 3,4,5"
        for name in ("add", "addc", "adde", "subf", "subfc", "subfe", "mullw")
        for flags in ("", "o.")
    ),
    *(f"{name}{f} 3,4" for name in ("addme", "addze", "subfme", "subfze") for f in ("", "o.")),
    *("mulli 3,4,-5", "neg 3,4", "nego. 3,4"),
    *("mulhw 3,4,5", "mulhwu 3,4,5", "divw 3,4,5", "divwu 3,4,5"),
    *("cmpi 2,0,4,-9", "cmpi 2,1,4,-9", "cmpli 2,0,4,9", "cmpli 2,1,4,9"),
    *(f"{name} {bf},{wide},4,5" for name in ("cmp", "cmpl") for bf in (0, 7) for wide in (0, 1)),
    *("andi. 3,4,0x8001", "andis. 3,4,0x8001", "ori 3,4,0x8001", "oris 3,4,0x8001"),
    *("xori 3,4,0xffff", "xoris 3,4,0xffff"),
    *(f"{name}. 3,4,5" for name in ("and", "or", "xor", "nand", "nor", "eqv", "andc", "orc")),
    *("extsb. 3,4", "extsh. 3,4", "cntlzw. 3,4"),
    *(f"rlwinm. 3,4,{rest}" for rest in ("5,0,31", "9,3,17", "31,20,4", "0,1,0")),
    *(f"rlwimi. 3,4,{rest}" for rest in ("5,0,31", "9,3,17", "31,20,4")),
    *(f"rlwnm. 3,4,5,{rest}" for rest in ("0,31", "20,4")),
    *("slw. 3,4,5", "srw. 3,4,5", "sraw. 3,4,5", "srawi. 3,4,0", "srawi. 3,4,31"),
    *("mfcr 3", "mfxer 3", "mtcrf 0x5a,4", "crxor 31,0,6", "mcrf 1,7"),
    *("mulld 3,4,5", "mulldo. 3,4,5", "mulhd. 3,4,5", "mulhdu. 3,4,5"),
    *("divd. 3,4,5", "divdo 3,4,5", "divdu. 3,4,5", "divduo 3,4,5"),
    *("extsw. 3,4", "cntlzd. 3,4", "sld. 3,4,5", "srd. 3,4,5", "srad. 3,4,5"),
    *(f"sradi. 3,4,{n}" for n in (0, 1, 31, 32, 63)),
    *(f"rldicl. 3,4,{rest}" for rest in ("0,0", "63,32", "33,63", "12,40")),
    *(f"rldicr. 3,4,{rest}" for rest in ("0,63", "63,0", "33,31", "12,40")),
    *(f"rldic. 3,4,{rest}" for rest in ("0,0", "63,32", "33,63", "12,40")),
    *(f"rldimi. 3,4,{rest}" for rest in ("0,0", "63,32", "33,63", "12,40")),
    *("rldcl. 3,4,5,0", "rldcl. 3,4,5,40", "rldcr. 3,4,5,63", "rldcr. 3,4,5,17"),
)  # fmt: skip
EDGES: Final = tuple(
    (1 << k) + d & (1 << 64) - 1 for k in (0, 7, 15, 16, 31, 32, 47, 63, 64) for d in (-1, 0, 1)
)
RUNS: Final = 8
_CASE: Final = 56  # bytes of code of one case; its instruction is the eighth
_RECORD: Final = struct.Struct(">8Q")  # before: r3 r4 r5 CR XER; after: r3 CR XER


@dataclass(frozen=True)
class Vector:
    """One instruction; `before` is r3, r4, r5, CR, XER, `after` r3, CR, XER."""

    text: str
    word: int
    before: tuple[int, ...]
    after: tuple[int, ...]

    def line(self) -> str:
        values = " ".join(f"{v:x}" for v in (*self.before, *self.after))
        return f'"{self.text}",{self.word:08x},{values}'


def read(lines: Iterable[str]) -> Iterator[Vector]:
    for line in lines:
        if line.startswith("#"):
            continue
        _, text, rest = line.split('"')
        word, numbers = rest[1:].split(",")
        values = [int(v, 16) for v in numbers.split()]
        yield Vector(text, int(word, 16), tuple(values[:5]), tuple(values[5:]))


def _inputs(text: str, rng: random.Random) -> tuple[int, ...]:
    def word() -> int:
        return rng.choice((rng.choice(EDGES), rng.getrandbits(64), rng.getrandbits(32)))

    while True:
        a, b = word(), word()
        low_a, low_b = a & 0xFFFF_FFFF, b & 0xFFFF_FFFF
        none = low_b == 0 or (low_a, low_b) == (1 << 31, 0xFFFF_FFFF)
        if text.startswith("divd"):
            none = b == 0 or (a, b) == (1 << 63, (1 << 64) - 1)
        if not (text.startswith("div") and none):
            break
    flags = rng.getrandbits(3) << 29
    return word(), a, b, rng.getrandbits(32), flags


def _program(cases: list[tuple[str, tuple[int, ...]]]) -> str:
    """Assembly that executes every case and writes the records to its output."""
    code = [".abiversion 2", ".globl _start", "_start:", "lis 31,data@h", "ori 31,31,data@l"]
    for n, (text, _) in enumerate(cases):
        code += ["ld 0,24(31)", "mtcrf 255,0", "ld 0,32(31)", "mtxer 0"]
        code += ["ld 3,0(31)", "ld 4,8(31)", "ld 5,16(31)", f"c{n}: {text}"]
        code += ["std 3,40(31)", "mfcr 0", "std 0,48(31)", "mfxer 0", "std 0,56(31)"]
        code += ["addi 31,31,64"]
    size = len(cases) * _RECORD.size
    code += ["li 0,4", "li 3,1", "lis 4,data@h", "ori 4,4,data@l", f"lis 5,{size >> 16}"]
    code += [f"ori 5,5,{size & 0xFFFF}", "sc", "li 0,1", "li 3,0", "sc"]
    code += [".section .rodata", "words:"]
    code += [".data", ".balign 8", "data:"]
    code += [f".quad {','.join(map(str, (*given, 0, 0, 0)))}" for _, given in cases]
    return "\n".join(code) + "\n"


def _words(listing: bytes, count: int) -> list[int]:
    """The words at the labels, from the program's text section."""
    return [int.from_bytes(listing[8 + _CASE * n + 28 :][:4], "big") for n in range(count)]


def _execute(program: str, count: int) -> tuple[bytes, bytes]:
    """What a program writes, `count` records, and its text section."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "p.s").write_text(program)
        tool = "powerpc-linux-gnu-"
        places = ["-Ttext=0x1000000", f"-Tdata={MEMORY:#x}"]
        for command in (
            [tool + "as", "-a64", "-mppc64", "-o", "p.o", "p.s"],
            [tool + "ld", "-m", "elf64ppc", *places, "-o", "p", "p.o"],
            [tool + "objcopy", "-O", "binary", "-j", ".text", "p.o", "p.text"],
        ):
            subprocess.run(command, cwd=folder, check=True)
        done = subprocess.run(
            ["qemu-ppc64", "-cpu", CPU, str(folder / "p")], check=True, capture_output=True
        )
        text = (folder / "p.text").read_bytes()
    assert len(done.stdout) == count * _RECORD.size
    return done.stdout, text


def record(seed: int = 1) -> list[Vector]:
    """Execute all on QEMU; OSError or CalledProcessError where it or GNU as is missing."""
    rng = random.Random(seed)
    cases = [(text, _inputs(text, rng)) for text in TEXTS for _ in range(RUNS)]
    output, text_section = _execute(_program(cases), len(cases))
    words = _words(text_section, len(cases))
    out = []
    for (text, _), word, values in zip(cases, words, _RECORD.iter_unpack(output), strict=True):
        out.append(Vector(text, word, values[:5], values[5:]))
    return out


# --- loads and stores -----------------------------------------------------------------------------

#: Where QEMU has the records: the effective addresses are the same here.
MEMORY: Final = 0x0200_0000
#: RA is r5, eight bytes into a buffer of sixteen; RB is r6, between -8 and 4.
ACCESSES: Final = (
    *(f"{name} 3,-5(5)" for name in ("lbz", "lhz", "lha", "lwz", "lbzu", "lhzu", "lhau", "lwzu")),
    *(f"{name} 3,5,6" for name in ("lbzx", "lhzx", "lhax", "lwzx", "lbzux", "lhzux", "lhaux")),
    *("lwzux 3,5,6", "lhbrx 3,5,6", "lwbrx 3,5,6", "lswi 3,5,7", "lwarx 3,0,5"),
    *(f"{name} 4,3(5)" for name in ("stb", "sth", "stw", "stbu", "sthu", "stwu")),
    *(f"{name} 4,5,6" for name in ("stbx", "sthx", "stwx", "stbux", "sthux", "stwux")),
    *("sthbrx 4,5,6", "stwbrx 4,5,6", "stswi 4,5,6", "stmw 31,-4(5)"),
    *(f"{name} 3,-8(5)" for name in ("ld", "ldu", "lwa")),
    *(f"{name} 3,5,6" for name in ("ldx", "ldux", "lwax", "lwaux")),
    *("std 4,-4(5)", "stdu 4,-8(5)", "stdx 4,5,6", "stdux 4,5,6", "ldarx 3,0,5"),
)
ACCESS_HEAD: Final = """\
# Origin: results of qemu-ppc64 7.2 -cpu 970 (user mode, 64-bit mode), recorded by
# tests/isa/width_vectors.py.  text, word, r5, r3 r4 r6 and 16 bytes from r5 - 8 on before,
# r3 r5 CR and the bytes after
"""
_ACCESS_CASE: Final = 48  # bytes of code; its instruction is the fifth


@dataclass(frozen=True)
class AccessVector:
    """A load or store; `before` is r3, r4, r6 and the buffer, `after` r3, r5, CR, the buffer."""

    text: str
    word: int
    ea: int
    before: tuple[int, ...]
    after: tuple[int, ...]

    def line(self) -> str:
        values = " ".join(f"{v:x}" for v in (self.ea, *self.before, *self.after))
        return f'"{self.text}",{self.word:08x},{values}'


def read_accesses(lines: Iterable[str]) -> Iterator[AccessVector]:
    for line in lines:
        if line.startswith("#"):
            continue
        _, text, rest = line.split('"')
        word, numbers = rest[1:].split(",")
        values = [int(v, 16) for v in numbers.split()]
        yield AccessVector(text, int(word, 16), values[0], tuple(values[1:6]), tuple(values[6:]))


def _access_program(cases: list[tuple[str, tuple[int, ...]]]) -> str:
    code = [".abiversion 2", ".globl _start", "_start:", "lis 31,data@h", "ori 31,31,data@l"]
    for text, _ in cases:
        code += ["ld 3,0(31)", "ld 4,8(31)", "ld 6,16(31)", "addi 5,31,32", text]
        code += ["std 3,40(31)", "std 5,48(31)", "mfcr 0", "std 0,56(31)", "addi 31,31,64"]
        code += ["nop", "nop"]
    size = len(cases) * _RECORD.size
    code += ["li 0,4", "li 3,1", "lis 4,data@h", "ori 4,4,data@l", f"li 5,{size}", "sc"]
    code += ["li 0,1", "li 3,0", "sc", ".data", ".balign 8", "data:"]
    code += [f".quad {','.join(map(str, (*given, 0, 0, 0)))}" for _, given in cases]
    return "\n".join(code) + "\n"


def record_accesses(seed: int = 1) -> list[AccessVector]:
    """Execute the loads and stores on QEMU; errors as `record`."""
    rng = random.Random(seed)
    cases = []
    for text in ACCESSES:
        for _ in range(2):
            r3, r4, first, second = (rng.getrandbits(64) for _ in range(4))
            cases.append((text, (r3, r4, rng.randrange(-8, 5), first, second)))
    output, text = _execute(_access_program(cases), len(cases))
    words = [
        int.from_bytes(text[8 + _ACCESS_CASE * n + 16 :][:4], "big") for n in range(len(cases))
    ]
    out = []
    for n, ((source, given), word) in enumerate(zip(cases, words, strict=True)):
        v = _RECORD.unpack_from(output, n * _RECORD.size)
        base = MEMORY + n * _RECORD.size + 32
        before = (given[0], given[1], given[2] & (1 << 64) - 1, *given[3:])
        out.append(AccessVector(source, word, base, before, (v[5], v[6], v[7], v[3], v[4])))
    return out


if __name__ == "__main__":
    if sys.argv[1:] == ["accesses"]:
        sys.stdout.write(ACCESS_HEAD + "".join(v.line() + "\n" for v in record_accesses()))
    else:
        sys.stdout.write(HEAD + "".join(v.line() + "\n" for v in record()))
