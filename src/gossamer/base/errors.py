"""The errors a user can meet.  A message says what, what was expected, what was got and where.

Guest misbehaviour is never one of these: it is an architected exception or a trace event.
"""

from __future__ import annotations

from collections.abc import Iterable


class GossamerError(Exception):
    """Root of every error that gossamer raises on purpose."""


class ConfigError(GossamerError):
    """An option, machine, CPU model or file given by the user cannot be used."""


class HostError(GossamerError):
    """The host refused something: a file, a socket, memory."""


class ProtocolError(GossamerError):
    """A peer broke the rules of a protocol."""


class AsmError(GossamerError):
    """Assembly text that cannot be encoded."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        where = f" (line {line}, column {column})" if line else ""
        super().__init__(message + where)
        self.line, self.column = line, column


class StreamError(GossamerError):
    """A stream or save file that cannot be loaded.

    `path` names the section and field (``cuda/mos6522.timers[0].latch``), `offset` is the byte
    offset in the stream where reading failed.
    """

    def __init__(self, message: str, path: str = "", offset: int | None = None) -> None:
        where = f" (offset {offset:#x})" if offset is not None else ""
        super().__init__((f"{path}: " if path else "") + message + where)
        self.message, self.path, self.offset = message, path, offset


def there_is(names: Iterable[str]) -> str:
    """What exists, for a message about a name that does not: nothing is not called ``none``."""
    listed = ", ".join(names)
    return f"there is: {listed}" if listed else "there are none"
