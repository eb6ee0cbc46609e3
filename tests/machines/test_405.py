"""The 405: its own instructions, its TLB, its exceptions; both engines must agree each time.

Results of multiply-accumulate are the manual's, and QEMU 7.2's where it computes them.
"""

from __future__ import annotations

import pytest

from gossamer.cpu.exceptions_405 import Vector
from gossamer.cpu.model import find
from gossamer.isa.interrupts import Interrupt
from gossamer.isa.spec.table import Decoder
from gossamer.machines.machine import Machine
from tests.machines.board405 import DATA, SRAM, VECTORS, alike

OPERANDS = "lis 10,3; ori 10,10,4; lis 11,0xfff0; ori 11,11,5; li 12,7"


def text(*lines: str) -> str:
    return "\n".join(line.strip() for one in lines for line in one.split(";"))


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("macchw 12,10,11", 0xFFFF_FFC7),
        ("macchws 12,10,11", 0xFFFF_FFC7),
        ("macchwu 12,10,11", 0x0003_FFC7),
        ("macchwsu 12,10,11", 0x0003_FFC7),
        ("machhw 12,10,11", 0xFFFF_FFD7),
        ("machhwu 12,10,11", 0x0002_FFD7),
        ("maclhw 12,10,11", 0x0000_001B),
        ("maclhws 12,10,11", 0x0000_001B),
        ("maclhwu 12,10,11", 0x0000_001B),
        ("nmacchw 12,10,11", 0x0000_0047),
        ("nmacchws 12,10,11", 0x0000_0047),
        ("nmachhw 12,10,11", 0x0000_0037),
        ("nmaclhw 12,10,11", 0xFFFF_FFF3),
        ("mulchw 12,10,11", 0xFFFF_FFC0),
        ("mulchwu 12,10,11", 0x0003_FFC0),
        ("mulhhw 12,10,11", 0xFFFF_FFD0),
        ("mulhhwu 12,10,11", 0x0002_FFD0),
        ("mullhw 12,10,11", 0x0000_0014),
        ("mullhwu 12,10,11", 0x0000_0014),
    ],
)
def test_multiply_accumulate(instruction: str, expected: int) -> None:
    m = alike(text(OPERANDS, instruction), 6)
    assert m.cpu.block.get("gpr", 12) == expected


def test_sums_saturate_and_overflow() -> None:
    m = alike(
        text(
            "lis 10,0x7fff; ori 10,10,0x7fff; lis 12,0x7fff; ori 12,12,0xffff; mr 13,12",
            "machhwso. 12,10,10; machhwo 13,10,10",
        ),
        7,
    )
    assert m.cpu.block.get("gpr", 12) == 0x7FFF_FFFF
    assert m.cpu.block.get("gpr", 13) == (0x7FFF_FFFF + 0x7FFF * 0x7FFF) & 0xFFFF_FFFF
    assert (m.cpu.block.get("ov"), m.cpu.block.get("so"), m.cpu.block.get("crf")) == (1, 1, 5)


@pytest.mark.parametrize(
    ("high", "low", "count", "cr"),
    [
        (0x4142_0044, 0x4546_4748, 3, 4),
        (0x4142_4344, 0x4500_0048, 6, 8),
        (0x0141_4101, 0x01FF_FF80, 8, 2),
    ],
)
def test_dlmzb(high: int, low: int, count: int, cr: int) -> None:
    m = alike(
        text(
            f"lis 4,{high >> 16}; ori 4,4,{high & 0xFFFF}",
            f"lis 5,{low >> 16}; ori 5,5,{low & 0xFFFF}",
            "dlmzb. 6,4,5",
        ),
        5,
    )
    assert m.cpu.block.get("gpr", 6) == count
    assert m.cpu.block.get("crf") == cr
    assert m.cpu.block.xer & 0x7F == count


@pytest.mark.parametrize("word", [0xFC00_048E, 0x7C00_0264, 0x7C00_04A6, 0xC000_0000, 0x7C00_026C])
def test_what_the_part_lacks_is_illegal(word: int) -> None:
    """mffs, tlbie, mfsr, lfs, eciwx."""
    assert Decoder(find("405ep").architecture).decode(word) is None
    m = alike(f".long {word:#x}", 1)
    assert m.cpu.block.get("nia") == VECTORS + Interrupt.PROGRAM
    assert m.cpu.block.get("esr") == 0x0800_0000


def test_privilege() -> None:
    m = alike(text("li 4,0x4000; mtmsr 4; rfci"), 3)
    assert m.cpu.block.get("esr") == 0x0400_0000
    assert m.cpu.block.get("srr1") == 0x4000
    assert m.cpu.block.get("msr") == 0


def test_critical_return() -> None:
    m = alike(text("li 4,0x1000; mtsrr3 4; mtsrr2 3; rfci"), 4)
    assert (m.cpu.block.get("nia"), m.cpu.block.get("msr")) == (DATA, 0x1000)


def test_external_enable() -> None:
    m = alike(text("wrteei 1; li 4,0; mfmsr 5; wrtee 4; mfmsr 6"), 5)
    assert (m.cpu.block.get("gpr", 5), m.cpu.block.get("gpr", 6)) == (0x8000, 0)


def test_dcr_that_nothing_answers_to() -> None:
    m = alike("mfdcr 4,0x14", 1)
    assert m.cpu.block.get("esr") == 0x0800_0000
    m = alike(text("li 4,-1; mtdcr 0x87,4; mfdcr 5,0x87"), 3)
    assert m.cpu.block.get("gpr", 5) == 0xF800_0000


# --- the TLB --------------------------------------------------------------------------------------


def entry(n: int, ea: int, ra: int, *, size: int = 1, flags: int = 0x300, tag: int = 0x40) -> str:
    """Instructions that load entry `n`: a page of 1 KiB << 2 * size."""
    high, low = ea | size << 7 | tag, ra | flags
    return "; ".join(
        (
            f"li 4,{n}; lis 5,{high >> 16}; ori 5,5,{high & 0xFFFF}",
            f"lis 6,{low >> 16}; ori 6,6,{low & 0xFFFF}; tlbwelo 6,4; tlbwehi 5,4",
        )
    )


#: Code and vectors where they are, whatever the process: 16 KiB pages of the SRAM.
HERE = "; ".join(
    (
        "li 0,0; mtpid 0",
        entry(60, SRAM, SRAM, size=2),
        entry(61, SRAM + 0x4000, SRAM + 0x4000, size=2),
    )
)
ON = "li 4,0x30; mtmsr 4; isync"


def run(*lines: str) -> Machine:
    source = text(HERE, *lines)
    return alike(source, source.count("\n") + 1)


def load(ea: int, register: int = 8) -> str:
    return f"lis 7,{ea >> 16}; ori 7,7,{ea & 0xFFFF}; lwz {register},0(7)"


def store(ea: int) -> str:
    return f"lis 7,{ea >> 16}; ori 7,7,{ea & 0xFFFF}; stw 7,0(7)"


def test_pages_of_every_size() -> None:
    for size in range(8):
        frame = 1024 << 2 * size
        ea, at = 0x4000_0000, DATA & -frame
        inside = DATA - at
        m = run(entry(1, ea, at, size=size), "stw 3,0(3)", ON, load(ea + inside))
        assert m.cpu.block.get("gpr", 8) == DATA, size


def test_miss() -> None:
    m = run(ON, load(0x1000_0004))
    b = m.cpu.block
    assert (b.get("nia"), b.get("dear")) == (VECTORS + Vector.DATA_MISS, 0x1000_0004)
    assert (b.get("esr"), b.get("msr"), b.get("srr1")) == (0, 0, 0x30)
    m = run(ON, store(0x1000_0004))
    assert m.cpu.block.get("esr") == 0x0080_0000
    m = run(ON, "lis 9,0x2000; mtctr 9; bctr; nop")
    assert m.cpu.block.get("nia") == VECTORS + Vector.FETCH_MISS
    assert m.cpu.block.get("srr0") == 0x2000_0000


def test_protection_and_zones() -> None:
    read_only = entry(1, 0x4000_0000, DATA, flags=0x200)
    m = run(read_only, ON, store(0x4000_0008))
    b = m.cpu.block
    assert (b.get("nia"), b.get("esr"), b.get("dear")) == (
        VECTORS + Interrupt.DSI,
        0x0080_0000,
        0x4000_0008,
    )
    m = run(read_only, "lis 9,0x8000; mtzpr 9", ON, store(0x4000_0008))  # zone 0: 10
    assert m.cpu.block.get("nia") != VECTORS + Interrupt.DSI
    m = run(
        entry(1, 0x4000_0000, DATA, flags=0x310),  # zone 1
        "lis 9,0x4000; mtzpr 9; lis 9,0; ori 9,9,0x4030; mtmsr 9",  # zone 1: 00, user
        load(0x4000_0000),
    )
    assert m.cpu.block.get("esr") == 0x0040_0000


def test_execution() -> None:
    for flags, esr in ((0x100, 0), (0x301, 0)):
        m = run(entry(1, 0x4000_0000, DATA, flags=flags), ON, "lis 9,0x4000; mtctr 9; bctr; nop")
        assert m.cpu.block.get("nia") == VECTORS + Interrupt.ISI
        assert m.cpu.block.get("esr") == esr


def test_process_counts_at_once() -> None:
    """The write of PID is followed by a load that goes to the new process's page."""
    m = run(
        "li 0,1; mtpid 0",
        entry(1, 0x4000_0000, DATA),
        "li 0,2; mtpid 0",
        entry(2, 0x4000_0000, DATA + 0x1000),
        "li 9,0x11; stw 9,0(3); li 9,0x22; stw 9,0x1000(3)",
        ON,
        load(0x4000_0000, 10),
        "li 0,1; mtpid 0; lwz 11,0(7); li 0,2; mtpid 0; lwz 12,0(7)",
    )
    assert [m.cpu.block.get("gpr", n) for n in (10, 11, 12)] == [0x22, 0x11, 0x22]


def test_changed_entry_counts_at_once() -> None:
    m = run(
        entry(1, 0x4000_0000, DATA),
        "li 9,0x11; stw 9,0(3); li 9,0x22; stw 9,0x1000(3)",
        ON,
        load(0x4000_0000, 10),
        entry(1, 0x4000_0000, DATA + 0x1000),
        "lwz 11,0(7); tlbia; lwz 12,0(7)",
    )
    assert [m.cpu.block.get("gpr", n) for n in (10, 11)] == [0x11, 0x22]
    assert m.cpu.block.get("nia") == VECTORS + Vector.FETCH_MISS


@pytest.mark.parametrize("size", [1, 3, 5])
def test_entry_before_one_that_was_used_counts_at_once(size: int) -> None:
    """Of several entries for one place the first counts, whenever it was written."""
    frame = 1024 << 2 * size
    ea, at = 0x4000_0000, DATA & -frame
    m = run(
        entry(5, ea + DATA - at, DATA + 0x1000),
        "li 9,0x11; stw 9,0(3); li 9,0x22; stw 9,0x1000(3)",
        ON,
        load(ea + DATA - at, 10),
        entry(2, ea, at, size=size),
        "lwz 11,0(7)",
        entry(7, ea + DATA - at, DATA + 0x1000),
        "lwz 12,0(7)",
    )
    assert [m.cpu.block.get("gpr", n) for n in (10, 11, 12)] == [0x22, 0x11, 0x11]


def test_small_pages_are_apart() -> None:
    """Four pages of 1 KiB in one of the engine's, each somewhere else, code among them."""
    pages = [entry(n, 0x4000_0000 + 0x400 * n, DATA + 0x400 * (3 - n), size=0) for n in range(4)]
    stores = "; ".join(f"li 9,{n}; stw 9,{0x400 * n}(3)" for n in range(4))
    loads = "; ".join(f"lwz {20 + n},{0x400 * n}(7)" for n in range(4))
    m = run(*pages, stores, ON, "lis 7,0x4000", loads)
    assert [m.cpu.block.get("gpr", 20 + n) for n in range(4)] == [3, 2, 1, 0]
    code = {0xFFC: 0x3880_0001, 0x800: 0x38A0_0002, 0x804: 0x4BFF_FFF8}  # li, li, b .-8
    put = "; ".join(
        f"lis 9,{word >> 16}; ori 9,9,{word & 0xFFFF}; stw 9,{at}(3)" for at, word in code.items()
    )
    m = run(*pages, put, ON, "lis 9,0x4000; ori 9,9,0x3fc; mtctr 9; bctr; nop; nop; nop")
    assert (m.cpu.block.get("gpr", 4), m.cpu.block.get("gpr", 5)) == (1, 2)
    assert m.cpu.block.get("nia") == 0x4000_03FC


def test_little_endian_page() -> None:
    m = run(
        entry(1, 0x4000_0000, DATA, tag=0x60),
        "lis 9,0x1122; ori 9,9,0x3344; stw 9,0(3); stw 9,4(3)",
        ON,
        "lis 7,0x4000; lwz 10,0(7); lhz 11,0(7); lbz 12,0(7); lwz 13,2(7); sth 9,8(7)",
        "li 4,0; mtmsr 4; isync; lhz 14,8(3)",
    )
    got = [m.cpu.block.get("gpr", n) for n in (10, 11, 12, 13, 14)]
    assert got == [0x4433_2211, 0x2211, 0x11, 0x2211_4433, 0x4433]


def test_search_and_read_back() -> None:
    m = run(
        "li 0,7; mtpid 0",
        entry(5, 0x1234_5C00, 0x0007_8000, size=1, flags=0x3F8, tag=0x70),
        "lis 7,0x1234; ori 7,7,0x5c04; tlbsx. 8,0,7; li 0,9; mtpid 0; tlbsx 9,0,7",
        "tlbrelo 10,4; tlbrehi 11,4; mfpid 12",
    )
    got = [m.cpu.block.get("gpr", n) for n in (8, 9, 10, 11, 12)]
    assert got == [5, 0xFFFF_FFFF, 0x0007_83F8, 0x1234_50F0, 7]
    assert m.cpu.block.get("crf") == 2


def test_cacheable_in_real_mode() -> None:
    """After a reset nothing is: dcbz is an alignment interrupt, until DCCR says otherwise."""
    m = alike("dcbz 0,3", 1)
    b = m.cpu.block
    assert (b.get("nia"), b.get("dear"), b.get("esr")) == (VECTORS + Interrupt.ALIGNMENT, DATA, 0)
    m = alike(text("li 4,1; mtdccr 4; li 5,-1; stw 5,4(3); dcbz 0,3; lwz 6,4(3)"), 6)
    assert m.cpu.block.get("gpr", 6) == 0
    assert (m.cpu.block.get("dar"), m.cpu.block.get("dsisr")) == (0, 0)
