"""The assembler: PowerPC assembly as GNU as reads it, from the templates of the table.

Statements end at a line's end or ``;``; ``#`` begins a comment.  Labels, numeric local labels
(``1:``, ``1b``, ``1f``) and the directives of `DIRECTIVES` are known.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Final

from gossamer.base.bits import signed
from gossamer.base.data import Data, field
from gossamer.base.errors import AsmError
from gossamer.isa.insn import Insn
from gossamer.isa.spec.table import TABLE
from gossamer.isa.text.expressions import ESCAPES, Parser
from gossamer.isa.text.lines import split_lines, split_operands
from gossamer.isa.text.mnemonics import ALIASES, FLAGS

REGISTER: Final = re.compile(r"%?(cr|r|f|v)(\d+)$|(sp)$", re.IGNORECASE)
SYMBOLS: Final = {"lt": 0, "gt": 1, "eq": 2, "so": 3, "un": 3} | {f"cr{n}": n for n in range(8)}
LIMITS: Final = {"r": 32, "f": 32, "v": 32, "cr": 8}
KINDS: Final = {"r": "a general register", "f": "a floating-point register", "cr": "a CR field"}
OPERAND: Final = re.compile(r"\w+")


class Template(Data):
    """A mnemonic with its flags spelled out, its operands, and the row or alias it comes from."""

    row: Insn
    operands: tuple[str, ...]
    flags: tuple[tuple[str, int], ...]
    base: tuple[str, ...]  # operands of the row's own template, as expressions over `operands`
    hinted: bool = False

    @property
    def memory(self) -> bool:
        return bool(self.operands) and self.operands[-1].endswith(")")


def split_template(asm: str) -> tuple[str, tuple[str, ...]]:
    mnemonic, _, operands = asm.partition(" ")
    return mnemonic, tuple(operands.split(",")) if operands else ()


def spellings(mnemonic: str) -> Iterator[tuple[str, tuple[tuple[str, int], ...]]]:
    """Every way to spell a mnemonic with its flags on and off."""
    names = re.findall(r"\{(\w+)\}", mnemonic)
    for values in itertools.product((0, 1), repeat=len(names)):
        text = mnemonic
        for name, value in zip(names, values, strict=True):
            text = text.replace("{" + name + "}", FLAGS[name] if value else "")
        yield text, tuple(zip(names, values, strict=True))


@cache
def base_rows() -> dict[str, Insn]:
    """The row of a template's mnemonic (flags unspelled); of several, the most general."""
    rows: dict[str, Insn] = {}
    for row in TABLE:
        mnemonic = row.asm.partition(" ")[0]
        if mnemonic not in rows or row.mask.bit_count() < rows[mnemonic].mask.bit_count():
            rows[mnemonic] = row
    return rows


@cache
def templates() -> dict[str, list[Template]]:
    """All templates by mnemonic."""
    found: dict[str, list[Template]] = {}
    rows = base_rows()
    for mnemonic, row in rows.items():
        _, operands = split_template(row.asm)
        for text, flags in spellings(mnemonic):
            hinted = mnemonic.startswith("bc")
            found.setdefault(text, []).append(Template(row, operands, flags, operands, hinted))
    for alias in ALIASES:
        mnemonic, operands = split_template(alias.asm)
        base_mnemonic, base = split_template(alias.base)
        row = rows[base_mnemonic]
        for text, flags in spellings(mnemonic):
            found.setdefault(text, []).append(Template(row, operands, flags, base, alias.hinted))
    return found


def kind_of(row: Insn, name: str) -> str:
    """The register kind of an operand (``r``, ``f``, ``cr``…), empty for a number."""
    if name == "BF":
        return "cr"
    if not row.form.has(name):
        return ""
    return row.form.field(name).shown.partition("{")[0]


class Statement(Data, frozen=False):
    """A line's instruction or directive at its address."""

    line: int
    column: int
    name: str
    operands: list[tuple[str, int]]  # text and column
    address: int
    order: int  # labels seen before it
    size: int = 0


class Assembly(Data, frozen=False):
    """One source text under way."""

    origin: int
    symbols: dict[str, int]
    statements: list[Statement] = field(default_factory=list)
    locals: list[tuple[str, int, int]] = field(default_factory=list)  # name, order, address
    here: int = 0
    order: int = 0
    final: bool = False

    def lookup(self, name: str, column: int, line: int) -> int:
        if name == ".":
            return self.here
        if name in self.symbols:
            return self.symbols[name]
        if name.lower() in SYMBOLS:
            return SYMBOLS[name.lower()]
        if name[:-1].isdigit():
            return self.local(name, column, line)
        raise AsmError(f"symbol {name!r} is not defined", line, column)

    def local(self, name: str, column: int, line: int) -> int:
        number, forward = name[:-1], name[-1] == "f"
        mine = [(o, a) for n, o, a in self.locals if n == number]
        if forward:
            later = [a for o, a in mine if o > self.order]
            if later:
                return later[0]
        else:
            earlier = [a for o, a in mine if o <= self.order]
            if earlier:
                return earlier[-1]
        raise AsmError(f"local label {name!r} is not defined", line, column)

    def value(self, text: str, line: int, column: int) -> int:
        return Parser(text, lambda n, c: self.lookup(n, c, line), line, column).evaluate()


LABEL: Final = re.compile(r"([A-Za-z_.$][\w.$]*|\d+)\s*:\s*")
NAME: Final = re.compile(r"[A-Za-z_.][\w.]*[-+.]?")


class Assembler:
    """Two passes: addresses and symbols, then bytes."""

    def __init__(self, origin: int, symbols: Mapping[str, int]) -> None:
        self.a = Assembly(origin, dict(symbols), here=origin)

    # --- first pass -------------------------------------------------------------------------------

    def read(self, source: str) -> None:
        a = self.a
        for line, column, text in split_lines(source):
            rest, at = text, column
            while m := LABEL.match(rest):
                self.label(m[1], line, at)
                rest, at = rest[m.end() :], at + m.end()
            if rest:
                self.statement(line, at, rest)
        a.final = True

    def label(self, name: str, line: int, column: int) -> None:
        a = self.a
        a.order += 1
        if name.isdigit():
            a.locals.append((name, a.order, a.here))
        elif name in a.symbols:
            raise AsmError(f"symbol {name!r} is defined twice", line, column)
        else:
            a.symbols[name] = a.here

    def statement(self, line: int, column: int, text: str) -> None:
        a = self.a
        if m := re.match(r"([A-Za-z_.$][\w.$]*)\s*=\s*(?!=)", text):
            a.symbols[m[1]] = a.value(text[m.end() :], line, column + m.end())
            return
        m = NAME.match(text)
        if m is None:
            raise AsmError(f"expected an instruction or directive, got {text[:20]!r}", line, column)
        rest = text[m.end() :]
        lead = len(rest) - len(rest.lstrip())
        operands = split_operands(rest.strip(), column + m.end() + lead)
        s = Statement(line, column, m[0].lower(), operands, a.here, a.order)
        if s.name in (".equ", ".set"):
            self.equate(s)
            return
        s.size = self.size(s)
        a.statements.append(s)
        a.here += s.size

    def equate(self, s: Statement) -> None:
        if len(s.operands) != 2:
            raise AsmError(f"{s.name}: expected a name and a value", s.line, s.column)
        (name, _), (text, column) = s.operands
        self.a.symbols[name] = self.a.value(text, s.line, column)

    def size(self, s: Statement) -> int:
        if not s.name.startswith("."):
            if s.name.rstrip("+-") not in templates():
                raise AsmError(f"unknown instruction {s.name!r}", s.line, s.column)
            if self.a.here & 3:
                raise AsmError(f"{s.name}: address {self.a.here:#x} is no word's", s.line, s.column)
            return 4
        if s.name in DATA:
            return DATA[s.name] * len(s.operands)
        if s.name in STRINGS:
            return sum(len(b) for b in self.strings(s))
        if s.name in IGNORED:
            return 0
        rule = PLACES.get(s.name)
        if rule is None:
            raise AsmError(f"unknown directive {s.name!r}", s.line, s.column)
        if not 1 <= len(s.operands) <= 2:
            raise AsmError(f"{s.name}: expected one or two operands", s.line, s.column)
        text, column = s.operands[0]
        length = rule(self.a.value(text, s.line, column), self.a)
        if length < 0:
            raise AsmError(f"{s.name}: {text} lies {-length} bytes back", s.line, column)
        return length

    def strings(self, s: Statement) -> Iterator[bytes]:
        for text, column in s.operands:
            if len(text) < 2 or text[0] != '"' or text[-1] != '"':
                raise AsmError(f"{s.name}: expected a string, got {text[:20]!r}", s.line, column)
            body = re.sub(r"\\(.)", lambda m: ESCAPES.get(m[1], m[1]), text[1:-1])
            yield body.encode("latin-1") + (b"\0" if s.name != ".ascii" else b"")

    # --- second pass ------------------------------------------------------------------------------

    def emit(self) -> bytes:
        out = bytearray()
        for s in self.a.statements:
            self.a.here, self.a.order = s.address, s.order
            out += self.bytes_of(s)
        return bytes(out)

    def bytes_of(self, s: Statement) -> bytes:
        if not s.name.startswith("."):
            return self.instruction(s).to_bytes(4, "big")
        if s.name in DATA:
            return b"".join(self.datum(s, text, column) for text, column in s.operands)
        if s.name in STRINGS:
            return b"".join(self.strings(s))
        fill = 0
        if len(s.operands) > 1:
            fill = self.a.value(s.operands[1][0], s.line, s.operands[1][1])
        return bytes([fill & 0xFF]) * s.size

    def datum(self, s: Statement, text: str, column: int) -> bytes:
        size = DATA[s.name]
        value = self.a.value(text, s.line, column)
        if not -(1 << 8 * size - 1) <= value < 1 << 8 * size:
            raise AsmError(f"{s.name}: {value} does not fit in {size} bytes", s.line, column)
        return (value & (1 << 8 * size) - 1).to_bytes(size, "big")

    def instruction(self, s: Statement) -> int:
        hint = s.name[-1] if s.name[-1] in "+-" else ""
        fits = [
            t for t in templates()[s.name.rstrip("+-")] if self.shape(t, s) and self.literal(t, s)
        ]
        if hint:
            fits = [t for t in fits if t.hinted]
        if not fits:
            self.wrong_shape(s)
        return self.encode(fits[0], s, hint)

    def shape(self, t: Template, s: Statement) -> bool:
        if len(t.operands) != len(s.operands):
            return False
        return not s.operands or s.operands[-1][0].endswith(")") == t.memory or not t.memory

    def literal(self, t: Template, s: Statement) -> bool:
        """Operands that are numbers in the template (mfsprg's) must be those numbers."""
        for name, (text, column) in zip(t.operands, s.operands, strict=True):
            if name.isdigit() and self.a.value(text, s.line, column) != int(name):
                return False
        return True

    def wrong_shape(self, s: Statement) -> None:
        wanted = " or ".join(
            dict.fromkeys(",".join(t.operands) or "none" for t in templates()[s.name.rstrip("+-")])
        )
        got = ",".join(text for text, _ in s.operands) or "none"
        raise AsmError(f"{s.name}: expected operands {wanted}, got {got}", s.line, s.column)

    def operands(self, t: Template, s: Statement) -> dict[str, tuple[int, int]]:
        """Values and columns of the template's operands."""
        found: dict[str, tuple[int, int]] = {}
        for name, (text, column) in zip(t.operands, s.operands, strict=True):
            if name.endswith(")"):
                m = re.fullmatch(r"(.*?)\(([^()]*)\)", text)
                outer, inner = name[:-1].split("(")
                if m is None:
                    raise AsmError(f"{s.name}: expected D(RA), got {text!r}", s.line, column)
                found[outer] = (self.operand(t, s, outer, m[1] or "0", column), column)
                at = column + m.start(2)
                found[inner] = (self.operand(t, s, inner, m[2], at), at)
            elif not name.isdigit():
                found[name] = (self.operand(t, s, name, text, column), column)
        return found

    def operand(self, t: Template, s: Statement, name: str, text: str, column: int) -> int:
        kind = kind_of(t.row, name)
        if m := REGISTER.fullmatch(text.strip()):
            got, number = ("r", 1) if m[3] else (m[1].lower(), int(m[2]))
            bit_of_cr = got == "cr" and name in ("BI", "BT", "BA", "BB")
            if text.strip() not in self.a.symbols and not bit_of_cr:
                if got != kind:
                    wanted = KINDS.get(kind, "a number")
                    raise AsmError(f"{s.name}: {name} is {wanted}, got {text!r}", s.line, column)
                if number >= LIMITS[got]:
                    raise AsmError(f"{s.name}: there is no register {text!r}", s.line, column)
                return number
        return self.a.value(text, s.line, column)

    def encode(self, t: Template, s: Statement, hint: str) -> int:
        values = self.operands(t, s)
        word = t.row.match
        flags = dict(t.flags)
        for name, value in flags.items():
            word |= t.row.form.field(name).put(value)
        _, names = split_template(t.row.asm)
        targets = [n for part in names for n in OPERAND.findall(part)]
        sources = [e for part in t.base for e in self.parts(part)]
        for name, source in zip(targets, sources, strict=True):
            word |= self.put(t, s, name, source, values, flags)
        return word | self.hint(t, word, hint) if hint else word

    def parts(self, text: str) -> list[str]:
        m = re.fullmatch(r"(\w+)\((\w+)\)", text)
        return [m[1], m[2]] if m else [text]

    def put(
        self,
        t: Template,
        s: Statement,
        name: str,
        source: str,
        values: Mapping[str, tuple[int, int]],
        flags: Mapping[str, int],
    ) -> int:
        column = s.column
        if source in values:
            value, column = values[source]
        else:
            value = Parser(source, lambda n, _: values[n][0]).evaluate()
            if name in ("SH", "MB", "ME"):
                value &= 31
        if name == "SPR":
            return self.spr(t, s, value, column)
        if name in ("BD", "LI"):
            value = signed(value - (0 if flags.get("AA") else s.address), 32)
        f = t.row.form.field(name)
        if name == "NB" and value == 32:
            value = 0
        if name == "SI" and t.row.name == "addis" and 0x8000 <= value <= 0xFFFF:
            value -= 0x10000
        if name == "UI" and -0x8000 <= value < 0 and "@" in "".join(o for o, _ in s.operands):
            value += 0x10000
        try:
            return f.put(value)
        except ValueError:
            raise AsmError(self.misfit(s, name, value, f.width, f.shift), s.line, column) from None

    def misfit(self, s: Statement, name: str, value: int, width: int, shift: int) -> str:
        what = f"{s.name}: {name} is {value} ({value:#x})"
        if shift and value & (1 << shift) - 1:
            return f"{what}, expected a multiple of {1 << shift}"
        return f"{what}, which does not fit in {width + shift} bits"

    def spr(self, t: Template, s: Statement, value: int, column: int) -> int:
        if not 0 <= value < 1024:
            raise AsmError(f"{s.name}: SPR {value}, expected 0..1023", s.line, column)
        form = t.row.form
        return form.field("SPRL").put(value & 31) | form.field("SPRH").put(value >> 5)

    def hint(self, t: Template, word: int, hint: str) -> int:
        """The y bit of BO: the default is taken when the displacement is negative."""
        backward = t.row.form.has("BD") and bool(word & 0x8000)
        return 1 << 21 if (hint == "+") != backward else 0


def _align_power(n: int, a: Assembly) -> int:
    return -a.here % (1 << n)


PLACES: Final[dict[str, Callable[[int, Assembly], int]]] = {
    ".align": _align_power,
    ".p2align": _align_power,
    ".balign": lambda n, a: -a.here % n if n else 0,
    ".space": lambda n, _: n,
    ".skip": lambda n, _: n,
    ".org": lambda n, a: n - a.here,
}
DATA: Final = {
    ".byte": 1,
    ".half": 2,
    ".short": 2,
    ".word": 2,
    ".2byte": 2,
    ".long": 4,
    ".int": 4,
    ".4byte": 4,
    ".quad": 8,
    ".8byte": 8,
}
STRINGS: Final = (".ascii", ".asciz", ".string")
IGNORED: Final = (".text", ".data", ".globl", ".global", ".section", ".machine", ".type", ".size")
DIRECTIVES: Final[Iterable[str]] = (*DATA, *PLACES, *STRINGS, *IGNORED, ".equ", ".set")


class Program(Data):
    """Bytes at `origin` and the value of every symbol."""

    origin: int
    code: bytes
    symbols: Mapping[str, int]


def assemble_program(
    source: str, origin: int = 0, symbols: Mapping[str, int] | None = None
) -> Program:
    """As `assemble`, with the symbols."""
    assembler = Assembler(origin, symbols or {})
    assembler.read(source)
    return Program(origin, assembler.emit(), assembler.a.symbols)


def assemble(source: str, origin: int = 0, symbols: Mapping[str, int] | None = None) -> bytes:
    """The bytes of `source` placed at `origin`; AsmError names line and column."""
    return assemble_program(source, origin, symbols).code
