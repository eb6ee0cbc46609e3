"""The same rows on words of 64 bits, on the reference engine: what the Power ISA says they give.

No machine has such a model: this shows that a word's width is said once, in `Architecture`.
Numbers follow from Power ISA 2.07 Book I 3.3 (the sections at the cases), worked out by hand;
`test_width_golden` has more of them, from QEMU.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

import gossamer
from gossamer.core.memory import AddressMap, Arena
from gossamer.cpu import mmu
from gossamer.cpu.block import BLOCK_SIZE, layout
from gossamer.engine.reference import Reference
from gossamer.isa.architecture import LEVELS, MSR_SF, NotDescribedError, architecture
from gossamer.isa.body import Body
from gossamer.isa.evaluate import execute
from gossamer.isa.insn import Decoder, Insn, trace_word
from gossamer.isa.registers import REGISTERS, registers
from gossamer.isa.spec.forms import DS
from gossamer.isa.spec.table import TABLE
from gossamer.isa.text import assemble, disassemble
from tests.isa.mini_cpu import MiniCpu

RAM: Final = 0x1_0000
CODE: Final = 0x100
WIDE: Final = architecture("test", level="2.01", word=64, mmu="untranslated")
ONES: Final = (1 << 64) - 1


def engine() -> Reference:
    arena = Arena(RAM)
    memory = AddressMap(arena)
    memory.map(arena.add("ram", RAM), 0)
    made = Reference(memory, WIDE)
    made.block.set("msr", MSR_SF)
    made.block.set("nia", CODE)
    return made


def run(source: str, **given: int) -> Reference:
    """Straight-line assembly, or a branch at its end, with registers by name (``r3``, ``ca``)."""
    made = engine()
    code = assemble(source, CODE)
    made.memory.write(CODE, code)
    for name, value in given.items():
        file = re.fullmatch(r"r(\d+)", name)
        if file:
            made.block.set("gpr", value, int(file[1]))
        else:
            made.block.set(name, value)
    assert made.run(len(code) // 4) == len(code) // 4
    return made


def gpr(made: Reference, n: int = 3) -> int:
    return made.block.get("gpr", n)


@pytest.mark.parametrize(
    ("source", "given", "result"),
    [
        # 3.3.9: arithmetic is on the whole register, immediates have their sign 64 bits wide
        ("addi 3,4,-1", {"r4": 0}, ONES),
        ("addis 3,0,-0x8000", {}, 0xFFFF_FFFF_8000_0000),
        ("add 3,4,5", {"r4": 0xFFFF_FFFF, "r5": 1}, 0x1_0000_0000),
        ("neg 3,4", {"r4": 1 << 32}, 0xFFFF_FFFF_0000_0000),
        # mullw: the whole product of two low words; mulhw, divw: 32 bits
        ("mullw 3,4,5", {"r4": 0x1_0001_0000, "r5": 0x7_0001_0000}, 0x1_0000_0000),
        ("mullw 3,4,5", {"r4": 0xFFFF_FFFF, "r5": 3}, ONES - 2),
        ("mulhwu 3,4,5", {"r4": ONES, "r5": ONES}, 0xFFFF_FFFE),
        ("divwu 3,4,5", {"r4": 0x5_0000_0009, "r5": 0x3_0000_0002}, 4),
        ("divw 3,4,5", {"r4": 0xFFFF_FFF7, "r5": 2}, 0xFFFF_FFFC),
        # 3.3.13: logical immediates are zero-extended, extsb and extsh fill all of RA
        ("oris 3,4,0xFFFF", {"r4": 0}, 0xFFFF_0000),
        ("nor 3,4,4", {"r4": 0}, ONES),
        ("extsh 3,4", {"r4": 0x8000}, ONES - 0x7FFF),
        ("cntlzw 3,4", {"r4": 0xFFFF_FFFF_0000_0001}, 31),
        # 3.3.14: the low word twice, rotated; a mask that wraps takes in the high word
        ("rlwinm 3,4,8,0,31", {"r4": 0xAAAA_AAAA_1234_5678}, 0x3456_7812),
        ("rlwinm 3,4,8,24,7", {"r4": 0xAAAA_AAAA_1234_5678}, 0x3456_7812_3400_0012),
        ("rlwimi 3,4,0,16,31", {"r3": ONES, "r4": 0x1234_5678}, 0xFFFF_FFFF_FFFF_5678),
        ("slw 3,4,5", {"r4": 0xF_8000_0001, "r5": 1}, 2),
        ("slw 3,4,5", {"r4": ONES, "r5": 32}, 0),
        ("srawi 3,4,4", {"r4": 0x8000_0000}, 0xFFFF_FFFF_F800_0000),
        # 3.3.17: mfspr gives what the register has, zeros above it
        ("mfcr 3", {"r3": ONES}, 0),
        ("mflr 3", {"lr": 0x1234_5678_9ABC_DEF0}, 0x1234_5678_9ABC_DEF0),
    ],
)
def test_results(source: str, given: dict[str, int], result: int) -> None:
    assert gpr(run(source, **given)) == result


@pytest.mark.parametrize(
    ("a", "b", "ca", "total", "carry"),
    [
        (ONES, 0, 1, 0, 1),
        (0xFFFF_FFFF, 0, 1, 0x1_0000_0000, 0),  # the low word's carry is none
        (1 << 63, 1 << 63, 0, 0, 1),
        (1 << 63, ONES, 1, 1 << 63, 1),
    ],
)
def test_carry_goes_out_of_the_whole_word(a: int, b: int, ca: int, total: int, carry: int) -> None:
    """3.3.9: CA is the carry out of bit 0 in 64-bit mode."""
    made = run("adde 3,4,5", r4=a, r5=b, ca=ca)
    assert (gpr(made), made.block.get("ca")) == (total, carry)


def test_overflow_and_record_are_of_the_whole_word() -> None:
    made = run("addo. 3,4,5", r4=(1 << 63) - 1, r5=1)
    assert (gpr(made), made.block.get("ov"), made.block.get("crf", 0)) == (1 << 63, 1, 0b1001)
    made = run("addo. 3,4,5", r4=0x7FFF_FFFF, r5=1)
    assert (made.block.get("ov"), made.block.get("crf", 0)) == (0, 0b0100)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("cmpwi 2,4,-1", 0b0010),  # the low words are equal
        ("cmpi 2,1,4,-1", 0b0100),
        ("cmplw 2,4,5", 0b0100),
        ("cmpl 2,1,4,5", 0b1000),
        ("cmp 2,0,4,5", 0b1000),
        ("cmp 2,1,4,5", 0b1000),
    ],
)
def test_a_compare_takes_32_or_64_bits(source: str, code: int) -> None:
    """3.3.10: L = 0 compares the low words, with their sign or zeros above them."""
    made = run(source, r4=0x0000_0001_FFFF_FFFF, r5=0x0000_0002_0000_0001)
    assert made.block.get("crf", 2) == code


def test_memory_is_reached_by_whole_words_of_address() -> None:
    """3.3.2, 3.3.3: the sum has 64 bits; lwz puts zeros above, lha the sign; stw the low word."""
    made = run("stw 4,-8(5); lwz 3,-8(5); lha 6,-8(5)", r4=0x5_8765_4321, r5=0x1008)
    assert int.from_bytes(made.memory.read(0x1000, 4), "big") == 0x8765_4321
    assert gpr(made) == 0x8765_4321
    assert gpr(made, 6) == 0xFFFF_FFFF_FFFF_8765
    made = run("lwzux 3,4,5", r4=ONES - 0xFF, r5=0x1100)
    assert gpr(made, 4) == 0x1000
    made = run("lwz 3,0(4)", r4=0x1_0000_1000)  # a word of 32 bits would find memory there
    assert (made.block.get("nia"), made.block.get("dar")) == (0x300, 0x1_0000_1000)


def test_rows_of_wide_words_stand_beside_the_others() -> None:
    made = run("std 3,-8(4); ld 5,-8(4)", r3=0x0123_4567_89AB_CDEF, r4=0x1008)
    assert made.memory.read(0x1000, 8).hex() == "0123456789abcdef"
    assert gpr(made, 5) == 0x0123_4567_89AB_CDEF
    assert Decoder(("750",)).decode(0xE8A4_FFF8) is None


def test_branches_go_to_whole_words() -> None:
    """2.4: LR receives 64 bits, CTR counts 64."""
    made = run("bl .+0x2000")
    assert (made.block.get("nia"), made.block.get("lr")) == (CODE + 0x2000, CODE + 4)
    assert run("bclr 20,0", lr=0x1234_5678_0000_2003).block.get("nia") == 0x1234_5678_0000_2000
    made = run("bc 16,0,.+0x40", ctr=0x1_0000_0000)
    assert (made.block.get("nia"), made.block.get("ctr")) == (CODE + 0x40, 0xFFFF_FFFF)


def test_the_next_instruction_lies_beyond_4_gib() -> None:
    cpu = MiniCpu()
    cpu.cia = 0xFFFF_FFFC
    nop, branch = (int.from_bytes(assemble(s), "big") for s in ("nop", "b .+8"))
    for word, wide in ((nop, 0x1_0000_0000), (branch, 0x1_0000_0004)):
        row = Decoder(WIDE).decode(word)
        assert row is not None
        assert execute(trace_word(row, word, 64, sf=True), cpu, width=64) == wide
        assert execute(trace_word(row, word), cpu) == wide & 0xFFFF_FFFF


def test_a_disassembled_target_is_a_whole_word() -> None:
    word = int.from_bytes(assemble("b .+8"), "big")
    assert disassemble(word, 0xFFFF_FFFC, WIDE).split() == ["b", "0x100000004"]
    assert disassemble(word, 0xFFFF_FFFC).split() == ["b", "0x4"]


# --- what such a model lacks -------------------------------------------------------------------


@pytest.mark.parametrize("source", ["rfi", "mtsr 1,3", "mfsrin 3,4", "eciwx 3,4,5"])
def test_rows_of_narrow_words_alone_are_illegal(source: str) -> None:
    made = run(source)
    assert (made.block.get("nia"), made.block.get("srr1") & 0x783F_0000) == (0x700, 0x0008_0000)


def test_what_is_not_described_is_named() -> None:
    with pytest.raises(NotDescribedError, match="address translation"):
        run("nop", msr=MSR_SF | 0x20)
    with pytest.raises(NotDescribedError, match="MMU 'hashed'"):
        mmu.of(architecture(word=64))


# --- the width is said once -------------------------------------------------------------------


def nothing(s: Body, i: DS) -> None:
    """A row's body."""


def test_levels_name_those_before_them() -> None:
    assert architecture("970", level="2.01").features == {"970", "2.01"}
    assert architecture(level="2.07").features == set(LEVELS)
    newer = Insn("newer", DS, "", {"OPCD": 58, "XO": 3}, nothing, features=frozenset(("2.03",)))
    assert Decoder(WIDE, [newer]).decode(58 << 26 | 3) is None
    assert Decoder(architecture(level="2.05", word=64), [newer]).decode(58 << 26 | 3) is newer


def test_registers_of_32_bit_models_lie_where_they_were() -> None:
    assert layout(32).size == BLOCK_SIZE
    assert registers(32) == REGISTERS
    assert registers(64)["gpr"] == (64, 32)
    assert registers(64)["fpscr"] == (32, 1)
    assert layout(64).offset["crf"] == 2 * layout(32).offset["crf"]


@pytest.mark.parametrize("width", [32, 64])
def test_every_row_can_be_read_for_words_of(width: int) -> None:
    """Widths fit together in every body: an operation on unequal ones is refused."""
    rows = [row for row in TABLE if row.width in (0, width)]
    assert len(rows) > 450
    for row in rows:
        trace_word(row, row.match, width)


#: Rows of fixed point: what has 32 bits in them is `low`, whatever the word.
FIXED: Final = ("fixed_arith", "logical", "branch", "cache", "load_store", "system", "spr")


@pytest.mark.parametrize("name", FIXED)
def test_no_row_says_the_width_itself(name: str) -> None:
    source = Path(gossamer.__file__).parent / "isa" / "spec" / f"{name}.py"
    found = re.findall(
        r"\b(?:const|[zs]ext|trunc|lift)\([^()]*(?:\([^()]*\))?[^()]*, 32\)", source.read_text()
    )
    assert not found
