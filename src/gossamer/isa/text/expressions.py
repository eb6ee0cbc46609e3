"""Expressions of the assembler: ``+ - * / % & | ^ ~ << >>``, parentheses, symbols, @l @h @ha."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from gossamer.base.data import Data
from gossamer.base.errors import AsmError

TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>0[xX][0-9a-fA-F]+|0[bB][01]+(?![fb\w])|\d+(?![\w]))"
    r"|(?P<local>\d+[fb]\b)"
    r"|(?P<char>'(?:\\.|[^\\]))'?"
    r"|(?P<name>[A-Za-z_.$][\w.$]*)"
    r"|(?P<half>@(?:ha|h|l)\b)"
    r"|(?P<op><<|>>|[-+*/%&|^~()]))"
)
ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\", "'": "'", '"': '"'}
LEVELS: Final = (("|",), ("^",), ("&",), ("<<", ">>"), ("+", "-"), ("*", "/", "%"))

Lookup = Callable[[str, int], int]  # name and column


class Token(Data):
    """A number, name or operator and where it stands in its line."""

    kind: str
    text: str
    column: int


def tokens(text: str, line: int, column: int) -> Iterator[Token]:
    """The tokens of an expression; `column` is where `text` begins in its line (from 1)."""
    at = 0
    while text[at:].strip():
        m = TOKEN.match(text, at)
        if m is None or m.lastgroup is None:
            rest = text[at:].strip()
            raise AsmError(f"cannot read {rest[:20]!r} in an expression", line, column + at)
        yield Token(m.lastgroup, m[m.lastgroup], column + m.start(m.lastgroup))
        at = m.end()


def signed16(value: int) -> int:
    """The low half of `value` as a signed number."""
    return ((value & 0xFFFF) ^ 0x8000) - 0x8000


class Parser:
    """Evaluates one expression by recursive descent."""

    def __init__(self, text: str, lookup: Lookup, line: int = 0, column: int = 1) -> None:
        self.tokens = list(tokens(text, line, column))
        self.lookup, self.line, self.end = lookup, line, column + len(text)
        self.at = 0

    def peek(self) -> Token:
        if self.at < len(self.tokens):
            return self.tokens[self.at]
        return Token("end", "", self.end)

    def take(self) -> Token:
        token = self.peek()
        self.at += 1
        return token

    def fail(self, message: str, token: Token) -> AsmError:
        return AsmError(message, self.line, token.column)

    def evaluate(self) -> int:
        value = self.level(0)
        if (rest := self.peek()).kind != "end":
            raise self.fail(f"unexpected {rest.text!r} after an expression", rest)
        return value

    def level(self, n: int) -> int:
        if n == len(LEVELS):
            return self.unary()
        value = self.level(n + 1)
        while self.peek().text in LEVELS[n] and self.peek().kind == "op":
            op = self.take()
            value = self.apply(op, value, self.level(n + 1))
        return value

    def apply(self, op: Token, a: int, b: int) -> int:
        if op.text in "/%" and b == 0:
            raise self.fail("division by zero", op)
        if op.text in ("<<", ">>"):
            if not 0 <= b < 64:
                raise self.fail(f"shift by {b}, expected 0..63", op)
            return a << b if op.text == "<<" else a >> b
        if op.text in "/%":
            quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
            return quotient if op.text == "/" else a - b * quotient
        table = {"|": a | b, "^": a ^ b, "&": a & b, "+": a + b, "-": a - b, "*": a * b}
        return table[op.text]

    def unary(self) -> int:
        token = self.peek()
        if token.text in ("-", "+", "~") and token.kind == "op":
            self.take()
            value = self.unary()
            return {"-": -value, "+": value, "~": ~value}[token.text]
        value = self.primary()
        if self.peek().kind == "half":
            half = self.take().text
            value = signed16({"@l": value, "@h": value >> 16, "@ha": value + 0x8000 >> 16}[half])
        return value

    def primary(self) -> int:
        token = self.take()
        if token.kind == "number":
            return int(token.text, 0) if not token.text.isdigit() else int(token.text)
        if token.kind == "char":
            body = token.text[1:]
            return ord(ESCAPES.get(body[1:], body[1:]) if body[0] == "\\" else body)
        if token.kind in ("name", "local"):
            return self.lookup(token.text, token.column)
        if token.text == "(":
            value = self.level(0)
            if (close := self.take()).text != ")":
                raise self.fail("expected ')'", close)
            return value
        what = repr(token.text) if token.text else "the end"
        raise self.fail(f"expected a number or symbol, got {what}", token)
