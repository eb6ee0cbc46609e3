"""A fifth built-in guest (``-bios builtin-hostile``, the Macs): it carries out a table of accesses.

The table is put into RAM from outside (``-device loader``): a head of four words (`MAGIC`, number
of records, two unused) at `TABLE`, then records of three words, which `verify cuts --guest hostile`
makes.  A record is an access of 1, 2 or 4 bytes, a poll, one of the instructions of `INSTRUCTIONS`,
a change of MSR, or a wait; what is read is folded into a number.  The program runs from ROM with
exception vectors in ROM, so that no DMA can break it, and keeps its place in RAM, so that it goes
on behind a reset.  Each interrupt is counted, folded, acknowledged, and turns interrupts off until
a record turns them on again: a line that stays asserted cannot hold the program up.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from gossamer.base.units import MiB
from gossamer.isa.text import assemble, assemble_program
from gossamer.machines.guests import watcher

#: What -bios calls it.
NAME: Final = "builtin-hostile"
MAGIC: Final = 0x686F_7374
TABLE: Final = 0x10_0000
HEAD_WORDS, RECORD_WORDS = 4, 3
STATE: Final = 0x2000
"""Of the program in RAM: records done, what was read, folded, interrupts, folded."""
CODE: Final = 0x1_0000
"""Offset of the program in the ROM; the vectors are below, mac99's NVRAM lies between."""

#: Kinds of records, in order of the program's jump table.  A record's first word is kind << 24 |
#: (repetitions - 1) << 16 | turns of an empty loop behind each.
KINDS: Final = (
    *("end", "store1", "store2", "store4", "load1", "load2", "load4"),
    *("poll", "execute", "msr", "wait", "nap"),
)
POLL_TURNS: Final = 200
MSR_BASE: Final = 0x1042
"""ME, IP, RI: always set; without them an exception would not come back."""
MSR_FREE: Final = 0x0200_A900
"""VEC, EE, FP, FE0, FE1: bits that a record may set."""
#: Vectors of exceptions that an instruction causes: its successor is the next one.
SYNCHRONOUS: Final = (0x300, 0x400, 0x600, 0x700, 0x800, 0xF20, 0x1600)
OTHERS: Final = (0x200, 0x500, 0x900, 0xC00, 0xD00, 0xF00, 0x1300, 0x1400, 0x1700)

RESET: Final = 0x100
"""Where the CPU begins; a system reset exception as well."""

_SPRS: Final = (
    *(1, 8, 9, 18, 19, 22, 25, 26, 27, 272, 273, 274, 275, 282),
    *range(528, 544),
    *(936, 937, 938, 939, 940, 941, 942, 943, 951, 952, 953, 954, 955, 956, 957, 958, 959),
    *(256, 976, 977, 978, 979, 980, 981, 982, 1008, 1009, 1010, 1013, 1014, 1015, 1017, 1018),
    *(1019, 1020, 1021, 1022, 1023, 284, 285, 268, 269, 287),
)
"""Numbers of SPRs that are written and read; CTR is the program's, DAR and DSISR are free."""
_OWN: Final = (9,)

#: Instructions that a record may choose: operand in r8, result in r8.
INSTRUCTIONS: Final = (
    *(f"mtspr {n},8" for n in _SPRS if n not in (*_OWN, 268, 269, 287)),
    *(f"mfspr 8,{n}" for n in _SPRS),
    "mftb 8",
    "mftbu 8",
    *(f"mtsr {n},8" for n in range(16)),
    *(f"mfsr 8,{n}" for n in range(16)),
    *("mtdec 8", "mfdec 8", "mfmsr 8", "mfcr 8", "sync", "eieio", "isync", "tlbsync", "sc"),
    *("tlbie 8", "dcbz 0,8", "dcbf 0,8", "dcbst 0,8", "dcbi 0,8", "icbi 0,8"),
    *("lwarx 8,0,8", "stwcx. 8,0,8", "lmw 29,0(8)", "stmw 29,0(8)", "lfd 1,0(8)", "stfd 1,0(8)"),
    *("lwbrx 8,0,8", "lhbrx 8,0,8", "stwbrx 8,0,8", "lha 8,0(8)", "lswi 28,8,7", "stswi 28,8,7"),
    *("fadd 1,1,2", "fdiv 2,1,2", "mtfsf 255,1", "mffs 1", "tw 31,0,0", ".long 0", "mtcrf 255,8"),
)

#: Pieces that `hostile_405` has, too, in the order in which a record goes through them.  r12 number
#: of records, r13 the table, r14 records done, r15 STATE, r16 the next record, r18 what was read,
#: folded; r17 and r19 belong to one record.
CHECK: Final = """\
        lwz     3,0(13)
        lis     4,magic@h
        ori     4,4,magic@l
        cmpw    3,4
        bne     halt
        lwz     12,4(13)
        lwz     14,0(15)
        lwz     18,4(15)
        mulli   3,14,12
        add     16,13,3
        addi    16,16,16
"""
RECORD: Final = """\
        lwz     5,0(16)         # kind, repetitions, delay
        lwz     6,4(16)         # address
        lwz     7,8(16)         # value
        addi    16,16,12
        addi    14,14,1
"""
TURN: Final = """\
        rlwinm  9,5,16,24,31
        addi    17,9,1
        rlwinm  19,5,0,16,31
        rlwinm  9,5,10,22,29
        cmplwi  9,4*kinds
        bge     next
        lis     10,jumps@h
        ori     10,10,jumps@l
        lwzx    10,10,9
        mtlr    10
again:  blr
did:    cmpwi   19,0
        beq     2f
        mtctr   19
1:      bdnz    1b
2:      addi    17,17,-1
        cmpwi   17,0
        bne     again
        b       next
fold:   rotlwi  18,18,5
        xor     18,18,8
        b       did
"""
POLL: Final = """\
poll:   li      11,turns        # until the byte and the mask (bits 8 to 15) is bits 0 to 7
        rlwinm  9,7,24,24,31
        rlwinm  10,7,0,24,31
1:      lbz     8,0(6)
        and     4,8,9
        cmpw    4,10
        beq     fold
        mtctr   11
2:      bdnz    2b
        addi    11,11,-1
        cmpwi   11,0
        bne     1b
        b       fold
"""
SET_MSR: Final = """\
msr:    lis     9,msrfree@h
        ori     9,9,msrfree@l
        and     7,7,9
        ori     7,7,msrbase
        mtmsr   7
        isync
        b       did
"""
WAIT: Final = """\
wait:   mtctr   7
1:      bdnz    1b
        b       did
"""
#: r20 to r27 belong to the handler.
MAIN: Final = (
    """\
start:  lis     13,table@h
        ori     13,13,table@l
        li      15,state
"""
    + CHECK
    + """\
        li      0,0
        li      3,msrbase
        mtmsr   3
        isync
next:   stw     14,0(15)
        stw     18,4(15)
        cmplw   14,12
        bge     halt
"""
    + RECORD
    + TURN
    + """\
halt:   b       halt
store1: stb     7,0(6)
        b       did
store2: sth     7,0(6)
        b       did
store4: stw     7,0(6)
        b       did
load1:  lbz     8,0(6)
        b       fold
load2:  lhz     8,0(6)
        b       fold
load4:  lwz     8,0(6)
        b       fold
"""
    + POLL
    + """\
execute: cmplwi 7,instructions
        bge     did
        lis     10,code@h
        ori     10,10,code@l
        rlwinm  9,7,3,16,28
        add     10,10,9
        mtctr   10
        mr      8,6
        bctr
"""
    + SET_MSR
    + WAIT
    + """\
nap:    cmplwi  7,0xffff        # until the decrementer has run down from what the record says
        ble     1f
        li      7,0x7fff
1:      mtdec   7
        mfspr   9,1008
        lis     10,0x0080       # DOZE
        or      10,9,10
        mtspr   1008,10
        lis     8,4             # POW
        ori     8,8,msrbase+0x8000
        sync
        mtmsr   8
        isync
        li      8,msrbase
        mtmsr   8
        isync
        mtspr   1008,9
        b       did
end:    b       halt
"""
)

#: Every exception comes here with its vector in r20 and CR in r27.
HANDLER: Final = """\
taken:  li      26,state
        lwz     21,8(26)
        rotlwi  21,21,5
        xor     21,21,20
        cmpwi   20,0x500
        bne     decr
        lis     22,controller@h
        ori     22,22,controller@l
        .irp    at,acknowledge
        li      23,\\at
        lwbrx   24,22,23
        rotlwi  21,21,3
        xor     21,21,24
        .endr
        li      23,finish
        stwbrx  24,22,23
decr:   cmpwi   20,0x900
        bne     1f
        lis     24,0x7fff
        mtdec   24
1:      stw     21,8(26)
        mfsrr1  24
        rlwinm  24,24,0,17,15   # no more interrupts,
        rlwinm  24,24,0,22,20   # no single steps,
        rlwinm  24,24,0,14,12   # awake
        mtsrr1  24
        cmpwi   25,0
        beq     2f
        mfsrr0  24
        addi    24,24,4
        mtsrr0  24
2:      mtcrf   255,27
        rfi
"""
#: Interrupt controller: base, registers that the handler reads, where it writes the last one.
CONTROLLERS: Final = {
    "g3beige": (0x8080_0000, "0x10,0x20", "0x28"),
    "mac99": (0x8086_0000, "0xa0", "0xb0"),
}


def _source(machine: str) -> str:
    base, acknowledge, finish = CONTROLLERS[machine]
    handler = HANDLER.replace("acknowledge", acknowledge)
    jumps = "\n".join(f"        .long {name}" for name in KINDS)
    cells = "\n".join(f"        {one}\n        b fold" for one in INSTRUCTIONS)
    equals = f"        .equ controller,{base}\n        .equ finish,{finish}\n"
    return f"{equals}{MAIN}{handler}jumps:\n{jumps}\ncode:\n{cells}\n"


def _vectors(taken: int) -> Iterator[tuple[int, str]]:
    """What stands at each exception's vector."""
    for number in (*SYNCHRONOUS, *OTHERS):
        kind = int(number in SYNCHRONOUS)
        yield (
            number,
            f"mfcr 27\n li 20,{number}\n li 25,{kind}\n b {taken}",
        )


@lru_cache(maxsize=4)
def rom(machine: str, tb_hz: int, size: int) -> bytes:
    """The ROM of `size` bytes, ending at 0xffffffff."""
    known = watcher.symbols(machine, tb_hz) | {
        "table": TABLE,
        "state": STATE,
        "magic": MAGIC,
        "turns": POLL_TURNS,
        "kinds": len(KINDS),
        "instructions": len(INSTRUCTIONS),
        "msrbase": MSR_BASE,
        "msrfree": MSR_FREE,
    }
    base = watcher.ROM_BASE
    program = assemble_program(_source(machine), base + CODE, known)
    out = bytearray(MiB)
    out[CODE : CODE + len(program.code)] = program.code
    reset = (RESET, f"{watcher.BRIDGE}        b {program.symbols['start']}\n")
    for number, source in (reset, *_vectors(program.symbols["taken"])):
        code = assemble(source, base + number, known)
        out[number : number + len(code)] = code
    return bytes(out).rjust(size, b"\0")
