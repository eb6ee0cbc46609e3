"""The hostile guest of the 405: a ROM that carries out a table of accesses, which is in it, too.

Records are those of `hostile`, with more kinds: accesses and instructions with translation on or in
user mode, as the last ``mode`` record says.  The program runs and keeps its place where nothing
that it does can take memory away: in ROM and in SRAM, its own accesses in real mode.  Interrupts
are counted, folded, acknowledged, and turn themselves off until a record turns them on again, the
ordinary ones EE, the critical ones CE.  Misses of the TLB are answered for one page of two; what
else an instruction causes is skipped.  A reset leads to the record behind the one that made it.

Sources: PPC405 core user's manual chapters 7, 10, 11; PPC405EP user's manual chapter 7.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from gossamer.base.units import KiB
from gossamer.isa.text import assemble, assemble_program
from gossamer.machines.guests import hostile
from gossamer.machines.guests.hostile import MAGIC, POLL_TURNS

MACHINE: Final = "ref405ep"
TOP: Final = 0x1_0000_0000
BASE: Final = TOP - 64 * KiB
"""Where vectors and program are; the table ends below."""
CODE: Final = BASE + 0x2100
STATE: Final = 0xFFF0_2000
"""In SRAM: records begun; what was read, folded; ordinary and critical interrupts, folded; slot."""
MOST_RECORDS: Final = 160_000

KINDS: Final = (
    *hostile.KINDS,
    *("mode", "vstore1", "vstore2", "vstore4", "vload1", "vload2", "vload4", "do", "vdo"),
)
MSR_BASE: Final = 0x1000
"""ME."""
MSR_FREE: Final = 0x020A_AF00
"""AP, APE, CE, EE, FP, FE0, DWE, DE, FE1: bits that an ``msr`` record may set."""
MODES: Final = 0x4030
"""PR, IR, DR: bits that a ``mode`` record may set."""
EE, CE = 0x8000, 0x2_0000
#: Entries of the TLB that only the program fills, for its own code: from here on.
OWN_ENTRIES: Final = 56

#: Not EVPR, LR and CTR, which are the program's; some that no 405 has are among them.
_SPRS: Final = (
    *(1, 18, 22, 26, 27, 256, *range(272, 280), 282, 284, 285, 528, 936),
    *(944, 945, 947, 948, 949, 950, 951, 953, 954, 955, 956, 957, 979, 980, 981, 984, 986, 987),
    *(990, 991, 1008, 1010, 1012, 1013, 1014, 1015, 1018, 1019, 1020),
)
_READ_ONLY: Final = (268, 269, 287, 260, 261, 262, 263, 982)
#: Every DCR that something answers to, and some that nothing does.
DCRS: Final = (
    *(*range(0x10, 0x14), *range(0x18, 0x1C), 0x77, 0x81, 0x84, 0x86, 0x87, 0x89, 0xA0, 0xA2, 0xA4),
    *(*range(0xC0, 0xC9), 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF9),
    *(*range(0x100, 0x118), 0x120, 0x123, 0x125, 0x126, 0x180, 0x181, 0x182, 0x184, 0x185, 0x186),
    *(0x187, 0x190, 0x191, 0x192, 0x193, *range(0x1A0, 0x1A4), 0x1C0, 0x1C1, 0x1E0, 0x1E1),
    *(0x14, 0xB0, 0xF2, 0x3FF),
)
#: Instructions that a record may choose: operand in r8, result in r8, the TLB's index in r0.
INSTRUCTIONS: Final = (
    *(f"mtspr {n},8" for n in _SPRS),
    *(f"mfspr 8,{n}" for n in (*_SPRS, *_READ_ONLY)),
    *(f"mtdcr {n:#x},8" for n in DCRS),
    *(f"mfdcr 8,{n:#x}" for n in DCRS),
    *("rlwinm 0,8,0,27,31", "rlwinm 0,8,0,26,27"),
    *("tlbwehi 8,0", "tlbwelo 8,0", "tlbrehi 8,0", "tlbrelo 8,0", "tlbsx. 8,0,8", "tlbia"),
    *("tlbsync", "mfmsr 8", "mfcr 8", "mtcrf 255,8", "sync", "eieio", "isync", "wrtee 8"),
    *("wrteei 0", "wrteei 1", "tw 31,0,0", ".long 0", ".long 0xfc00048e", ".long 0x7c0004a6"),
    *("dcbz 0,8", "dcbf 0,8", "dcbst 0,8", "dcbi 0,8", "dcba 0,8", "icbi 0,8", "icbt 0,8"),
    *("dccci 0,8", "iccci 0,8", "dcread 8,0,8", "icread 0,8", "lwarx 8,0,8", "stwcx. 8,0,8"),
    *("lmw 29,0(8)", "stmw 29,0(8)", "lwbrx 8,0,8", "lhbrx 8,0,8", "stwbrx 8,0,8", "lha 8,0(8)"),
    *("lswi 28,8,7", "stswi 28,8,7", "macchw 8,8,18", "nmacchwso. 8,8,18", "maclhwu 8,18,8"),
    *("mulchw 8,8,18", "mulhhwu. 8,8,18", "dlmzb. 8,8,18"),
)

#: Of a vector: what the handler does with what the instruction caused.
SKIPS, FILLS_DATA, FILLS_CODE, LEAVES_USER = 1, 2, 3, 4
ORDINARY: Final = {
    0x300: SKIPS,
    0x400: LEAVES_USER,
    0x500: 0,
    0x600: SKIPS,
    0x700: SKIPS,
    0x800: SKIPS,
    0xF20: SKIPS,
    0x1000: 0,
    0x1010: 0,
    0x1100: FILLS_DATA,
    0x1200: FILLS_CODE,
}
CRITICAL: Final = (0x100, 0x200, 0x1020, 0x2000)
#: A system call ends an access with translation on: back to real mode, as supervisor.
_CALL: Final = "mfsrr1 24\n rlwinm 24,24,0,18,16\n rlwinm 24,24,0,28,25\n mtsrr1 24\n rfi"

#: r0 TLB index, r1 mode, r12 records, r14 begun, r15 STATE, r16 the next record, r18 folded; r20
#: to r27 belong to the handler, r2 and r28 to r31 to the critical one, r17 and r19 to a record.
_MAIN: Final = (
    """\
start:  lis     15,state@h
        ori     15,15,state@l
        lis     3,0xffff
        mtevpr  3
        li      3,0x40          # SDRAM: bank 0 at 0, 8 MiB, then the controller
        mtdcr   0x10,3
        lis     3,2
        ori     3,3,1
        mtdcr   0x11,3
        li      3,0x20
        mtdcr   0x10,3
        lis     3,0x8000
        mtdcr   0x11,3
        lis     13,table@h
        ori     13,13,table@l
"""
    + hostile.CHECK
    + """\
        li      0,0
        li      1,0
        li      3,msrbase
        mtmsr   3
        isync
next:   cmplw   14,12
        bge     halt
"""
    + hostile.RECORD
    + """\
        stw     14,0(15)
        stw     18,4(15)
"""
    + hostile.TURN
    + """\
execute: b      did
halt:   b       halt
end:    b       halt
"""
    + hostile.POLL
    + """\
cell:   cmplwi  7,instructions  # r9: the instruction's place
        bge     next
        lis     10,code@h
        ori     10,10,code@l
        rlwinm  9,7,3,16,28
        add     9,10,9
        mtctr   9
        mr      8,6
        blr
do:     mflr    3
        bl      cell
        mtlr    3
        bctr
vdo:    mflr    3
        bl      cell
        mtlr    3
        mfmsr   9
        or      9,9,1
        mtmsr   9
        isync
        bctr
called: sc
        b       fold
mode:   lis     9,0
        ori     9,9,modes
        and     1,7,9
        b       did
"""
    + hostile.SET_MSR
    + hostile.WAIT
    + """\
nap:    rlwinm  7,7,0,12,31     # until PIT has run down from what the record says
        ori     7,7,1
        li      8,msrbase       # none before it sleeps
        mtmsr   8
        mtpit   7
        mftcr   9
        oris    10,9,0x0400
        mttcr   10
        lis     8,6             # WE, CE
        ori     8,8,msrbase+0x8000
        mtmsr   8
        isync
        li      8,msrbase
        mtmsr   8
        mttcr   9
        b       did
"""
)

#: The vector in r20, what to do in r25, CR in r27.
_HANDLER: Final = """\
taken:  lis     26,state@h
        ori     26,26,state@l
        lwz     21,8(26)
        rotlwi  21,21,5
        xor     21,21,20
        mfesr   24
        xor     21,21,24
        mfdear  24
        rotlwi  21,21,3
        xor     21,21,24
        cmpwi   25,1
        beq     skip
        cmpwi   25,2
        beq     data
        cmpwi   25,3
        beq     fetch
        cmpwi   25,4
        beq     leave
        mftsr   24
        xor     21,21,24
        rlwinm  24,24,0,4,5     # PIS, FIS
        mttsr   24
        mfpit   24
        rotlwi  21,21,3
        xor     21,21,24
        mfdcr   24,0xc6
        rotlwi  21,21,3
        xor     21,21,24
        mtdcr   0xc0,24
        mfsrr1  24
        rlwinm  24,24,0,17,15   # no more of them,
        rlwinm  24,24,0,14,12   # awake
        mtsrr1  24
        b       back
skip:   mfsrr0  24
        addi    24,24,4
        mtsrr0  24
        b       back
leave:  mfsrr1  24
        rlwinm  24,24,0,18,16
        mtsrr1  24
        b       back
data:   mfdear  24
        andi.   23,24,0x1000
        bne     skip
        li      22,31
        li      20,0
        b       fill
fetch:  mfsrr0  24
        li      22,7
        li      20,own
fill:   lwz     23,16(26)
        addi    23,23,1
        stw     23,16(26)
        and     23,23,22
        add     23,23,20
        rlwinm  24,24,0,0,19
        ori     22,24,0x300     # EX, WR
        tlbwelo 22,23
        ori     24,24,0xc0      # 4 KiB, V
        tlbwehi 24,23
back:   stw     21,8(26)
        mtcrf   255,27
        rfi
critical: lis   30,state@h      # the vector in r29, CR in r28
        ori     30,30,state@l
        lwz     31,12(30)
        rotlwi  31,31,7
        xor     31,31,29
        mfdcr   2,0xc7
        xor     31,31,2
        mfsrr2  2
        rotlwi  31,31,5
        xor     31,31,2
        mftsr   2
        xor     31,31,2
        andi.   29,31,1
        beq     1f
        rlwinm  2,2,0,0,1       # ENW and WIS, every other time
        mttsr   2
1:      stw     31,12(30)
        mfsrr3  2
        rlwinm  2,2,0,15,12     # CE and WE
        mtsrr3  2
        mtcrf   255,28
        rfci
"""
_ACCESSES: Final = {
    "store1": ("stb 7,0(6)", "did"),
    "store2": ("sth 7,0(6)", "did"),
    "store4": ("stw 7,0(6)", "did"),
    "load1": ("lbz 8,0(6)", "fold"),
    "load2": ("lhz 8,0(6)", "fold"),
    "load4": ("lwz 8,0(6)", "fold"),
}


def _source() -> str:
    lines = []
    for name, (access, then) in _ACCESSES.items():
        lines.append(f"{name}: {access}\n b {then}")
        lines.append(f"v{name}: mfmsr 9\n or 9,9,1\n mtmsr 9\n isync\n {access}\n sc\n b {then}")
    jumps = "\n".join(f"        .long {name}" for name in KINDS)
    cells = "\n".join(f"        {one}\n        b called" for one in INSTRUCTIONS)
    accesses = "\n".join(lines)
    return f"{_MAIN}{accesses}\n{_HANDLER}jumps:\n{jumps}\ncode:\n{cells}\n"


def _vectors(symbols: Mapping[str, int]) -> Iterator[tuple[int, str]]:
    """Four instructions for each, as PIT, FIT and watchdog lie 16 bytes apart."""
    for number, how in ORDINARY.items():
        yield number, f"mfcr 27\n li 20,{number}\n li 25,{how}\n b {symbols['taken']}"
    for number in CRITICAL:
        yield number, f"mfcr 28\n li 29,{number}\n b {symbols['critical']}"
    yield 0xC00, _CALL
    yield 0xFFFC, f"b {symbols['start']}"


def rom(table: bytes) -> bytes:
    """The ROM, ending with the address space, with a table as `verify cuts` makes it."""
    room = -(-len(table) // (4 * KiB)) * 4 * KiB
    known = {
        "table": BASE - room,
        "state": STATE,
        "magic": MAGIC,
        "turns": POLL_TURNS,
        "kinds": len(KINDS),
        "instructions": len(INSTRUCTIONS),
        "msrbase": MSR_BASE,
        "msrfree": MSR_FREE,
        "modes": MODES,
        "own": OWN_ENTRIES,
    }
    program = assemble_program(_source(), CODE, known)
    out = bytearray(room + TOP - BASE)
    out[: len(table)] = table
    at = room + CODE - BASE
    out[at : at + len(program.code)] = program.code
    for number, source in _vectors(program.symbols):
        code = assemble(source, BASE + number, known)
        out[room + number : room + number + len(code)] = code
    return bytes(out)
