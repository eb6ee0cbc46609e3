"""Little-endian mode (MSR[LE]) on both engines: random programs, and what the books say."""

from __future__ import annotations

import pytest

from gossamer.engine.reference import Reference
from gossamer.engine.tier0 import Tier0
from gossamer.isa.text import assemble

from .programs import pool
from .programs_64 import LPCR_ILE, MSR_SF, MSR_VSX, set_up, turned
from .rig import Rig, agreed

CPU = "power8_v2.0"
MSR_VEC, MSR_FP = 1 << 25, 1 << 13
ALL = MSR_SF | MSR_VEC | MSR_VSX | MSR_FP
BYTES = bytes(range(0x10, 0x30))
ENGINES = pytest.mark.parametrize("engine", [Tier0, Reference])


@pytest.mark.parametrize("little", ["", "all", "code"])
def test_random_programs_end_in_the_same_state(little: str) -> None:
    """`code`: every interrupt changes the order, and its end changes it back."""
    words, steps = pool(2, 1500, CPU), 0
    for seed in range(6):
        a, b = (Rig(kind, cpu=CPU) for kind in (Tier0, Reference))
        for rig in (a, b):
            set_up(rig, seed, translated=bool(seed & 1), words=words, little=little)
        steps += agreed(a, b, seed, 10)
    assert steps > 400


def little(engine: type[Tier0] | type[Reference], text: str, lpcr: int = 0) -> Rig:
    """A program in little-endian order at 0x10000; bytes 0x10, 0x11... at 0x2000 (r4)."""
    rig = Rig(engine, cpu=CPU)
    rig.write(0x1_0000, turned(assemble(text, 0x1_0000)))
    rig.write(0x2000, BYTES)
    rig.set(nia=0x1_0000, msr=ALL | 1, r4=0x2000, lpcr=lpcr)
    return rig


@ENGINES
def test_loads_and_stores_have_the_least_byte_first(engine: type) -> None:
    rig = little(engine, "lwz 3,0(4); ld 5,0(4); lhbrx 6,0,4; lhz 7,1(4); std 5,256(4)")
    rig.run(5)
    assert [rig.get(f"r{n}") for n in (3, 5, 6, 7)] == [
        *(0x1312_1110, 0x1716_1514_1312_1110),
        *(0x1011, 0x1211),
    ]
    assert rig.memory.read(0x2100, 8) == BYTES[:8]


@ENGINES
def test_vectors_as_the_books_have_them(engine: type) -> None:
    rig = little(engine, "lvx 2,0,4; lxvd2x 35,0,4; lxvw4x 36,0,4; lvebx 5,6,4; stvx 2,7,4")
    rig.set(r6=3, r7=0x100)
    rig.run(5)
    assert rig.block.get("vr", 2) == int.from_bytes(BYTES[:16], "little")
    high, low = (int.from_bytes(BYTES[n : n + 8], "little") for n in (0, 8))
    assert rig.block.get("vr", 3) == high << 64 | low
    words = [int.from_bytes(BYTES[n : n + 4], "little") for n in (0, 4, 8, 12)]
    assert rig.block.get("vr", 4) == sum(w << 96 - 32 * n for n, w in enumerate(words))
    assert rig.block.get("vr", 5) == 0x13 << 24  # byte 3 from the right
    assert rig.memory.read(0x2100, 16) == BYTES[:16]


@ENGINES
def test_multiples_and_strings_are_alignment_interrupts(engine: type) -> None:
    for text in ("lmw 29,0(4)", "stmw 29,0(4)", "lswi 5,4,7", "stswi 5,4,7"):
        rig = little(engine, text, LPCR_ILE)
        rig.run(1)
        assert (rig.get("nia"), rig.get("dar")) == (0x600, 0x2000)
        assert rig.get("msr") & 1
        assert rig.memory.read(0x2000, 32) == BYTES


@ENGINES
def test_interrupts_have_the_order_that_lpcr_says_and_rfid_brings_the_old_one(engine: type) -> None:
    for lpcr in (0, LPCR_ILE):
        rig = little(engine, "sc; lwz 3,0(4)", lpcr)
        rfid = 0x4C00_0024
        rig.write(0xC00, rfid.to_bytes(4, "little" if lpcr else "big"))
        rig.run(1)
        assert rig.get("msr") & 1 == bool(lpcr)
        rig.run(2)
        assert (rig.get("nia"), rig.get("msr") & 1, rig.get("r3")) == (0x1_0008, 1, 0x1312_1110)


def test_a_page_is_decoded_anew_in_the_other_order() -> None:
    """addi 3,3,96 is ori 0,0,0x6338 where its bytes lie the other way round."""
    rig = little(Tier0, "addi 3,3,96; b .-4")
    rig.run(6)
    assert rig.get("r3") == 3 * 96
    for _ in range(2):
        rig.set(nia=0x1_0000, msr=ALL, r3=5)
        rig.run(1)
        assert (rig.get("nia"), rig.get("r3"), rig.get("r0")) == (0x1_0004, 5, 0x6338)
        rig.set(nia=0x1_0000, msr=ALL | 1, r3=5)
        rig.run(1)
        assert rig.get("r3") == 5 + 96


def test_another_cpu_that_turns_a_page_is_noticed() -> None:
    a = little(Tier0, "addi 3,3,96; b .-4")
    a.run(2)
    assert isinstance(a.engine, Tier0)
    other = Tier0(a.memory, a.engine.architecture, beside=a.engine)
    other.block.set("nia", 0x1_0000)
    other.block.set("msr", MSR_SF)
    other.run(1)
    assert other.block.get("nia") == 0x1_0004
    a.run(2)
    assert a.get("r3") == 2 * 96
