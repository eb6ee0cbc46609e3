"""The disassembler, in GNU objdump's spelling, from the same templates as the assembler.

Reserved bits are ignored, as the CPU ignores them; objdump prints such words as ``.long``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from gossamer.base.bits import ones
from gossamer.isa.architecture import Architecture
from gossamer.isa.insn import Insn
from gossamer.isa.spec.forms import XL, XLLK, B, X, XRecord
from gossamer.isa.spec.table import Decoder
from gossamer.isa.text.assembler import OPERAND, kind_of, split_template
from gossamer.isa.text.expressions import Parser
from gossamer.isa.text.mnemonics import ALIASES, FLAGS, Alias

BITS = ("lt", "gt", "eq", "so")
CR_BITS = ("BI", "BT", "BA", "BB")
TARGETS = ("BD", "LI")
SMALL = ("SH", "MB", "ME")


@cache
def decoder(architecture: Architecture) -> Decoder:
    return Decoder(architecture)


@cache
def aliases() -> dict[str, list[tuple[Alias, tuple[str, ...]]]]:
    """Shown aliases by the base template's mnemonic, with the base's operands as expressions."""
    found: dict[str, list[tuple[Alias, tuple[str, ...]]]] = {}
    for alias in ALIASES:
        if alias.shown:
            mnemonic, operands = split_template(alias.base)
            found.setdefault(mnemonic, []).append((alias, operands))
    return found


def mnemonic_for(row: Insn) -> tuple[str, list[str]]:
    mnemonic, operands = split_template(row.asm)
    return mnemonic, [n for part in operands for n in OPERAND.findall(part)]


def values_of(row: Insn, word: int, names: Iterable[str]) -> dict[str, int]:
    """Operand values as the assembler takes them, except that targets are still displacements."""
    values = {}
    for name in names:
        if name == "SPR":
            form = row.form
            values[name] = form.field("SPRH").get(word) << 5 | form.field("SPRL").get(word)
        else:
            values[name] = row.form.field(name).get(word)
    return values


def bind(patterns: Iterable[str], values: dict[str, int]) -> dict[str, int] | None:
    """Values for the names in `patterns` that give `values`, or None when they do not fit."""
    found: dict[str, int] = {}
    rest: list[tuple[str, str, int]] = []
    for pattern, (name, value) in zip(patterns, values.items(), strict=True):
        if pattern.isdigit():
            if int(pattern) != value:
                return None
        elif pattern.isidentifier():
            if found.setdefault(pattern, value) != value:
                return None
        else:
            rest.append((pattern, name, value))
    fits = all(bind_expression(pattern, name, value, found) for pattern, name, value in rest)
    return found if fits else None


def bind_expression(pattern: str, name: str, value: int, found: dict[str, int]) -> bool:
    """Whether `pattern` gives `value`; a name not known yet is solved for."""
    if pattern.startswith("4*BF+"):
        found["BF"] = value >> 2
        return value >> 2 != 0 and value & 3 == int(pattern[5:])
    constant, _, unknown = pattern.partition("-")
    if unknown not in found:
        found[unknown] = int(constant) - value
        return True
    worked_out = Parser(pattern, lambda n, _: found[n]).evaluate()
    return worked_out & (31 if name in SMALL else -1) == value


def flags_of(row: Insn, word: int, mnemonic: str) -> str:
    def spelled(m: re.Match[str]) -> str:
        return FLAGS[m[1]] if row.form.field(m[1]).get(word) else ""

    return re.sub(r"\{(\w+)\}", spelled, mnemonic)


def hint(row: Insn, word: int, hinted: bool) -> str:
    """``+`` or ``-``: what the y bit of BO predicts; nothing when the branch is unconditional.

    Spelled-out bc shows a set y bit that predicts the branch taken only.
    """
    bo = row.form.field("BO").get(word)
    if bo & 0x14 == 0x14:
        return ""
    backward = row.form.has("BD") and bool(word & 0x8000)
    taken = bool(bo & 1) != backward
    if hinted:
        return "+" if taken else "-"
    return "+" if bo & 1 and not backward else ""


def simplify(mnemonic: str, values: dict[str, int]) -> tuple[Alias, dict[str, int]] | None:
    """The first alias that fits, with the values of its operands."""
    without_hint = dict(values)
    if "BO" in values and values["BO"] & 0x14 != 0x14:
        without_hint["BO"] = ignore_hint(values["BO"])
    for alias, patterns in aliases().get(mnemonic, ()):
        found = bind(patterns, without_hint if alias.hinted else values)
        if found is not None:
            return alias, found
    return None


def ignore_hint(bo: int) -> int:
    """BO without its y bit, unless reserved bits are set too: such a word is spelled out."""
    reserved = (bo & 0x10 and bo & 0x0C) or (not bo & 0x10 and bo & 4 and bo & 2)
    return bo if reserved else bo & ~1


def show(row: Insn, name: str, value: int, target: int) -> str:
    """One operand as objdump prints it."""
    if name in TARGETS:
        return f"{target:#x}"
    if name in CR_BITS and row.form in (B, XL, XLLK):
        field = f"4*cr{value >> 2}+" if value >> 2 else ""
        return field + BITS[value & 3]
    if name == "NB":
        return str(value or 32)
    if name == "RA" and value == 0 and zero_means_none(row):
        return "0"
    return kind_of(row, name) + str(value)


def zero_means_none(row: Insn) -> bool:
    """Whether RA = 0 stands for the number zero: in accesses that do not update RA."""
    mnemonic, _, operands = row.asm.partition(" ")
    if mnemonic in ("addi", "addis"):
        return True
    access = row.form in (X, XRecord) and operands.endswith(("RA,RB", "RA,NB"))
    none = (access and not mnemonic.startswith(("cmp", "tw"))) or operands.endswith("(RA)")
    return none and not mnemonic.endswith(("u", "ux"))


def disassemble(
    word: int, address: int = 0, architecture: Architecture | Iterable[str] = ()
) -> str:
    """The instruction as text: mnemonic padded to seven columns, a blank, operands.

    `architecture` may be the names of features (of a part whose words have 32 bits).
    """
    if not isinstance(architecture, Architecture):
        architecture = Architecture(frozenset(architecture))
    row = decoder(architecture).decode(word)
    if row is None:
        return f".long {word:#x}"
    mnemonic, names = mnemonic_for(row)
    values = values_of(row, word, names)
    shown_as = simplify(mnemonic, values)
    asm, hinted = row.asm, False
    if shown_as:
        asm, values, hinted = shown_as[0].asm, shown_as[1], shown_as[0].hinted
    mnemonic, operands = split_template(asm)
    text = flags_of(row, word, mnemonic)
    if "BO" in row.asm:
        text += hint(row, word, hinted)
    target = target_of(row, word, address, architecture.word)
    shown = ",".join(
        OPERAND.sub(lambda m: operand_text(row, m[0], values, target), part) for part in operands
    )
    return f"{text:<7} {shown}".rstrip()


def operand_text(row: Insn, name: str, values: dict[str, int], target: int) -> str:
    return name if name.isdigit() else show(row, name, values[name], target)


def target_of(row: Insn, word: int, address: int, width: int) -> int:
    for name in TARGETS:
        if name in row.asm:
            displacement = row.form.field(name).get(word)
            absolute = row.form.field("AA").get(word)
            return (displacement + (0 if absolute else address)) & ones(width)
    return 0
