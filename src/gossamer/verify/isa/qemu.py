"""The peer qemu-ppc (user mode): one static program runs record after record from its input."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gossamer.base.errors import ConfigError, HostError
from gossamer.isa.text import Program, assemble_program
from gossamer.verify.isa.record import REC, SIZE, Record
from gossamer.verify.isa.runner import USER

BASE: Final = 0x2000
PF_RWX: Final = 7


def elf(code: bytes) -> bytes:
    """A static big-endian PowerPC program: one writable segment from BASE to the record's end."""
    ident = b"\x7fELF" + bytes([1, 2, 1]) + bytes(9)
    header = struct.pack(">HHIIIIIHHHHHH", 2, 20, 1, BASE, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    length = REC + SIZE - BASE
    segment = struct.pack(">8I", 1, 0x1000, BASE, BASE, len(code), length, PF_RWX, 0x1000)
    return (ident + header + segment).ljust(0x1000, b"\0") + code


def runner() -> Program:
    """The program, from its source."""
    return assemble_program(USER, BASE)


class QemuUser:
    """Runs records in qemu-ppc."""

    name = "qemu"

    def __init__(self, model: str = "750", program: str | None = None) -> None:
        found = program or shutil.which("qemu-ppc")
        if not found:
            raise ConfigError("peer qemu: qemu-ppc is not installed")
        self.program, self.model = found, model
        self.image = elf(runner().code)

    def run(self, records: Sequence[Record], timeout: float = 600) -> list[Record]:
        with tempfile.TemporaryDirectory() as folder:
            image = Path(folder, "runner")
            image.write_bytes(self.image)
            image.chmod(0o755)
            done = subprocess.run(  # noqa: S603 (found by name or given by the user)
                [self.program, "-cpu", self.model, str(image)],
                input=b"".join(r.pack() for r in records),
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        count = len(done.stdout) // SIZE
        if done.returncode or count != len(records):
            word = records[count].word if count < len(records) else 0
            raise HostError(
                f"qemu-ppc: ended with status {done.returncode} after {count} of {len(records)}"
                f" vectors (next instruction {word:#010x}): {done.stderr[-200:]!r}"
            )
        return [Record.unpack(done.stdout[n * SIZE : n * SIZE + SIZE]) for n in range(count)]
