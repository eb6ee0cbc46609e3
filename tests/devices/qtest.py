"""A real QEMU whose registers a test reads and writes; with `runs` its CPU executes."""

from __future__ import annotations

import subprocess
from pathlib import Path

CONFIG_ADDRESS, CONFIG_DATA = 0xFEC00000, 0xFEE00000


class Qtest:
    def __init__(self, qemu: Path, *args: str, runs: bool = False) -> None:
        command = [
            str(qemu),
            *([] if runs else ["-S"]),
            "-qtest",
            "stdio",
            "-display",
            "none",
            "-monitor",
            "none",
        ]
        self.process = subprocess.Popen(
            [*command, "-serial", "none", *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )

    def __enter__(self) -> Qtest:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.terminate()
        self.process.communicate()

    def ask(self, text: str) -> list[str]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        while line := self.process.stdout.readline():
            if line.startswith("OK"):
                return line.split()[1:]
            assert not line.startswith("FAIL"), line
        raise AssertionError(f"QEMU ended at {text}")

    def load(self, ra: int, size: int) -> int:
        return int(self.ask(f"read{' bw l'[size]} {ra:#x}")[0], 0)

    def store(self, ra: int, value: int, size: int) -> None:
        self.ask(f"write{' bw l'[size]} {ra:#x} {value:#x}")
