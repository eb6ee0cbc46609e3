"""The rows of the monitor; `rows` and the files that it imports fill them in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gossamer.control.commands.rows import TABLE
from gossamer.control.session import Session
from gossamer.control.steps import Steps
from gossamer.front.hmp import texts
from gossamer.front.hmp.words import Arguments, Row, pattern

ROWS: Final[dict[str, Row]] = {}


def row(
    name: str,
    words: str,
    command: str,
    text: Callable[[Any], str] = texts.nothing,
    arguments: Callable[[Arguments], Arguments] = dict,
    before: Callable[[Session, Arguments], str] | None = None,
) -> None:
    """A row that is one command of the table; its names with | between them."""
    for one in name.split("|"):
        ROWS[one] = Row(
            one, pattern(words), TABLE.find(command).name, text, arguments, before=before
        )


def composed(
    name: str, words: str, help: str, do: Callable[[Session, Arguments], str | Steps[str]]
) -> None:
    """A row that composes several commands, or none of the table; `do` may take steps."""
    ROWS[name] = Row(name, pattern(words), do=do, help=help)
