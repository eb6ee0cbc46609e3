"""Debian's packages: which are missing, how they are installed, and sources fetched without root.

Sources are fetched with a state of apt's own in a folder of ours: nothing of the host's lists is
needed or changed, an ordinary user may do it, and source packages are found although the host asks
for none.  apt checks the signatures and sums of all that it fetches.  Source: apt-get(8),
apt.conf(5), sources.list(5).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from gossamer.base.errors import ConfigError, HostError
from gossamer.recipes.work import Work

SOURCES: Final = Path("/etc/apt")
_URI_OF_DEBIAN: Final = re.compile(r"^[ \t]*URIs:.*debian", re.MULTILINE | re.IGNORECASE)
_ONE_LINE: Final = re.compile(r"^deb\s+(?=.*debian)(.*)$", re.MULTILINE | re.IGNORECASE)
_TYPES: Final = re.compile(r"^[ \t]*Types:.*$", re.MULTILINE | re.IGNORECASE)
_INSTALLED: Final = "ii"


def check_host() -> None:
    """ConfigError where there is no Debian to take packages from."""
    for name in ("apt-get", "apt-cache", "dpkg-query", "dpkg-deb"):
        if shutil.which(name) is None:
            raise ConfigError(
                f"guest build: needs Debian's packages, and there is no {name}; with a kernel of "
                "your own: gossamer run -kernel FILE -initrd FILE"
            )


def versions(names: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are installed."""
    done = subprocess.run(  # noqa: S603 - names of the recipe's
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev} ${Version}\\n", *names],  # noqa: S607
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    rows = (line.split() for line in done.stdout.splitlines())
    return {row[0]: row[2] for row in rows if len(row) == 3 and row[1] == _INSTALLED}


def as_root() -> list[str] | None:
    """The words before a command of root's: none for root, sudo, or None where neither is."""
    if os.geteuid() == 0:
        return []
    return ["sudo"] if shutil.which("sudo") else None


def install_line(names: Iterable[str]) -> str:
    return f"apt-get install --no-install-recommends {' '.join(names)}"


def install(names: list[str]) -> None:
    """Install packages on this host; apt's own words are shown.

    ConfigError where this user cannot, HostError when apt fails.
    """
    before = as_root()
    if before is None:
        raise ConfigError(
            f"guest build: needs root or sudo once: {install_line(names)}; then start this again"
        )
    apt = [*before, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    update = subprocess.run([*apt, "-q", "update"], check=False, stdout=2)  # noqa: S603
    asked = ["-qy", "-o", "DPkg::Lock::Timeout=600", "install", "--no-install-recommends", *names]
    done = subprocess.run([*apt, *asked], check=False, stdout=2)  # noqa: S603 - the line shown
    if done.returncode:
        lists = "" if not update.returncode else "its lists could not be renewed either, so is "
        raise HostError(
            f"apt-get: status {done.returncode} (see above): {lists}there a network, and room on "
            f"the disk? By hand: {install_line(names)}"
        )
    absent = set(names) - set(versions(names))
    if absent:
        raise HostError(f"apt-get: still not installed: {' '.join(sorted(absent))}")


class Sources:
    """Fetches Debian's packages into a folder, with a state of apt's own there."""

    def __init__(self, folder: Path, work: Work) -> None:
        self._folder, self._work = folder, work
        self.configuration = folder / "apt.conf"

    def renew(self, line: Callable[[str], None]) -> None:
        """Fetch the lists of what there is; ConfigError, HostError."""
        for name in ("lists/partial", "cache/archives/partial", "parts", "state"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        for name in ("status", "none.list"):
            (self._folder / name).write_text("")
        if not _copy_sources(SOURCES, self._folder / "parts"):
            raise ConfigError(f"guest build: no entry of {SOURCES}/sources.list is Debian's")
        self.configuration.write_text(
            "".join(
                f'{name} "{value}";\n'
                for name, value in {
                    "Dir::Etc::sourcelist": self._folder / "none.list",
                    "Dir::Etc::sourceparts": self._folder / "parts",
                    "Dir::State": self._folder / "state",
                    "Dir::State::lists": self._folder / "lists",
                    "Dir::State::status": self._folder / "status",
                    "Dir::Cache": self._folder / "cache",
                    "APT::Sandbox::User": "root",
                    "Acquire::Retries": "3",
                    "Acquire::Languages": "none",
                    "Acquire::http::Timeout": "30",
                }.items()
            )
        )
        self._apt(["-q", "update"], line)

    def newest(self, name: str) -> str:
        """The package that a metapackage stands for: `linux-source` is `linux-source-6.1`."""
        found = re.search(rf"^Depends: ({name}-[0-9.]+)\b", self._show(name), re.MULTILINE)
        if found is None:
            raise HostError(f"apt-cache: {name} leads to no package")
        return found[1]

    def version(self, name: str, *, source: bool = False) -> str:
        """The version that would be fetched; of source packages, the highest."""
        field = re.findall(r"^Version: (\S+)", self._show(name, source=source), re.MULTILINE)
        if not field:
            raise HostError(f"apt-cache: there is no package {name}")
        return str(field[0])

    def has(self, name: str) -> bool:
        return bool(self._show(name))

    def fetch(self, words: list[str], line: Callable[[str], None]) -> None:
        """`download NAME` or `source --download-only NAME`."""
        self._apt(["-q", *words], line)

    def _apt(self, words: list[str], line: Callable[[str], None]) -> None:
        self._work.run(["apt-get", "-c", str(self.configuration), *words], self._folder, line)

    def _show(self, name: str, *, source: bool = False) -> str:
        asked = ["showsrc", "--only-source"] if source else ["--no-all-versions", "show"]
        done = subprocess.run(  # noqa: S603 - names of the recipe's
            ["apt-cache", "-c", str(self.configuration), *asked, name],  # noqa: S607
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout


def _copy_sources(start: Path, to: Path) -> int:
    """The host's entries for Debian's packages, asked for sources too; how many files."""
    count = 0
    for path in sorted((start / "sources.list.d").glob("*.sources")):
        text = path.read_text(errors="replace")
        if _URI_OF_DEBIAN.search(text):
            (to / path.name).write_text(_TYPES.sub("Types: deb deb-src", text))
            count += 1
    lists = sorted((start / "sources.list.d").glob("*.list"))
    for path in [start / "sources.list", *lists]:
        rows = _ONE_LINE.findall(path.read_text(errors="replace")) if path.is_file() else []
        if rows:
            both = "".join(f"deb {row}\ndeb-src {row}\n" for row in rows)
            (to / f"{path.stem}.list").write_text(both)
            count += 1
    return count
