"""Turns what is typed into lines: echo, erasing, history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MAX_LINE: Final = 4096
MAX_HISTORY: Final = 100
BACK: Final = (0x08, 0x7F)
KILL: Final = 0x15
WORD: Final = 0x17
CANCEL: Final = 0x03
TAB: Final = 0x09


class LineEditor:
    """Collects bytes into lines for `line`; with `echo` it shows what is typed.

    Keys: Return, Backspace, C-u (whole line), C-w (word), C-c (forget the line), up and down, Tab,
    for which `complete` gives the words that the last one could become.
    """

    def __init__(
        self,
        line: Callable[[str], None],
        write: Callable[[bytes], None],
        *,
        echo: bool,
        complete: Callable[[str], list[str]] = lambda text: [],
        prompt: bytes = b"",
    ) -> None:
        self.line, self.write, self.echo = line, write, echo
        self._complete, self._prompt = complete, prompt
        self.text = bytearray()
        self.history: list[bytes] = []
        self._at = 0
        self._sequence = b""
        self._was_return = False

    def feed(self, data: bytes) -> None:
        for byte in data:
            self._key(byte)

    def _key(self, byte: int) -> None:
        after_return, self._was_return = self._was_return, byte == 0x0D
        if self._sequence:
            self._escape(byte)
        elif byte == 0x1B:
            self._sequence = b"\x1b"
        elif byte in (0x0D, 0x0A):
            if not (byte == 0x0A and after_return):
                self._enter()
        elif byte in BACK:
            self._erase(1)
        elif byte == KILL:
            self._erase(len(self.text))
        elif byte == WORD:
            kept = self.text.rstrip().rpartition(b" ")
            self._erase(len(self.text) - len(kept[0]) - len(kept[1]))
        elif byte == CANCEL:
            self._erase(len(self.text))
        elif byte == TAB and self.echo:
            self._finish_word()
        elif byte >= 0x20 and len(self.text) < MAX_LINE:
            self.text.append(byte)
            self._show(bytes([byte]))

    def _finish_word(self) -> None:
        """Add what all candidates share; where that is nothing, show them."""
        text = self.text.decode("utf-8", "replace")
        last = text.rpartition(" ")[2]
        found = sorted({one for one in self._complete(text) if one.startswith(last)})
        if not found:
            return
        first, final = found[0], found[-1]
        same = next((n for n, c in enumerate(first) if final[n : n + 1] != c), len(first))
        shared = first[:same]
        more = shared[len(last) :] + (" " if len(found) == 1 else "")
        if more:
            added = more.encode()[: MAX_LINE - len(self.text)]
            self.text += added
            self._show(added)
        else:
            self._show(b"\n" + "  ".join(found).encode() + b"\n" + self._prompt + self.text)

    def _escape(self, byte: int) -> None:
        """Collect ESC [ parameters final; only up and down mean something."""
        self._sequence += bytes([byte])
        if len(self._sequence) == 2 and byte in b"[O":
            return
        if len(self._sequence) > 2 and byte < 0x40 and len(self._sequence) < 16:
            return
        sequence, self._sequence = self._sequence, b""
        if sequence[-1:] == b"A" and self._at > 0:
            self._recall(self._at - 1)
        elif sequence[-1:] == b"B" and self._at < len(self.history):
            self._recall(self._at + 1)

    def _recall(self, at: int) -> None:
        self._erase(len(self.text))
        self._at = at
        if at < len(self.history):
            self.text += self.history[at]
            self._show(bytes(self.text))

    def _erase(self, count: int) -> None:
        count = min(count, len(self.text))
        if count:
            del self.text[-count:]
            self._show(b"\b \b" * count)

    def _enter(self) -> None:
        self._show(b"\n")
        text = bytes(self.text)
        self.text.clear()
        if text.strip() and text not in self.history[-1:]:
            self.history = [*self.history[1 - MAX_HISTORY :], text]
        self._at = len(self.history)
        self.line(text.decode("utf-8", "replace"))

    def _show(self, data: bytes) -> None:
        if self.echo:
            self.write(data)
