"""The program that the bare machine runs when it is given none: a sign of life without firmware.

`PROGRAM` is `SOURCE` assembled; it runs at any address, in real mode, and needs no stack.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gossamer.machines.firmware import Image, Segment

BASE: Final = 0x1000
SOURCE: Final = """\
        lis     3,0xf000
        bl      text
        .asciz  "gossamer: a bare PowerPC. Primes below 100:\\n"
        .balign 4
text:   mflr    4
        bl      puts
        li      5,2
next:   li      6,2
try:    mullw   7,6,6
        cmpw    7,5
        bgt     prime
        divw    7,5,6
        mullw   7,7,6
        cmpw    7,5
        beq     skip
        addi    6,6,1
        b       try
prime:  mr      8,5
        bl      number
skip:   addi    5,5,1
        cmpwi   5,100
        blt     next
        bl      text2
        .asciz  "\\nType something; q ends.\\n"
        .balign 4
text2:  mflr    4
        bl      puts
echo:   lwz     5,4(3)
        andi.   5,5,1
        beq     echo
        lwz     4,0(3)
        stw     4,0(3)
        cmpwi   4,'q'
        beq     end
        cmpwi   4,13
        bne     echo
        li      4,10
        stw     4,0(3)
        b       echo
end:    li      4,10
        stw     4,0(3)
        li      4,0
        stw     4,8(3)
        b       .
puts:   lbz     7,0(4)
        addi    4,4,1
        cmpwi   7,0
        beqlr
        stw     7,0(3)
        b       puts
number: li      9,10
        divw    10,8,9
        cmpwi   10,0
        beq     units
        addi    11,10,'0'
        stw     11,0(3)
units:  mullw   10,10,9
        subf    10,10,8
        addi    11,10,'0'
        stw     11,0(3)
        li      11,' '
        stw     11,0(3)
        blr
"""
PROGRAM: Final = bytes.fromhex(
    """
    3c60f00048000035676f7373616d65723a2061206261726520506f77657250432e205072696d65732062656c
    6f77203130303a0a000000007c8802a6480000b138a0000238c000027ce631d67c0728004181001c7ce533d6
    7ce731d67c0728004182001438c600014bffffe07ca82b784800009538a500012c0500644180ffc848000021
    0a5479706520736f6d657468696e673b207120656e64732e0a0000007c8802a64800004980a3000470a50001
    4182fff880830000908300002c040071418200182c04000d4082ffe03880000a908300004bffffd43880000a
    9083000038800000908300084800000088e40000388400012c0700004d82002090e300004bffffec3920000a
    7d484bd62c0a00004182000c396a0030916300007d4a49d67d4a4050396a0030916300003960002091630000
    4e800020
"""
)


def image() -> Image:
    """The program at its place in RAM."""
    return Image(Path("(built-in program)"), BASE, (Segment(BASE, PROGRAM),))
