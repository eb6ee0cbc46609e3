"""A serial port as a program types on it and waits for what the guest says."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gossamer.base.errors import ConfigError, GossamerError

if TYPE_CHECKING:
    from gossamer.api.vm import Vm

#: Bytes of what the guest has said that are kept; of more, the first half is forgotten.
MOST_KEPT: Final = 16 << 20
_SHOWN: Final = 400
#: A guest that takes no input is looked at so often, ns of its time.
_PATIENCE_NS: Final = 1_000_000


class ExpectError(GossamerError):
    """The guest did not say what was expected."""


class Console:
    """Serial port `number` of a machine.

    `raw` is what the guest has sent, up to the last 16 MiB; `taken` where the next `expect` begins.
    """

    def __init__(self, vm: Vm, number: int) -> None:
        self.vm, self.number = vm, number
        self.raw = bytearray()
        self.taken = 0
        #: Called with each byte that the guest sends.
        self.listeners: list[Callable[[int], object]] = []
        self._commands = 0

    def take(self, data: bytes) -> None:
        """Bytes that the guest sent."""
        self.raw += data
        if len(self.raw) > MOST_KEPT:
            del self.raw[: MOST_KEPT // 2]
            self.taken = max(0, self.taken - MOST_KEPT // 2)
        for listener in tuple(self.listeners):
            for byte in data:
                listener(byte)

    @property
    def text(self) -> str:
        """What the guest has said, as Latin-1."""
        return self.raw.decode("latin-1")

    def expect(self, pattern: str | re.Pattern[str], *, seconds: float = 60) -> re.Match[str]:
        """Run until the guest has said something that matches, and stop at that very byte.

        A pattern is a regular expression; ``guest# `` is one as it stands.  `seconds` of the
        guest's time; ExpectError when they have passed.
        """
        source = pattern if isinstance(pattern, str) else pattern.pattern
        regex = re.compile(source.encode("latin-1"), re.MULTILINE)
        found = regex.search(self.raw, self.taken)
        if found is None:
            stop = self.vm.run_until(text=source, console=self.number, seconds=seconds)
            found = regex.search(self.raw, self.taken)
            if found is None:
                tail = self.text[self.taken :][-_SHOWN:]
                raise ExpectError(
                    f"serial {self.number}: expected {source!r} within {seconds:g} s of the "
                    f"guest's time, got {tail!r} ({stop.why})"
                )
        self.taken = found.end()
        match = re.compile(source, re.MULTILINE).search(found[0].decode("latin-1"))
        assert match is not None
        return match

    def send(self, text: str, *, seconds: float = 60) -> None:
        """Type `text`, as fast as the guest takes it; ExpectError when it takes no more."""
        control = self.vm.control
        try:
            data = text.encode("latin-1")
        except UnicodeEncodeError as fault:
            raise ConfigError(f"serial {self.number}: {fault.object[fault.start]!r}: "
                              "expected characters of one byte") from None  # fmt: skip
        end = control.clock_ns + int(seconds * 1e9)
        for n, byte in enumerate(data):
            while control.serial_room(self.number) <= 0:
                if control.clock_ns >= end or control.ended:
                    raise ExpectError(f"serial {self.number}: the guest has taken {n} bytes of "
                                      f"{len(data)} in {seconds:g} s")  # fmt: skip
                self.vm.run(seconds=_PATIENCE_NS / 1e9)
            control.serial_receive(self.number, byte)

    def command(self, line: str, *, seconds: float = 60) -> tuple[int, str]:
        """Run a line in the guest's shell: its exit status and what it printed.

        For a POSIX shell that waits for input.
        """
        self._commands += 1
        mark = f"done {self._commands}"
        self.send(f'{line}; r=$?; echo; echo "<""{mark} $r>"\n')
        start = self.taken
        status = int(self.expect(rf"<{mark} (\d+)>", seconds=seconds)[1])
        printed = self.text[start : self.taken].replace("\r", "")
        return status, printed.rpartition('$r>"\n')[2].rpartition(f"<{mark}")[0].rstrip("\n")
