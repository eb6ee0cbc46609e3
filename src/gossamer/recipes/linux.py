"""The recipe of `gossamer guest build linux`: kernel, RAM disk, firmware for g3beige and mac99.

Linux from the package `linux-source`, busybox from its source package, both with Debian's cross
compiler for PowerPC; OpenBIOS as Debian has built it, which needs no root then; `linux/` beside
this file has the configurations and the files of the RAM disk.  The same packages give the same
bytes, wherever it is done.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gossamer.recipes import ramdisk, unpack
from gossamer.recipes.packages import Sources
from gossamer.recipes.ramdisk import Entry
from gossamer.recipes.shown import Shown
from gossamer.recipes.work import Work

NAME: Final = "linux"
TEXT: Final = "Linux and busybox for g3beige and mac99: a shell on serial line and screen, network"
RECIPE: Final = Path(__file__).with_name("linux")
KERNEL: Final = "vmlinux"
INITRD: Final = "initramfs.cpio.gz"
FIRMWARE: Final = "openbios-ppc"
#: Packages that have it: the second where a release has not the first.
_OF_FIRMWARE: Final = ("openbios-ppc", "qemu-system-data")
COMPILERS: Final = (
    "gcc-powerpc-linux-gnu", "binutils-powerpc-linux-gnu", "libc6-dev-powerpc-cross",
)  # fmt: skip
PACKAGES: Final = (
    *COMPILERS, "gcc", "libc6-dev", "make", "bc", "bison", "flex", "perl", "dpkg-dev", "xz-utils",
    "bzip2", "patch",
)  # fmt: skip
"""What a build needs installed."""
FETCHED_MB: Final = 144
DISK_MB: Final = 1100
"""Room for sources, objects and the rest while it is built."""
CPU_SECONDS: Final = 560
"""CPU time of a build, about: nine tenths of it kernel."""
_CC_KERNEL: Final = 1700
_CC_BUSYBOX: Final = 860
#: Lines that make writes for a file it makes.
_STEP: Final = re.compile(r"  [A-Z]{2,}")
#: Counts changes of this file that change what is built.
_REVISION: Final = 2
ENVIRONMENT: Final = {
    "ARCH": "powerpc",
    "CROSS_COMPILE": "powerpc-linux-gnu-",
    "KBUILD_BUILD_USER": "build",
    "KBUILD_BUILD_HOST": "gossamer",
    "KBUILD_BUILD_VERSION": "1",
    "KBUILD_BUILD_TIMESTAMP": "2023-11-14 22:13:20 +0000",
    "SOURCE_DATE_EPOCH": "1700000000",
    "LC_ALL": "C",
    "TZ": "UTC",
}
"""What would else differ from host to host in what is built."""


def recipe_sum() -> str:
    """SHA-256 of all that decides what is built, but for the packages."""
    total = hashlib.sha256(f"{_REVISION} {ENVIRONMENT}".encode())
    for path in sorted(RECIPE.rglob("*")):
        if path.is_file():
            total.update(str(path.relative_to(RECIPE)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


class Linux:
    """One build in the folder `work`; each step goes on where an earlier one was interrupted."""

    def __init__(self, folder: Path, work: Work, shown: Shown) -> None:
        self._folder, self._work, self._shown = folder, work, shown
        self._jobs = f"-j{os.cpu_count() or 1}"
        self._kernel, self._busybox = folder / "linux", folder / "busybox"
        self._objects = folder / "objects"
        self.packages: dict[str, str] = {}

    def build(self) -> dict[str, bytes]:
        """Kernel, RAM disk and firmware, not compressed, by the names that they are kept under.

        GossamerError when a program or the host fails.
        """
        self._fetch()
        firmware = (self._folder / FIRMWARE).read_bytes()
        return {KERNEL: self._make_kernel(), INITRD: self._make_ramdisk(), FIRMWARE: firmware}

    def _fetch(self) -> None:
        apt = self._folder / "apt"
        sources = Sources(apt, self._work)
        self._step("lists of packages", lambda: sources.renew(self._count))
        name = sources.newest("linux-source")
        firmware = next((one for one in _OF_FIRMWARE if sources.has(one)), _OF_FIRMWARE[1])
        self.packages = {one: sources.version(one) for one in (name, firmware)}
        busybox = sources.version("busybox", source=True)
        wanted = [f"{one}={version}" for one, version in self.packages.items()]
        wanted.append(f"busybox={busybox}")
        self.packages["busybox (source)"] = busybox
        stamp = self._folder / "fetched"
        if not stamp.is_file() or stamp.read_text() != " ".join(wanted):
            # Other versions than before: nothing of an earlier build fits.
            for path in (self._kernel, self._busybox, self._objects):
                shutil.rmtree(path, ignore_errors=True)
            self._step("sources", lambda: self._fetch_sources(sources, wanted))
            stamp.write_text(" ".join(wanted))

    def _fetch_sources(self, sources: Sources, wanted: list[str]) -> None:
        apt = self._folder / "apt"
        for pattern in ("*.deb", "*.dsc", "*.tar.*"):
            for path in apt.glob(pattern):
                path.unlink()
        *binaries, busybox = wanted
        sources.fetch(["download", *binaries], self._count)
        sources.fetch(["source", "--download-only", "--only-source", busybox], self._count)
        (package,) = apt.glob(f"{binaries[1].partition('=')[0]}_*.deb")
        unpack.one_file(package, FIRMWARE, self._folder / FIRMWARE)

    def _make_kernel(self) -> bytes:
        if not self._kernel.is_dir():
            (package,) = (self._folder / "apt").glob("linux-source-*.deb")
            self._step(
                "unpacking Linux",
                lambda: unpack.linux(package, self._kernel, self._shown.moved),
                unpack.FILES,
            )
        self._objects.mkdir(exist_ok=True)
        make = ["make", f"O={self._objects}"]
        defaults = self._kernel / "arch" / "powerpc" / "configs" / "gossamer_defconfig"
        shutil.copyfile(RECIPE / "kernel.config", defaults)
        configured = [*make, defaults.name]
        self._step("configuring Linux", lambda: self._run(configured, self._kernel))
        self._step(
            "compiling Linux",
            lambda: self._run([*make, self._jobs, "vmlinux"], self._kernel),
            _CC_KERNEL,
        )
        stripped = self._folder / KERNEL
        strip = [f"{ENVIRONMENT['CROSS_COMPILE']}strip", "-o", str(stripped)]
        self._run([*strip, str(self._objects / "vmlinux")], self._folder)
        return stripped.read_bytes()

    def _make_ramdisk(self) -> bytes:
        if not self._busybox.is_dir():
            self._step("unpacking busybox", self._unpack_busybox)
        here = self._busybox
        shutil.copyfile(RECIPE / "busybox.config", here / ".config")
        # An empty answer to each question is busybox's own choice.
        feed = b"\n" * 4000
        self._step(
            "configuring busybox", lambda: self._work.run(["make", "oldconfig"], here, feed=feed)
        )
        make = ["make", self._jobs, "busybox", "busybox.links"]
        self._step("compiling busybox", lambda: self._run(make, here), _CC_BUSYBOX)
        links = (here / "busybox.links").read_text().split()
        return ramdisk.archive(entries((here / "busybox").read_bytes(), links))

    def _unpack_busybox(self) -> None:
        (description,) = (self._folder / "apt").glob("busybox_*.dsc")
        temporary = self._busybox.with_name("busybox.new")
        shutil.rmtree(temporary, ignore_errors=True)
        # apt has checked signature and sums.
        words = ["dpkg-source", "--no-check", "-x", str(description), str(temporary)]
        self._run(words, self._folder)
        temporary.rename(self._busybox)

    def _run(self, words: list[str], folder: Path) -> None:
        self._work.run(words, folder, self._count)

    def _count(self, line: str) -> None:
        self._shown.moved(1 if _STEP.match(line) else 0)

    def _step(self, name: str, action: Callable[[], None], total: int = 0) -> None:
        self._shown.begin(name, total)
        action()
        self._shown.end()


def entries(busybox: bytes, links: list[str]) -> list[Entry]:
    """The files of the RAM disk: busybox under all its names, and those of the recipe."""
    made = [Entry("bin/busybox", ramdisk.PROGRAM, busybox)]
    made += [Entry(name, ramdisk.FOLDER) for name in ("dev", "proc", "sys", "tmp", "run", "mnt")]
    made += [
        Entry("root", ramdisk.FOLDER),
        Entry("dev/console", ramdisk.CONSOLE, device=(5, 1)),
        Entry("etc/resolv.conf", ramdisk.LINK, b"/run/resolv.conf"),
    ]
    made += [Entry(path.lstrip("/"), ramdisk.LINK, b"/bin/busybox") for path in links]
    root = RECIPE / "root"
    for path in sorted(root.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            mode = ramdisk.PROGRAM if data.startswith(b"#!") else ramdisk.FILE
            made.append(Entry(str(path.relative_to(root)), mode, data))
    return made
