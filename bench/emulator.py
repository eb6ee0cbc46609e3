"""One process of gossamer or QEMU, driven over its serial port and its monitor."""

from __future__ import annotations

import atexit
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path


class DeadGuestError(Exception):
    """The guest no longer works."""


class Emulator:
    """One process: its serial port and its monitor, over sockets.

    It waits for `cont`, or `goes` at once; then its monitor has not answered yet.
    """

    def __init__(self, command: list[str], log: Path, *, goes: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="emulator-"))
        ports = [self.folder / name for name in ("serial", "monitor")]
        options = []
        for option, port in zip(("-serial", "-monitor"), ports, strict=True):
            options += [option, f"unix:{port},server=on,wait=off"]
        self.log = log.open("ab")
        # Without its cache of bytecode Python would compile gossamer anew at each start.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [*command, *options, "-display", "none", *([] if goes else ["-S"])],
            stdin=subprocess.DEVNULL,
            env=environment,
        )
        atexit.register(self.process.kill)  # does nothing to a process that has ended
        self.serial, self.monitor = (self._connect(port) for port in ports)
        self.text = ""
        if not goes:
            self.answer()

    def _connect(self, path: Path) -> socket.socket:
        while True:
            link = socket.socket(socket.AF_UNIX)
            try:
                link.connect(str(path))
            except OSError:
                link.close()
                if self.process.poll() is not None or time.monotonic() > self.started + 60:
                    raise SystemExit("the emulator did not start") from None
                time.sleep(0.005)
            else:
                return link

    def answer(self, seconds: float = 120) -> str:
        """What the monitor says up to its next prompt.

        What the guest sends is taken meanwhile: QEMU, all of it, waits for a reader of its serial
        port who does not read.
        """
        text, end = b"", time.monotonic() + seconds
        while not re.search(rb"\((?:qemu|gossamer)\) $", text):
            left = max(end - time.monotonic(), 0)
            ready = select.select([self.monitor, self.serial], [], [], left)[0]
            if not ready:
                raise SystemExit(f"no answer of the monitor in {seconds} s: {text!r}")
            if self.serial in ready:
                self._take()
            if self.monitor not in ready:
                continue
            part = self.monitor.recv(65536)
            if not part:
                raise SystemExit(f"the monitor has gone: {text!r}")
            text += part
        return text.decode()

    def command(self, line: str) -> tuple[float, str]:
        """A monitor command: seconds, and what it said."""
        began = time.monotonic()
        self.monitor.sendall(line.encode() + b"\n")
        said = self.answer()
        if re.search(r"\w*rror:", said):
            raise SystemExit(f"{line}: {said}")
        return time.monotonic() - began, said

    def sent(self) -> str:
        """Wait until a migration has completed; what `info migrate` says then."""
        said = ""
        for _ in range(1200):
            time.sleep(0.1)
            said = self.command("info migrate")[1]
            if "completed" in said:
                return said
        raise SystemExit(f"{self.log.name}: no end: {said}")

    def read(self, seconds: float, until: str = "") -> bool:
        """Collect what the guest sends; whether `until` came."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if until and re.search(until, self.text):
                return True
            if not select.select([self.serial], [], [], left)[0] or not self._take():
                break
        return bool(until and re.search(until, self.text))

    def _take(self) -> bool:
        """What the guest has sent; whether there was something."""
        part = self.serial.recv(65536)
        self.log.write(part)
        self.text += part.decode("latin-1")
        return bool(part)

    def start_guest(self) -> None:
        """Let Linux run until its shell is ready."""
        self.command("cont")
        if not self.read(300, "GUEST READY") or not self.read(30, "guest# "):
            raise SystemExit(f"{self.log.name}: no GUEST READY: {self.text[-500:]!r}")

    def type(self, text: str) -> None:
        """Into the serial port, no faster than its three-byte FIFO takes it."""
        for byte in text.encode():
            self.serial.sendall(bytes([byte]))
            time.sleep(0.004)

    def end(self, *, kill: bool) -> None:
        if kill:
            self.process.send_signal(signal.SIGKILL)
        elif self.process.poll() is None:
            self.monitor.sendall(b"quit\n")
        self.process.wait(60)
        self.serial.close()
        self.monitor.close()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)  # it may have ended before
