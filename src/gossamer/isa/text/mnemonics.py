"""Simplified mnemonics, each a template and what it stands for.  Source: PEM appendix F.

The assembler replaces the one by the other; the disassembler finds the first row that is `shown`
and fits.  On the right stand operands of the base instruction: a name, a number, or an expression
over names (worked out modulo 32).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gossamer.base.data import Data
from gossamer.isa.spec.spr import SPRS

#: Flags spelled after a mnemonic, in the order they are written.
FLAGS: Final = {"OE": "o", "LK": "l", "AA": "a", "Rc": "."}


class Alias(Data):
    """`asm` stands for `base`; a hint (``+`` or ``-``) is allowed after `hinted` ones."""

    asm: str
    base: str
    shown: bool = True
    hinted: bool = False


def _fixed() -> Iterator[Alias]:
    for text in (
        "nop = ori 0,0,0",
        "xnop = xori 0,0,0",
        "li RT,SI = addi RT,0,SI",
        "lis RT,SI = addis RT,0,SI",
        "mr{Rc} RA,RS = or{Rc} RA,RS,RS",
        "not{Rc} RA,RS = nor{Rc} RA,RS,RS",
        "rotlwi{Rc} RA,RS,N = rlwinm{Rc} RA,RS,N,0,31",
        "clrlwi{Rc} RA,RS,N = rlwinm{Rc} RA,RS,0,N,31",
        "clrrwi{Rc} RA,RS,N = rlwinm{Rc} RA,RS,0,0,31-N",
        "slwi{Rc} RA,RS,N = rlwinm{Rc} RA,RS,N,0,31-N",
        "srwi{Rc} RA,RS,N = rlwinm{Rc} RA,RS,32-N,N,31",
        "rotlw{Rc} RA,RS,RB = rlwnm{Rc} RA,RS,RB,0,31",
        "crclr BT = crxor BT,BT,BT",
        "crset BT = creqv BT,BT,BT",
        "crmove BT,BA = cror BT,BA,BA",
        "crnot BT,BA = crnor BT,BA,BA",
        "mtcr RS = mtcrf 255,RS",
        "cmpwi RA,SI = cmpi 0,0,RA,SI",
        "cmpwi BF,RA,SI = cmpi BF,0,RA,SI",
        "cmplwi RA,UI = cmpli 0,0,RA,UI",
        "cmplwi BF,RA,UI = cmpli BF,0,RA,UI",
        "cmpw RA,RB = cmp 0,0,RA,RB",
        "cmpw BF,RA,RB = cmp BF,0,RA,RB",
        "cmplw RA,RB = cmpl 0,0,RA,RB",
        "cmplw BF,RA,RB = cmpl BF,0,RA,RB",
        "trap = tw 31,0,0",
        "mftb RT = mftb RT,268",
        "mftbu RT = mftb RT,269",
        "blr{LK} = bclr{LK} 20,0",
        "bctr{LK} = bcctr{LK} 20,0",
    ):
        asm, base = text.split(" = ")
        yield Alias(asm, base)


def _hidden() -> Iterator[Alias]:
    """For the assembler only."""
    for text in (
        "la RT,D(RA) = addi RT,RA,D",
        "subi RT,RA,N = addi RT,RA,-N",
        "subis RT,RA,N = addis RT,RA,-N",
        "subic RT,RA,N = addic RT,RA,-N",
        "subic. RT,RA,N = addic. RT,RA,-N",
        "sub{OE}{Rc} RT,RA,RB = subf{OE}{Rc} RT,RB,RA",
        "subc{OE}{Rc} RT,RA,RB = subfc{OE}{Rc} RT,RB,RA",
        "extlwi{Rc} RA,RS,N,B = rlwinm{Rc} RA,RS,B,0,N-1",
        "extrwi{Rc} RA,RS,N,B = rlwinm{Rc} RA,RS,B+N,32-N,31",
        "inslwi{Rc} RA,RS,N,B = rlwimi{Rc} RA,RS,32-B,B,B+N-1",
        "insrwi{Rc} RA,RS,N,B = rlwimi{Rc} RA,RS,32-(B+N),B,B+N-1",
        "rotrwi{Rc} RA,RS,N = rlwinm{Rc} RA,RS,32-N,0,31",
        "clrlslwi{Rc} RA,RS,B,N = rlwinm{Rc} RA,RS,N,B-N,31-N",
        "bf{LK}{AA} BI,BD = bc{LK}{AA} 4,BI,BD",
        "bt{LK}{AA} BI,BD = bc{LK}{AA} 12,BI,BD",
        "cmpi BF,RA,SI = cmpi BF,0,RA,SI",
        "cmpli BF,RA,UI = cmpli BF,0,RA,UI",
        "cmp BF,RA,RB = cmp BF,0,RA,RB",
        "cmpl BF,RA,RB = cmpl BF,0,RA,RB",
        "lwsync = sync",
        "mttb RS = mtspr 284,RS",
    ):
        asm, base = text.split(" = ")
        yield Alias(asm, base, shown=False)


TRAPS: Final = {
    "lgt": 1,
    "llt": 2,
    "eq": 4,
    "lge": 5,
    "lle": 6,
    "gt": 8,
    "ge": 12,
    "lt": 16,
    "le": 20,
    "ne": 24,
    "u": 31,
}
TRAPS_ALSO: Final = {"lnl": 5, "lng": 6, "nl": 12, "ng": 20}

#: Condition to BO and bit of the CR field.
CONDITIONS: Final = {
    "lt": (12, 0),
    "gt": (12, 1),
    "eq": (12, 2),
    "so": (12, 3),
    "ge": (4, 0),
    "le": (4, 1),
    "ne": (4, 2),
    "ns": (4, 3),
}
CONDITIONS_ALSO: Final = {"un": (12, 3), "nl": (4, 0), "ng": (4, 1), "nu": (4, 3)}
COUNTS: Final = {"dnz": 16, "dz": 18}
COUNTS_IF: Final = {"dnzf": 0, "dzf": 2, "dnzt": 8, "dzt": 10}


def _traps() -> Iterator[Alias]:
    for table, shown in ((TRAPS, True), (TRAPS_ALSO, False)):
        for name, to in table.items():
            yield Alias(f"tw{name} RA,RB", f"tw {to},RA,RB", shown)
            yield Alias(f"tw{name}i RA,SI", f"twi {to},RA,SI", shown)


def _branches() -> Iterator[Alias]:
    forms = (("bc", "{LK}{AA}", ",BD"), ("bclr", "lr{LK}", ""), ("bcctr", "ctr{LK}", ""))
    for base, ending, target in forms:
        flags = ending[ending.index("{") :]
        operand = target.lstrip(",")
        for table, shown in ((CONDITIONS, True), (CONDITIONS_ALSO, False)):
            for name, (bo, bit) in table.items():
                short = f"b{name}{ending} {operand}".strip()
                yield Alias(short, f"{base}{flags} {bo},{bit}{target}", shown, True)
                long = f"b{name}{ending} BF{target}"
                yield Alias(long, f"{base}{flags} {bo},4*BF+{bit}{target}", shown, True)
        if base == "bcctr":
            continue
        for name, bo in COUNTS.items():
            asm = f"b{name}{ending} {operand}".strip()
            yield Alias(asm, f"{base}{flags} {bo},0{target}", True, True)
        for name, bo in COUNTS_IF.items():
            yield Alias(f"b{name}{ending} BI{target}", f"{base}{flags} {bo},BI{target}", True, True)


def _sprs() -> Iterator[Alias]:
    """Mfxer and so on; BATs and SPRGs take their number as an operand too."""
    for spr in {(s.name, s.number): s for s in SPRS}.values():
        name, number = spr.name.lower(), spr.number
        head, n = name.rstrip("0123456789ul"), name.strip("abcdefghijklmnopqrstuvwxyz")
        if name.startswith(("ibat", "dbat")):
            if spr.read:
                yield Alias(f"mf{head}{name[-1]} RT,{n}", f"mfspr RT,{number}")
            if spr.write:
                yield Alias(f"mt{head}{name[-1]} {n},RS", f"mtspr {number},RS")
        if head == "sprg":
            yield Alias(f"mfsprg RT,{n}", f"mfspr RT,{number}")
            yield Alias(f"mtsprg {n},RS", f"mtspr {number},RS")
        shown = not name.startswith("tb") or spr.write is not None
        if spr.read:
            yield Alias(f"mf{name} RT", f"mfspr RT,{number}", shown)
        if spr.write:
            yield Alias(f"mt{name} RS", f"mtspr {number},RS", shown)


ALIASES: Final[tuple[Alias, ...]] = (
    *_fixed(),
    *_traps(),
    *_branches(),
    *_sprs(),
    *_hidden(),
)
