"""``-netdev passt``: passt(1) as the guest's way out, started here at one end of a socket.

passt looks at its options, then goes on in the background and ends when the socket does.  Frames
are as on ``stream``.  Source: passt(1); QEMU 10.1, NetdevPasstOptions.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Sequence
from typing import Final

from gossamer.base.errors import HostError
from gossamer.net.stream import Stream

_START_S: Final = 120.0
_NOT_WRONG: Final = ("Failed to send", "Usage", " ", "Don't run as root")


class Passt(Stream):
    """The emulator's end.  HostError where passt is not installed or refuses."""

    def __init__(self, name: str, program: str, words: Sequence[str]) -> None:
        mine, theirs = socket.socketpair()
        with theirs:
            try:
                self._start(name, program, words, theirs)
            except BaseException:
                mine.close()
                raise
        super().__init__(name, "", server=False, fd=mine.detach(), kind="passt")

    @property
    def info(self) -> str:
        return "passt" if self.peer is not None else "passt has ended"

    def _start(self, name: str, program: str, words: Sequence[str], theirs: socket.socket) -> None:
        command = [program, "--fd", str(theirs.fileno()), *words]
        try:
            done = subprocess.run(  # noqa: S603 - as the option names it
                command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_START_S,
                start_new_session=True, check=False,
            )  # fmt: skip
        except FileNotFoundError:
            hint = "; Debian has it as passt" if program == "passt" else ""
            raise HostError(f"-netdev {name}: passt: {program} is not installed{hint}") from None
        except OSError as fault:
            raise HostError(f"-netdev {name}: passt: {program}: {fault.strerror}") from None
        except subprocess.TimeoutExpired:
            raise HostError(f"-netdev {name}: passt: does not get ready") from None
        if done.returncode:
            raise HostError(f"-netdev {name}: passt: {_reason(done.stdout)}")


def _reason(said: bytes) -> str:
    """The line in which passt says what is wrong."""
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    wrong = [line for line in lines if not line.startswith(_NOT_WRONG)]
    return (wrong or lines or ["it ends at once"])[0].strip()[:200]
