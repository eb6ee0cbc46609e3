"""Fixed-point loads and stores.  Source: Book I 3.3.1 to 3.3.7; MPC750UM 2.3.4.3.

Invalid forms: an update form with RA = 0 uses and updates GPR 0; a load with update and RA = RT
leaves the effective address there; a load multiple or string whose registers include RA or RB
takes its addresses from the registers as they were (docs/isa.md).
"""

from __future__ import annotations

from gossamer.isa.body import Body, number
from gossamer.isa.expr import Expr, bswap, const, eq, low, select, trunc, zext
from gossamer.isa.insn import insn
from gossamer.isa.interrupts import Access
from gossamer.isa.spec.alignment import check_aligned, check_multiple, refuse_little
from gossamer.isa.spec.forms import D, X, XRecord


def ea_d(s: Body, i: D) -> Expr:
    return s.address(s.ra0(i.RA) + i.D)


def ea_x(s: Body, i: X) -> Expr:
    return s.address(s.ra0(i.RA) + s.gpr[i.RB])


def ea_du(s: Body, i: D) -> Expr:
    return s.address(s.gpr[i.RA] + i.D)


def ea_xu(s: Body, i: X) -> Expr:
    return s.address(s.gpr[i.RA] + s.gpr[i.RB])


# --- loads ----------------------------------------------------------------------------------------


@insn(D, "lbz RT,D(RA)", OPCD=34)
def lbz(s: Body, i: D) -> None:
    s.gpr[i.RT] = s.word(s.load(ea_d(s, i), 1))


@insn(D, "lbzu RT,D(RA)", OPCD=35)
def lbzu(s: Body, i: D) -> None:
    ea = ea_du(s, i)
    s.gpr[i.RT] = s.word(s.load(ea, 1))
    s.gpr[i.RA] = ea


@insn(X, "lbzx RT,RA,RB", OPCD=31, XO=87)
def lbzx(s: Body, i: X) -> None:
    s.gpr[i.RT] = s.word(s.load(ea_x(s, i), 1))


@insn(X, "lbzux RT,RA,RB", OPCD=31, XO=119)
def lbzux(s: Body, i: X) -> None:
    ea = ea_xu(s, i)
    s.gpr[i.RT] = s.word(s.load(ea, 1))
    s.gpr[i.RA] = ea


@insn(D, "lhz RT,D(RA)", OPCD=40)
def lhz(s: Body, i: D) -> None:
    s.gpr[i.RT] = s.word(s.load(ea_d(s, i), 2))


@insn(D, "lhzu RT,D(RA)", OPCD=41)
def lhzu(s: Body, i: D) -> None:
    ea = ea_du(s, i)
    s.gpr[i.RT] = s.word(s.load(ea, 2))
    s.gpr[i.RA] = ea


@insn(X, "lhzx RT,RA,RB", OPCD=31, XO=279)
def lhzx(s: Body, i: X) -> None:
    s.gpr[i.RT] = s.word(s.load(ea_x(s, i), 2))


@insn(X, "lhzux RT,RA,RB", OPCD=31, XO=311)
def lhzux(s: Body, i: X) -> None:
    ea = ea_xu(s, i)
    s.gpr[i.RT] = s.word(s.load(ea, 2))
    s.gpr[i.RA] = ea


@insn(D, "lha RT,D(RA)", OPCD=42)
def lha(s: Body, i: D) -> None:
    s.gpr[i.RT] = s.signed(s.load(ea_d(s, i), 2))


@insn(D, "lhau RT,D(RA)", OPCD=43)
def lhau(s: Body, i: D) -> None:
    ea = ea_du(s, i)
    s.gpr[i.RT] = s.signed(s.load(ea, 2))
    s.gpr[i.RA] = ea


@insn(X, "lhax RT,RA,RB", OPCD=31, XO=343)
def lhax(s: Body, i: X) -> None:
    s.gpr[i.RT] = s.signed(s.load(ea_x(s, i), 2))


@insn(X, "lhaux RT,RA,RB", OPCD=31, XO=375)
def lhaux(s: Body, i: X) -> None:
    ea = ea_xu(s, i)
    s.gpr[i.RT] = s.signed(s.load(ea, 2))
    s.gpr[i.RA] = ea


@insn(D, "lwz RT,D(RA)", OPCD=32)
def lwz(s: Body, i: D) -> None:
    s.gpr[i.RT] = s.word(s.load(ea_d(s, i), 4))


@insn(D, "lwzu RT,D(RA)", OPCD=33)
def lwzu(s: Body, i: D) -> None:
    ea = ea_du(s, i)
    s.gpr[i.RT] = s.word(s.load(ea, 4))
    s.gpr[i.RA] = ea


@insn(X, "lwzx RT,RA,RB", OPCD=31, XO=23)
def lwzx(s: Body, i: X) -> None:
    s.gpr[i.RT] = s.word(s.load(ea_x(s, i), 4))


@insn(X, "lwzux RT,RA,RB", OPCD=31, XO=55)
def lwzux(s: Body, i: X) -> None:
    ea = ea_xu(s, i)
    s.gpr[i.RT] = s.word(s.load(ea, 4))
    s.gpr[i.RA] = ea


@insn(X, "lhbrx RT,RA,RB", OPCD=31, XO=790)
def lhbrx(s: Body, i: X) -> None:
    s.gpr[i.RT] = s.word(bswap(s.load(ea_x(s, i), 2)))


@insn(X, "lwbrx RT,RA,RB", OPCD=31, XO=534)
def lwbrx(s: Body, i: X) -> None:
    s.gpr[i.RT] = s.word(bswap(s.load(ea_x(s, i), 4)))


# --- stores ---------------------------------------------------------------------------------------


@insn(D, "stb RS,D(RA)", OPCD=38)
def stb(s: Body, i: D) -> None:
    s.store(ea_d(s, i), s.gpr[i.RS], 1)


@insn(D, "stbu RS,D(RA)", OPCD=39)
def stbu(s: Body, i: D) -> None:
    ea = ea_du(s, i)
    s.store(ea, s.gpr[i.RS], 1)
    s.gpr[i.RA] = ea


@insn(X, "stbx RS,RA,RB", OPCD=31, XO=215)
def stbx(s: Body, i: X) -> None:
    s.store(ea_x(s, i), s.gpr[i.RS], 1)


@insn(X, "stbux RS,RA,RB", OPCD=31, XO=247)
def stbux(s: Body, i: X) -> None:
    ea = ea_xu(s, i)
    s.store(ea, s.gpr[i.RS], 1)
    s.gpr[i.RA] = ea


@insn(D, "sth RS,D(RA)", OPCD=44)
def sth(s: Body, i: D) -> None:
    s.store(ea_d(s, i), s.gpr[i.RS], 2)


@insn(D, "sthu RS,D(RA)", OPCD=45)
def sthu(s: Body, i: D) -> None:
    ea = ea_du(s, i)
    s.store(ea, s.gpr[i.RS], 2)
    s.gpr[i.RA] = ea


@insn(X, "sthx RS,RA,RB", OPCD=31, XO=407)
def sthx(s: Body, i: X) -> None:
    s.store(ea_x(s, i), s.gpr[i.RS], 2)


@insn(X, "sthux RS,RA,RB", OPCD=31, XO=439)
def sthux(s: Body, i: X) -> None:
    ea = ea_xu(s, i)
    s.store(ea, s.gpr[i.RS], 2)
    s.gpr[i.RA] = ea


@insn(D, "stw RS,D(RA)", OPCD=36)
def stw(s: Body, i: D) -> None:
    s.store(ea_d(s, i), s.gpr[i.RS], 4)


@insn(D, "stwu RS,D(RA)", OPCD=37)
def stwu(s: Body, i: D) -> None:
    ea = ea_du(s, i)
    s.store(ea, s.gpr[i.RS], 4)
    s.gpr[i.RA] = ea


@insn(X, "stwx RS,RA,RB", OPCD=31, XO=151)
def stwx(s: Body, i: X) -> None:
    s.store(ea_x(s, i), s.gpr[i.RS], 4)


@insn(X, "stwux RS,RA,RB", OPCD=31, XO=183)
def stwux(s: Body, i: X) -> None:
    ea = ea_xu(s, i)
    s.store(ea, s.gpr[i.RS], 4)
    s.gpr[i.RA] = ea


@insn(X, "sthbrx RS,RA,RB", OPCD=31, XO=918)
def sthbrx(s: Body, i: X) -> None:
    s.store(ea_x(s, i), bswap(trunc(s.gpr[i.RS], 16)), 2)


@insn(X, "stwbrx RS,RA,RB", OPCD=31, XO=662)
def stwbrx(s: Body, i: X) -> None:
    s.store(ea_x(s, i), bswap(low(s.gpr[i.RS])), 4)


# --- multiple and string --------------------------------------------------------------------------


@insn(D, "lmw RT,D(RA)", OPCD=46)
def lmw(s: Body, i: D) -> None:
    ea = ea_d(s, i)
    refuse_little(s, i, ea)
    check_multiple(s, i, ea)
    first = number(i.RT)
    count = number(32) - first
    s.probe(ea, count << 2, Access.READ)

    def one(k: Expr) -> None:
        s.gpr[first + k] = s.word(s.load(s.address(ea + s.word(k << 2)), 4))

    s.loop(count, one)


@insn(D, "stmw RS,D(RA)", OPCD=47)
def stmw(s: Body, i: D) -> None:
    ea = ea_d(s, i)
    refuse_little(s, i, ea)
    check_multiple(s, i, ea)
    first = number(i.RS)
    count = number(32) - first
    s.probe(ea, count << 2, Access.WRITE)

    def one(k: Expr) -> None:
        s.store(s.address(ea + s.word(k << 2)), s.gpr[first + k], 4)

    s.loop(count, one)


def byte_place(s: Body, k: Expr) -> Expr:
    """Left shift of byte `k` of a string in its register, as a word."""
    return s.word(number(24) - ((k & 3) << 3))


def load_string(s: Body, i: X, ea: Expr, count: Expr) -> None:
    """Bytes fill registers from RT on, from the left; the rest of the last one is zero."""
    refuse_little(s, i, ea)
    s.probe(ea, count, Access.READ)
    first = number(i.RT)

    def one(k: Expr) -> None:
        register = first + (k >> 2) & 31
        before = select(eq(k & 3, 0), 0, s.gpr[register])
        byte = s.word(s.load(s.address(ea + s.word(k)), 1))
        s.gpr[register] = before | byte << byte_place(s, k)

    s.loop(count, one)


def store_string(s: Body, i: X, ea: Expr, count: Expr) -> None:
    refuse_little(s, i, ea)
    s.probe(ea, count, Access.WRITE)
    first = number(i.RS)

    def one(k: Expr) -> None:
        register = first + (k >> 2) & 31
        s.store(s.address(ea + s.word(k)), s.gpr[register] >> byte_place(s, k), 1)

    s.loop(count, one)


def immediate_count(i: X) -> Expr:
    return number(select(eq(i.NB, 0), const(32, 6), zext(i.NB, 6)))


@insn(X, "lswi RT,RA,NB", OPCD=31, XO=597)
def lswi(s: Body, i: X) -> None:
    load_string(s, i, s.address(s.ra0(i.RA)), immediate_count(i))


@insn(X, "lswx RT,RA,RB", OPCD=31, XO=533)
def lswx(s: Body, i: X) -> None:
    load_string(s, i, ea_x(s, i), s.xer & 0x7F)


@insn(X, "stswi RS,RA,NB", OPCD=31, XO=725)
def stswi(s: Body, i: X) -> None:
    store_string(s, i, s.address(s.ra0(i.RA)), immediate_count(i))


@insn(X, "stswx RS,RA,RB", OPCD=31, XO=661)
def stswx(s: Body, i: X) -> None:
    store_string(s, i, ea_x(s, i), s.xer & 0x7F)


# --- reservation ----------------------------------------------------------------------------------


def reserve(s: Body, i: X, size: int) -> None:
    """Load `size` bytes and hold a reservation for their effective address."""
    ea = ea_x(s, i)
    if size > 1:
        check_aligned(s, i, ea, size=size)
    s.gpr[i.RT] = s.word(s.load(ea, size))
    s.reserved = 1
    s.reserve_ea = ea


def store_conditional(s: Body, i: XRecord, size: int) -> None:
    """Store when the reservation is held and is for this effective address."""
    ea = ea_x(s, i)
    if size > 1:
        check_aligned(s, i, ea, size=size)
    held = eq(s.reserved, 1) & eq(s.reserve_ea, ea)
    s.store(ea, s.gpr[i.RS], size, held)
    s.crf[0] = select(held, const(2, 8), const(0, 8)) | s.so
    s.reserved = 0


@insn(X, "lwarx RT,RA,RB", OPCD=31, XO=20)
def lwarx(s: Body, i: X) -> None:
    reserve(s, i, 4)


@insn(XRecord, "stwcx. RS,RA,RB", OPCD=31, XO=150, RECORD=1, name="stwcx.")
def stwcx(s: Body, i: XRecord) -> None:
    store_conditional(s, i, 4)
