"""Linux's source out of Debian's package `linux-source-*`: what a PowerPC kernel is made from.

The package holds a tar file, xz-compressed, of 84,000 files; those of other architectures and of
drivers that no Macintosh has stay inside, but for what the configuration reads (Kconfig, Makefile):
39,000 files, 530 MB.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final, cast

from gossamer.base.errors import HostError

FILES: Final = 84_000
"""About how many files the source has, left out or not."""
_LEFT_OUT: Final = re.compile(
    r"[^/]+/(?:Documentation|samples|sound|tools/testing|tools/perf|"
    r"drivers/(?:accel|gpu/drm|infiniband|media|staging|net/wireless|iio|mtd|crypto|isdn)|"
    r"arch/(?!powerpc/)[^/]+)/"
)
_CONFIGURATION: Final = re.compile(r".*/(?:Kconfig|Makefile|Kbuild)[^/]*")


def wanted(name: str) -> bool:
    """Whether a file of the source is unpacked."""
    return not _LEFT_OUT.match(name) or _CONFIGURATION.fullmatch(name) is not None


def linux(package: Path, to: Path, moved: Callable[[], None]) -> None:
    """Unpack into the folder `to`, which is then there as a whole or not at all.

    HostError for a package that holds no source, or a disk without room.
    """
    temporary = to.with_name(f"{to.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:  # noqa: S603
            try:
                _unpack(cast(IO[bytes], child.stdout), temporary, moved)
            finally:
                child.terminate()
        tops = list(temporary.iterdir())
        if len(tops) != 1 or not (tops[0] / "Kbuild").is_file():
            raise HostError(f"{package.name}: holds no source of Linux where it is expected")
        tops[0].rename(to)
    except (tarfile.TarError, EOFError) as fault:
        raise HostError(f"{package.name}: {fault}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def one_file(package: Path, name: str, to: Path) -> None:
    """Unpack the one file of a package that is called `name`; HostError where there is none."""
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:  # noqa: S603
            try:
                with tarfile.open(fileobj=child.stdout, mode="r|") as files:
                    for member in files:
                        if member.isreg() and member.name.rpartition("/")[2] == name:
                            to.write_bytes(cast(IO[bytes], files.extractfile(member)).read())
                            return
            finally:
                child.terminate()
    except (tarfile.TarError, EOFError) as fault:
        raise HostError(f"{package.name}: {fault}") from None
    raise HostError(f"{package.name}: has no {name}")


def _unpack(stream: IO[bytes], to: Path, moved: Callable[[], None]) -> None:
    with tarfile.open(fileobj=stream, mode="r|") as outer:
        for member in outer:
            if not member.name.endswith(".tar.xz"):
                continue
            source = outer.extractfile(member)
            with tarfile.open(fileobj=source, mode="r|xz") as inner:
                # Debian 12's Python 3.11.2 knows no filters; what is unpacked is Debian's, signed.
                if hasattr(tarfile, "tar_filter"):
                    inner.extraction_filter = tarfile.tar_filter
                for one in inner:
                    moved()
                    if one.isdir() or wanted(one.name):
                        inner.extract(one, to)
            return
