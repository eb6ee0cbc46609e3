"""The disassembler against Capstone: the same instruction, spelled after each one's rules.

Both texts are brought to (mnemonic, operands) with numbers for numbers; `docs/isa.md` lists the
spellings that differ.  What Capstone cannot read is listed too, and must stay unread there.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from gossamer.isa.insn import Decoder
from gossamer.isa.spec.spr import SPRS
from gossamer.isa.text import disassemble
from gossamer.verify.isa.command import form_of
from tests.isa.test_disassembler import words_of_all_rows

AT = 0x1000
Words = tuple[str, ...]
#: Forms that Capstone 5 does not know; with them every form that sets XER[OV].
UNREAD = {"eciwx", "ecowx", "fcmpo", "lswx", "mcrxr", "stswx", "mtfsb0.", "mtfsb1."}
OVERFLOWING = re.compile(
    r"(add|addc|adde|addme|addze|subf|subfc|subfe|subfme|subfze|neg|mullw|divwu?)o\.?$"
)
NUMBERS = {spr.name.lower(): spr.number for spr in SPRS}
CR_BIT = re.compile(r"(?:4\*)?(?:cr(\d)\+?)?(lt|gt|eq|so|un)$")
CR_BITS = {"lt": 0, "gt": 1, "eq": 2, "so": 3, "un": 3}
SHIFTS: dict[str, Callable[[int], Words]] = {
    "slwi": lambda n: (str(n), "0", str(31 - n)),
    "srwi": lambda n: (str(-n % 32), str(n), "31"),
    "clrlwi": lambda n: ("0", str(n), "31"),
    "clrrwi": lambda n: ("0", "0", str(31 - n)),
    "rotlwi": lambda n: (str(n), "0", "31"),
}
TRAPS = {
    name: to
    for to, names in {1: "lgt", 2: "llt", 4: "eq", 5: "lge lnl", 6: "lle lng", 8: "gt"}.items()
    for name in names.split()
} | {"ge": 12, "nl": 12, "lt": 16, "le": 20, "ng": 20, "ne": 24, "u": 31}
#: Mnemonics by BO without its last bit; those that look at a CR bit keep BI.
STEMS = {0: "bdnzf", 2: "bdzf", 8: "bdnzt", 10: "bdzt", 16: "bdnz", 18: "bdz", 20: "b"}


def number(text: str) -> str:
    """A number or the name of a CR bit as an unsigned word; anything else as it is."""
    if re.fullmatch(r"-?(0x[0-9a-f]+|\d+)", text):
        return str(int(text, 0) & 0xFFFF_FFFF)
    if m := CR_BIT.fullmatch(text):
        return str(4 * int(m[1] or 0) + CR_BITS[m[2]])
    return text


def split(text: str) -> Words:
    """Mnemonic and operands; ``d(rA)`` is two."""
    name, _, rest = text.strip().partition(" ")
    operands = [o for o in re.split(r"[,()]", rest.replace(" ", "")) if o]
    return (name.strip(), *map(number, operands))


def ours(words: Words) -> Words:
    """Our text without simplified mnemonics, as far as Capstone has others."""
    name, *rest = words = plain(words)
    if name in ("cmp", "cmpi", "cmpl", "cmpli") and rest[1] == "1":
        long = {"cmp": "cmpd", "cmpi": "cmpdi", "cmpl": "cmpld", "cmpli": "cmpldi"}[name]
        return (long, *([] if rest[0] == "cr0" else rest[:1]), *rest[2:])
    if name in ("lswi", "stswi"):
        return (name, rest[0], "r0" if rest[1] == "0" else rest[1], str(int(rest[2]) % 32))
    if name.startswith("mtfsfi"):
        return (name, "cr" + rest[0], *rest[1:])
    if name == "mftb" and len(rest) == 1:
        return (name, rest[0], "268")
    if name in ("mfsprg", "mtsprg"):
        spr = str(272 + int(rest[name == "mfsprg"]))
        return ("mfspr", rest[0], spr) if name == "mfsprg" else ("mtspr", spr, rest[1])
    return named_spr(name, rest)


def plain(words: Words) -> Words:
    """``mr``, ``not``, ``mtcr`` and the traps in full."""
    name, *rest = words
    root, dot = name.rstrip("."), "." * name.endswith(".")
    if root in ("mr", "not"):
        return ({"mr": "or", "not": "nor"}[root] + dot, rest[0], rest[1], rest[1])
    if root == "mtcr":
        return ("mtcrf", "255", *rest)
    if root in SHIFTS:
        return ("rlwinm" + dot, *rest[:2], *SHIFTS[root](int(rest[2])))
    if root == "trap":
        return ("tw", "31", "r0", "r0")
    m = re.fullmatch(r"tw([a-z]+?)(i?)", root)
    if m and m[1] in TRAPS:
        return ("tw" + m[2], str(TRAPS[m[1]]), *rest)
    return words


def named_spr(name: str, rest: list[str]) -> Words:
    """``mfhid0 r3`` as ``mfspr r3,1008``."""
    spr = NUMBERS.get(name[2:])
    if spr is not None and len(rest) == 1 and name[:2] == "mf":
        return ("mfspr", rest[0], str(spr))
    if spr is not None and len(rest) == 1 and name[:2] == "mt":
        return ("mtspr", str(spr), rest[0])
    return (name, *rest)


def theirs(words: Words) -> Words:
    name, *rest = plain(words)
    if name in ("mficcr", "mticcr"):  # its name of ICTC
        return named_spr(name[:2] + "ictc", rest)
    return named_spr(name, rest)


def branch(words: Words) -> Words:
    """A conditional branch without its hint."""
    name, *rest = words
    return (name.rstrip("+-"), *rest)


def same_branch(mine: Words, other: Words, displacement: int) -> bool:
    """Capstone has no hints, and drops a BI that does not count and a displacement of 0."""
    mine, other = branch(mine), branch(other)
    if m := re.fullmatch(r"bc(ctr|lr)?(l?)(a?)", mine[0]):
        bo = int(mine[1]) & ~1
        name = STEMS.get(bo, "") + (m[1] or "") + m[2] + m[3]
        mine = (name, *mine[2 if bo < 16 else 3 :])
    return other == mine or (not displacement and other == mine[:-1])


@pytest.mark.interop
@pytest.mark.parametrize("seed", [3, 4])
def test_agrees_with_capstone(seed):
    capstone = pytest.importorskip("capstone")
    mode = capstone.CS_MODE_32 | capstone.CS_MODE_BIG_ENDIAN
    tool = capstone.Cs(capstone.CS_ARCH_PPC, mode)
    decoder = Decoder(())
    wrong, unread, read = [], set(), set()
    for word in words_of_all_rows(seed, 40):
        row = decoder.decode(word)
        form = form_of(row, word)
        text = disassemble(word, AT)
        found = next(tool.disasm(word.to_bytes(4, "big"), AT, 1), None)
        if found is None:
            unread.add(form)
            continue
        read.add(form)
        mine, other = split(text), split(f"{found.mnemonic} {found.op_str}")
        if row.name in ("bc", "bclr", "bcctr"):
            same = same_branch(mine, other, word & 0xFFFC if row.name == "bc" else -1)
        else:
            same = ours(mine) == theirs(other)
        if not same:
            wrong.append((hex(word), ours(mine), theirs(other)))
    assert not wrong[:10]
    strange = {f for f in unread if f not in UNREAD and not OVERFLOWING.fullmatch(f)}
    assert not strange
    assert not read & UNREAD
    assert len(read) >= 249  # of 289 forms
