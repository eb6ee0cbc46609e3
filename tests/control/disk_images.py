"""Disk images for tests, and those of a machine."""

from __future__ import annotations

from pathlib import Path

from gossamer.block import Image, create
from gossamer.control.vm import Vm

MiB = 1 << 20


def image(folder: Path, name: str, size: int = 2 * MiB) -> str:
    """A new image, of the format that its name ends in (img: raw); its path."""
    path = folder / name
    create(path, path.suffix[1:].replace("img", "raw"), size)
    return str(path)


def disk(vm: Vm, index: int = 0) -> Image:
    return vm.disks.at[index].image
