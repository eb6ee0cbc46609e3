"""A second built-in guest (``-bios builtin-pic``): interrupts of every kind, and DMA, on a Mac.

It carries out a script of register accesses and waits, over and over, while its handler counts
interrupts by vector (on g3beige: by source) and folds their order into a number.  On mac99 the
script works all four timers and IPIs of the OpenPIC: different and equal priorities, nesting,
held back by task priority, masked while they expire, inhibited, restarted, with a new base count.
On both machines DBDMA channels move words, branch, interrupt, wait for a condition and stand in a
data command that no device answers; the 6522's timer 1 and the decrementer interrupt as well.
Lines of counts go to the first serial port.

Sources: docs/chips/openpic.md, heathrow.md, dbdma.md, via.md.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from gossamer.isa.text import assemble
from gossamer.machines.guests import watcher
from gossamer.machines.guests.script import FRAMES, SCRIPTS, USB_AT, Script
from gossamer.machines.guests.watcher import BASE, DATA, DECREMENTER, EXTERNAL

#: What -bios calls it.
NAME: Final = "builtin-pic"
DECREMENTER_HZ: Final = 2000
STACK: Final = 0x7F00
#: Base of the interrupt controller's registers that the handler uses: Heathrow, OpenPIC's CPU 0.
CONTROLLER: Final = {"g3beige": 0x8080_0000, "mac99": 0x8086_0000}
VIA_T1: Final = 0x8081_6800

#: Offsets from DATA, r14: order and reads folded, digits of a number, a count for each vector.
_CELLS: Final = """\
        .equ    order,0
        .equ    ticks,4
        .equ    digits,64
        .equ    counts,0x100
"""
#: The decrementer interrupt: counts itself.
TICK: Final = (
    _CELLS
    + """\
        mtsprg  0,20
        lwz     20,ticks(14)
        addi    20,20,1
        stw     20,ticks(14)
        lis     20,period@h
        ori     20,20,period@l
        mtdec   20
        mfsprg  20,0
        rfi
"""
)
#: Entry and end of the external interrupt: it may come within itself, so it keeps a stack (r1).
_ENTER: Final = (
    _CELLS
    + """\
        stwu    1,-64(1)
        stw     20,8(1)
        stw     21,12(1)
        stw     22,16(1)
        stw     23,20(1)
        stw     24,24(1)
        stw     25,28(1)
        mfcr    20
        stw     20,32(1)
        mfsrr0  20
        stw     20,36(1)
        mfsrr1  20
        stw     20,40(1)
"""
)
_LEAVE: Final = """\
leave:  lwz     20,40(1)
        mtsrr1  20
        lwz     20,36(1)
        mtsrr0  20
        lwz     20,32(1)
        mtcrf   255,20
        lwz     25,28(1)
        lwz     24,24(1)
        lwz     23,20(1)
        lwz     22,16(1)
        lwz     21,12(1)
        lwz     20,8(1)
        addi    1,1,64
        rfi
"""
#: Counts the vector in r21 and folds it into the order.
_COUNT: Final = """\
        rlwinm  23,21,2,22,29
        addi    24,14,counts
        lwzx    25,24,23
        addi    25,25,1
        stwx    25,24,23
        lwz     25,order(14)
        mulli   25,25,31
        add     25,25,21
        stw     25,order(14)
"""
#: OpenPIC: acknowledge, count, be open to higher priorities for a while, end.  The vector `again`
#: sends IPI 3 from within; `slow` takes longer than the period of the quickest timer.
OPENPIC: Final = (
    _ENTER
    + """\
        li      22,0xa0         # IACK
        lwbrx   21,19,22
"""
    + _COUNT
    + """\
        cmpwi   21,255          # spurious: nothing is in service
        beq     leave
        cmpwi   21,viavec
        bne     1f
        lis     22,viat1@h      # drop the level
        lbz     22,viat1@l(22)
1:      cmpwi   21,usbvec
        bne     1f
        lis     22,usbstatus@h
        ori     22,22,usbstatus@l
        lwbrx   23,0,22
        stwbrx  23,0,22
1:      mfmsr   25
        ori     24,25,0x8000
        mtmsr   24
        isync
        cmpwi   21,again
        bne     2f
        li      22,0x70         # IPI 3
        li      23,1
        stwbrx  23,19,22
2:      li      24,40
        cmpwi   21,slow
        bne     3f
        li      24,3000
3:      addi    24,24,-1
        cmpwi   24,0
        bne     3b
        mtmsr   25
        isync
        li      22,0xb0         # EOI
        li      23,0
        stwbrx  23,19,22
"""
    + _LEAVE
)
#: Heathrow: the lowest of the enabled sources 0 to 31 that has an event; cleared, counted.
HEATHROW: Final = (
    _ENTER
    + """\
        li      22,0x20         # events
        lwbrx   21,19,22
        li      22,0x24         # enabled
        lwbrx   23,19,22
        and     21,21,23
        neg     23,21
        and.    23,23,21
        beq     leave
        li      22,0x28         # clear
        stwbrx  23,19,22
        cntlzw  21,23
        subfic  21,21,31
"""
    + _COUNT
    + """\
        cmpwi   21,viavec
        bne     leave
        lis     22,viat1@h
        lbz     22,viat1@l(22)
"""
    + _LEAVE
)
#: The main program.  r12, r13 status and data port, r16 lines written, r17 place in the script,
#: r18 what was read, folded, r19 the interrupt controller.
MAIN: Final = (
    _CELLS
    + watcher.PORTS
    + """\
        lis     19,controller@h
        ori     19,19,controller@l
        li      1,stack
        li      14,data
        li      3,0
        li      4,320
        mtctr   4
        addi    5,14,-4
1:      stwu    3,4(5)
        bdnz    1b
        li      16,0
        li      18,0
        li      17,script
        li      4,hello
        bl      puts
        lis     3,period@h
        ori     3,3,period@l
        mtdec   3
        li      3,0
        ori     3,3,0xb002      # EE, FP, ME, RI
        mtmsr   3
        isync
next:   lwz     5,0(17)         # what, address, value
        lwz     6,4(17)
        lwz     7,8(17)
        addi    17,17,12
        cmpwi   5,write
        beq     dowrite
        cmpwi   5,read
        beq     doread
        cmpwi   5,wait
        beq     dowait
        cmpwi   5,byte
        beq     dobyte
        cmpwi   5,report
        beq     doreport
        mr      17,6            # jump
        b       next
dowrite: stwbrx 7,0,6
        eieio
        b       next
doread: lwbrx   8,0,6
        rotlwi  18,18,5
        xor     18,18,8
        b       next
dowait: mtctr   7
1:      bdnz    1b
        b       next
dobyte: stb     7,0(6)
        eieio
        b       next
doreport: addi  16,16,1
        li      4,line
        bl      puts
        mr      8,16
        bl      number
        li      9,vectors
1:      lbz     3,0(9)
        cmpwi   3,0
        beq     2f
        li      4,blank
        bl      puts
        lbz     3,0(9)
        rlwinm  3,3,2,22,29
        addi    4,14,counts
        lwzx    8,4,3
        bl      number
        addi    9,9,1
        b       1b
2:      li      4,ticked
        bl      puts
        lwz     8,ticks(14)
        bl      number
        li      4,inorder
        bl      puts
        lwz     8,order(14)
        bl      number
        li      4,seen
        bl      puts
        mr      8,18
        bl      number
        li      4,newline
        bl      puts
        b       next
"""
    + watcher.PRINT
    + watcher.PUT
    + """\
hello:  .asciz  "gossamer: interrupts counted\\r\\n"
line:   .asciz  "line "
blank:  .asciz  " "
ticked: .asciz  " ticks "
inorder: .asciz " order "
seen:   .asciz  " read "
newline: .asciz "\\r\\n"
        .balign 16,0
"""
)


def sources(machine: str, script: Script) -> tuple[tuple[int, str], ...]:
    """The program's pieces by address."""
    handler = OPENPIC if machine == "mac99" else HEATHROW
    return (EXTERNAL, handler), (DECREMENTER, TICK), (BASE, MAIN + script.text())


def symbols(machine: str, tb_hz: int) -> dict[str, int]:
    """What the sources leave open."""
    return (
        watcher.symbols(machine, tb_hz)
        | SCRIPTS[machine].vectors
        | FRAMES
        | {
            "controller": CONTROLLER[machine],
            "period": tb_hz // DECREMENTER_HZ,
            "stack": STACK,
            "viat1": VIA_T1,
            "usbstatus": USB_AT + 0x0C,
        }
    )


@lru_cache(maxsize=4)
def picture(machine: str, tb_hz: int, script: Script | None = None) -> bytes:
    """RAM from 0 to DATA with the program for `machine` in it."""
    known = symbols(machine, tb_hz)
    out = bytearray(DATA)
    for at, source in sources(machine, script or SCRIPTS[machine]):
        code = assemble(source, at, known)
        out[at : at + len(code)] = code
    if len(out) != DATA:
        raise AssertionError(f"the program needs {len(out)} bytes, there are {DATA}")
    return bytes(out)
