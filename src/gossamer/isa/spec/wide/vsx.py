"""Vector-scalar registers: moves, loads and stores, logic and permutation.

Registers 0 to 31 are the floating-point registers with a low doubleword of their own (`vsl`), 32 to
63 the vector registers.  Source: Power ISA 2.07 Book I 7.2, 7.6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.isa.body import Body, number
from gossamer.isa.expr import Expr, const, low, ltu, ne, rotl, select, sext, trunc, zext
from gossamer.isa.insn import insn
from gossamer.isa.interrupts import Access, Interrupt
from gossamer.isa.spec.float_memory import narrow, widen
from gossamer.isa.spec.load_store import ea_x
from gossamer.isa.spec.wide.vsx_forms import XX1, XX2, XX3, XX4

VSX: Final = ("2.06",)
VSX_2_07: Final = ("2.07",)
ALL: Final = (1 << 128) - 1


def joined(high: Expr, low_half: Expr) -> Expr:
    """128 bits of two doublewords."""
    return zext(high, 128) << 64 | zext(low_half, 128)


def upper(value: Expr) -> Expr:
    return trunc(value >> 64, 64)


def lower(value: Expr) -> Expr:
    return trunc(value, 64)


def is_scalar(n: Expr) -> Expr:
    """Whether a register is one of the first 32."""
    return ltu(n, 32)


def read(s: Body, n: Expr) -> Expr:
    """A vector-scalar register, 128 bits."""
    k = number(n) & 31
    return select(is_scalar(n), joined(s.fpr[k], s.vsl[k]), s.vr[k])


def doubleword(s: Body, n: Expr) -> Expr:
    """Its first doubleword."""
    k = number(n) & 31
    return select(is_scalar(n), s.fpr[k], upper(s.vr[k]))


def write(s: Body, n: Expr, value: Expr) -> None:
    k, scalar = number(n) & 31, is_scalar(n)
    s.write("fpr", k, upper(value), scalar)  # clears the other doubleword
    s.write("vsl", k, lower(value), scalar)
    s.write("vr", k, value, ~scalar)


def write_first(s: Body, n: Expr, value: Expr) -> None:
    """Set the first doubleword; the second is undefined: it stays, as in QEMU."""
    k = number(n) & 31
    other = select(is_scalar(n), s.vsl[k], lower(s.vr[k]))
    write(s, n, joined(value, other))


def check_half(s: Body, n: Expr) -> None:
    """A move needs the unit whose register it is."""
    scalar = is_scalar(n)
    floating, vectors = (trunc(s.msr >> k, 1) for k in (13, 25))
    s.interrupt(Interrupt.FP_UNAVAILABLE, scalar & ~floating)
    s.interrupt(Interrupt.VEC_UNAVAILABLE, ~scalar & ~vectors)


# --- moves ----------------------------------------------------------------------------------------


@insn(XX1, "mfvsrd RA,XS", OPCD=31, XO=51, features=VSX_2_07, width=64)
def mfvsrd(s: Body, i: XX1) -> None:
    check_half(s, i.XS)
    s.gpr[i.RA] = doubleword(s, i.XS)


@insn(XX1, "mfvsrwz RA,XS", OPCD=31, XO=115, features=VSX_2_07, width=64)
def mfvsrwz(s: Body, i: XX1) -> None:
    check_half(s, i.XS)
    s.gpr[i.RA] = s.word(low(doubleword(s, i.XS)))


@insn(XX1, "mtvsrd XT,RA", OPCD=31, XO=179, features=VSX_2_07, width=64)
def mtvsrd(s: Body, i: XX1) -> None:
    check_half(s, i.XT)
    write_first(s, i.XT, s.gpr[i.RA])


@insn(XX1, "mtvsrwa XT,RA", OPCD=31, XO=211, features=VSX_2_07, width=64)
def mtvsrwa(s: Body, i: XX1) -> None:
    check_half(s, i.XT)
    write_first(s, i.XT, s.signed(low(s.gpr[i.RA])))


@insn(XX1, "mtvsrwz XT,RA", OPCD=31, XO=243, features=VSX_2_07, width=64)
def mtvsrwz(s: Body, i: XX1) -> None:
    check_half(s, i.XT)
    write_first(s, i.XT, s.word(low(s.gpr[i.RA])))


# --- loads ----------------------------------------------------------------------------------------


def two(s: Body, ea: Expr) -> Expr:
    """Two doublewords from storage, the first at the lower address."""
    return joined(s.load(ea, 8), s.load(s.address(ea + 8), 8))


@insn(XX1, "lxvd2x XT,RA,RB", needs="VSX", OPCD=31, XO=844, features=VSX, width=64)
def lxvd2x(s: Body, i: XX1) -> None:
    write(s, i.XT, two(s, ea_x(s, i)))


def words(s: Body, x: Expr) -> Expr:
    """A doubleword of two words, each as bytes lie, in the order in which they lie."""
    return select(s.le, rotl(x, const(32, 64)), x)


@insn(XX1, "lxvw4x XT,RA,RB", needs="VSX", OPCD=31, XO=780, features=VSX, width=64)
def lxvw4x(s: Body, i: XX1) -> None:
    value = two(s, ea_x(s, i))
    write(s, i.XT, joined(words(s, upper(value)), words(s, lower(value))))


@insn(XX1, "lxvdsx XT,RA,RB", needs="VSX", OPCD=31, XO=332, features=VSX, width=64)
def lxvdsx(s: Body, i: XX1) -> None:
    value = s.load(ea_x(s, i), 8)
    write(s, i.XT, joined(value, value))


@insn(XX1, "lxsdx XT,RA,RB", needs="VSX", OPCD=31, XO=588, features=VSX, width=64)
def lxsdx(s: Body, i: XX1) -> None:
    write_first(s, i.XT, s.load(ea_x(s, i), 8))


@insn(XX1, "lxsspx XT,RA,RB", needs="VSX", OPCD=31, XO=524, features=VSX_2_07, width=64)
def lxsspx(s: Body, i: XX1) -> None:
    write_first(s, i.XT, widen(s.load(ea_x(s, i), 4)))


@insn(XX1, "lxsiwax XT,RA,RB", needs="VSX", OPCD=31, XO=76, features=VSX_2_07, width=64)
def lxsiwax(s: Body, i: XX1) -> None:
    write_first(s, i.XT, sext(s.load(ea_x(s, i), 4), 64))


@insn(XX1, "lxsiwzx XT,RA,RB", needs="VSX", OPCD=31, XO=12, features=VSX_2_07, width=64)
def lxsiwzx(s: Body, i: XX1) -> None:
    write_first(s, i.XT, zext(s.load(ea_x(s, i), 4), 64))


# --- stores ---------------------------------------------------------------------------------------


def store_two(s: Body, i: XX1, first: Expr, second: Expr) -> None:
    ea = ea_x(s, i)
    s.probe(ea, 16, Access.WRITE)
    s.store(ea, first, 8)
    s.store(s.address(ea + 8), second, 8)


@insn(XX1, "stxvd2x XS,RA,RB", needs="VSX", OPCD=31, XO=972, features=VSX, width=64)
def stxvd2x(s: Body, i: XX1) -> None:
    value = read(s, i.XS)
    store_two(s, i, upper(value), lower(value))


@insn(XX1, "stxvw4x XS,RA,RB", needs="VSX", OPCD=31, XO=908, features=VSX, width=64)
def stxvw4x(s: Body, i: XX1) -> None:
    value = read(s, i.XS)
    store_two(s, i, words(s, upper(value)), words(s, lower(value)))


@insn(XX1, "stxsdx XS,RA,RB", needs="VSX", OPCD=31, XO=716, features=VSX, width=64)
def stxsdx(s: Body, i: XX1) -> None:
    s.store(ea_x(s, i), doubleword(s, i.XS), 8)


@insn(XX1, "stxsspx XS,RA,RB", needs="VSX", OPCD=31, XO=652, features=VSX_2_07, width=64)
def stxsspx(s: Body, i: XX1) -> None:
    value = doubleword(s, i.XS)
    tiny = ltu(value >> 52 & 0x7FF, 874)  # below every single: undefined, zero as in QEMU
    sign = trunc(value >> 32, 32) & 0x8000_0000
    s.store(ea_x(s, i), select(tiny, sign, narrow(value)), 4)


@insn(XX1, "stxsiwx XS,RA,RB", needs="VSX", OPCD=31, XO=140, features=VSX_2_07, width=64)
def stxsiwx(s: Body, i: XX1) -> None:
    s.store(ea_x(s, i), doubleword(s, i.XS), 4)


# --- logic ----------------------------------------------------------------------------------------


def define(
    name: str, xo: int, features: tuple[str, ...], does: Callable[[Expr, Expr], Expr]
) -> None:
    """An instruction XT = does(XA, XB), of 128 bits."""

    @insn(
        XX3, f"{name} XT,XA,XB", name=name, needs="VSX", OPCD=60, XO=xo, features=features, width=64
    )
    def body(s: Body, i: XX3) -> None:
        write(s, i.XT, does(read(s, i.XA), read(s, i.XB)))


define("xxland", 130, VSX, lambda a, b: a & b)
define("xxlandc", 138, VSX, lambda a, b: a & ~b)
define("xxlor", 146, VSX, lambda a, b: a | b)
define("xxlxor", 154, VSX, lambda a, b: a ^ b)
define("xxlnor", 162, VSX, lambda a, b: ~(a | b))
define("xxlorc", 170, VSX_2_07, lambda a, b: a | ~b)
define("xxlnand", 178, VSX_2_07, lambda a, b: ~(a & b))
define("xxleqv", 186, VSX_2_07, lambda a, b: ~(a ^ b))


@insn(XX4, "xxsel XT,XA,XB,XC", needs="VSX", OPCD=60, XO=3, features=VSX, width=64)
def xxsel(s: Body, i: XX4) -> None:
    a, b, c = (read(s, n) for n in (i.XA, i.XB, i.XC))
    write(s, i.XT, a & ~c | b & c)


# --- permutation ----------------------------------------------------------------------------------


@insn(XX3, "xxpermdi XT,XA,XB,DM", needs="VSX", OPCD=60, ZERO=0, SHORT=10, features=VSX, width=64)
def xxpermdi(s: Body, i: XX3) -> None:
    a, b = read(s, i.XA), read(s, i.XB)
    first = select(ne(i.DM & 2, 0), lower(a), upper(a))
    second = select(ne(i.DM & 1, 0), lower(b), upper(b))
    write(s, i.XT, joined(first, second))


@insn(XX3, "xxsldwi XT,XA,XB,SHW", needs="VSX", OPCD=60, ZERO=0, SHORT=2, features=VSX, width=64)
def xxsldwi(s: Body, i: XX3) -> None:
    both = zext(read(s, i.XA), 256) << 128 | zext(read(s, i.XB), 256)
    write(s, i.XT, trunc(both >> (const(128, 256) - (zext(i.SHW, 256) << 5)), 128))


@insn(XX2, "xxspltw XT,XB,UIM", needs="VSX", OPCD=60, XO=164, features=VSX, width=64)
def xxspltw(s: Body, i: XX2) -> None:
    value = trunc(read(s, i.XB) >> (const(96, 128) - (zext(i.UIM, 128) << 5)), 32)
    pair = zext(value, 64) << 32 | zext(value, 64)
    write(s, i.XT, joined(pair, pair))


def merge(a: Expr, b: Expr) -> Expr:
    """The words of two doublewords in turn."""
    wide = [zext(low(x), 128) for x in (a >> 32, b >> 32, a, b)]
    return wide[0] << 96 | wide[1] << 64 | wide[2] << 32 | wide[3]


@insn(XX3, "xxmrghw XT,XA,XB", needs="VSX", OPCD=60, XO=18, features=VSX, width=64)
def xxmrghw(s: Body, i: XX3) -> None:
    write(s, i.XT, merge(upper(read(s, i.XA)), upper(read(s, i.XB))))


@insn(XX3, "xxmrglw XT,XA,XB", needs="VSX", OPCD=60, XO=50, features=VSX, width=64)
def xxmrglw(s: Body, i: XX3) -> None:
    write(s, i.XT, merge(lower(read(s, i.XA)), lower(read(s, i.XB))))
