"""Decimal floating point: what the operations of `isa.decimal` get, and where their results go.

Python carries them out in every engine (`isa.answers`).  Source: Power ISA 2.07 Book I chapter 5.
"""

from __future__ import annotations

from typing import Any, Final

from gossamer.isa.body import Body, number
from gossamer.isa.decimal.table import (
    FIELD_AT,
    FPSCR_AT,
    OPERATIONS,
    TRAPS_AT,
    WRITES_AT,
)
from gossamer.isa.expr import Expr, const, trunc, zext
from gossamer.isa.float_commit import record, trap
from gossamer.isa.insn import insn
from gossamer.isa.service import SERVICES
from gossamer.isa.spec.wide.decimal_forms import DecimalForm, DecimalRc

_DECIMAL: Final = SERVICES["decimal"]
_NUMBERS: Final = {name: n for n, name in enumerate(OPERATIONS)}
#: Bits of the extended opcode, and the field of it.
_XO: Final = {10: "XO", 9: "XO9", 8: "XO8"}
#: Of a pair's field, the bit that is zero.
_ODD: Final = {"FRTP": "TODD", "FRAP": "AODD", "FRBP": "BODD"}
#: What an instruction says beside registers: fields, and how far left of the others each is.
_IMMEDIATES: Final = {
    **dict.fromkeys(("DCM", "DGM", "SH", "SP", "S", "RMC"), 0),
    "R": 2,
    "TE": 3,
}
#: Operations that leave FPSCR alone, and those that change only FPCC of it.
_MOVES: Final = ("ddedpd", "dxex", "diex", "dscli", "dscri")
_TESTS: Final = ("dtstdc", "dtstdg", "dtstex", "dtstsf")


def operand(s: Body, i: DecimalForm, letter: str, template: str) -> Expr:
    """FRA or FRB, or the pair, 128 bits; zero where there is none."""
    if f"FR{letter}P" in template:
        n = number(getattr(i, f"FR{letter}P")) << 1
        return zext(s.fpr[n], 128) << 64 | zext(s.fpr[n + 1], 128)
    if f"FR{letter}" in template:
        return zext(s.fpr[getattr(i, f"FR{letter}")], 128)
    return const(0, 128)


def immediate(i: DecimalForm, names: list[str]) -> Expr:
    """What the instruction says beside registers, 32 bits."""
    total = const(0, 32)
    for name in names:
        if name in _IMMEDIATES:
            f = type(i).field(name)
            bits = zext(trunc(i.word >> 31 - f.last, f.width), 32)
            total = total | bits << _IMMEDIATES[name]
    return total


def define(name: str, ending: str, opcode: int, bits: int, xo: int, template: str) -> None:
    """The row of an operation on long or extended numbers; `template` has its operands."""
    names = template.split(",")
    compares = names[0] == "BF"
    extended = opcode == 63
    fixed: dict[str, Any] = {"OPCD": opcode, _XO[bits]: xo} | {
        _ODD[n]: 0 for n in names if n in _ODD
    }
    code = _NUMBERS[name] << 1 | extended
    form = DecimalForm if compares else DecimalRc
    asm = f"{name}{ending}{'' if compares else '{Rc}'} {template}"

    @insn(form, asm, name=name + ending, needs="FP", features=("2.05",), width=64, **fixed)
    def body(s: Body, i: DecimalForm) -> None:
        status = zext(s.fpscr, 64) | zext(s.drn, 64) << 32
        a, b = (operand(s, i, letter, template) for letter in "AB")
        result = _DECIMAL(immediate(i, names) << 8 | code, status, a, b)
        fpscr = trunc(result >> FPSCR_AT, 32)
        if compares:
            assert isinstance(i, DecimalForm)
            s.crf[i.BF] = trunc(result >> FIELD_AT, 8) & 15
            s.fpscr = fpscr
            if name not in _TESTS:
                trap(s, trunc(result >> TRAPS_AT, 1))
            return
        write(s, i, template, result, const(1, 1) if name in _MOVES else written(result))
        record(s, i, s.fpscr if name in _MOVES else fpscr)
        if name not in _MOVES:
            s.fpscr = fpscr
            trap(s, trunc(result >> TRAPS_AT, 1))


def written(result: Expr) -> Expr:
    return trunc(result >> WRITES_AT, 1)


def write(s: Body, i: DecimalForm, template: str, result: Expr, when: Expr) -> None:
    """FRT or the pair gets the result's low bits."""
    if "FRTP" not in template:
        s.write("fpr", number(i.FRT), trunc(result, 64), when)
        return
    n = number(i.FRTP) << 1
    s.write("fpr", n, trunc(result >> 64, 64), when)
    s.write("fpr", n + 1, trunc(result, 64), when)


#: Operation, bits of the extended opcode, its value, operands: of long numbers and of extended
#: ones (their names end in q).
_ROWS: Final = (
    ("dadd", 10, 2, "FRT,FRA,FRB", "FRTP,FRAP,FRBP"),
    ("dsub", 10, 514, "FRT,FRA,FRB", "FRTP,FRAP,FRBP"),
    ("dmul", 10, 34, "FRT,FRA,FRB", "FRTP,FRAP,FRBP"),
    ("ddiv", 10, 546, "FRT,FRA,FRB", "FRTP,FRAP,FRBP"),
    ("dcmpo", 10, 130, "BF,FRA,FRB", "BF,FRAP,FRBP"),
    ("dcmpu", 10, 642, "BF,FRA,FRB", "BF,FRAP,FRBP"),
    ("dtstex", 10, 162, "BF,FRA,FRB", "BF,FRAP,FRBP"),
    ("dtstsf", 10, 674, "BF,FRA,FRB", "BF,FRA,FRBP"),
    ("dtstdc", 9, 194, "BF,FRA,DCM", "BF,FRAP,DCM"),
    ("dtstdg", 9, 226, "BF,FRA,DGM", "BF,FRAP,DGM"),
    ("dquai", 8, 67, "TE,FRT,FRB,RMC", "TE,FRTP,FRBP,RMC"),
    ("dqua", 8, 3, "FRT,FRA,FRB,RMC", "FRTP,FRAP,FRBP,RMC"),
    ("drrnd", 8, 35, "FRT,FRA,FRB,RMC", "FRTP,FRA,FRBP,RMC"),
    ("drintx", 8, 99, "R,FRT,FRB,RMC", "R,FRTP,FRBP,RMC"),
    ("drintn", 8, 227, "R,FRT,FRB,RMC", "R,FRTP,FRBP,RMC"),
    ("dctdp", 10, 258, "FRT,FRB", ""),
    ("dctqp", 10, 258, "", "FRTP,FRB"),
    ("drsp", 10, 770, "FRT,FRB", ""),
    ("drdp", 10, 770, "", "FRTP,FRBP"),
    ("dcffix", 10, 802, "FRT,FRB", "FRTP,FRB"),
    ("dctfix", 10, 290, "FRT,FRB", "FRT,FRBP"),
    ("ddedpd", 10, 322, "SP,FRT,FRB", "SP,FRTP,FRBP"),
    ("denbcd", 10, 834, "S,FRT,FRB", "S,FRTP,FRBP"),
    ("dxex", 10, 354, "FRT,FRB", "FRT,FRBP"),
    ("diex", 10, 866, "FRT,FRA,FRB", "FRTP,FRA,FRBP"),
    ("dscli", 9, 66, "FRT,FRA,SH", "FRTP,FRAP,SH"),
    ("dscri", 9, 98, "FRT,FRA,SH", "FRTP,FRAP,SH"),
)
for _name, _bits, _xo, _long, _extended in _ROWS:
    if _long:
        define(_name, "", 59, _bits, _xo, _long)
    if _extended:
        define(_name, "q", 63, _bits, _xo, _extended)
