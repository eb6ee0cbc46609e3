"""One emulator with Linux at its first serial port: started, typed to, timed.

Wall time is the host's monotonic clock from the last key of a command to its prompt, CPU time that
of the emulator's process, all threads, from /proc.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError

PROMPT: Final = re.compile(rb"\nguest# $")
READY: Final = re.compile(rb"GUEST READY.*guest# $", re.DOTALL)
TYPING_S: Final = 0.005
"""Between two keys: the serial port has three places."""
BOOT_S: Final = 300.0
TICKS: Final = os.sysconf("SC_CLK_TCK")
PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def _environment(folder: Path) -> dict[str, str]:
    """Ours, but that Python keeps compiled modules, as it does wherever gossamer is installed."""
    out = dict(os.environ)
    if out.pop("PYTHONDONTWRITEBYTECODE", ""):
        out["PYTHONPYCACHEPREFIX"] = str(folder / "pyc")
    return out


def _text(printed: bytes | bytearray) -> str:
    return printed.decode(errors="replace").replace("\r", "")


class Taken(Data):
    """What something took, seconds, and what the guest printed.

    `marks`: characters printed, wall time and CPU time so far, whenever some came.
    """

    wall: float
    cpu: float
    text: str = ""
    marks: tuple[tuple[int, float, float], ...] = ()

    def share(self, first: int, last: int) -> float:
        """The part of a CPU that the emulator got while it printed characters `first` to `last`.

        Others on the host take more from one test than from the next.
        """
        begun, done = self._at(first), self._at(last)
        wall = done[0] - begun[0]
        return (done[1] - begun[1]) / wall if wall > 0 else self.cpu / self.wall

    def _at(self, character: int) -> tuple[float, float]:
        return next(
            ((wall, cpu) for count, wall, cpu in self.marks if count >= character),
            (self.wall, self.cpu),
        )


class Guest:
    """A running emulator; `close` ends it."""

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
        self.name = name
        path = folder / f"{name}.serial"
        self._errors = folder / f"{name}.errors"
        self._begun = time.monotonic()
        with self._errors.open("w") as errors:
            self.process = subprocess.Popen(  # noqa: S603 (found by name or given by the user)
                [*command, "-serial", f"unix:{path},server=on,wait=off"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=_environment(folder.parent),
            )
        try:
            self._serial = self._connect(path)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def _connect(self, path: Path) -> socket.socket:
        end = time.monotonic() + 30
        while time.monotonic() < end and self.process.poll() is None:
            port = socket.socket(socket.AF_UNIX)
            try:
                port.connect(str(path))
            except OSError:
                port.close()
                time.sleep(0.005)
                continue
            return port
        raise self._fault("did not open its serial port")

    def _fault(self, what: str) -> ConfigError:
        said = " ".join(self._errors.read_text().split())[-300:]
        return ConfigError(f"{self.name}: {what} (status {self.process.poll()}): {said}")

    # --- what it costs ------------------------------------------------------------------------

    @property
    def cpu(self) -> float:
        """CPU seconds of the process so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @property
    def resident(self) -> float:
        """Resident memory, MiB."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * PAGE / (1 << 20)

    # --- Linux --------------------------------------------------------------------------------

    def boot(self) -> Taken:
        """From the start of the process to the prompt."""
        text = self._until(READY, BOOT_S)
        return Taken(time.monotonic() - self._begun, self.cpu, text)

    def shell(self, command: str, seconds: float = 600) -> Taken:
        """Run a command; the time begins with its last key."""
        for byte in command.encode():
            self._serial.sendall(bytes((byte,)))
            time.sleep(TYPING_S)
        time.sleep(0.1)
        before, begun = self.cpu, time.monotonic()
        self._serial.sendall(b"\n")
        marks: list[tuple[int, float, float]] = [(0, 0.0, 0.0)]

        def note(text: str) -> None:
            marks.append((len(text), time.monotonic() - begun, self.cpu - before))

        text = self._until(PROMPT, seconds, note)
        return Taken(time.monotonic() - begun, self.cpu - before, text, tuple(marks))

    def _until(
        self, wanted: re.Pattern[bytes], seconds: float, note: Callable[[str], None] | None = None
    ) -> str:
        got, end = bytearray(), time.monotonic() + seconds
        while True:
            self._serial.settimeout(max(0.01, end - time.monotonic()))
            try:
                data = self._serial.recv(65536)
            except TimeoutError:
                data = b""
            if not data:
                raise self._fault(f"gave no prompt in {seconds:.0f} s; last: {bytes(got[-80:])!r}")
            got += data
            if note is not None:
                note(_text(got))
            if wanted.search(got, max(0, len(got) - 65536)):
                return _text(got)

    def close(self) -> None:
        """End the emulator."""
        self._serial.close()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
