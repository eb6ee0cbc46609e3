"""The 405's unified TLB: its entries, how one is found, the instructions that write it.

Source: PPC405 core user's manual chapter 7.  An entry is two words and a process: the tag (EPN,
SIZE, V, E, U0; TLBHI), the data (RPN, EX, WR, ZSEL, W, I, M, G; TLBLO) and the PID that it was
written under, 0 for every process.  EPN is cut to the page's size when it is written.
"""

from __future__ import annotations

from typing import Final

from gossamer.isa.body import Body, number
from gossamer.isa.expr import Expr, clz, const, eq, low, ne, select, trunc, zext
from gossamer.isa.insn import insn
from gossamer.isa.spec.forms import X, XRc
from gossamer.isa.spec.load_store import ea_x
from gossamer.isa.spec.parts import EMBEDDED

ENTRIES: Final = 64
#: Of the tag; a page has 1 KiB << 2 x SIZE.
EPN: Final = 0xFFFF_FC00
SIZE: Final = 0x380
VALID: Final = 0x40
LITTLE: Final = 0x20
USER: Final = 0x10
#: Of the data.
RPN: Final = 0xFFFF_FC00
EXECUTE: Final = 0x200
WRITE: Final = 0x100
#: W, I, M, G.
STORAGE: Final = 0xF
PID_BITS: Final = 0xFF


def frame(tag: Expr) -> Expr:
    """The address bits that the page of a tag does not translate are zeros, the others ones."""
    return const(EPN, 32) << (tag >> 6 & 14)


def find(s: Body, ea: Expr, pid: Expr) -> Expr:
    """Which entries translate `ea` for process `pid` (8 bits): 64 bits, entry 0 the uppermost."""
    found = []
    for n in range(ENTRIES):
        tag, process = s.utlb_tag[n], s.utlb_pid[n]
        same = eq(tag & (EPN | VALID), ea & frame(tag) | VALID)
        mine = same & (eq(process, 0) | eq(process, pid))
        found.append(zext(mine, 64) << (ENTRIES - 1 - n))
    while len(found) > 1:
        found = [a | b for a, b in zip(found[::2], found[1::2], strict=True)]
    return found[0]


def first(found: Expr) -> Expr:
    """The number of the first entry in what `find` gives."""
    return low(clz(found)) & ENTRIES - 1


# --- the instructions -----------------------------------------------------------------------------


def entry_of(s: Body, i: X) -> Expr:
    return number(s.gpr[i.RA] & ENTRIES - 1)


@insn(X, "tlbwehi RS,RA", OPCD=31, XO=978, WS=0, supervisor=True, width=32, features=EMBEDDED)
def tlbwehi(s: Body, i: X) -> None:
    """Of what the entry was and of what it is: it may come before another for the same place."""
    n, value = entry_of(s, i), s.gpr[i.RS]
    s.effect("page", s.utlb_tag[n])
    tag = value & frame(value) | value & (SIZE | VALID | LITTLE | USER)
    s.utlb_tag[n] = tag
    s.utlb_pid[n] = trunc(s.pid, 8)
    s.effect("page", tag)


@insn(X, "tlbwelo RS,RA", OPCD=31, XO=978, WS=1, supervisor=True, width=32, features=EMBEDDED)
def tlbwelo(s: Body, i: X) -> None:
    n = entry_of(s, i)
    s.effect("page", s.utlb_tag[n])
    s.utlb_data[n] = s.gpr[i.RS]


@insn(X, "tlbrehi RT,RA", OPCD=31, XO=946, WS=0, supervisor=True, width=32, features=EMBEDDED)
def tlbrehi(s: Body, i: X) -> None:
    """PID becomes the entry's."""
    n = entry_of(s, i)
    s.gpr[i.RT] = s.utlb_tag[n]
    s.pid = zext(s.utlb_pid[n], 32)
    s.effect("pid")


@insn(X, "tlbrelo RT,RA", OPCD=31, XO=946, WS=1, supervisor=True, width=32, features=EMBEDDED)
def tlbrelo(s: Body, i: X) -> None:
    s.gpr[i.RT] = s.utlb_data[entry_of(s, i)]


@insn(XRc, "tlbsx{Rc} RT,RA,RB", OPCD=31, XO=914, supervisor=True, width=32, features=EMBEDDED)
def tlbsx(s: Body, i: XRc) -> None:
    """RT is undefined where nothing is found: all ones, as QEMU has it."""
    found = find(s, ea_x(s, i), trunc(s.pid, 8))
    there = ne(found, 0)
    s.gpr[i.RT] = select(there, first(found), s.word(-1))
    s.write("crf", 0, select(there, const(2, 8), const(0, 8)) | s.so, i.Rc)


@insn(X, "tlbia", OPCD=31, XO=370, supervisor=True, width=32, features=EMBEDDED)
def tlbia(s: Body, i: X) -> None:
    """Every entry, whatever its process."""

    def invalidate(n: Expr) -> None:
        s.utlb_tag[n] = s.utlb_tag[n] & ~VALID

    s.loop(ENTRIES, invalidate)
    s.effect("tlb")
