"""A built-in guest with a picture (``-bios builtin-screen``): what `./run web` shows from nothing.

It finds the display on the main bus, sets 640 x 480 x 32, draws a web, and shows what is typed on
the first serial port.  The line of seconds below is counted by its decrementer; between two of its
interrupts it dozes.

Sources: docs/chips/vga.md, grackle.md; the letters are five dots wide and seven high, our own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from gossamer.isa.text import assemble
from gossamer.machines.guests import watcher

#: What -bios calls it.
NAME: Final = "builtin-screen"
WIDTH, HEIGHT = 640, 480
#: Where it puts the display's memory and registers.
FRAME, REGISTERS = 0x8200_0000, 0x8100_0000
#: Interrupts a second.
HZ: Final = 20
#: The rows of each letter from the top, five bits each.
LETTERS: Final = {
    "A": "0e11111f111111", "B": "1e11111e11111e", "C": "0e11101010110e", "D": "1e11111111111e",
    "E": "1f10101e10101f", "F": "1f10101e101010", "G": "0e11101711110f", "H": "1111111f111111",
    "I": "0e04040404040e", "J": "0702020202120c", "K": "11121418141211", "L": "1010101010101f",
    "M": "111b1515111111", "N": "11191513111111", "O": "0e11111111110e", "P": "1e11111e101010",
    "Q": "0e11111115120d", "R": "1e11111e141211", "S": "0f10100e01011e", "T": "1f040404040404",
    "U": "1111111111110e", "V": "11111111110a04", "W": "11111115151b11", "X": "11110a040a1111",
    "Y": "11110a04040404", "Z": "1f01020408101f", "0": "0e11131519110e", "1": "040c040404040e",
    "2": "0e11010204081f", "3": "1f02040201110e", "4": "02060a121f0202", "5": "1f101e0101110e",
    "6": "0608101e11110e", "7": "1f010204080808", "8": "0e11110e11110e", "9": "0e11110f01020c",
    " ": "00000000000000", ".": "00000000000c0c", ",": "000000000c0408", ":": "000c0c000c0c00",
    "-": "0000001f000000", "!": "04040404040004", "?": "0e110102040004", "/": "00010204081000",
    "(": "02040808080402", ")": "08040202020408", "+": "0004041f040400", "=": "00001f001f0000",
    "'": "04040800000000", "_": "0000000000001f", ">": "08040201020408", "<": "02040810080402",
    "*": "00150e1f0e1500", "#": "0a0a1f0a1f0a0a", ";": "000c0c000c0408", '"': "0a0a0000000000",
}  # fmt: skip
_UNKNOWN: Final = "1f11111111111f"


def _font() -> str:
    """Eight bytes for each character from the blank on; small letters look like capitals."""
    rows = []
    for code in range(0x20, 0x7F):
        dots = bytes.fromhex(LETTERS.get(chr(code).upper(), _UNKNOWN))
        rows.append(f".byte {','.join(map(str, dots))},0")
    return "\n".join(["        .balign 8,0", "font:", *rows, ""])


_CELLS: Final = """\
        .equ    frames,0
        .equ    column,4
        .equ    row,8
        .equ    digits,64
"""
#: r14 cells, r15 period, r28 the frame's memory; r27 is the link of what draws.
MAIN: Final = (
    _CELLS
    + watcher.PORTS
    + """\
        li      14,data
        lis     15,period@h
        ori     15,15,period@l
        li      0,0
        stw     0,frames(14)
        stw     0,column(14)
        stw     0,row(14)
# --- find the display, give it addresses, set the mode
        lis     3,address@h
        lis     4,value@h
        lis     5,0x8000
        li      6,32
        mtctr   6
find:   stwbrx  5,0,3
        lwbrx   7,0,4
        lis     8,0x1111
        ori     8,8,0x1234
        cmpw    7,8
        beq     found
        addi    5,5,0x0800
        bdnz    find
        li      4,none
        bl      puts
rest:   b       rest
found:  ori     6,5,0x10
        stwbrx  6,0,3
        lis     28,frame@h
        stwbrx  28,0,4
        ori     6,5,0x18
        stwbrx  6,0,3
        lis     29,registers@h
        stwbrx  29,0,4
        ori     6,5,0x04
        stwbrx  6,0,3
        li      6,2
        stwbrx  6,0,4
        li      3,0x20
        stb     3,0x400(29)
        .irp    pair,0x00000004,0x02800001,0x01e00002,0x00200003,0x00410004
        lis     3,\\pair@h
        rlwinm  3,3,16,16,31
        li      4,\\pair@l
        add     4,4,4
        addi    4,4,0x500
        sthbrx  3,29,4
        .endr
# --- a web: eight threads and rings of eight sides, on blue that gets darker
        mr      3,28
        li      4,-240
line:   li      5,-320
        addi    10,4,240
        rlwinm  10,10,30,2,31
        subfic  10,10,0xb0
        addi    11,10,-0x30
        rlwinm  11,11,7,17,23
        or      10,10,11
dot:    srawi   6,4,31
        xor     7,4,6
        subf    7,6,7
        srawi   6,5,31
        xor     8,5,6
        subf    8,6,8
        cmpw    7,8
        bge     1f
        mr      6,7
        mr      7,8
        mr      8,6
1:      rlwinm  6,8,31,1,31
        add     6,6,7
        rlwinm  6,6,27,5,31
        rlwinm  9,8,31,1,31
        add     9,9,7
        andi.   9,9,31
        mr      0,10
        cmpwi   9,1
        ble     2f
        cmpwi   8,1
        blt     2f
        subf    9,8,7
        cmpwi   9,1
        bgt     3f
2:      lis     0,0x9f
        ori     0,0,0xc2ea
3:      stw     0,0(3)
        addi    3,3,4
        addi    5,5,1
        cmpwi   5,320
        blt     dot
        addi    4,4,1
        cmpwi   4,240
        blt     line
# --- words
        li      4,title
        li      5,128
        li      6,60
        li      7,8
        bl      draw
        li      4,under
        li      5,92
        li      6,136
        li      7,2
        bl      draw
        li      4,hello
        bl      puts
        li      3,0
        mfspr   4,1008
        oris    4,4,0x80        # doze
        mtspr   1008,4
        mtdec   15
loop:   lbz     4,0(12)
        andi.   4,4,rx
        beq     sleep
        lbz     3,0(13)
        mr      26,3
        bl      put
        mr      3,26
        bl      show
        b       loop
sleep:  li      3,0
        ori     3,3,0x9002      # EE, ME, RI
        oris    4,3,4           # POW
        sync
        mtmsr   4
        isync
        li      3,0x1002
        mtmsr   3
        isync
        lwz     8,frames(14)
        li      9,hz
        divwu   8,8,9
        bl      decimal
        li      5,92
        li      6,440
        li      7,2
        bl      draw
        lwz     8,frames(14)
        li      9,640
        divwu   10,8,9
        mullw   9,10,9
        subf    9,9,8
        lis     11,0x2b
        ori     11,11,0x5f9e
        andi.   10,10,1
        beq     1f
        lis     11,0xff
        ori     11,11,0xb84d
1:      lis     10,bar@h
        ori     10,10,bar@l
        add     10,10,28
        rlwinm  9,9,2,0,29
        add     10,10,9
        li      9,8
        mtctr   9
2:      stw     11,0(10)
        addi    10,10,2560
        bdnz    2b
        b       loop
# --- the character in r3 on the screen, at the cursor
show:   mflr    27
        lwz     5,column(14)
        lwz     6,row(14)
        cmpwi   3,13
        beq     down
        cmpwi   3,32
        blt     shown
        cmpwi   3,126
        bgt     shown
        stb     3,digits(14)
        li      4,0
        stb     4,digits+1(14)
        addi    7,5,1
        stw     7,column(14)
        mulli   5,5,12
        addi    5,5,92
        mulli   6,6,18
        addi    6,6,180
        addi    4,14,digits
        li      7,2
        mr      26,27
        bl      draw
        mr      27,26
        lwz     5,column(14)
        lwz     6,row(14)
        cmpwi   5,38
        blt     shown
down:   li      5,0
        stw     5,column(14)
        addi    6,6,1
        cmpwi   6,14
        blt     1f
        li      6,0
1:      stw     6,row(14)
shown:  mtlr    27
        blr
# --- the text at r4, at (r5, r6), r7 times as large
draw:   mflr    27
        mulli   6,6,2560
        add     6,6,28
        rlwinm  5,5,2,0,29
        add     5,5,6
letter: lbz     3,0(4)
        addi    4,4,1
        cmpwi   3,0
        beq     ended
        addi    3,3,-32
        rlwinm  3,3,3,0,28
        addi    3,3,font
        mr      6,5
        li      18,8
rows:   mr      19,7
same:   lbz     20,0(3)
        mr      21,6
        li      22,6
bits:   rlwinm  0,20,28,31,31
        rlwinm  20,20,1,0,31
        cmpwi   0,0
        lis     24,0x10
        ori     24,24,0x213a
        beq     1f
        lis     24,0xff
        ori     24,24,0xf3d6
1:      mr      23,7
2:      stw     24,0(21)
        addi    21,21,4
        addi    23,23,-1
        cmpwi   23,0
        bgt     2b
        addi    22,22,-1
        cmpwi   22,0
        bgt     bits
        addi    6,6,2560
        addi    19,19,-1
        cmpwi   19,0
        bgt     same
        addi    3,3,1
        addi    18,18,-1
        cmpwi   18,0
        bgt     rows
        mulli   0,7,24
        add     5,5,0
        b       letter
ended:  mtlr    27
        blr
# --- r8 in decimal, as text at r4
decimal: addi   4,14,digits+12
        li      3,0
        stb     3,0(4)
        li      10,10
1:      divwu   11,8,10
        mullw   9,11,10
        subf    9,9,8
        addi    9,9,'0'
        stbu    9,-1(4)
        mr.     8,11
        bne     1b
        blr
"""
    + watcher.PUTS
    + watcher.PUT
    + """\
hello:  .asciz  "gossamer: a picture; type here, it is shown there\\r\\n"
none:   .asciz  "gossamer: there is no display to draw on: -vga std\\r\\n"
title:  .asciz  "gossamer"
under:  .asciz  "a Macintosh that never loses a tick"
"""
)
#: The decrementer interrupt: one more frame.
HANDLER: Final = (
    _CELLS
    + """\
        mtsprg  0,20
        mtdec   15
        lwz     20,frames(14)
        addi    20,20,1
        stw     20,frames(14)
        mfsprg  20,0
        rfi
"""
)


@lru_cache(maxsize=2)
def picture(machine: str, tb_hz: int) -> bytes:
    """RAM from 0 to the cells with the program for `machine` in it."""
    known = watcher.symbols(machine, tb_hz) | {
        "period": tb_hz // HZ, "hz": HZ, "bar": (HEIGHT - 8) * WIDTH * 4,
        "frame": FRAME, "registers": REGISTERS,
    }  # fmt: skip
    out = bytearray(watcher.DATA)
    for at, source in ((watcher.DECREMENTER, HANDLER), (watcher.BASE, MAIN + _font())):
        code = assemble(source, at, known)
        assert at + len(code) <= len(out)
        out[at : at + len(code)] = code
    return bytes(out)
