"""The built-in program is what its source says."""

from __future__ import annotations

import subprocess
from pathlib import Path

from gossamer.machines import builtin


def test_program_is_its_source_assembled(powerpc_gcc: str, tmp_path: Path) -> None:
    source, made, raw = (tmp_path / f"program.{kind}" for kind in ("s", "o", "bin"))
    source.write_text(builtin.SOURCE)
    subprocess.run([f"{powerpc_gcc}as", "-mregnames", "-o", made, source], check=True)
    subprocess.run([f"{powerpc_gcc}objcopy", "-O", "binary", made, raw], check=True)
    assert raw.read_bytes() == builtin.PROGRAM


def test_program_is_an_image_in_low_ram() -> None:
    image = builtin.image()
    assert (image.entry, image.start) == (builtin.BASE, builtin.BASE)
    assert image.end == builtin.BASE + len(builtin.PROGRAM)
