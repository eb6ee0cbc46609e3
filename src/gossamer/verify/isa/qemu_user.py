"""Running a static program of ours, block after block of its input, in qemu-ppc (user mode)."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gossamer.base.errors import ConfigError, HostError

BASE: Final = 0x2000
"""Where such a program begins."""
_PF_RWX: Final = 7


def elf(code: bytes, end: int) -> bytes:
    """A static big-endian PowerPC program: one writable segment from BASE to `end`."""
    ident = b"\x7fELF" + bytes([1, 2, 1]) + bytes(9)
    header = struct.pack(">HHIIIIIHHHHHH", 2, 20, 1, BASE, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    segment = struct.pack(">8I", 1, 0x1000, BASE, BASE, len(code), end - BASE, _PF_RWX, 0x1000)
    return (ident + header + segment).ljust(0x1000, b"\0") + code


def qemu_ppc(program: str | None = None) -> str:
    """The program, found by its name where none is given; ConfigError where there is none."""
    found = program or shutil.which("qemu-ppc")
    if not found:
        raise ConfigError("peer qemu: qemu-ppc is not installed")
    return found


def run_blocks(
    program: str, model: str, image: bytes, blocks: Sequence[bytes], timeout: float = 600
) -> list[bytes]:
    """What `image` makes of each block, which begins with its instruction; HostError if it ends.

    Every block, in and out, has the size of the first.
    """
    if not blocks:
        return []
    size = len(blocks[0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "runner")
        path.write_bytes(image)
        path.chmod(0o755)
        done = subprocess.run(  # noqa: S603 (found by name or given by the user)
            [program, "-cpu", model, str(path)],
            input=b"".join(blocks),
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    count = len(done.stdout) // size
    if done.returncode or count != len(blocks):
        word = blocks[count][:4].hex() if count < len(blocks) else "none"
        raise HostError(
            f"qemu-ppc: ended with status {done.returncode} after {count} of {len(blocks)}"
            f" vectors (next instruction {word}): {done.stderr[-200:]!r}"
        )
    return [done.stdout[n * size : (n + 1) * size] for n in range(count)]
