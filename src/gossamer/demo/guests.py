"""The guests of `gossamer demo openbios`, `linux` and `web`: which options start them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

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
NO_LINUX: Final = (
    "demo linux: needs a kernel: gossamer guest build linux makes one, or give -kernel FILE and "
    f"-initrd FILE, or ${KERNEL[0]} and ${INITRD[0]}"
)


def options_for(name: str, words: Sequence[str]) -> list[str]:
    """Options of gossamer run that start guest `name`; `words` come last, so they count."""
    if name == "openbios":
        return [*COMMON, "-prom-env", "auto-boot?=false", *words]
    if name == "linux":
        return [*COMMON, *_linux(words), *words]
    if name == "web":
        return _web(list(words))
    raise unknown("demo", name, NAMES)


def _linux(words: Sequence[str]) -> list[str]:
    made = [] if "-m" in words else ["-m", "256"]
    return made + ([] if "-append" in words else ["-append", "console=ttyPZ0"])


def _web(words: list[str]) -> list[str]:
    """A picture of gossamer's own where `words` give the machine nothing to start from."""
    if words[:1] == ["linux"]:
        words = words[1:]
        shown = [] if "-append" in words else ["-append", "console=tty0 console=ttyPZ0"]
        return [*WEB, *_linux([*shown, *words]), *shown, *words]
    own = [] if _STARTS & set(words) else ["-bios", "builtin-screen", "-m", "16"]
    return [*WEB, *own, *words]


def given(words: Sequence[str]) -> list[str] | None:
    """Files that the environment names, where `words` name none; None where neither does.

    A kernel of the user's own may need no RAM disk, or another one.
    """
    if "-kernel" in words:
        return []
    kernel, initrd = os.environ.get(KERNEL[0]), os.environ.get(INITRD[0])
    if not kernel:
        return None
    return ["-kernel", kernel, *(["-initrd", initrd] if initrd else [])]


def beside_checkout(folder: Path | None = None) -> list[str] | None:
    """Kernel and RAM disk in `folder`, by default that beside the checkout."""
    # <checkout>/src/gossamer/__init__.py; elsewhere such a folder is not there.
    place = folder or Path(__file__).resolve().parents[3].parent / BESIDE
    kernel, initrd = place / KERNEL[1], place / INITRD[1]
    if not kernel.is_file():
        return None
    return ["-kernel", str(kernel), *(["-initrd", str(initrd)] if initrd.is_file() else [])]
