"""The guests of `gossamer demo openbios`, `linux` and `web`: which options start them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.machines.config import unknown

NAMES: Final = ("builtin", "linux", "openbios", "web")
BESIDE: Final = Path("shared", "guests")
"""Where guests lie beside a checkout."""
KERNEL: Final = "GOSSAMER_LINUX_KERNEL", "vmlinux.gz"
INITRD: Final = "GOSSAMER_LINUX_INITRD", "initramfs.cpio.gz"
COMMON: Final = ("-M", "g3beige", "-nographic")
#: A page for browsers; C-c ends it, since no port has the terminal.
WEB: Final = (
    "-M", "g3beige", "-display", "none", "-serial", "null", "-monitor", "none",
    "-web", "127.0.0.1:8006,to=8106,open=on",
)  # fmt: skip
#: Options that say what the machine starts from.
_STARTS: Final = frozenset(
    ("-bios", "-kernel", "-cdrom", "-hda", "-drive", "-blockdev", "-loadvm", "-incoming")
)


def options_for(name: str, words: Sequence[str], folder: Path | None = None) -> list[str]:
    """Options of gossamer run that start guest `name`; `words` come last, so they count.

    `folder`: where its files may be; by default that beside the checkout.
    """
    if name == "openbios":
        return [*COMMON, "-prom-env", "auto-boot?=false", *words]
    if name == "linux":
        return [*COMMON, *_linux(words, folder or _beside_checkout()), *words]
    if name == "web":
        return _web(list(words), folder or _beside_checkout())
    raise unknown("demo", name, NAMES)


def _web(words: list[str], folder: Path) -> list[str]:
    """A picture of gossamer's own where `words` give the machine nothing to start from."""
    if words[:1] == ["linux"]:
        words = words[1:]
        shown = [] if "-append" in words else ["-append", "console=tty0 console=ttyPZ0"]
        return [*WEB, *_linux([*shown, *words], folder), *shown, *words]
    own = [] if _STARTS & set(words) else ["-bios", "builtin-screen", "-m", "16"]
    return [*WEB, *own, *words]


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
