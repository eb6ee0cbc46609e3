"""Fixed-point logical instructions.  Source: Book I 3.3.11; MPC750UM chapter 12."""

from __future__ import annotations

from gossamer.isa.body import Body
from gossamer.isa.expr import Expr, clz, const, low, trunc
from gossamer.isa.insn import insn
from gossamer.isa.spec.forms import MD, D, XRc


def finish(s: Body, i: XRc | MD, result: Expr) -> None:
    s.gpr[i.RA] = result
    s.record(i.Rc, result)


@insn(D, "andi. RA,RS,UI", OPCD=28, name="andi.")
def andi(s: Body, i: D) -> None:
    s.gpr[i.RA] = result = s.gpr[i.RS] & s.word(i.UI)
    s.record(const(1, 1), result)


@insn(D, "andis. RA,RS,UI", OPCD=29, name="andis.")
def andis(s: Body, i: D) -> None:
    s.gpr[i.RA] = result = s.gpr[i.RS] & (s.word(i.UI) << 16)
    s.record(const(1, 1), result)


@insn(D, "ori RA,RS,UI", OPCD=24, special=[{"RS": 0, "RA": 0, "UI": 0}])
def ori(s: Body, i: D) -> None:
    s.gpr[i.RA] = s.gpr[i.RS] | s.word(i.UI)


@insn(D, "oris RA,RS,UI", OPCD=25)
def oris(s: Body, i: D) -> None:
    s.gpr[i.RA] = s.gpr[i.RS] | (s.word(i.UI) << 16)


@insn(D, "xori RA,RS,UI", OPCD=26)
def xori(s: Body, i: D) -> None:
    s.gpr[i.RA] = s.gpr[i.RS] ^ s.word(i.UI)


@insn(D, "xoris RA,RS,UI", OPCD=27)
def xoris(s: Body, i: D) -> None:
    s.gpr[i.RA] = s.gpr[i.RS] ^ (s.word(i.UI) << 16)


@insn(XRc, "and{Rc} RA,RS,RB", OPCD=31, XO=28, name="and")
def and_(s: Body, i: XRc) -> None:
    finish(s, i, s.gpr[i.RS] & s.gpr[i.RB])


@insn(XRc, "or{Rc} RA,RS,RB", OPCD=31, XO=444, name="or")
def or_(s: Body, i: XRc) -> None:
    finish(s, i, s.gpr[i.RS] | s.gpr[i.RB])


@insn(XRc, "xor{Rc} RA,RS,RB", OPCD=31, XO=316)
def xor(s: Body, i: XRc) -> None:
    finish(s, i, s.gpr[i.RS] ^ s.gpr[i.RB])


@insn(XRc, "nand{Rc} RA,RS,RB", OPCD=31, XO=476)
def nand(s: Body, i: XRc) -> None:
    finish(s, i, ~(s.gpr[i.RS] & s.gpr[i.RB]))


@insn(XRc, "nor{Rc} RA,RS,RB", OPCD=31, XO=124)
def nor(s: Body, i: XRc) -> None:
    finish(s, i, ~(s.gpr[i.RS] | s.gpr[i.RB]))


@insn(XRc, "eqv{Rc} RA,RS,RB", OPCD=31, XO=284)
def eqv(s: Body, i: XRc) -> None:
    finish(s, i, ~(s.gpr[i.RS] ^ s.gpr[i.RB]))


@insn(XRc, "andc{Rc} RA,RS,RB", OPCD=31, XO=60)
def andc(s: Body, i: XRc) -> None:
    finish(s, i, s.gpr[i.RS] & ~s.gpr[i.RB])


@insn(XRc, "orc{Rc} RA,RS,RB", OPCD=31, XO=412)
def orc(s: Body, i: XRc) -> None:
    finish(s, i, s.gpr[i.RS] | ~s.gpr[i.RB])


@insn(XRc, "extsb{Rc} RA,RS", OPCD=31, XO=954)
def extsb(s: Body, i: XRc) -> None:
    finish(s, i, s.signed(trunc(s.gpr[i.RS], 8)))


@insn(XRc, "extsh{Rc} RA,RS", OPCD=31, XO=922)
def extsh(s: Body, i: XRc) -> None:
    finish(s, i, s.signed(trunc(s.gpr[i.RS], 16)))


@insn(XRc, "cntlzw{Rc} RA,RS", OPCD=31, XO=26)
def cntlzw(s: Body, i: XRc) -> None:
    finish(s, i, s.word(clz(low(s.gpr[i.RS]))))
