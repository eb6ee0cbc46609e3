"""Spelling as GNU objdump prints it."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess

import pytest

from gossamer.isa.insn import Decoder
from gossamer.isa.text import disassemble
from gossamer.verify.isa.vectors import Vectors


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (0x7C22_1A15, "add.    r1,r2,r3"),
        (0x3860_FFFF, "li      r3,-1"),
        (0x8001_0008, "lwz     r0,8(r1)"),
        (0x8000_0008, "lwz     r0,8(0)"),
        (0x4182_0010, "beq-    0x1010"),
        (0x4BFF_FFFD, "bl      0xffc"),
        (0x5483_103A, "slwi    r3,r4,2"),
        (0x7C90_43A6, "mtsprg  0,r4"),
        (0x4CC6_3182, "crclr   4*cr1+eq"),
        (0x0000_0000, ".long 0x0"),
    ],
)
def test_examples(word, text):
    assert disassemble(word, 0x1000) == text


def words_of_all_rows(seed: int, count: int) -> list[int]:
    """Words without reserved bits and without encodings that objdump calls invalid."""
    rng = random.Random(seed)
    decoder = Decoder(())
    found = []
    for row in decoder.rows:
        vectors = Vectors(row, rng)
        if "undefined" in row.name:
            continue
        for k in range(count):
            word = row.match | rng.getrandbits(32) & vectors.used & ~row.mask
            if k % 3 == 0:
                for f in vectors.fields.values():
                    word &= ~(f.mask & ~row.mask) if rng.random() < 0.4 else -1
            if not invalid(row, word):
                found.append(word)
    return found


def invalid(row, word: int) -> bool:
    """Invalid forms: objdump prints them as data, we print what the CPU does."""
    rt, ra, rb = word >> 21 & 31, word >> 16 & 31, word >> 11 & 31
    name = row.name
    if name in ("bc", "bclr", "bcctr"):
        bo = rt
        reserved = (bo & 0x14 == 0x14 and bo & 11) or (bo & 0x10 and bo & 12) or (bo & 4 and bo & 2)
        return bool(reserved)
    if name.endswith(("u", "ux")) and row.form.has("RB" if name.endswith("x") else "D"):
        return ra == 0 or (ra == rt and name[0] == "l" and row.needs == "")
    if name in ("lmw", "lswi", "lswx"):
        n = {"lmw": 32 - rt, "lswi": ((rb or 32) + 3) // 4, "lswx": 1}[name]
        registers = {(rt + k) % 32 for k in range(n)}
        return ra in registers or rb in registers or rt in (ra, rb)
    return False


@pytest.mark.interop
@pytest.mark.parametrize("seed", [1, 2])
def test_agrees_with_objdump(tmp_path, seed):
    tool = shutil.which("powerpc-linux-gnu-objdump")
    if tool is None:
        pytest.skip("powerpc-linux-gnu-objdump is not installed")
    words = words_of_all_rows(seed, 40)
    (tmp_path / "w.bin").write_bytes(b"".join(struct.pack(">I", w) for w in words))
    texts: list[list[str]] = []
    for model in ("750cl", "7400"):  # 750cl knows the SPRs, 7400 the time base
        command = [tool, "-b", "binary", "-m", "powerpc", "-EB", "-M", model, "-D", "w.bin"]
        out = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        lines = [line.split("\t") for line in out.stdout.splitlines() if line.count("\t") >= 2]
        texts.append([" ".join(part.strip() for part in line[2:]).strip() for line in lines])
    assert len(texts[0]) == len(words)
    wrong = []
    for n, word in enumerate(words):
        ours = disassemble(word, 4 * n).split()
        if ours not in (texts[0][n].split(), texts[1][n].split()):
            wrong.append((hex(word), " ".join(ours), texts[0][n]))
    assert not wrong[:10]
