"""Source text of the assembler to statements: comments, ``;``, operands, ``.irp`` repetition."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from gossamer.base.errors import AsmError

Line = tuple[int, str]  # number from 1, text
REPEAT: Final = re.compile(r"\s*\.irp\s+(\w+)\s*,?\s*(.*)$")
END: Final = re.compile(r"\s*\.endr\s*$")


def repeated(lines: Sequence[Line]) -> Iterator[Line]:
    """The lines with each ``.irp name, values`` … ``.endr`` written out (not nested)."""
    block: list[Line] = []
    start = 0
    name, values = "", [""]
    for number, text in lines:
        bare = text.partition("#")[0]
        if m := REPEAT.match(bare):
            if start:
                raise AsmError(".irp inside .irp", number, 1)
            start, name, block = number, m[1], []
            values = [v.strip() for v in m[2].split(",")]
        elif END.match(bare):
            if not start:
                raise AsmError(".endr without .irp", number, 1)
            for value in values:
                yield from ((n, t.replace("\\" + name, value)) for n, t in block)
            start = 0
        elif start:
            block.append((number, text))
        else:
            yield number, text
    if start:
        raise AsmError(".irp without .endr", start, 1)


def split_operands(text: str, column: int) -> list[tuple[str, int]]:
    """Operands between commas outside parentheses and strings, with their columns."""
    found: list[tuple[str, int]] = []
    depth, quote, start = 0, False, 0
    for n, c in enumerate(text + ","):
        if c == '"' and text[n - 1 : n] != "\\":
            quote = not quote
        elif quote:
            continue
        elif c in "()":
            depth += 1 if c == "(" else -1
        elif c == "," and not depth:
            piece = text[start:n]
            lead = len(piece) - len(piece.lstrip())
            found.append((piece.strip(), column + start + lead))
            start = n + 1
    return [] if len(found) == 1 and not found[0][0] else found


def split_lines(source: str) -> Iterator[tuple[int, int, str]]:
    """Line, column and text of every statement, comments removed."""
    for number, line in repeated(list(enumerate(source.splitlines(), 1))):
        quote, start, end = False, 0, len(line)
        pieces = []
        for n, c in enumerate(line):
            if c == '"' and line[n - 1 : n] != "\\":
                quote = not quote
            elif not quote and c == "#":
                end = n
                break
            elif not quote and c == ";":
                pieces.append((start, line[start:n]))
                start = n + 1
        pieces.append((start, line[start:end]))
        for at, piece in pieces:
            lead = len(piece) - len(piece.lstrip())
            if text := piece.strip():
                yield number, at + lead + 1, text
