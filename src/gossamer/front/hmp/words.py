"""How a line of the monitor becomes a command's arguments: each row has a pattern of its words.

``[-f:force] DRIVE:device [FORMAT:format]``: an upper-case word is shown in help and given to the
argument behind its colon, in the argument's own type; in brackets it may be left out; a word with a
dash is a flag; ``NAME:argument...`` takes all the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError, GossamerError
from gossamer.control.commands.table import TABLE
from gossamer.control.session import Session
from gossamer.control.shapes import INT, SIZE, Member
from gossamer.control.steps import Steps

Arguments: TypeAlias = Mapping[str, Any]
_WORD: Final = re.compile(r"(\[)?([^:\]\s]+):([a-z-]+)(\.\.\.)?\]?")


class UsageError(GossamerError):
    """A command with the wrong number of words; the message is its usage."""


class Word(Data):
    """One word of a pattern."""

    shown: str
    argument: str
    optional: bool
    rest: bool

    @property
    def is_flag(self) -> bool:
        return self.shown.startswith("-")

    def __str__(self) -> str:
        text = self.shown + (" ..." if self.rest else "")
        return f"[{text}]" if self.optional else text


def pattern(text: str) -> tuple[Word, ...]:
    """The words of a pattern."""
    return tuple(
        Word(match[2], match[3], match[1] is not None, match[4] is not None)
        for match in map(_WORD.fullmatch, text.split())
        if match is not None
    )


class Row(Data):
    """A command of the monitor: `name` typed, `command` of the table done, `text` shown.

    `arguments` turns words into arguments where the pattern alone does not say it all.  A row with
    `do` composes several commands instead; then `help` is its own.  What `before` gives is shown
    before the command begins.
    """

    name: str
    words: tuple[Word, ...]
    command: str = ""
    text: Callable[[Any], str] = str
    arguments: Callable[[Arguments], Arguments] = dict
    do: Callable[[Session, Arguments], str | Steps[str]] | None = None
    help: str = ""
    before: Callable[[Session, Arguments], str] | None = None

    @property
    def usage(self) -> str:
        return " ".join([self.name, *map(str, self.words)])

    def line(self) -> str:
        """One line of help."""
        return f"{self.usage:32} {self.help or TABLE.find(self.command).help}"

    def matched(self, given: Sequence[str]) -> dict[str, Any]:
        """The words by argument; UsageError, ConfigError for words that do not fit."""
        flags = {word.shown: word for word in self.words if word.is_flag}
        plain = [word for word in self.words if not word.is_flag]
        found: dict[str, Any] = {flags[text].argument: True for text in given if text in flags}
        rest = [text for text in given if text not in flags]
        if flags and any(text.startswith("-") for text in rest):
            raise UsageError(self.usage)
        if len(rest) < sum(not word.optional for word in plain):
            raise UsageError(self.usage)
        if plain and plain[-1].rest and len(rest) >= len(plain):
            rest[len(plain) - 1 :] = [" ".join(rest[len(plain) - 1 :])]
        if len(rest) > len(plain):
            raise UsageError(self.usage)
        members = {} if self.do else {one.name: one for one in TABLE.find(self.command).members}
        for word, text in zip(plain, rest, strict=False):
            found[word.argument] = _typed(members.get(word.argument), text, word.shown)
        return found


def _typed(member: Member | None, text: str, shown: str) -> object:
    """A word in the type of its argument."""
    if member is None or member.type not in (INT, SIZE):
        return text
    return number(text, shown)


def number(text: str, shown: str) -> int:
    """A whole number: decimal, 0x or 0o."""
    try:
        return int(text, 0)
    except ValueError:
        raise ConfigError(f"{shown} must be a number, got {text!r}") from None


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the first is to the left, others to the right."""
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"
