"""Runs a real QEMU through QMP on its standard input and output."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from tests import waiting


class Qemu:
    """One QEMU without display; `with` ends it."""

    def __init__(self, binary: Path | str, *options: str) -> None:
        command = [str(binary), *options, "-display", "none", "-qmp", "stdio"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._line()
        self.command("qmp_capabilities")

    def __enter__(self) -> Qemu:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate(timeout=900)

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            assert self.process.stderr is not None
            raise EOFError(self.process.stderr.read())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def command(self, name: str, **arguments: Any) -> Any:
        """Send a QMP command; what it returns."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            assert self.process.stderr is not None
            raise EOFError(self.process.stderr.read()) from None
        while True:
            answer = self._line()
            if "error" in answer:
                raise RuntimeError(answer["error"]["desc"])
            if "return" in answer:
                return answer["return"]

    def monitor(self, line: str) -> str:
        """A line for the human monitor."""
        return str(self.command("human-monitor-command", **{"command-line": line}))

    def save(self, path: Path) -> bytes:
        """Migrate to a file; its bytes."""
        self.command("migrate", uri=f"exec:cat > {path}")
        self.until("query-migrate", "completed")
        return path.read_bytes()

    def until(self, query: str, status: str) -> None:
        """Wait for a status."""

        def come() -> bool:
            found = self.command(query).get("status")
            assert found in (None, status) or found != "failed", self.command(query)
            return bool(found == status)

        waiting.until(come, saw=lambda: self.command(query), pause=0.05)

    def loaded(self) -> str:
        """Wait for an incoming stream to be loaded; the run state."""
        waiting.until(lambda: self.command("query-status")["status"] != "inmigrate", pause=0.05)
        return str(self.command("query-status")["status"])
