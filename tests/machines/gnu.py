"""What GNU as and ld make of a text, to compare our assembler with."""

from __future__ import annotations

import subprocess
from pathlib import Path


def gnu_code(
    prefix: str, text: str, origin: int, symbols: dict[str, int], folder: Path, *flags: str
) -> bytes:
    """The bytes of `text`, linked to `origin`; `prefix` names the cross tools, `flags` are as's."""
    source, made, raw = (folder / f"program.{kind}" for kind in ("s", "o", "bin"))
    source.write_text(text)
    given = [f"--defsym={key}={value:#x}" for key, value in symbols.items()]
    subprocess.run([f"{prefix}as", *flags, *given, "-o", made, source], check=True)
    link = ["-Ttext", hex(origin), "-e", "0", "--oformat", "binary", "-o", raw]
    subprocess.run([f"{prefix}ld", *link, made], check=True)
    return raw.read_bytes()
