"""A machine of a fleet, wherever it is."""

from __future__ import annotations

import base64
import re
import threading
import time
from pathlib import Path
from typing import Any, Protocol

from gossamer.fleet.errors import FleetError


class NodeLink(Protocol):
    """The way to a node: `local.LocalNode`, `rays.RayNode`."""

    name: str
    facts: dict[str, Any]
    certain: bool

    @property
    def gone(self) -> bool: ...
    def call(self, method: str, *arguments: Any) -> Any: ...  # noqa: ANN401 - JSON
    def kill(self) -> None: ...
    def close(self) -> None: ...


class Handle:
    """A machine; calls wait while it moves, and then reach it where it is.

    Every method raises FleetError with one line, NodeLostError when the machine's node is gone.
    """

    def __init__(self, name: str, options: list[str], python: str, node: NodeLink) -> None:
        self.name, self.options, self.python, self.node = name, options, python, node
        #: Held while the machine moves.
        self.lock = threading.RLock()

    def call(self, method: str, *arguments: Any) -> Any:  # noqa: ANN401 - JSON
        """Call a method of the machine's node with its name."""
        with self.lock:
            return self.node.call(method, self.name, *arguments)

    def command(self, name: str, **arguments: Any) -> Any:  # noqa: ANN401 - what QMP returns
        """A command of QMP."""
        return self.call("command", name, arguments)

    @property
    def status(self) -> dict[str, Any]:
        """Of query-status: status, instructions since power-on, clock-ns."""
        answer: dict[str, Any] = self.command("query-status")
        return answer

    def run(self) -> None:
        """Let it run."""
        self.command("cont")

    def stop(self) -> None:
        """Stop it between two instructions."""
        self.command("stop")

    def hash(self) -> int:
        """64-bit hash of its whole state; equal states of equal schemas have equal hashes."""
        return int(self.call("hash")["hash"], 16)

    def screen(self) -> bytes:
        """What its display shows, a PNG."""
        return base64.b64decode(self.call("screen"))

    def save(self, file: Path) -> dict[str, Any]:
        """Save it in a file of its node's computer; it goes on."""
        answer: dict[str, Any] = self.call("save", str(file.absolute()))
        return answer

    # --- its serial port --------------------------------------------------------------------------

    def text(self, since: int = 0) -> tuple[int, str]:
        """What the guest wrote from byte `since` on (the last 256 KiB are kept); where it ends."""
        end, text = self.call("text", since)
        return end, base64.b64decode(text).decode(errors="replace")

    def type(self, text: str) -> None:
        """Send to the serial port; what the guest has not taken when it moves is lost."""
        self.call("type", base64.b64encode(text.encode()).decode())

    def expect(self, pattern: str, seconds: float = 60.0, since: int = 0) -> re.Match[str]:
        """Wait until the guest has written `pattern`; FleetError after `seconds`."""
        end = time.monotonic() + seconds
        while True:
            text = self.text(since)[1]
            match = re.search(pattern, text)
            if match:
                return match
            if time.monotonic() > end:
                raise FleetError(
                    f"machine {self.name} did not write {pattern!r} in {seconds:.0f} s; "
                    f"last: {text[-80:]!r}"
                )
            time.sleep(0.05)

    def __repr__(self) -> str:
        return f"<machine {self.name} on {self.node.name}>"
