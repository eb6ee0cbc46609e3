"""The 405's guest (``-bios builtin-timers``): it counts every PIT, FIT and watchdog event.

A ROM at the top of the address space.  It switches the SDRAM on, lets all three timers run, folds
the time base at each of their interrupts into a sum, and writes a line on the first serial port
every eighth tick: ticks, FIT and watchdog events, TLB misses, bytes typed, the two sums.  From line
to line it changes what runs: PIT with and without reload, the FIT's period, the FIT polled, the
time base set on.  Between two ticks it sleeps (MSR[WE]) or computes; each line it makes the TLB
empty and uses pages that the miss interrupt loads.

Sources: PPC405 core user's manual chapters 7, 10, 11; PPC405EP user's manual chapter 7.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from gossamer.isa.text import assemble

#: What -bios calls it.
NAME: Final = "builtin-timers"
SIZE: Final = 0x1_0000
BASE: Final = 0x1_0000_0000 - SIZE
CODE: Final = 0x3000
#: A tick of the PIT, in ticks of the time base: 100 us.
PERIOD: Final = 33_333

_CELLS: Final = """\
        .equ    ticks,0
        .equ    fits,4
        .equ    watchdogs,8
        .equ    misses,12
        .equ    typed,16
        .equ    sum,20
        .equ    critical,24
        .equ    line,28
        .equ    keep3,32
        .equ    keep4,36
        .equ    keep5,40
        .equ    keepcr,44
        .equ    critical3,48
        .equ    critical4,52
        .equ    slot,56
        .equ    work,64
"""


def _fold(cell: str) -> str:
    """The time base and a timer's status into a sum; r3 and r4 are free."""
    return f"""\
        mftb    3
        lwz     4,{cell}(13)
        rlwinm  4,4,5,0,31
        xor     4,4,3
        mftsr   3
        add     4,4,3
        stw     4,{cell}(13)
"""


def _count(cell: str) -> str:
    return f"""\
        lwz     4,{cell}(13)
        addi    4,4,1
        stw     4,{cell}(13)
"""


_SAVE: Final = """\
        stw     3,keep3(13)
        stw     4,keep4(13)
        stw     5,keep5(13)
        mfcr    3
        stw     3,keepcr(13)
"""
_BACK: Final = """\
        lwz     3,keepcr(13)
        mtcrf   255,3
        lwz     3,keep3(13)
        lwz     4,keep4(13)
        lwz     5,keep5(13)
        rfi
"""

#: r13 data, r14 the serial port, r15 the reload value, r20 to r25 what the main loop computes.
_PROGRAM: Final = f"""{_CELLS}
start:  lis     13,0
        lis     14,0xef60
        ori     14,14,0x300
        # SDRAM: bank 0 at 0, 8 MiB, then the controller on
        li      3,0x40
        mtdcr   0x10,3
        lis     3,2
        ori     3,3,1
        mtdcr   0x11,3
        li      3,0x20
        mtdcr   0x10,3
        lis     3,0x8000
        mtdcr   0x11,3
        # all of it cached; handlers in ROM
        li      3,-1
        mtdccr  3
        mticcr  3
        lis     3,0xffff
        mtevpr  3
        li      4,0
        li      5,0
clear:  stw     4,0(5)
        addi    5,5,4
        cmplwi  5,0x4000
        blt     clear
        # the serial port: FIFO, received bytes interrupt; source 0 of the UIC is a level
        li      3,3
        stb     3,3(14)
        li      3,0xc7
        stb     3,2(14)
        li      3,1
        stb     3,1(14)
        li      3,0
        mtdcr   0xc3,3
        lis     3,0x8000
        mtdcr   0xc4,3
        mtdcr   0xc2,3
        # the second port hears itself
        lis     26,0xef60
        ori     26,26,0x400
        li      3,1
        stb     3,2(26)
        li      3,16
        stb     3,4(26)
        # the timers
        lis     3,0xfc00
        mttsr   3
        lis     15,{PERIOD >> 16}
        ori     15,15,{PERIOD & 0xFFFF}
        bl      choose
        mtpit   15
        lis     3,2
        ori     3,3,0x9000
        mtmsr   3
        li      20,1
        li      21,3
main:   lwz     16,ticks(13)
        andi.   3,16,1
        bne     compute
        # sleep until something comes
        mfmsr   3
        oris    3,3,4
        mtmsr   3
        isync
        b       awake
compute:
        li      3,60
        mtctr   3
more:   macchw  20,21,20
        maclhwsuo 22,20,21
        mulhhwu 23,20,22
        add     21,21,23
        addi    21,21,7
        bdnz    more
awake:  mftsr   3
        andis.  3,3,0x0400
        beq     no_fit
        mftcr   3
        andis.  3,3,0x0080
        bne     no_fit
        # FIT without its interrupt: polled
        lis     3,0x0400
        mttsr   3
{_count("fits")}\
no_fit: lwz     17,ticks(13)
        cmplw   16,17
        beq     main
        andi.   3,17,7
        bne     main
        bl      print
        stb     17,0(26)
        bl      pages
        lwz     3,line(13)
        addi    3,3,1
        stw     3,line(13)
        bl      choose
        b       main

# TCR of the line: 0 reload, 1 one-shot, 2 another FIT period and the time base on, 3 FIT polled
choose: lwz     3,line(13)
        andi.   4,3,3
        cmplwi  4,1
        lis     5,0x0980
        oris    5,5,0x0440
        bne     not_one
        lis     5,0x0d80
        oris    5,5,0x0100
        b       set
not_one:
        cmplwi  4,2
        bne     not_two
        lis     5,0x0ec0
        mftb    6
        addi    6,6,12345
        li      7,0
        mftbu   8
        mttbl   7
        mttbu   8
        mttbl   6
        b       set
not_two:
        cmplwi  4,3
        bne     first
        lis     5,0x0d40
        b       set
first:  oris    5,5,0x0100
set:    mttcr   5
        # the first tick after a one-shot stood still
        mtpit   15
        blr

# six pages with the TLB empty at first, in process 1 and 2
pages:  mflr    18
        tlbia
        lwz     3,line(13)
        andi.   3,3,1
        addi    3,3,1
        mtpid   3
        li      3,6
        mtctr   3
        lis     9,0x4000
        mfmsr   10
        ori     11,10,0x10
        mtmsr   11
        isync
page:   lwz     12,0x100(9)
        add     12,12,9
        stw     12,0x100(9)
        addi    9,9,0x1000
        bdnz    page
        mtmsr   10
        isync
        li      3,0
        mtpid   3
        mtlr    18
        blr

# a line: name, six numbers
print:  mflr    18
        lis     19,0xffff
        ori     19,19,text@l
name:   lbz     4,0(19)
        addi    19,19,1
        cmplwi  4,0
        beq     numbers
        bl      put
        b       name
numbers:
        li      19,0
number: lwzx    6,13,19
        cmplwi  19,sum
        li      7,4
        blt     short
        li      7,8
        b       digits
short:  rlwinm  6,6,16,0,15
digits: mtctr   7
digit:  rlwinm  6,6,4,0,31
        andi.   4,6,15
        cmplwi  4,10
        addi    4,4,48
        blt     ten
        addi    4,4,39
ten:    bl      put
        bdnz    digit
        li      4,32
        bl      put
        addi    19,19,4
        cmplwi  19,line
        blt     number
        li      4,10
        bl      put
        mtlr    18
        blr
put:    lbz     5,5(14)
        andi.   5,5,0x20
        beq     put
        stb     4,0(14)
        blr

# --- interrupts ---
on_external:
{_SAVE}
again:  lbz     3,5(14)
        andi.   3,3,1
        beq     taken
        lbz     3,0(14)
        lwz     4,sum(13)
        rlwinm  4,4,3,0,31
        add     4,4,3
        stw     4,sum(13)
{_count("typed")}\
        b       again
taken:  lis     3,0x8000
        mtdcr   0xc0,3
{_BACK}
on_pit:
{_SAVE}
        lis     3,0x0800
        mttsr   3
{_count("ticks")}\
        mfpit   3
        lwz     4,sum(13)
        add     4,4,3
        stw     4,sum(13)
{_fold("sum")}\
        mftcr   3
        andis.  3,3,0x0040
        bne     reloads
        mtpit   15
reloads:
        # out of sleep
        mfsrr1  3
        rlwinm  3,3,0,14,12
        mtsrr1  3
{_BACK}
on_fit:
{_SAVE}
        lis     3,0x0400
        mttsr   3
{_count("fits")}\
{_fold("sum")}\
{_BACK}
on_watchdog:
        mtsprg4 3
        mtsprg5 4
        lis     3,0xc000
        lwz     4,watchdogs(13)
        rlwinm  4,4,31,0,0
        xor     3,3,4
        mttsr   3
{_count("watchdogs")}\
{_fold("critical")}\
        mfsrr2  3
        lwz     4,critical(13)
        add     4,4,3
        stw     4,critical(13)
        mfsprg5 4
        mfsprg4 3
        rfci
on_miss:
{_SAVE}
{_count("misses")}\
        lwz     4,slot(13)
        addi    4,4,1
        andi.   4,4,63
        stw     4,slot(13)
        mfdear  3
        rlwinm  3,3,0,0,19
        rlwinm  5,3,0,8,31
        addi    5,5,0x4000
        mfpid   3
        rlwinm  3,3,12,0,19
        add     5,5,3
        ori     5,5,0x300
        tlbwelo 5,4
        mfdear  3
        rlwinm  3,3,0,0,19
        ori     3,3,0xc0
        tlbwehi 3,4
        lwz     4,critical(13)
        mfesr   3
        xor     4,4,3
        stw     4,critical(13)
{_BACK}
on_other:
        b       on_other
text:   .asciz  "tick "
"""

_VECTORS: Final = {
    0x500: "on_external",
    0x1000: "on_pit",
    0x1010: "on_fit",
    0x1020: "on_watchdog",
    0x1100: "on_miss",
}


@lru_cache(maxsize=1)
def rom() -> bytes:
    """The ROM's content, `SIZE` bytes."""
    vectors = "".join(
        f"        .org    {BASE + offset:#x}\n        b       {_VECTORS.get(offset, 'on_other')}\n"
        for offset in sorted({*range(0x100, 0x2001, 0x100), *_VECTORS})
    )
    end = f"        .org    {BASE + SIZE - 4:#x}\n        b       start\n"
    return assemble(f"{vectors}        .org    {BASE + CODE:#x}\n{_PROGRAM}{end}", BASE)
