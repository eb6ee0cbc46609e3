"""A third built-in guest (``-bios builtin-search``, -cpu 603e): it searches the page table itself.

With translation on it loads, stores and executes in more pages than the TLBs hold: twelve in one
set, forty side by side, stubs of code; it changes a page's place, meets pages that it may not write
and that are not there.  The miss interrupts search a hashed table as the 603e's manual wants it,
count and log themselves, and each round ends with a line on the first serial port.

`ways` of its symbols: SRR1[WAY] decides which way is loaded (0), or the address does (0x20000),
which gives every 603e the same misses.  `clean`: a load's miss leaves the page unchanged (0), or
marks it changed (0x80), where a peer does not report stores to unchanged pages.  `last`: the
instruction before a miss interrupt's return: nop, or one that makes a peer forget what it keeps
of entries that are not in the TLBs any more.  `rounds`: how many, 0 for no end.

Sources: MPC603eUM chapter 5; PEM chapter 7.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from gossamer.isa.text import assemble
from gossamer.machines.guests import watcher
from gossamer.machines.guests.watcher import DATA

#: What -bios calls it.
NAME: Final = "builtin-search"
ENTRY: Final = 0x1400
TABLE: Final = 0x1_0000  # 64 KiB
LOG: Final = 0x9_0000  # 64 KiB, 32 bytes a miss
NOP: Final = 0x6000_0000
#: mtsr 15,0: with a value that is always new (the address missed), it makes QEMU forget.
FORGET: Final = 0x7C0F_01A4
DSI, ISI, FETCH_MISS, LOAD_MISS, STORE_MISS = 0x300, 0x400, 0x1000, 0x1100, 0x1200

#: Offsets from DATA, r14.
_CELLS: Final = """\
        .equ    loads,0
        .equ    stores,4
        .equ    fetches,8
        .equ    refused,12
        .equ    absent,16
        .equ    folded,20
        .equ    logged,24
        .equ    slot,28
        .equ    digits,64
"""


def _refusal(cell: str, fold: str, onward: str) -> str:
    """A page that the guest may not have: count it, `fold` r3s into r4, go on where r3 says."""
    return (
        _CELLS
        + f"""\
        mtsprg  0,3
        mtsprg  1,4
        lwz     3,data+{cell}(0)
        addi    3,3,1
        stw     3,data+{cell}(0)
        lwz     4,data+folded(0)
        rlwinm  4,4,5,0,31
{fold}\
        stw     4,data+folded(0)
{onward}\
        mtsrr0  3
        mfsprg  4,1
        mfsprg  3,0
        rfi
"""
    )


#: An access is stepped over.
ON_DSI: Final = _refusal(
    "refused",
    """\
        mfdsisr 3
        xor     4,4,3
        mfdar   3
        add     4,4,3
        mfsrr1  3
        xor     4,4,3
""",
    """\
        mfsrr0  3
        addi    3,3,4
""",
)
#: A call returns.
ON_ISI: Final = _refusal(
    "absent",
    """\
        mfsrr1  3
        xor     4,4,3
        mfsrr0  3
        add     4,4,3
""",
    """\
        mflr    3
""",
)


def _miss(cell: str, miss: int, compare: int, load: str, found: str, absent: str) -> str:
    """A miss interrupt: log it, look for the PTE, do `found` with its low word in r1, load it.

    r0 CTR of the program; r2 the PTE's address; r3 what is looked for.  Only r0 to r3 are there.
    SRR1's upper half is cleared: QEMU 7.2 would take its S/L for MSR[ILE].
    """
    return f"""{_CELLS}
        lwz     1,data+logged(0)
        mfsrr1  2
        stw     2,0(1)
        mfsrr0  2
        stw     2,4(1)
        mfspr   2,{miss}
        stw     2,8(1)
        mfspr   3,{compare}
        stw     3,12(1)
        mfspr   2,979
        stw     2,16(1)
        mfspr   2,978
        stw     2,20(1)
        addi    1,1,32
        rlwinm  1,1,0,16,31
        oris    1,1,9
        stw     1,data+logged(0)
        lwz     1,data+{cell}(0)
        addi    1,1,1
        stw     1,data+{cell}(0)
        mfctr   0
group:  li      1,8
        mtctr   1
        addi    2,2,-8
1:      lwzu    1,8(2)
        cmpw    1,3
        bc      0,2,1b
        bne     other
        lwz     1,4(2)
        mtctr   0
{found}
        stw     1,4(2)
        mtspr   982,1
        mfspr   0,{miss}
        rlwinm  1,0,27,14,14
        mfsrr1  3
        xor     1,1,3
        lis     2,ways@h
        and     1,1,2
        xor     1,1,3
        mtsrr1  1
        {load}   0
        mtcrf   0x80,1
        rlwinm  1,1,0,16,31
        mtsrr1  1
        .long   last
        rfi
other:  andi.   1,3,0x40
        mfspr   2,979
        ori     3,3,0x40
        beq     group
        mtctr   0
{absent}
"""


#: As a real DSI: DSISR is in r1.  GPR0 to GPR3 come back, and its interrupt follows.
_TO_DSI: Final = """\
        mtdsisr 1
        mfspr   1,976
        mtdar   1
        mfsrr1  3
        mtcrf   0x80,3
        rlwinm  3,3,0,16,31
        mtsrr1  3
        mfmsr   1
        xoris   1,1,2
        mtmsr   1
        ba      ondsi
"""
ON_FETCH: Final = _miss(
    "fetches",
    980,
    981,
    "tlbli",
    "        ori     1,1,0x100",
    """\
        mfsrr1  3
        mtcrf   0x80,3
        rlwinm  3,3,0,16,31
        oris    3,3,0x4000
        mtsrr1  3
        mfmsr   1
        xoris   1,1,2
        mtmsr   1
        ba      onisi
""",
)
ON_LOAD: Final = _miss(
    "loads",
    976,
    977,
    "tlbld",
    "        ori     1,1,0x100+clean",
    "        lis     1,0x4000\n" + _TO_DSI,
)
#: KEY and PP are looked at before R and C are set.
ON_STORE: Final = _miss(
    "stores",
    976,
    977,
    "tlbld",
    """\
        mfsrr1  3
        andis.  0,3,8
        rlwinm  3,1,0,30,31
        beq     2f
        cmpwi   3,2
        beq     3f
        b       denied
2:      cmpwi   3,3
        bne     3f
denied: lis     1,0x0a00
        b       refuse
3:      ori     1,1,0x180
""",
    "        lis     1,0x4200\nrefuse:\n" + _TO_DSI,
)
#: The main program.  r12 status port, r13 data port, r16 rounds, r17 the sum of what is read.
MAIN: Final = (
    _CELLS
    + watcher.PORTS
    + """\
        li      14,data
        li      0,0
        addi    4,14,-4
        li      5,16
        mtctr   5
1:      stwu    0,4(4)
        bdnz    1b
        lis     4,9
        stw     4,logged(14)
        lis     4,1             # the table, at 0x10000
        mtspr   25,4
        addi    4,4,-4
        li      5,0x4000
        mtctr   5
1:      stwu    0,4(4)
        bdnz    1b
        li      3,7             # BAT 0: the first 256 KiB
        li      4,0x12
        mtspr   528,3
        mtspr   529,4
        mtspr   536,3
        mtspr   537,4
        lis     3,0x8000        # DBAT 1: devices
        addi    4,3,0x2a
        ori     3,3,0x1fff
        mtspr   538,3
        mtspr   539,4
        li      3,0
        mtspr   530,3
        mtspr   532,3
        mtspr   534,3
        mtspr   540,3
        mtspr   542,3
        li      4,0x123
        mtsr    3,4
        lis     4,0x4000        # Ks
        ori     4,4,0x222
        mtsr    5,4
        lis     3,0x3000        # twelve pages of one group and set
        lis     4,0x4
        li      5,12
        lis     6,0x40
        bl      map
        lis     3,0x3010        # forty side by side
        lis     4,0x5
        li      5,40
        li      6,0x1000
        bl      map
        lis     3,0x3020        # twelve of code
        lis     4,0x8
        li      5,12
        li      6,0x5000
        bl      map
        lis     3,0x8
        lis     4,0x3863        # addi r3,r3,n
        lis     5,0x4e80        # blr
        ori     5,5,0x20
        li      6,12
        mtctr   6
1:      addi    4,4,1
        stw     4,0(3)
        stw     5,4(3)
        dcbst   0,3
        sync
        icbi    0,3
        addi    3,3,0x1000
        bdnz    1b
        sync
        isync
        lis     3,0x5000        # one that may be read only
        lis     4,0x4
        ori     4,4,0xc001
        li      5,1
        li      6,0
        bl      map1
        lis     3,0x3000
        bl      find
        stw     7,slot(14)
        li      16,0
        li      17,0
        li      4,hello
        bl      puts
        li      3,32            # both TLBs as after power on
        mtctr   3
        li      3,0
1:      tlbie   3
        addi    3,3,0x1000
        bdnz    1b
        tlbsync
        sync
        li      3,0x32          # IR, DR, RI
        mtmsr   3
        isync
round:  lis     3,0x3000
        li      5,12
        mtctr   5
1:      lwz     6,0(3)
        add     17,17,6
        addi    6,6,1
        stw     6,0(3)
        addis   3,3,0x40
        bdnz    1b
        lis     3,0x3010
        li      5,20
        mtctr   5
1:      stw     17,8(3)
        lwz     6,0x1008(3)
        add     17,17,6
        addi    3,3,0x2000
        bdnz    1b
        lis     4,0x3010        # a word across two pages
        ori     4,4,0x4ffe
        lwz     6,0(4)
        add     17,17,6
        stw     17,0(4)
        lis     7,0x3020
        li      5,12
        li      3,0
1:      mtctr   7
        bctrl
        addi    7,7,0x5000
        addic.  5,5,-1
        bne     1b
        add     17,17,3
        lis     4,0x5000
        lwz     6,4(4)
        add     17,17,6
        stw     17,4(4)
        lis     4,0x30f0        # none there
        lwz     6,0(4)
        stw     17,0(4)
        mtctr   4
        bctrl
        lwz     7,slot(14)      # the first page moves
        lwz     6,4(7)
        xori    6,6,0xe000
        rlwinm  6,6,0,25,22
        stw     6,4(7)
        sync
        lis     3,0x3000
        tlbie   3
        tlbsync
        sync
        lwz     6,0(3)
        add     17,17,6
        addi    16,16,1
        li      4,line
        bl      puts
        mr      8,16
        bl      number
        .irp    what,fetches,loads,stores,refused,absent,folded
        li      4,blank
        bl      puts
        lwz     8,\\what(14)
        bl      number
        .endr
        li      4,sum
        bl      puts
        mr      8,17
        bl      number
        li      4,newline
        bl      puts
1:      li      3,1             # until the line is out: RR1's lowest bit
        stb     3,0(12)
        eieio
        lbz     3,0(12)
        andi.   3,3,1
        beq     1b
        cmpwi   16,rounds
        bne     round
        b       .
map:    ori     4,4,2           # r5 pages from r3 on, r6 apart, to r4 on: read and write
map1:   mflr    20
1:      bl      find
        stw     8,0(7)
        stw     4,4(7)
        add     3,3,6
        addi    4,4,0x1000
        addic.  5,5,-1
        bne     1b
        mtlr    20
        blr
find:   mfsrin  8,3             # r7: the PTE of r3, or the first free one; r8: its first word
        rlwinm  8,8,0,8,31
        rlwinm  9,3,20,16,31
        xor     9,9,8
        rlwinm  8,8,7,0,24
        rlwimi  8,3,10,26,31
        oris    8,8,0x8000
        rlwinm  9,9,6,16,25
2:      addis   7,9,1
        li      10,8
        mtctr   10
3:      lwz     11,0(7)
        cmpw    11,8
        beqlr
        cmpwi   11,0
        beqlr
        addi    7,7,8
        bdnz    3b
        xori    9,9,0xffc0
        ori     8,8,0x40
        b       2b
"""
    + watcher.PRINT
    + watcher.PUT
    + """\
hello:  .asciz  "gossamer: a page table searched by software\\r\\n"
line:   .asciz  "round "
blank:  .asciz  " "
sum:    .asciz  " sum "
newline: .asciz "\\r\\n"
        .balign 4
"""
)


def sources() -> tuple[tuple[int, str], ...]:
    """The program's pieces by address."""
    return (
        (DSI, ON_DSI),
        (ISI, ON_ISI),
        (FETCH_MISS, ON_FETCH),
        (LOAD_MISS, ON_LOAD),
        (STORE_MISS, ON_STORE),
        (ENTRY, MAIN),
    )


def symbols(machine: str, tb_hz: int, **chosen: int) -> dict[str, int]:
    """What the sources leave open."""
    return (
        watcher.symbols(machine, tb_hz)
        | {
            "ondsi": DSI,
            "onisi": ISI,
            "ways": 0,
            "clean": 0,
            "last": NOP,
            "rounds": 0,
        }
        | chosen
    )


@lru_cache(maxsize=4)
def picture(machine: str, tb_hz: int, **chosen: int) -> bytes:
    """RAM from 0 to DATA with the program for `machine` in it."""
    known = symbols(machine, tb_hz, **chosen)
    out = bytearray(DATA)
    for at, source in sources():
        code = assemble(source, at, known)
        assert not any(out[at : at + len(code)]), f"{at:#x}: no room"
        out[at : at + len(code)] = code
    if len(out) != DATA:
        raise AssertionError(f"the program needs {len(out)} bytes, there are {DATA}")
    return bytes(out)
