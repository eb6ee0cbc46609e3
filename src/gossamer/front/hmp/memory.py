"""The monitor's words for memory: formats as /8xw, addresses as sums of numbers and $registers."""

from __future__ import annotations

import re
from typing import Final

from gossamer.base.bits import ones
from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.control.commands.rows import TABLE
from gossamer.control.session import Session

SIZES: Final = {"b": 1, "h": 2, "w": 4, "g": 8}
MAX_BYTES: Final = 64 << 10
_FORMAT: Final = re.compile(r"/(\d{0,6})([xduocis]?)([bhwg]?)", re.ASCII)
_TERM: Final = re.compile(r"\s*([+-]?)\s*(\$[a-z0-9]+|0x[0-9a-f]+|\d+)", re.ASCII | re.IGNORECASE)


class Format(Data):
    """How to show: `count` items of `size` bytes, each as `kind`."""

    count: int
    kind: str
    size: int


def parse_format(text: str) -> Format:
    """``/8xw``: count, then x d u o c s i, then b h w g; each may be left out."""
    match = _FORMAT.fullmatch(text)
    if match is None:
        raise ConfigError(f"expected /COUNT, one of x d u o c s i, one of b h w g, got {text!r}")
    kind = match[2] or "x"
    size = {"c": 1, "s": 1, "i": 4}.get(kind) or SIZES[match[3] or "w"]
    count = int(match[1] or ("64" if kind == "s" else "1"))
    if not 0 < count * size <= MAX_BYTES:
        raise ConfigError(f"{text} shows {count * size} bytes; 1 to {MAX_BYTES} can be shown")
    return Format(count, kind, size)


def value_of(session: Session, text: str) -> int:
    """The value of numbers and $registers with + and - between them, in the bits of an address."""
    total, at = 0, 0
    while at < len(text.rstrip()):
        match = _TERM.match(text, at)
        if match is None or (at and not match[1]):
            raise ConfigError(f"not an address: {text!r}")
        word = match[2].lower()
        value = _register(session, word) if word[0] == "$" else int(word, 16 if "x" in word else 10)
        total += -value if match[1] == "-" else value
        at = match.end()
    if not at:
        raise ConfigError("an address is needed")
    return total & ones(session.vm.machine.word)


def _register(session: Session, word: str) -> int:
    found = TABLE.call(session, "x-query-register", name=word[1:])
    assert isinstance(found, int)
    return found


def show(session: Session, text: str, *, physical: bool) -> str:
    """What ``x`` and ``xp`` show for the words behind them."""
    first, _, rest = text.partition(" ")
    form = parse_format(first) if first.startswith("/") else Format(1, "x", 4)
    start = value_of(session, rest if first.startswith("/") else text)
    size = min(form.count * form.size, (1 << session.vm.machine.word) - start)
    data = TABLE.call(session, "x-read-memory", address=start, size=size, physical=physical)
    assert isinstance(data, bytes)
    if form.kind == "i":
        return _instructions(session, start, data)
    if form.kind == "s":
        return f"{start:08x}: {_text(data.partition(bytes(1))[0])}\n"
    step = 16 if form.kind != "c" else 32
    out = ""
    for at in range(0, len(data), step):
        row = data[at : at + step]
        items = [row[n : n + form.size] for n in range(0, len(row), form.size)]
        out += f"{start + at:08x}: " + " ".join(_item(i, form.kind) for i in items) + "\n"
    return out


def _instructions(session: Session, start: int, data: bytes) -> str:
    out = ""
    for at in range(0, len(data) & -4, 4):
        word = int.from_bytes(data[at : at + 4], "big")
        text = TABLE.call(session, "x-disassemble", word=word, address=start + at)
        out += f"{start + at:08x}: {word:08x}  {text}\n"
    return out


def _item(raw: bytes, kind: str) -> str:
    value = int.from_bytes(raw, "big", signed=kind == "d")
    if kind == "x":
        return f"0x{value:0{2 * len(raw)}x}"
    if kind == "o":
        return f"0o{value:o}"
    return f"'{_text(raw)}'" if kind == "c" else str(value)


def _text(raw: bytes) -> str:
    return "".join(chr(b) if 0x20 <= b < 0x7F else f"\\x{b:02x}" for b in raw)
