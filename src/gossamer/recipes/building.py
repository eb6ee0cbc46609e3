"""Building a guest: asked first, locked, resumed where it was interrupted, recorded at the end."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gossamer.base.errors import ConfigError, HostError
from gossamer.recipes import kept, linux, packages, ramdisk, shown
from gossamer.recipes.kept import Record
from gossamer.recipes.work import Work

#: By name: what a user reads of a guest that can be built.
RECIPES: Final = {linux.NAME: linux.TEXT}
KNOWN: Final = Path(__file__).with_name("known.json")
"""Sums of builds that were tried, by the versions of the packages that they were made from."""


def plan(missing: list[str]) -> str:
    """What a build will do, for its user to agree to."""
    processors = os.cpu_count() or 1
    minutes = max(1, round(linux.CPU_SECONDS / processors / 60))
    place = kept.folder()
    lines = [f"{linux.NAME}: {linux.TEXT}.", "Built here from Debian's source packages."]
    if missing:
        lines += [f"- installs, as root: {packages.install_line(missing)}"]
    lines += [
        f"- fetches {linux.FETCHED_MB} MB of sources",
        f"- needs {linux.DISK_MB} MB in {place} while it builds, 11 MB afterwards",
        f"- takes about {minutes} minutes on {processors} processors",
    ]
    return "\n".join(lines)


def agreed(text: str) -> bool:
    """Whether the user at the terminal agrees; ConfigError where there is none to ask."""
    print(text, file=sys.stderr)
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError(f"guest build {linux.NAME}: no terminal to ask at; --yes agrees to that")
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def build(*, yes: bool = False, again: bool = False, keep_work: bool = False) -> Path | None:
    """Build Linux, if it is not there; its folder, or None when the user does not agree.

    `yes`: do not ask.  `again`: although it is there.  `keep_work`: leave sources and objects.
    GossamerError when it cannot be built; what was done stays and is gone on with the next time.
    """
    place = kept.folder() / linux.NAME
    if not again and kept.find(linux.NAME) is not None:
        return place
    packages.check_host()
    missing = sorted(set(linux.PACKAGES) - set(packages.versions(linux.PACKAGES)))
    text = plan(missing)
    if yes:
        print(text, file=sys.stderr)
    elif not agreed(text):
        return None
    if missing:
        packages.install(missing)
    work = place / "build"
    with _lock(place) as lock:
        began = time.monotonic()
        _check_room(work)
        _forget_other_recipe(work)
        record, files = _made(work, lock, began)
        kept.keep(place, record, files)
        if not keep_work:
            shutil.rmtree(work, ignore_errors=True)
    print(f"  {_compared(record)}", file=sys.stderr)
    return place


def _made(work: Path, lock: int, began: float) -> tuple[Record, dict[str, Path]]:
    environment = {**os.environ, **linux.ENVIRONMENT}
    for name in ("MAKEFLAGS", "MAKELEVEL", "KCFLAGS", "CFLAGS", "LDFLAGS", "CC", "LD", "V", "O"):
        environment.pop(name, None)
    done = linux.Linux(work, Work(work / "log", environment, lock), shown.on_stderr())
    contents = done.build()
    files, sums = {}, {}
    for name, data in contents.items():
        path = work / name
        path.write_bytes(ramdisk.packed(data) if name.endswith(".gz") else data)
        files[name], sums[name] = path, hashlib.sha256(data).hexdigest()
    return Record(
        name=linux.NAME,
        recipe=linux.recipe_sum(),
        packages={**done.packages, **packages.versions(linux.COMPILERS)},
        files={name: kept.sha256(path) for name, path in files.items()},
        contents=sums,
        built=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - began),
    ), files


def _compared(record: Record) -> str:
    """What the sums of a build say, beside those that are known for the same packages."""
    for row in json.loads(KNOWN.read_text()):
        if row["recipe"] == record.recipe and row["packages"] == record.packages:
            if row["contents"] == record.contents:
                return "the sums are those on record for these packages"
            return "NOTE: the sums are not those on record for these packages"
    return "no sums are on record for just these packages; those of this build are kept"


@contextmanager
def _lock(place: Path) -> Iterator[int]:
    """One build at a time; SIGTERM ends it as C-c does."""
    (place / "build").mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HostError(f"guest build: another one is at work in {place}") from None
        yield fd
    except OSError as fault:
        raise HostError(f"guest build: {fault.filename or place}: {fault.strerror}") from None
    except KeyboardInterrupt:
        print(
            f"\ninterrupted; what is done is kept in {place / 'build'}, and the same command goes "
            "on from there (gossamer guest remove linux takes it away)",
            file=sys.stderr,
        )
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        os.close(fd)


def _check_room(work: Path) -> None:
    used = 0 if not any(work.iterdir()) else linux.DISK_MB // 2
    free = shutil.disk_usage(work).free >> 20
    if free < linux.DISK_MB - used:
        raise HostError(
            f"guest build: {work}: {free} MB are free, {linux.DISK_MB - used} are needed; "
            "$XDG_CACHE_HOME chooses another place"
        )


def _forget_other_recipe(work: Path) -> None:
    """What another release of the recipe has begun is not gone on with."""
    stamp, now = work / "recipe", linux.recipe_sum()
    if not stamp.is_file() or stamp.read_text() != now:
        shutil.rmtree(work)
        work.mkdir(mode=0o700)
        stamp.write_text(now)
