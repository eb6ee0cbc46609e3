"""Making entries of the hash table: the hypercall that a booting guest makes most, as a body.

Native code answers it without leaving (a guest of 256 MiB maps itself by 66,000 of them).  The
usual case alone is described: a page of 4 KiB of memory, in the first free slot of its group.  All
else, and every other call, is the machine's, whose answer to these is the same
(`devices.spapr.pft`; `tests/engine/test_table_calls.py` compares them).  Source: LoPAR 14.5.4.1.2.
"""

from __future__ import annotations

from typing import Final

from gossamer.cpu.translation import MSR_PR
from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, clz, const, eq, ltu, ne, select, zext

H_ENTER: Final = 8
SUCCESS, PTEG_FULL = 0, -6
#: H_EXACT, H_ZERO_PAGE, H_COPY_PAGE.
FLAGS: Final = 1 << 39 | 1 << 15 | 1 << 14
GROUP: Final = 8
VALID, LARGE = 1, 4
#: Bits of V that the hypervisor keeps to itself.
RESERVED: Final = 0x60
RPN: Final = 0x0FFF_FFFF_FFFF_F000
WIMG, COHERENT = 0x78, 0x10


def enter(s: Body, memory: Expr, entries: Expr) -> Expr:
    """Answer the call that the registers hold, if it is of the usual case; whether it is, 1 bit.

    `memory`: real addresses below are memory; `entries`: how many the table has; both words.
    """
    flags, index, v, r = (s.gpr[4 + n] for n in range(4))
    usual = (
        eq(s.gpr[3], H_ENTER)
        & eq(s.msr & MSR_PR, 0)
        & eq(flags & FLAGS, 0)
        & eq(v & LARGE, 0)
        & ltu(r & RPN, memory)
        & eq(r & WIMG, COHERENT)
        & ltu(index, entries)
    )
    first = index & -GROUP
    free = const(0, 8)
    for n in range(GROUP):
        taken = ne(s.table(first + n << 1) & VALID, 0)
        free = free | select(taken, const(0, 8), const(0x80 >> n, 8))
    room = ne(free, 0)
    chosen = first + zext(clz(free), s.width)
    made = usual & room
    s.table_store(chosen << 1, v & ~RESERVED, made)
    s.table_store(chosen << 1 | 1, r, made)
    s.write("gpr", 4, chosen, made)
    s.write("gpr", 3, select(room, s.word(SUCCESS), s.word(PTEG_FULL)), usual)
    return usual
