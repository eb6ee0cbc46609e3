"""The guest programs of `gossamer bench engine`, as assembly text, and the image that holds them.

The image runs on gossamer's bare machine and on a Power Macintosh of QEMU's alike.  It turns the
MMU on (a hashed page table of 4 KiB pages, no BATs), reads the timebase, runs one kernel, reads the
timebase again and says that it is done.  Parameters and results are at `BLOCK`.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.data import Data
from gossamer.base.units import PAGE_SIZE, MiB
from gossamer.bench.engine.float_programs import MATMUL, MIX, NBODY
from gossamer.bench.engine.vector_programs import VBYTES, VSAXPY
from gossamer.isa.text import assemble

BLOCK: Final = 0x4000
CODE: Final = 0x1_0000
TABLE: Final = 0x100_0000
TABLE_SIZE: Final = 0x2_0000
RAM_SIZE: Final = 32 * MiB
MAPPED: Final = 16 * MiB
SCRATCH: Final = 0x5000
#: Word offsets in the block.
PROGRAM, ITERATIONS, DONE_AT, RESULT, BEGIN, END, DONE = range(7)


class Kernel(Data):
    """A guest program; `iterations` for about a second on QEMU, and what `kind` it is."""

    name: str
    kind: str  # int, memory, fp, vector
    iterations: int
    text: str

    @property
    def cpu(self) -> str:
        """The CPU model that has its instructions."""
        return "7400" if self.kind == "vector" else "750"


_START: Final = """
    .equ BLOCK, 0x4000
    .equ DATA, 0x100000
    .equ WALK, 0x800000
start:
    lis 29,TABLE_HIGH
    ori 29,29,1
    mtsdr1 29
    li 28,0
1:  srwi 27,28,28           # VSID: the segment's number
    mtsrin 27,28
    addis 28,28,0x1000
    cmpwi 28,0
    bne 1b
    li 28,0
    mtspr 528,28; mtspr 530,28; mtspr 532,28; mtspr 534,28
    mtspr 536,28; mtspr 538,28; mtspr 540,28; mtspr 542,28
    isync
    lis 28,translated@h
    ori 28,28,translated@l
    mtsrr0 28
    li 28,0x3030
    mtsrr1 28
    rfi
translated:
    lis 1,0x10
    addi 1,1,-64
    li 30,BLOCK
    lwz 4,0(30)
    lwz 3,4(30)
    slwi 4,4,2
    lis 5,table@h
    ori 5,5,table@l
    lwzx 4,5,4
    mtctr 4
    mftb 6
    stw 6,16(30)
    bctrl
    mftb 6
    li 30,BLOCK
    stw 6,20(30)
    stw 3,12(30)
    li 4,1
    stw 4,24(30)
    lwz 5,8(30)
    stw 4,0(5)
halt:
    b halt
"""

_LIST: Final = """
# A list of 16384 nodes of 16 bytes, the order scattered; walks it and sums.
list:
    lis 4,DATA@h
    li 5,0
    lis 6,0
    ori 6,6,16384
    mtctr 6
1:  mulli 7,5,4099          # next place: an odd stride visits all
    addi 7,7,4099
    clrlwi 7,7,18
    slwi 8,5,4
    mulli 9,5,4099
    clrlwi 9,9,18
    slwi 9,9,4
    add 9,9,4
    slwi 7,7,4
    add 7,7,4
    stw 7,0(9)
    stw 5,4(9)
    addi 5,5,1
    bdnz 1b
    li 10,0
2:  lis 4,DATA@h
    mtctr 6
3:  lwz 7,4(4)
    lwz 4,0(4)
    add 10,10,7
    rlwinm 10,10,1,0,31
    bdnz 3b
    addic. 3,3,-1
    bne 2b
    mr 3,10
    blr
"""

_CRC: Final = """
# CRC-32 by table over 65536 bytes.
crc:
    lis 11,0xEDB8
    ori 11,11,0x8320
    lis 4,DATA@h
    li 5,0
1:  mr 6,5
    li 7,8
    mtctr 7
2:  andi. 8,6,1
    srwi 6,6,1
    beq 3f
    xor 6,6,11
3:  bdnz 2b
    slwi 8,5,2
    stwx 6,4,8
    addi 5,5,1
    cmpwi 5,256
    bne 1b
    lis 9,(DATA+0x10000)@h
    lis 5,1
    mtctr 5
    li 6,1
    mr 7,9
4:  mulli 6,6,16807
    addi 6,6,12345
    srwi 8,6,8
    stb 8,0(7)
    addi 7,7,1
    bdnz 4b
    li 10,-1
5:  mr 7,9
    mtctr 5
6:  lbz 8,0(7)
    addi 7,7,1
    xor 8,8,10
    rlwinm 8,8,2,22,29
    lwzx 8,4,8
    srwi 10,10,8
    xor 10,10,8
    bdnz 6b
    addic. 3,3,-1
    bne 5b
    not 3,10
    blr
"""

_SIEVE: Final = """
# Primes below 32768, counted.
sieve:
    lis 4,DATA@h
    li 12,0
1:  li 5,0x7fff
    mtctr 5
    li 6,1
    mr 7,4
2:  stbu 6,1(7)
    bdnz 2b
    li 8,2
3:  lbzx 9,4,8
    cmpwi 9,0
    beq 6f
    addi 12,12,1
    add 10,8,8
    li 9,0
4:  cmpw 10,5
    bgt 6f
    stbx 9,4,10
    add 10,10,8
    b 4b
6:  addi 8,8,1
    cmpw 8,5
    ble 3b
    addic. 3,3,-1
    bne 1b
    mr 3,12
    blr
"""

_SORT: Final = """
# Recursive quicksort of 4096 words, filled anew each time.
sort:
    mflr 0
    stw 0,4(1)
    stwu 1,-32(1)
    stw 31,8(1)
    stw 30,12(1)
    mr 31,3
    li 30,1
1:  lis 3,DATA@h
    addi 4,3,-4
    li 5,4096
    mtctr 5
2:  mulli 30,30,25173
    addi 30,30,13849
    rlwinm 6,30,16,0,31
    stwu 6,4(4)
    bdnz 2b
    bl quick
    addic. 31,31,-1
    bne 1b
    lis 4,DATA@h
    addi 4,4,-4
    li 5,4096
    mtctr 5
    li 3,0
3:  lwzu 6,4(4)
    mulli 3,3,31
    add 3,3,6
    bdnz 3b
    lwz 31,8(1)
    lwz 30,12(1)
    addi 1,1,32
    lwz 0,4(1)
    mtlr 0
    blr
# Sorts the words from r3 to r4, both included.
quick:
    cmplw 3,4
    bgelr
    mflr 0
    stw 0,4(1)
    stwu 1,-32(1)
    mr 5,3
    mr 6,4
    add 7,3,4
    srwi 7,7,1
    clrrwi 7,7,2
    lwz 7,0(7)
1:  lwz 8,0(5)
    cmplw 8,7
    bge 2f
    addi 5,5,4
    b 1b
2:  lwz 9,0(6)
    cmplw 9,7
    ble 3f
    addi 6,6,-4
    b 2b
3:  cmplw 5,6
    bgt 4f
    stw 9,0(5)
    stw 8,0(6)
    addi 5,5,4
    addi 6,6,-4
    cmplw 5,6
    ble 1b
4:  stw 4,8(1)
    stw 5,12(1)
    mr 4,6
    bl quick
    lwz 3,12(1)
    lwz 4,8(1)
    addi 1,1,32
    lwz 0,4(1)
    mtlr 0
    b quick
"""

_STATE: Final = """
# A scanner: 65536 bytes of text, a jump table by the class of each byte.
state:
    mflr 0
    stw 0,4(1)
    stwu 1,-32(1)
    lis 4,DATA@h
    lis 5,1
    mtctr 5
    li 6,7
    mr 7,4
1:  mulli 6,6,16807
    addi 6,6,12345
    rlwinm 8,6,16,26,31
    stb 8,0(7)
    addi 7,7,1
    bdnz 1b
    lis 11,actions@h
    ori 11,11,actions@l
    li 10,0
    li 12,0
2:  lis 4,DATA@h
    lis 5,1
3:  lbz 6,0(4)
    addi 4,4,1
    rlwinm 7,6,30,29,29
    rlwimi 7,6,1,28,28
    rlwimi 7,12,4,27,27
    lwzx 7,11,7
    mtctr 7
    bctr
letter:
    addi 10,10,1
    li 12,1
    b 4f
digit:
    cmpwi 12,0
    beq 5f
    mulli 10,10,3
5:  add 10,10,6
    b 4f
blank:
    li 12,0
    xori 10,10,0x55
    b 4f
other:
    bl emit
    li 12,0
4:  addic. 5,5,-1
    bne 3b
    addic. 3,3,-1
    bne 2b
    mr 3,10
    addi 1,1,32
    lwz 0,4(1)
    mtlr 0
    blr
emit:
    rotlwi 10,10,5
    cmplwi 6,40
    bltlr
    neg 10,10
    blr
    .balign 4
actions:
    .long letter,digit,blank,other,letter,other,digit,blank
"""

_WALK: Final = """
# A random walk over 8 MiB: each step reads, changes and goes on by what it read.
walk:
    lis 4,WALK@h
    lis 5,0x20
    mtctr 5
    addi 6,4,-4
    li 7,1
    lis 8,0x19
    ori 8,8,0x660d
    lis 9,0x3c6e
    ori 9,9,0xf35f
1:  mullw 7,7,8
    add 7,7,9
    stwu 7,4(6)
    bdnz 1b
    li 10,0
2:  lis 5,0x1
    mtctr 5
3:  rlwinm 6,10,0,9,29
    lwzx 7,4,6
    mullw 10,10,8
    add 10,10,7
    add 7,7,10
    stwx 7,4,6
    bdnz 3b
    addic. 3,3,-1
    bne 2b
    mr 3,10
    blr
"""

KERNELS: Final = (
    Kernel("list", "int", 5000, _LIST),
    Kernel("crc", "int", 600, _CRC),
    Kernel("sieve", "int", 600, _SIEVE),
    Kernel("sort", "int", 800, _SORT),
    Kernel("state", "int", 400, _STATE),
    Kernel("walk", "memory", 400, _WALK),
    Kernel("matmul", "fp", 150, MATMUL),
    Kernel("nbody", "fp", 100_000, NBODY),
    Kernel("mix", "fp", 60, MIX),
    Kernel("vsaxpy", "vector", 4000, VSAXPY),
    Kernel("vbytes", "vector", 2000, VBYTES),
)


def source() -> str:
    """The whole text: start, kernels, the table of their addresses."""
    names = ",".join(k.name for k in KERNELS)
    table = f"    .balign 4\ntable:\n    .long {names}\n"
    start = _START.replace("TABLE_HIGH", hex(TABLE >> 16))
    return "\n".join([start, *(k.text for k in KERNELS), table])


def code() -> bytes:
    """The program, to be placed at `CODE` and entered there in real mode."""
    return assemble(source(), CODE)


def page_table() -> bytes:
    """A hashed page table that maps the first 16 MiB and the page at 0xf0000000 as they are."""
    table = bytearray(TABLE_SIZE)
    pages = [(0, n) for n in range(MAPPED // PAGE_SIZE)] + [(0xF, 0)]
    for segment, page in pages:
        _put(table, segment, page, segment << 28 | page << 12)
    return bytes(table)


def _put(table: bytearray, vsid: int, page: int, ra: int) -> None:
    """One entry: R and C set, read and write; cache-inhibited and guarded outside RAM."""
    wimg = 0b0101 if ra >= 0xF000_0000 else 0
    for secondary in (0, 1):
        hashed = (vsid & 0x7_FFFF) ^ page ^ (0x7_FFFF if secondary else 0)
        group = (hashed & TABLE_SIZE // 64 - 1) * 64
        for at in range(group, group + 64, 8):
            if not table[at] & 0x80:
                high = 1 << 31 | vsid << 7 | secondary << 6 | page >> 10
                low = ra | 0x180 | wimg << 3 | 2
                table[at : at + 8] = high.to_bytes(4, "big") + low.to_bytes(4, "big")
                return
    raise AssertionError("the page table is full")


def vectors() -> bytes:
    """For the page of the vectors: any interrupt stays where it is (``b .``)."""
    return (0x4800_0000).to_bytes(4, "big") * (0x3000 // 4)


def block(kernel: int, iterations: int, done_at: int) -> bytes:
    """The parameter block."""
    words = (kernel, iterations, done_at, 0, 0, 0, 0)
    return b"".join(w.to_bytes(4, "big") for w in words)
