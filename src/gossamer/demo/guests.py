"""The guests of `gossamer demo openbios` and `gossamer demo linux`: which options start them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.machines.config import unknown

NAMES: Final = ("builtin", "linux", "openbios")
BESIDE: Final = Path("shared", "guests")
"""Where guests lie beside a checkout."""
KERNEL: Final = "GOSSAMER_LINUX_KERNEL", "vmlinux.gz"
INITRD: Final = "GOSSAMER_LINUX_INITRD", "initramfs.cpio.gz"
COMMON: Final = ("-M", "g3beige", "-nographic")


def options_for(name: str, words: Sequence[str], folder: Path | None = None) -> list[str]:
    """Options of gossamer run that start guest `name`; `words` come last, so they count.

    `folder`: where its files may be; by default that beside the checkout.
    """
    if name == "openbios":
        return [*COMMON, "-prom-env", "auto-boot?=false", *words]
    if name == "linux":
        return [*COMMON, *_linux(words, folder or _beside_checkout()), *words]
    raise unknown("demo", name, NAMES)


def _beside_checkout() -> Path:
    # <checkout>/src/gossamer/__init__.py; elsewhere such a folder is not there.
    return Path(__file__).resolve().parents[3].parent / BESIDE


def _linux(words: Sequence[str], folder: Path) -> list[str]:
    made = [] if "-m" in words else ["-m", "256"]
    if "-append" not in words:
        made += ["-append", "console=ttyPZ0"]
    if "-kernel" not in words:
        kernel = _found(*KERNEL, folder)
        if kernel is None:
            raise ConfigError(
                f"demo linux: give a kernel with -kernel FILE or ${KERNEL[0]} (and -initrd FILE or "
                f"${INITRD[0]}); there is no {folder / KERNEL[1]}"
            )
        made += ["-kernel", str(kernel)]
        # A kernel of the user's own may need no RAM disk, or another one.
        initrd = None if "-initrd" in words else _found(*INITRD, folder)
        made += [] if initrd is None else ["-initrd", str(initrd)]
    return made


def _found(variable: str, name: str, folder: Path) -> Path | None:
    """The file that an environment variable gives, or that is in the folder."""
    given = os.environ.get(variable)
    if given:
        return Path(given)
    return folder / name if (folder / name).is_file() else None
