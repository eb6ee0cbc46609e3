"""Loads and stores of doublewords, and of words with their sign: 64-bit parts.

Source: Power ISA 2.03 Book I 3.3.2, 3.3.3; Book II 3.3.2 (reservation).
"""

from __future__ import annotations

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr
from gossamer.isa.insn import insn
from gossamer.isa.spec.forms import DS, X, XRecord
from gossamer.isa.spec.load_store import ea_x, ea_xu, reserve, store_conditional


def ea_ds(s: Body, i: DS) -> Expr:
    return s.address(s.ra0(i.RA) + i.DS)


def ea_dsu(s: Body, i: DS) -> Expr:
    return s.address(s.gpr[i.RA] + i.DS)


# --- loads ----------------------------------------------------------------------------------------


@insn(DS, "ld RT,DS(RA)", OPCD=58, XO=0, width=64)
def ld(s: Body, i: DS) -> None:
    s.gpr[i.RT] = s.load(ea_ds(s, i), 8)


@insn(DS, "ldu RT,DS(RA)", OPCD=58, XO=1, width=64)
def ldu(s: Body, i: DS) -> None:
    ea = ea_dsu(s, i)
    s.gpr[i.RT] = s.load(ea, 8)
    s.gpr[i.RA] = ea


@insn(X, "ldx RT,RA,RB", OPCD=31, XO=21, width=64)
def ldx(s: Body, i: X) -> None:
    s.gpr[i.RT] = s.load(ea_x(s, i), 8)


@insn(X, "ldux RT,RA,RB", OPCD=31, XO=53, width=64)
def ldux(s: Body, i: X) -> None:
    ea = ea_xu(s, i)
    s.gpr[i.RT] = s.load(ea, 8)
    s.gpr[i.RA] = ea


@insn(DS, "lwa RT,DS(RA)", OPCD=58, XO=2, width=64)
def lwa(s: Body, i: DS) -> None:
    s.gpr[i.RT] = s.signed(s.load(ea_ds(s, i), 4))


@insn(X, "lwax RT,RA,RB", OPCD=31, XO=341, width=64)
def lwax(s: Body, i: X) -> None:
    s.gpr[i.RT] = s.signed(s.load(ea_x(s, i), 4))


@insn(X, "lwaux RT,RA,RB", OPCD=31, XO=373, width=64)
def lwaux(s: Body, i: X) -> None:
    ea = ea_xu(s, i)
    s.gpr[i.RT] = s.signed(s.load(ea, 4))
    s.gpr[i.RA] = ea


# --- stores ---------------------------------------------------------------------------------------


@insn(DS, "std RS,DS(RA)", OPCD=62, XO=0, width=64)
def std(s: Body, i: DS) -> None:
    s.store(ea_ds(s, i), s.gpr[i.RS], 8)


@insn(DS, "stdu RS,DS(RA)", OPCD=62, XO=1, width=64)
def stdu(s: Body, i: DS) -> None:
    ea = ea_dsu(s, i)
    s.store(ea, s.gpr[i.RS], 8)
    s.gpr[i.RA] = ea


@insn(X, "stdx RS,RA,RB", OPCD=31, XO=149, width=64)
def stdx(s: Body, i: X) -> None:
    s.store(ea_x(s, i), s.gpr[i.RS], 8)


@insn(X, "stdux RS,RA,RB", OPCD=31, XO=181, width=64)
def stdux(s: Body, i: X) -> None:
    ea = ea_xu(s, i)
    s.store(ea, s.gpr[i.RS], 8)
    s.gpr[i.RA] = ea


# --- reservation ----------------------------------------------------------------------------------


@insn(X, "ldarx RT,RA,RB", OPCD=31, XO=84, width=64)
def ldarx(s: Body, i: X) -> None:
    reserve(s, i, 8)


@insn(XRecord, "stdcx. RS,RA,RB", OPCD=31, XO=214, RECORD=1, name="stdcx.", width=64)
def stdcx(s: Body, i: XRecord) -> None:
    store_conditional(s, i, 8)
