"""A client of QMP that waits for its answers, for one emulator at a Unix socket."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from gossamer.base.errors import HostError

PATIENCE_S: Final = 120.0
"""For one answer: a save of a large machine on a busy host is among them."""

END_S: Final = 1.0


class Qmp:
    """One connection; several threads may call `command`, one after another is served."""

    def __init__(self, path: Path, why: Callable[[], str | None], seconds: float) -> None:
        """Connect within `seconds`.

        `why()` is None while the emulator lives, else what it said at its end.
        """
        self._why = why
        self._lock = threading.Lock()
        end = time.monotonic() + seconds
        while True:
            made = socket.socket(socket.AF_UNIX)
            try:
                made.connect(str(path))
                break
            except OSError as fault:
                made.close()
                said = why()
                if said is not None:
                    raise HostError(f"did not start: {said}") from None
                if time.monotonic() > end:
                    raise HostError(f"no QMP within {seconds:.0f} s: {fault.strerror}") from None
                time.sleep(0.005)
        self._socket = made
        self._lines = made.makefile("rb")
        made.settimeout(PATIENCE_S)
        self._line()
        self.command("qmp_capabilities")

    def _line(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except ConnectionError:
            raise self._gone() from None
        except (OSError, ValueError) as fault:
            raise HostError(f"does not answer: {fault}") from None
        if not line:
            raise self._gone()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _gone(self) -> HostError:
        """It hung up: the emulator's last words, for which it has a moment to end."""
        end = time.monotonic() + END_S
        while (said := self._why()) is None and time.monotonic() < end:
            time.sleep(0.01)
        return HostError(f"is gone: {said or 'its QMP ended'}")

    def command(self, name: str, **arguments: Any) -> Any:  # noqa: ANN401 - what QMP returns
        """Carry out a command; HostError with the emulator's own text where it fails."""
        request = {"execute": name}
        if arguments:
            request["arguments"] = arguments  # type: ignore[assignment]
        with self._lock:
            try:
                self._socket.sendall(json.dumps(request).encode() + b"\n")
            except OSError:
                raise self._gone() from None
            while True:
                answer = self._line()
                if "error" in answer:
                    raise HostError(f"{name}: {answer['error']['desc']}")
                if "return" in answer:
                    return answer["return"]

    def close(self) -> None:
        """Let go; the emulator goes on."""
        self._lines.close()
        self._socket.close()
