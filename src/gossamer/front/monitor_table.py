"""The monitor's commands as a table, and the reading of their arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gossamer.base.errors import ConfigError, GossamerError
from gossamer.front.vm_protocol import VmControl

Action = Callable[[VmControl, list[str]], str]


class UsageError(GossamerError):
    """A command with the wrong number of words; the message is its usage."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its words as shown in help, and what it does.

    `least` and `most` words follow the name; the text it returns is shown.
    """

    name: str
    words: str
    text: str
    action: Action
    least: int
    most: int

    def line(self) -> str:
        return f"{self.name + ' ' + self.words:32} {self.text}"

    def run(self, vm: VmControl, words: list[str]) -> str:
        if not self.least <= len(words) <= self.most:
            raise UsageError(f"{self.name} {self.words}".rstrip())
        return self.action(vm, words)


@dataclass
class Commands:
    """All commands by name."""

    table: dict[str, Command] = field(default_factory=dict)

    def add(self, name: str, words: str, text: str, action: Action) -> None:
        """Add a command; how many words it takes is read off `words`: [X] may be left out."""
        shown = [word for word in words.split() if word != "..."]
        least = sum(not word.startswith("[") for word in shown)
        most = 99 if "..." in words else len(shown)
        self.table[name] = Command(name, words, text, action, least, most)


def simple(action: Callable[[VmControl], object]) -> Action:
    """A command without words that says nothing."""

    def act(vm: VmControl, words: list[str]) -> str:
        del words
        action(vm)
        return ""

    return act


def number(text: str, least: int, most: int, what: str) -> int:
    """A whole number: decimal, 0x or 0o."""
    try:
        value = int(text, 0)
    except ValueError:
        raise ConfigError(f"{what} must be a number, got {text!r}") from None
    if not least <= value <= most:
        raise ConfigError(f"{what} must be {least} to {most}, got {value}")
    return value


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the first is to the left, others to the right."""
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"
