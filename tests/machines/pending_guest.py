"""A program for mac99 that leaves an interrupt pending with MSR[EE] clear, in our own assembly.

It sets one source going, parks with its stage in memory, and enables interrupts when the host says
so.  Its handlers count, note what IACK gave, and leave interrupts off in the interrupted program.
Words at RESULTS: [1] stage, [2] the host's sign, [3] turns while parked, [5] external and
[9] decrementer interrupts, [6] the vector of the last external one.  Registers: docs/chips/.
"""

from __future__ import annotations

from typing import Final

from gossamer.isa.text import assemble

RESULTS: Final = 0x20_0000
BASE: Final = 0x10_0000
VECTOR: Final = 6
#: What IACK gives for each case.
VECTORS: Final = {"via": 0x19, "escc": 0x24, "timer": 0x41, "ipi": 0x52}
CASES: Final = ("decrementer", *VECTORS)

#: r28: results; r29: mac-io; r30: OpenPIC; r31: its CPU 0.
_COUNT: Final = """\
        mtsprg  0,3
        mtsprg  1,4
        lwz     3,{slot}(28)
        addi    3,3,1
        stw     3,{slot}(28)
{service}
        mfsrr1  3
        rlwinm  3,3,0,17,15     # EE off when it returns
        mtsrr1  3
        mfsprg  3,0
        mfsprg  4,1
        rfi
"""
EXTERNAL: Final = _COUNT.format(
    slot=20,
    service="""\
        li      4,0xa0          # IACK
        lwbrx   3,31,4
        stw     3,24(28)
        li      4,0xb0          # EOI
        li      3,0
        stwbrx  3,31,4""",
)
DECREMENTER: Final = _COUNT.format(slot=36, service="")
_BEGIN: Final = """\
        lis     28,0x20
        lis     29,0x8080
        lis     30,0x8084
        lis     31,0x8086
        li      3,0
        mtmsr   3
        isync
        stw     3,8(28)
        stw     3,12(28)
        stw     3,20(28)
        stw     3,24(28)
        stw     3,36(28)
        li      3,0x11
        stw     3,4(28)
        lis     5,0xf280        # mac-io: slot 12 of the main bus, at 0x80800000, memory on
        lis     6,0xf2c0
        lis     7,0x8000
        ori     3,7,0x6010
        stwbrx  3,0,5
        stwbrx  29,0,6
        ori     3,7,0x6004
        stwbrx  3,0,5
        li      3,2
        stwbrx  3,0,6
        lis     3,0x2000        # OpenPIC: no pass-through, task priority 0
        li      4,0x1020
        stwbrx  3,30,4
        li      3,0
        li      4,0x80
        stwbrx  3,31,4
"""
#: An external source: its registers (destination, vector), the vector, level or edge.
_SOURCE: Final = """\
        lis     4,{at}@h
        ori     4,4,{at}@l
        li      3,1
        stwbrx  3,30,4
        lis     4,{vector_at}@h
        ori     4,4,{vector_at}@l
        lis     3,{sense}
        ori     3,3,{vector}
        stwbrx  3,30,4
"""
LEVEL_8: Final = 0x48
EDGE_8: Final = 0x08


def _source(n: int) -> str:
    at = 0x10000 + 0x20 * n
    return _SOURCE.format(at=at + 0x10, vector_at=at, sense=LEVEL_8, vector=n)


_CAUSES: Final = {
    "decrementer": """\
        lis     3,0x10
        mtdec   3
""",
    "via": _source(0x19)
    + """\
        addis   8,29,1          # the 6522: timer 1 runs freely, 4096 ticks
        addi    8,8,0x6000
        li      3,0x40
        stb     3,0x1600(8)
        li      3,0xc0
        stb     3,0x1c00(8)
        li      3,0
        stb     3,0x0800(8)
        li      3,0x10
        stb     3,0x0a00(8)
""",
    "escc": _source(0x24)
    + """\
        addis   8,29,1          # channel B: transmitter and its interrupt on, a byte
        addi    8,8,0x3000
        .irp    value,1,2,9,8,5,8
        li      3,\\value
        stb     3,0(8)
        eieio
        .endr
        li      3,0x41
        stb     3,0x10(8)
""",
    "timer": _SOURCE.format(at=0x1170, vector_at=0x1160, sense=EDGE_8, vector=0x41)
    + """\
        li      3,4160          # 1 ms
        li      4,0x1150
        stwbrx  3,30,4
""",
    "ipi": """\
        lis     3,8
        ori     3,3,0x52
        li      4,0x10c0
        stwbrx  3,30,4
        li      3,1
        li      4,0x60
        stwbrx  3,31,4
""",
}
_END: Final = """\
        lis     3,turns@h
        ori     3,3,turns@l
        mtctr   3
1:      bdnz    1b
        li      3,0x22
        stw     3,4(28)
parked: lwz     3,12(28)
        addi    3,3,1
        stw     3,12(28)
        lwz     3,8(28)
        cmpwi   3,0
        beq     parked
        mfmsr   3
        ori     3,3,0x8000
        mtmsr   3
        isync
        nop
        nop
        nop
        li      3,0x44
        stw     3,4(28)
1:      b       1b
"""


def segments(case: str, turns: int) -> list[tuple[int, bytes]]:
    """(real address, bytes) of the program; `turns` of an empty loop pass before it parks."""
    main = _BEGIN + _CAUSES[case] + _END
    return [
        (0x500, assemble(EXTERNAL, 0x500)),
        (0x900, assemble(DECREMENTER, 0x900)),
        (BASE, assemble(main, BASE, {"turns": turns})),
    ]
