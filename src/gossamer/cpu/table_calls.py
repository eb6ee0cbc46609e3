"""Hypercalls on the hash table that a guest makes often, as bodies.

Native code answers them without leaving: a guest of 256 MiB maps itself by 66,000 H_ENTERs, and a
process that ends takes its pages away by four.  The usual case alone is described: pages of 4 KiB
of memory, numbers that the table has, from a supervisor.  All else, and every other call, is the
machine's, whose answer to these is the same (`devices.spapr.pft`): both are compared in
`tests/engine/test_table_calls.py`.  Source: LoPAR 14.5.4.1.
"""

from __future__ import annotations

from typing import Final

from gossamer.cpu.translation import MSR_PR
from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, clz, const, eq, ltu, ne, select, zext

H_REMOVE, H_ENTER, H_PROTECT, H_BULK_REMOVE = 0x4, 0x8, 0x18, 0x124
SUCCESS, PTEG_FULL, NOT_FOUND = 0, -6, -7
#: H_EXACT, H_ZERO_PAGE, H_COPY_PAGE.
FLAGS: Final = 1 << 39 | 1 << 15 | 1 << 14
#: H_AVPN, H_ANDCOND: an entry goes only if V is that, or has none of those bits.
AVPN, ANDCOND = 1 << 31, 1 << 30
GROUP: Final = 8
VALID, SECONDARY, LARGE = 1, 2, 4
#: Bits of V that the hypervisor keeps to itself, and those that software has.
RESERVED: Final = 0x60
SOFTWARE: Final = 0x7F
RPN: Final = 0x0FFF_FFFF_FFFF_F000
WIMG, COHERENT = 0x78, 0x10
#: Of R: PP0, key, N and PP; a change and an access.
PP0, KEY_HIGH, KEY_LOW, N_PP = 1 << 63, 0x3 << 60, 0x0E00, 7
REFERENCED_CHANGED: Final = 0x180
#: Of an outcome: the call is answered; an entry went, whose page's number is from bit 12 on.
ANSWERED, GONE = 1, 2
#: Requests of a bulk call, and of each: its type, flags, number; a code and R and C of the answer.
MOST: Final = 4
TYPE, REQUEST, RESPONSE, END = 0xC0 << 56, 0x40 << 56, 0x80 << 56, 0xC0 << 56
BULK_FLAGS, BULK_AVPN, BULK_ANDCOND = 0x03 << 56, 0x02 << 56, 0x01 << 56
PTEX: Final = (1 << 56) - 1
FLAGS_DOWN: Final = 26
CODE_UP, RC_UP = 60, 43
#: The code for no such entry.
BULK_NOT_FOUND: Final = 1


def enter(s: Body, memory: Expr, entries: Expr) -> Expr:
    """Answer an H_ENTER: r4 flags, r5 number, r6 V, r7 R; its outcome, a word.

    `memory`: real addresses below are memory; `entries`: how many the table has; both words.  Where
    another entry for the page may lie behind the new one, what is known of the page goes.
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
    group = index >> 3
    twins = ne(s.table_find(group, v) | s.table_find(~group, v ^ SECONDARY), 0)
    room = ne(free, 0)
    chosen = first + zext(clz(free), s.width)
    made = usual & room
    s.table_store(chosen << 1, v & ~RESERVED, made)
    s.table_store(chosen << 1 | 1, r, made)
    s.write("gpr", 4, chosen, made)
    s.write("gpr", 3, select(room, s.word(SUCCESS), s.word(PTEG_FULL)), usual)
    return _outcome(s, usual, made & twins, chosen, v)


def remove(s: Body, entries: Expr) -> Expr:
    """Answer an H_REMOVE: r4 flags, r5 number, r6 AVPN; its outcome, a word."""
    flags, index, avpn = (s.gpr[4 + n] for n in range(3))
    v, r = s.table(index << 1), s.table(index << 1 | 1)
    usual = _may_ask(s) & ltu(index, entries) & eq(v & LARGE, 0)
    gone = usual & ne(v & VALID, 0) & _fits(flags, v, avpn)
    _take_away(s, index, gone)
    s.write("gpr", 3, select(gone, s.word(SUCCESS), s.word(NOT_FOUND)), usual)
    s.write("gpr", 4, v, gone)
    s.write("gpr", 5, r, gone)
    return _outcome(s, usual, gone, index, v)


def protect(s: Body, entries: Expr) -> Expr:
    """Answer an H_PROTECT: r4 flags with the new protection, r5 number, r6 AVPN; its outcome."""
    flags, index, avpn = (s.gpr[4 + n] for n in range(3))
    v, r = s.table(index << 1), s.table(index << 1 | 1)
    usual = _may_ask(s) & ltu(index, entries) & eq(v & LARGE, 0)
    found = usual & ne(v & VALID, 0) & (eq(flags & AVPN, 0) | eq(v & ~SOFTWARE, avpn))
    new = flags << 55 & PP0 | flags << 48 & KEY_HIGH | flags & (N_PP | KEY_LOW)
    s.table_store(index << 1 | 1, r & ~(PP0 | KEY_HIGH | N_PP | KEY_LOW) | new, found)
    s.write("gpr", 3, select(found, s.word(SUCCESS), s.word(NOT_FOUND)), usual)
    return _outcome(s, usual, found, index, v)


def bulk_is_usual(s: Body, entries: Expr) -> Expr:
    """Whether native code answers all requests of an H_BULK_REMOVE: 1 bit."""
    usual, ended = _may_ask(s), const(0, 1)
    for k in range(MOST):
        request = s.gpr[4 + 2 * k]
        index = request & PTEX
        ended = ended | eq(request & TYPE, END)
        good = (
            eq(request & TYPE, REQUEST)
            & ne(request & BULK_FLAGS, BULK_AVPN | BULK_ANDCOND)
            & ltu(index, entries)
            & eq(s.table(index << 1) & LARGE, 0)
        )
        usual = usual & (ended | good)
    return usual


def bulk_remove(s: Body, k: Expr) -> Expr:
    """Carry out request `k` (a number) of such a call; its outcome, zero where it is the end."""
    at = k << 1
    request, avpn = s.gpr[at + 4], s.gpr[at + 5]
    asked = ne(request & TYPE, END)
    index = request & PTEX
    v, r = s.table(index << 1), s.table(index << 1 | 1)
    gone = asked & ne(v & VALID, 0) & _fits((request & BULK_FLAGS) >> FLAGS_DOWN, v, avpn)
    _take_away(s, index, gone)
    code = select(gone, (r & REFERENCED_CHANGED) << RC_UP, s.word(BULK_NOT_FOUND << CODE_UP))
    s.write("gpr", at + 4, request & (PTEX | BULK_FLAGS) | RESPONSE | code, asked)
    return _outcome(s, asked, gone, index, v)


def _may_ask(s: Body) -> Expr:
    return eq(s.msr & MSR_PR, 0)


def _fits(flags: Expr, v: Expr, avpn: Expr) -> Expr:
    """Whether H_AVPN and H_ANDCOND let an entry go."""
    same = eq(flags & AVPN, 0) | eq(v & ~SOFTWARE, avpn)
    return same & (eq(flags & ANDCOND, 0) | eq(v & avpn, 0))


def _take_away(s: Body, index: Expr, when: Expr) -> None:
    s.table_store(index << 1, s.word(0), when)
    s.table_store(index << 1 | 1, s.word(0), when)


def _outcome(s: Body, answered: Expr, gone: Expr, index: Expr, v: Expr) -> Expr:
    """The low 12 bits of the page's number are known of an entry (`HashTable.page_of`)."""
    vsid = v >> select(eq(v >> 62, 1), s.word(24), s.word(12))
    hashed = select(ne(v & SECONDARY, 0), ~(index >> 3), index >> 3)
    page = (hashed ^ vsid) & 0x7FF | v << 4 & 0x800
    return page << 12 | s.word(gone) << 1 | s.word(answered)
