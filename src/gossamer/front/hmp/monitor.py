"""The human monitor on a character device: lines in, answers out, one command at a time."""

from __future__ import annotations

import shlex
from collections import deque
from collections.abc import Callable, Generator
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from gossamer.base.late import LateModule
from gossamer.base.version import VERSION
from gossamer.control.session import Session
from gossamer.control.steps import Steps, Wait, finish
from gossamer.core import host
from gossamer.front.chardev import CHUNK, Chardev
from gossamer.front.hmp.line_editor import LineEditor

if TYPE_CHECKING:
    from gossamer.control.commands import rows as commands
    from gossamer.control.commands import table
    from gossamer.front.hmp import completion, rows
else:  # the commands: most machines end without one
    commands = LateModule(lambda: import_module("gossamer.control.commands.rows"))
    table = LateModule(lambda: import_module("gossamer.control.commands.table"))
    completion = LateModule(lambda: import_module("gossamer.front.hmp.completion"))
    rows = LateModule(lambda: import_module("gossamer.front.hmp.rows"))

PROMPT: Final = b"(gossamer) "
_LOOK_NS: Final = 20_000_000
"""How soon a reader that has caught up gets its next answer."""


def history(editor: LineEditor) -> str:
    """The lines that were typed, numbered."""
    lines = (line.decode("utf-8", "replace") for line in editor.history)
    return "".join(f"{n}: '{line}'\n" for n, line in enumerate(lines))


class Monitor:
    """Serves the commands on `device`; a client that does not read its answers gets no more."""

    def __init__(self, session: Session, device: Chardev) -> None:
        self.session, self.device = session, device
        self.editor = LineEditor(
            self._line,
            device.write,
            echo=device.is_terminal,
            complete=lambda text: completion.candidates(session, text),
            prompt=PROMPT,
        )
        self._lines: deque[str] = deque()
        self._busy = self._greeted = False
        device.receive = self.editor.feed
        device.room = lambda: 0 if self._lines else CHUNK
        device.opened = self._opened

    def _opened(self) -> None:
        if not self._greeted or not self.device.is_terminal:
            version = f"gossamer {VERSION} monitor, help for help\n"
            self.device.write(version.encode())
        self._greeted = True
        self._lines.clear()  # another client: what the last one left is not its
        self.device.queued = False
        self.editor.text.clear()
        self.device.write(PROMPT)

    def _line(self, line: str) -> None:
        self._lines.append(line)
        self.device.queued = True
        if not self._busy:
            self._busy = True
            self.session.spawn(self._serve())

    def _serve(self) -> Steps[None]:
        """Do the lines that have come, one after the other, each in a turn of its own."""
        try:
            while self._lines and not self.session.vm.ended:
                line = self._lines.popleft()
                self.device.queued = bool(self._lines)
                text = yield from self._answer(line, self._say)
                self._say(text)
                if not self.session.vm.ended:
                    self.device.write(PROMPT)
                while self.device.full:
                    yield Wait(until_ns=host.monotonic_ns() + _LOOK_NS)
                if self._lines:
                    yield Wait(until_ns=0)
        finally:
            self._busy = self.device.queued = False

    def _say(self, text: str) -> None:
        self.device.write(text.encode("utf-8", "backslashreplace"))

    def execute(self, line: str) -> str:
        """Do one command to its end; what it says, errors included, each line ended."""
        return finish(self.answer(line))

    def answer(self, line: str) -> Steps[str]:
        """The steps of one command; they give what it says."""
        said: list[str] = []
        last = yield from self._answer(line, said.append)
        return "".join([*said, last])

    def _answer(self, line: str, say: Callable[[str], None]) -> Steps[str]:
        """The same; what is said before its end goes to `say`."""
        try:
            words = shlex.split(line)
            if words == ["info", "history"]:
                text = history(self.editor)
            else:
                text = (yield from self._do(words, say)) if words else ""
        except rows.UsageError as fault:
            text = f"usage: {fault}"
        except Exception as fault:
            text = f"error: {table.failure(fault)}"
        return text if not text or text.endswith("\n") else text + "\n"

    def _do(self, words: list[str], say: Callable[[str], None]) -> Steps[str]:
        row, rest = rows.find(words)
        given = row.matched(rest)
        if row.before is not None and (text := row.before(self.session, given)):
            say(text)
        if row.do is not None:
            said = row.do(self.session, given)
            return said if isinstance(said, str) else (yield from said)
        result: Any = commands.TABLE.find(row.command)(self.session, row.arguments(given))
        if isinstance(result, Generator):
            result = yield from result
        return row.text(result)
