"""A stream of JSON values, as QMP's clients send it: no lines, no lengths, single quotes allowed.

The end of a value is found by its brackets and quotes, so that text which is no JSON costs one
error and what follows is read on.  So does a byte that JSON never has, at once: what stands before
it is given up, and the next line or bracket begins anew.  A value that is too long or nested too
deep cannot be got over: the connection has to end.  Source: QEMU 7.2's behaviour, RFC 8259.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from gossamer.base.errors import GossamerError

MOST_BYTES: Final = 16 << 20
"""Of one value."""
MOST_BARE: Final = 64 << 10
"""Of a number or a word."""
MOST_DEPTH: Final = 200
_MARK: Final = re.compile(rb"""["'{}\[\]]|[^\t\n\r\x20-\x7e]""")
_NEVER: Final = rb"\x00-\x1f\xc0\xc1\xf5-\xff"
"""Bytes that no string has."""
_QUOTE: Final = {
    0x22: re.compile(rb'["\\' + _NEVER + rb"]"),
    0x27: re.compile(rb"['\\" + _NEVER + rb"]"),
}
_ANEW: Final = re.compile(rb"[{\[\x00-\x08\x0a-\x1f\xfe\xff]")
"""Where reading begins again behind such a byte."""
_BEGINS: Final = re.compile(rb"[A-Za-z0-9_.+:,-]")
"""What a number, a word or a stray mark between values begins with."""
_ESCAPE: Final = 0x5C
_OPENED_BY: Final = {0x7D: 0x7B, 0x5D: 0x5B}
_SPACE: Final = b" \t\r\n"
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_BARE_END: Final = re.compile(rb"""[ \t\r\n"'{}\[\]]""")


class BadValueError(GossamerError):
    """Text that is no JSON; the stream goes on behind it."""


class BombError(GossamerError):
    """A value without a bound; the stream cannot go on."""


class Reader:
    """Takes bytes, gives values: `feed`, then `values` until there is none."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._at = 0  # scanned so far
        self._open = bytearray()
        self._quote = 0
        self._skips = False  # up to where reading begins again

    @property
    def pending(self) -> int:
        """Bytes of a value that is not whole yet."""
        return len(self._data)

    def feed(self, data: bytes) -> None:
        self._data += data

    def values(self) -> Iterator[Any]:
        """Each whole value, or a BadValueError in its place; raises BombError."""
        while True:
            try:
                text = self._next()
                if text is None:
                    return
                yield decoded(text)
            except BadValueError as fault:
                yield fault

    def _next(self) -> bytes | None:
        """The text of the next value, once all of it is there; BadValueError: it has none."""
        if self._skips:
            anew = _ANEW.search(self._data)
            del self._data[: anew.start() if anew else len(self._data)]
            if anew is None:
                return None
            if self._data[0] not in b"{[":
                del self._data[0]
            self._skips = False
        if not self._at:
            skipped = len(self._data) - len(self._data.lstrip(_SPACE))
            del self._data[:skipped]
        end = self._scan()
        if end is None:
            if len(self._data) > MOST_BYTES:
                raise BombError(f"JSON message is longer than {MOST_BYTES} bytes")
            return None
        return self._taken(end)

    def _taken(self, end: int) -> bytes:
        """What has come up to `end`; the next value begins behind it."""
        text = bytes(self._data[:end])
        del self._data[:end]
        self._at = self._quote = 0
        self._open.clear()
        return text

    def _give_up(self, at: int) -> BadValueError:
        """The byte at `at` cannot stand there, nor can anything be made of what is before it."""
        byte = self._taken(at + 1)[-1]
        self._skips = True
        return BadValueError(f"JSON parse error, stray byte 0x{byte:02x}")

    def _scan(self) -> int | None:
        """Go on through what has come; where the value ends, or None."""
        data = self._data
        if data and not self._open and not self._quote and not self._at:
            if data[0] in b"}]":
                return 1
            if not _MARK.match(data):
                if not _BEGINS.match(data):
                    raise self._give_up(0)
                bare = _BARE_END.search(data)
                if bare is None and len(data) > MOST_BARE:
                    raise BombError(f"JSON message has a word of more than {MOST_BARE} bytes")
                return bare.start() if bare else None
        while self._at < len(data):
            if self._quote:
                if not self._scan_string():
                    return None
            else:
                mark = _MARK.search(data, self._at)
                if mark is None:
                    self._at = len(data)
                    return None
                self._at = mark.end()
                if data[mark.start()] not in b"\"'{}[]":
                    raise self._give_up(mark.start())
                if not self._take(data[mark.start()]):
                    return self._at  # a bracket that closes another kind: no JSON up to here
            if not self._open and not self._quote:
                return self._at
        return None

    def _scan_string(self) -> bool:
        """Go on to behind the string's end; whether it is there."""
        data, pattern = self._data, _QUOTE[self._quote]
        while (mark := pattern.search(data, self._at)) is not None:
            if data[mark.start()] == self._quote:
                self._at, self._quote = mark.end(), 0
                return True
            if data[mark.start()] != _ESCAPE:
                raise self._give_up(mark.start())
            if mark.end() >= len(data):
                self._at = mark.start()
                return False
            if data[mark.end()] < 0x20:
                raise self._give_up(mark.end())
            self._at = mark.end() + 1
        self._at = len(data)
        return False

    def _take(self, mark: int) -> bool:
        """A quote or bracket outside of strings; whether it can stand there."""
        if mark in _QUOTE:
            self._quote = mark
        elif mark in b"{[":
            self._open.append(mark)
            if len(self._open) > MOST_DEPTH:
                raise BombError(f"JSON message is nested more than {MOST_DEPTH} deep")
        elif not self._open or self._open.pop() != _OPENED_BY[mark]:
            self._open.clear()
            return False
        return True


def decoded(text: bytes) -> Any:  # noqa: ANN401 - a JSON value
    """The value of a whole text; BadValueError when it is no JSON."""
    try:
        plain = _double_quoted(text.decode("utf-8"))
        return json.loads(plain, object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as fault:
        word = _WORD.match(fault.doc, fault.pos)
        what = f"invalid keyword '{word[0]}'" if word else f"{fault.msg} at byte {fault.pos}"
        raise BadValueError(f"JSON parse error, {what}") from None
    except UnicodeDecodeError:
        raise BadValueError("JSON parse error, invalid UTF-8") from None
    except ValueError as fault:  # numbers of thousands of digits, too
        raise BadValueError(f"JSON parse error, {fault}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("duplicate key")
    return made


def _constant(name: str) -> Any:  # noqa: ANN401
    raise ValueError(f"invalid keyword '{name}'")


_STRING: Final = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""", re.DOTALL)


def _double_quoted(text: str) -> str:
    """The same with every string in double quotes."""
    if "'" not in text:
        return text
    return _STRING.sub(lambda match: _requoted(match[0]), text)


def _requoted(string: str) -> str:
    if string[0] == '"':
        return string
    inside = re.sub(r"\\.|\"", _escape, string[1:-1], flags=re.DOTALL)
    return f'"{inside}"'


def _escape(match: re.Match[str]) -> str:
    return {"\\'": "'", '"': '\\"'}.get(match[0], match[0])
