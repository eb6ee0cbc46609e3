"""One machine's process: `gossamer run` of some release, held by its QMP and its serial port."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from gossamer.base.errors import ConfigError, HostError
from gossamer.fleet.qmp import Qmp

START_S: Final = 600.0
END_S: Final = 20.0
MOST_TEXT: Final = 1 << 18
"""Of what the guest wrote, this much of the end is kept."""
RESERVED: Final = frozenset(
    {"-qmp", "-monitor", "-serial", "-nographic", "-S", "-incoming", "-daemonize", "-loadvm"}
    | {"-pidfile", "-display", "-mon"}
)
"""Options of `gossamer run` that a fleet gives itself."""

# Runs in any release: the process ends when the pipe that its node holds closes, however the node
# came to its end.  (PR_SET_PDEATHSIG would follow the thread that started it.)
PROGRAM: Final = """\
import os, sys, threading
pipe = int(sys.argv.pop(1))
def watch():
    os.read(pipe, 1)
    os._exit(9)
threading.Thread(target=watch, daemon=True).start()
from gossamer.cli import main
sys.exit(main(["run", *sys.argv[1:]]))
"""


def checked(options: Sequence[str]) -> list[str]:
    """The options; ConfigError for one that is the fleet's own."""
    for word in options:
        if "-" + word.lstrip("-") in RESERVED and word.startswith("-"):
            raise ConfigError(f"{word}: a fleet gives this option itself")
    return list(options)


def pinned(options: Sequence[str], machine: str) -> list[str]:
    """The options with `machine`, a name with its version, as type of -M.

    Another release would take a bare name for its own newest version.
    """
    words = list(options)
    for n in reversed(range(len(words) - 1)):
        if words[n] in ("-M", "-machine", "--machine", "--M"):
            given = words[n + 1].split(",")
            properties = [one for one in given if "=" in one and not one.startswith("type=")]
            words[n + 1] = ",".join([machine, *properties])
            return words
    return ["-M", machine, *words]


class Emulator:
    """A process with a machine; `close` ends it."""

    def __init__(
        self, folder: Path, options: Sequence[str], python: str, *, incoming: bool
    ) -> None:
        """Start it in `folder`, its own; HostError when it does not come up.

        `python`: the interpreter of the environment whose gossamer runs.  `incoming`: it waits for
        a machine.  It does not run on its own: what the guest writes must find a reader.
        """
        self.options, self.python, self.folder = checked(options), python, folder
        self._text = b""
        self._dropped = 0
        self._writing = threading.Lock()
        self.fenced = False
        """Stopped because its node had no lease."""
        self._log = folder / "log"
        ours, self._lifeline = os.pipe()
        listening = "server=on,wait=off"
        words = [
            python, "-c", PROGRAM, str(ours), *self.options,
            "-display", "none", "-monitor", "none",
            "-serial", f"unix:{folder}/serial,{listening}",
            "-qmp", f"unix:{folder}/qmp,{listening}",
            "-S", *(["-incoming", "defer"] if incoming else []),
        ]  # fmt: skip
        try:
            with self._log.open("wb") as log:
                self.process = subprocess.Popen(  # noqa: S603 - an environment that the user named
                    words, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    pass_fds=(ours,), start_new_session=True,
                )  # fmt: skip
        except OSError as fault:
            os.close(self._lifeline)
            raise HostError(f"{python}: {fault.strerror}") from None
        finally:
            os.close(ours)
        try:
            self.qmp = Qmp(folder / "qmp", self._end, START_S)
            self._serial = socket.socket(socket.AF_UNIX)
            self._serial.connect(str(folder / "serial"))
        except BaseException:
            self._kill()
            raise
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _end(self) -> str | None:
        """None while the process lives, else its status and last words."""
        if self.process.poll() is None:
            return None
        lines = self._log.read_text(errors="replace").strip().splitlines()
        said = lines[-1].strip() if lines else "it said nothing"
        return f"{said} (status {self.process.returncode})"

    # --- the serial port --------------------------------------------------------------------------

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._serial.recv(65536):
                with self._writing:
                    self._keep(self._text + data)

    def _keep(self, text: bytes) -> None:
        self._dropped += max(0, len(text) - MOST_TEXT)
        self._text = text[-MOST_TEXT:]

    def before(self, end: int, text: bytes) -> None:
        """Put what the guest wrote elsewhere, up to byte `end`, before what it has written here."""
        with self._writing:
            self._dropped += end - len(text)
            self._keep(text + self._text)

    def text(self, since: int) -> tuple[int, bytes]:
        """What the guest wrote from byte `since` on, and where it ends; the oldest may be gone."""
        with self._writing:
            text, end = self._text, self._dropped + len(self._text)
        return end, text[max(0, since - self._dropped) :] if since < end else b""

    def type(self, data: bytes) -> None:
        """Send to the serial port; HostError when the guest takes nothing."""
        while data:
            if not select.select([], [self._serial], [], END_S)[1]:
                raise HostError(f"the guest took nothing for {END_S:.0f} s, {len(data)} bytes left")
            try:
                data = data[self._serial.send(data, socket.MSG_DONTWAIT) :]
            except OSError as fault:
                raise HostError(f"the serial port is gone: {fault.strerror}") from None

    # --- its state --------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def status(self) -> dict[str, Any]:
        """Of query-status: status, instructions, clock-ns."""
        answer: dict[str, Any] = self.qmp.command("query-status")
        return answer

    def close(self) -> None:
        """End the process, its disks written back; kill it if it does not."""
        with contextlib.suppress(HostError):
            if self.alive:
                self.qmp.command("quit")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_S)
        self._kill()
        self.qmp.close()
        self._reader.join(END_S)
        self._serial.close()

    def _kill(self) -> None:
        os.close(self._lifeline)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
