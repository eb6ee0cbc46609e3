"""A real QEMU as a station: started to wait for a machine, talked to by QMP and its serial port.

QEMU connects to us, not we to it: what a guest prints before its port has a reader is lost.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Final, Self

from gossamer.base.errors import HostError
from gossamer.core.host import listen_private

PROGRAM: Final = "qemu-system-ppc"
_PR_SET_PDEATHSIG: Final = 1
PATIENCE_S: Final = 600.0
"""What QEMU may take for anything, on a host that does much else."""
_CHARACTER_S: Final = 0.004
"""Between two characters: the serial chip has a FIFO of three bytes."""


def _listening(path: Path) -> socket.socket:
    """A socket that one program will connect to."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path.unlink(missing_ok=True)
    listen_private(made, str(path), 1)
    return made


def _end_with_parent() -> None:
    """In the child: be killed when we are, however that comes about."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class QemuStation:
    """One QEMU; `with` ends it.

    `folder` is for its sockets; `options` come after the fixed ones.
    """

    def __init__(self, folder: Path, *options: str, program: str | Path = PROGRAM) -> None:
        self.folder = folder
        self.output = bytearray()
        #: When the guest was last stopped, seconds since 1970; 0 never.
        self.stopped_at = 0.0
        self.last_words = ""
        command = [
            str(program), "-nographic", "-monitor", "none",
            "-serial", f"unix:{folder}/serial", "-qmp", f"unix:{folder}/qmp", *options,
        ]  # fmt: skip
        self._log = (folder / "stderr").open("w+b")
        with _listening(folder / "serial") as serial, _listening(folder / "qmp") as qmp:
            self.process = subprocess.Popen(  # noqa: S603 - the program that the user named
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._log,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
            try:
                self._serial = self._accepted(serial)
                self._qmp = self._accepted(qmp)
                self._lines = b""
                self._line()
                self.command("qmp_capabilities")
            except BaseException:
                self.close()
                raise

    def _accepted(self, listener: socket.socket) -> socket.socket:
        end = time.monotonic() + PATIENCE_S
        while not select.select([listener], [], [], 0.05)[0]:
            if time.monotonic() > end or self.process.poll() is not None:
                raise HostError(f"QEMU did not start: {self.errors}")
        return listener.accept()[0]

    @property
    def errors(self) -> str:
        """What QEMU wrote to standard error, in one line."""
        self._log.seek(0)
        return " ".join(self._log.read().decode("utf-8", "replace").split())

    # --- QMP --------------------------------------------------------------------------------------

    def _line(self) -> dict[str, Any]:
        """The next line; what the guest prints is taken meanwhile: QEMU waits for that."""
        end = time.monotonic() + PATIENCE_S
        while b"\n" not in self._lines:
            sockets = [self._qmp, self._serial]
            try:
                ready = select.select(sockets, [], [], max(0.0, end - time.monotonic()))[0]
                if not ready:
                    raise TimeoutError("timed out")
                if self._qmp not in ready:
                    self._take()
                    continue
                data = self._qmp.recv(65536)
            except OSError as fault:
                raise HostError(f"QEMU does not answer: {fault}; {self.errors}") from None
            if not data:
                raise HostError(f"QEMU is gone: {self.errors}")
            self._lines += data
        line, _, self._lines = self._lines.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if answer.get("event") == "STOP":
            at = answer["timestamp"]
            self.stopped_at = at["seconds"] + at["microseconds"] / 1e6
        return answer

    def command(self, name: str, **arguments: Any) -> Any:  # noqa: ANN401 - what QMP returns
        """Carry out a QMP command; HostError when it fails."""
        request = json.dumps({"execute": name, "arguments": arguments}) + "\n"
        try:
            self._qmp.sendall(request.encode())
        except OSError:
            raise HostError(f"QEMU is gone: {self.errors}") from None
        while True:
            answer = self._line()
            if "error" in answer:
                raise HostError(f"QEMU: {name}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def monitor(self, line: str) -> str:
        """A line for the human monitor."""
        return str(self.command("human-monitor-command", **{"command-line": line}))

    @property
    def status(self) -> str:
        return str(self.command("query-status")["status"])

    def wait_loaded(self) -> str:
        """Wait until an incoming machine is there; the run state."""
        end = time.monotonic() + PATIENCE_S
        while (state := self.status) == "inmigrate":
            if time.monotonic() > end:
                raise HostError("QEMU: the machine does not come")
            time.sleep(0.005)
        return state

    def migrate(self, uri: str) -> dict[str, Any]:
        """Send the machine; what `query-migrate` says when it is done."""
        self.command("migrate", uri=uri)
        return self.wait_sent()

    def wait_sent(self) -> dict[str, Any]:
        """Wait for a transfer that has been started to be over."""
        end = time.monotonic() + PATIENCE_S
        while True:
            status: dict[str, Any] = self.command("query-migrate")
            if status.get("status") == "completed":
                return status
            if status.get("status") in ("failed", "cancelled") or time.monotonic() > end:
                raise HostError(f"QEMU: the machine is not sent: {status}")
            time.sleep(0.005)

    # --- serial port ------------------------------------------------------------------------------

    def listen(self, seconds: float) -> bytes:
        """What the guest prints within so many seconds (returns early with the first of it)."""
        if not select.select([self._serial], [], [], seconds)[0]:
            return b""
        return self._take()

    def _take(self) -> bytes:
        data = self._serial.recv(65536)
        self.output += data
        return data

    @property
    def seconds(self) -> float:
        """The host's time: QEMU's guest goes with it."""
        return time.monotonic()

    def expect(self, text: bytes, seconds: float = 20.0, start: int = 0) -> None:
        """Wait until the guest has printed `text` at or behind output offset `start`.

        `seconds` are of a guest that has the host to itself: here it may take `PATIENCE_S`.
        """
        end = time.monotonic() + max(seconds, PATIENCE_S)
        while text not in self.output[start:]:
            left = end - time.monotonic()
            if left <= 0:
                tail = bytes(self.output[-200:])
                raise HostError(f"QEMU's guest does not print {text!r}; it printed {tail!r}")
            if not self.listen(min(left, 0.2)) and self.process.poll() is not None:
                raise HostError(f"QEMU is gone: {self.errors}")

    def type(self, text: bytes) -> None:
        """Type at the serial port, slowly."""
        for byte in text:
            self._serial.sendall(bytes([byte]))
            time.sleep(_CHARACTER_S)

    # --- end --------------------------------------------------------------------------------------

    def close(self) -> None:
        """End QEMU."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        if not self._log.closed:
            self.last_words = self.errors
        for name in ("_serial", "_qmp"):
            with contextlib.suppress(AttributeError, OSError):
                getattr(self, name).close()
        if not self._log.closed:
            self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
