"""The built-in guest: a clock watcher in PowerPC assembly, for any machine, without firmware.

It sets the decrementer to short values again and again, as Darwin does, counts its ticks, measures
how late each one comes, and reports on the first serial port.  Between ticks it watches the time
base, so that it notices itself when ticks stay away or time runs back.  Each report makes a system
call and rewrites an instruction of its own, for a test that cuts in the middle of that.  What
is typed is answered with a report; `q` ends the bare machine.

The program runs in real mode out of the first 16 KiB of RAM and needs no stack.  On the bare
machine it is put there; on a Macintosh it is in the ROM (``-bios builtin``), which copies it.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

from gossamer.base.units import MiB
from gossamer.isa.text import assemble
from gossamer.machines.firmware import Image, Segment

#: What -bios calls it.
NAME: Final = "builtin"
EXTERNAL, DECREMENTER, SYSTEM_CALL, BASE, DATA = 0x500, 0x900, 0xC00, 0x1000, 0x3000
ROM_BASE: Final = 0xFFF0_0000
ROM_COPY: Final = 0x1_0000
#: Ticks a second, and ticks between two reports.
TICK_HZ: Final = 1000
REPORT: Final = 100
#: Addresses of the serial port's data and status, its receive and transmit bits, the exit port.
BARE: Final = {"port": 0xF000_0000, "status": 0xF000_0004, "rx": 1, "tx": 2, "exit": 0xF000_0008}
ESCC_A: Final = {"port": 0x8081_3030, "status": 0x8081_3020, "rx": 1, "tx": 4, "exit": 0}

#: Offsets from DATA, r14.
_CELLS: Final = """\
        .equ    ticks,0
        .equ    next,4
        .equ    late,8
        .equ    worst,12
        .equ    missed,16
        .equ    last,20
        .equ    key,24
        .equ    calls,28
        .equ    brief,32
        .equ    briefs,36
        .equ    digits,64
"""
#: The decrementer interrupt.  r14, r15 (period) are the main program's; r20 to r26 are its own.
#: After every eighth tick the decrementer is first set to 0 to 63, so that the next interrupt is
#: due at once, often before this one has ended: those are not ticks, `briefs` counts them.
HANDLER: Final = (
    _CELLS
    + """\
        mtsprg  0,20
        mfcr    20
        mtsprg  1,20
        mftb    22
        lwz     23,next(14)
        lwz     20,brief(14)
        cmpwi   20,0
        beq     due
        li      20,0
        stw     20,brief(14)
        lwz     20,briefs(14)
        addi    20,20,1
        stw     20,briefs(14)
        subf.   25,22,23
        bgt     set
due:    lwz     21,ticks(14)
        addi    21,21,1
        stw     21,ticks(14)
        subf    24,23,22
        stw     24,late(14)
        lwz     25,worst(14)
        cmplw   24,25
        ble     again
        stw     24,worst(14)
again:  add     23,23,15
        subf.   25,22,23
        bgt     short
        lwz     26,missed(14)
        addi    26,26,1
        stw     26,missed(14)
        b       again
short:  stw     23,next(14)
        stw     22,last(14)
        andi.   20,21,7
        bne     set
        li      20,1
        stw     20,brief(14)
        rlwinm  25,21,29,26,31
set:    mtdec   25
        mfsprg  20,1
        mtcrf   255,20
        mfsprg  20,0
        rfi
"""
)
#: The external interrupt: the bare machine's port has a byte.  It is left for the main program.
INPUT: Final = (
    _CELLS
    + """\
        mtsprg  2,20
        lbz     20,0(13)
        stw     20,key(14)
        mfsprg  20,2
        rfi
"""
)
#: The system call: counts itself.
CALL: Final = (
    _CELLS
    + """\
        mtsprg  2,20
        lwz     20,calls(14)
        addi    20,20,1
        stw     20,calls(14)
        mfsprg  20,2
        rfi
"""
)
#: Writes a text by `put`, which a program brings itself.
PUTS: Final = """\
puts:   mflr    31              # the text at r4
1:      lbz     3,0(4)
        addi    4,4,1
        cmpwi   3,0
        beq     2f
        bl      put
        b       1b
2:      mtlr    31
        blr
"""
#: The same, and a number.
PRINT: Final = (
    PUTS
    + """\
number: mflr    31              # r8 in decimal
        addi    4,14,digits
        li      3,0
        stb     3,0(4)
        li      10,10
1:      divwu   11,8,10
        mullw   30,11,10
        subf    30,30,8
        addi    30,30,'0'
        stbu    30,-1(4)
        mr.     8,11
        bne     1b
        mtlr    31
        b       puts
"""
)

#: `put` of a program that has nothing to do meanwhile: the byte in r3, when the port takes it.
PUT: Final = """\
put:    lbz     30,0(12)
        andi.   30,30,tx
        beq     put
        stb     3,0(13)
        blr
"""
#: Where a main program begins: r12 status port, r13 data port.
PORTS: Final = """\
start:  lis     13,port@h
        ori     13,13,port@l
        lis     12,status@h
        ori     12,12,status@l
"""
#: The main program.  r9 exit port, r12 status port, r13 data port, r16 ticks last reported, r17
#: ticks of the time base after which their absence is reported, r18 when that was last done, r19
#: ticks when the port was last looked at.
MAIN: Final = (
    _CELLS
    + PORTS
    + """\
        lis     9,exit@h
        ori     9,9,exit@l
        li      14,data
        lis     15,period@h
        ori     15,15,period@l
        lis     17,patience@h
        ori     17,17,patience@l
        li      0,0
        stw     0,ticks(14)
        stw     0,late(14)
        stw     0,worst(14)
        stw     0,missed(14)
        stw     0,key(14)
        stw     0,calls(14)
        stw     0,brief(14)
        stw     0,briefs(14)
        li      16,0
        li      19,0
        li      4,hello
        bl      puts
        li      3,1
        mttbl   0
        mttbu   3
        lis     3,0x4000
        mttbl   3
        mftb    3
        stw     3,last(14)
        mr      18,3
        add     3,3,15
        stw     3,next(14)
        mtdec   15
        li      3,0
        ori     3,3,0xb002      # EE, FP, ME, RI
        mtmsr   3
        isync
loop:   lwz     3,ticks(14)
        cmpw    3,19
        beq     watch
        mr      19,3
        lwz     4,key(14)
        cmpwi   4,0
        bne     typed
        lbz     4,0(12)
        andi.   4,4,rx
        bne     read
        subf    4,16,3
        cmpwi   4,report
        bge     tell
watch:  lwz     5,last(14)
        mftb    6
        subf.   7,5,6
        blt     ranback
        cmplw   7,17
        ble     loop
        subf    8,18,6
        cmplw   8,17
        ble     loop
        mr      18,6
        li      4,absent
        bl      puts
        mr      8,7
        bl      number
        li      4,newline
        bl      puts
        b       loop
ranback: stw    6,last(14)
        mr      18,6
        li      4,back
        bl      puts
        neg     8,7
        bl      number
        li      4,newline
        bl      puts
        b       loop
read:   lbz     4,0(13)
typed:  stw     0,key(14)
        cmpwi   4,'q'
        bne     tell0
        cmpwi   9,0
        beq     tell0
        li      3,0
        stw     3,0(9)
tell0:  lwz     3,ticks(14)
        b       tell1
tell:   mr      16,3
tell1:  mr      8,3
        sc
        andi.   6,8,0x7fff      # write "li 4,n" over the instruction at patch
        oris    5,6,0x3880
        li      7,patch
        stw     5,0(7)
        dcbst   0,7
        sync
        icbi    0,7
        sync
        isync
patch:  li      4,0
        cmpw    4,6
        beq     fresh
        li      4,stale
        bl      puts
fresh:  li      4,tick
        bl      puts
        bl      number
        li      4,latest
        bl      puts
        lwz     8,late(14)
        bl      number
        li      4,most
        bl      puts
        lwz     8,worst(14)
        bl      number
        li      4,lost
        bl      puts
        lwz     8,missed(14)
        bl      number
        li      4,newline
        bl      puts
        b       loop
"""
    + PRINT
    + """\
put:    lbz     30,0(12)        # the byte in r3
        andi.   30,30,tx
        beq     full
        stb     3,0(13)
        blr
full:   mftb    30              # looking all the time would slow the host down
1:      mftb    29
        subf    29,30,29
        cmplwi  29,pause
        blt     1b
        b       put
hello:  .asciz  "gossamer: a decrementer of 1000 Hz, watched\\r\\n"
tick:   .asciz  "tick "
latest: .asciz  " late "
most:   .asciz  " worst "
lost:   .asciz  " missed "
absent: .asciz  "no tick for "
back:   .asciz  "time ran back by "
stale:  .asciz  "old code was executed\\r\\n"
newline: .asciz "\\r\\n"
"""
)
#: The reset vector in ROM: copy the program to RAM, find the serial port, go.
RESET: Final = """\
        lis     3,copy@h
        ori     3,3,copy@l
        li      4,0
        li      5,words
        mtctr   5
1:      lwz     6,0(3)
        stw     6,0(4)
        addi    3,3,4
        addi    4,4,4
        bdnz    1b
"""
#: The host bridge's configuration registers: mac-io at 0x80800000, memory space on.
BRIDGE: Final = """\
        lis     3,address@h
        lis     4,value@h
        lis     5,function@h
        ori     6,5,function@l+0x10
        stwbrx  6,0,3
        lis     6,0x8080
        stwbrx  6,0,4
        ori     6,5,function@l+0x04
        stwbrx  6,0,3
        li      6,2
        stwbrx  6,0,4
"""
#: Where they are, and mac-io's function: slot 16 behind Grackle, 12 behind UniNorth.
BRIDGES: Final = {
    "g3beige": {"address": 0xFEC0_0000, "value": 0xFEE0_0000, "function": 0x8000_8000},
    "mac99": {"address": 0xF280_0000, "value": 0xF2C0_0000, "function": 0x8000_6000},
}
#: The ESCC's channel A: 57600 baud, 8 data bits.
ESCC_ON: Final = """\
        lis     3,status@h
        ori     3,3,status@l
        .irp    value,4,0x44,11,0x50,12,0,13,0,14,1,3,0xc1,5,0x68
        li      4,\\value
        stb     4,0(3)
        eieio
        .endr
        li      3,entry
        mtlr    3
        blr
"""


def symbols(machine: str, tb_hz: int) -> dict[str, int]:
    """What the sources leave open."""
    period = tb_hz // TICK_HZ
    port = BARE if machine == "bare" else ESCC_A
    return (
        port
        | BRIDGES.get(machine, {})
        | {
            "data": DATA,
            "period": period,
            "patience": period * 100,
            "pause": period // 40,
            "report": REPORT,
            "copy": ROM_BASE + ROM_COPY,
            "words": DATA // 4,
            "entry": BASE,
        }
    )


@lru_cache(maxsize=4)
def picture(machine: str, tb_hz: int) -> bytes:
    """RAM from 0 to DATA with the program for `machine` in it."""
    known = symbols(machine, tb_hz)
    out = bytearray(DATA)
    for at, source in (
        (EXTERNAL, INPUT),
        (DECREMENTER, HANDLER),
        (SYSTEM_CALL, CALL),
        (BASE, MAIN),
    ):
        code = assemble(source, at, known)
        out[at : at + len(code)] = code
    return bytes(out)


def image(tb_hz: int) -> Image:
    """The program for the bare machine."""
    return Image(Path("(built-in program)"), BASE, (Segment(0, picture("bare", tb_hz)),), BASE)


@lru_cache(maxsize=4)
def rom(machine: str, tb_hz: int, size: int, ram: bytes, entry: int = BASE) -> bytes:
    """A ROM of `size` bytes, ending at 0xffffffff, for a Macintosh: it puts `ram` at 0."""
    known = symbols(machine, tb_hz) | {"entry": entry}
    code = assemble(RESET + BRIDGE + ESCC_ON, ROM_BASE + 0x100, known)
    out = bytearray(MiB)
    out[0x100 : 0x100 + len(code)] = code
    out[ROM_COPY : ROM_COPY + len(ram)] = ram
    return bytes(out).rjust(size, b"\0")
