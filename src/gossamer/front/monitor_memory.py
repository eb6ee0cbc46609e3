"""Monitor commands that show memory: x (effective addresses) and xp (real addresses)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.front.monitor_table import Commands
from gossamer.front.vm_protocol import VmControl

SIZES: Final = {"b": 1, "h": 2, "w": 4, "g": 8}
MAX_BYTES: Final = 64 << 10
_FORMAT: Final = re.compile(r"/(\d{0,6})([xduocis]?)([bhwg]?)", re.ASCII)
_TERM: Final = re.compile(r"\s*([+-]?)\s*(\$[a-z0-9]+|0x[0-9a-f]+|\d+)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Format:
    """How to show: `count` items of `size` bytes, each as `kind`."""

    count: int
    kind: str
    size: int


def add_commands(commands: Commands) -> None:
    commands.add("x", "[/FMT] ADDRESS ...", "show memory; /8xw, /4i, /16c", _virtual)
    commands.add("xp", "[/FMT] ADDRESS ...", "show real memory", _physical)
    commands.add("p", "EXPRESSION ...", "the value of $register, a number, sums of them", _print)


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


def address(vm: VmControl, text: str) -> int:
    """The value of numbers and $registers with + and - between them, in 32 bits."""
    total, at = 0, 0
    while at < len(text.rstrip()):
        match = _TERM.match(text, at)
        if match is None or (at and not match[1]):
            raise ConfigError(f"not an address: {text!r}")
        word = match[2].lower()
        value = _register(vm, word) if word[0] == "$" else int(word, 16 if "x" in word else 10)
        total += -value if match[1] == "-" else value
        at = match.end()
    if not at:
        raise ConfigError("an address is needed")
    return total & 0xFFFF_FFFF


def _register(vm: VmControl, word: str) -> int:
    try:
        return vm.register(word[1:])
    except KeyError:
        raise ConfigError(f"no register {word}") from None


def _virtual(vm: VmControl, words: list[str]) -> str:
    return _show(vm, words, vm.read_virtual)


def _physical(vm: VmControl, words: list[str]) -> str:
    return _show(vm, words, vm.read_physical)


def _print(vm: VmControl, words: list[str]) -> str:
    value = address(vm, " ".join(words))
    return f"{value:#010x} {value}"


def _show(vm: VmControl, words: list[str], read: Callable[[int, int], bytes]) -> str:
    form = parse_format(words[0]) if words[0].startswith("/") else Format(1, "x", 4)
    start = address(vm, " ".join(words[1:] if words[0].startswith("/") else words))
    data = read(start, min(form.count * form.size, (1 << 32) - start))
    if form.kind == "i":
        return _instructions(vm, start, data)
    if form.kind == "s":
        return f"{start:08x}: {_text(data.partition(bytes(1))[0])}\n"
    step = 16 if form.kind != "c" else 32
    out = ""
    for at in range(0, len(data), step):
        row = data[at : at + step]
        items = [row[n : n + form.size] for n in range(0, len(row), form.size)]
        out += f"{start + at:08x}: " + " ".join(_item(i, form.kind) for i in items) + "\n"
    return out


def _instructions(vm: VmControl, start: int, data: bytes) -> str:
    out = ""
    for at in range(0, len(data) & -4, 4):
        word = int.from_bytes(data[at : at + 4], "big")
        out += f"{start + at:08x}: {word:08x}  {vm.instruction_text(word, start + at)}\n"
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
