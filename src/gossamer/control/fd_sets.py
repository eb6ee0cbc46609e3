"""Descriptors that a launcher or a client has passed, for files that are named /dev/fdset/N."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Final

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.base.late import pattern

MOST_FDS: Final = 256
_PATH: Final = pattern(r"/dev/fdset/([0-9]{1,9})", re.ASCII)


class PassedFd(Data):
    """A descriptor of a set; `opaque` is whatever its owner wrote there."""

    fd: int
    opaque: str | None = None


class FdSets:
    """The sets by number; `inherited` are set, descriptor and word of each -add-fd."""

    def __init__(self, inherited: Iterable[tuple[int, int, str | None]] = ()) -> None:
        self.sets: dict[int, list[PassedFd]] = {}
        self._inherited: set[int] = set()
        for number, fd, opaque in inherited:
            self.sets.setdefault(number, []).append(PassedFd(fd, opaque))
            self._inherited.add(fd)

    def add(self, number: int | None, fd: int, opaque: str | None) -> int:
        """Put a descriptor into a set, by default a new one: the set's number."""
        if sum(map(len, self.sets.values())) >= MOST_FDS:
            raise ConfigError(f"{MOST_FDS} descriptors are there: remove-fd comes first")
        if number is None:
            number = next(n for n in range(len(self.sets) + 1) if n not in self.sets)
        if number < 0:
            raise ConfigError("Parameter 'fdset-id' expects a non-negative value")
        self.sets.setdefault(number, []).append(PassedFd(fd, opaque))
        return number

    def remove(self, number: int, fd: int | None) -> None:
        """Close one descriptor of a set, or all."""
        found = self.sets.get(number, [])
        gone = [one for one in found if fd in (None, one.fd)]
        if not gone:
            name = f"fdset-id:{number}" + ("" if fd is None else f", fd:{fd}")
            raise ConfigError(f"File descriptor named '{name}' not found")
        for one in gone:
            found.remove(one)
            self._inherited.discard(one.fd)
            os.close(one.fd)
        if not found:
            del self.sets[number]

    def path(self, text: str) -> str:
        """`text`, or where the host has the descriptor, for ``/dev/fdset/N``."""
        match = _PATH.fullmatch(text)
        if match is None:
            return text
        found = self.sets.get(int(match[1]))
        if not found:
            raise ConfigError(f"{text}: no file descriptor was added to set {match[1]}")
        return f"/dev/fd/{found[0].fd}"

    def close(self) -> None:
        """Close what clients have passed; what was inherited stays as it was."""
        for found in self.sets.values():
            for one in found:
                if one.fd not in self._inherited:
                    os.close(one.fd)
        self.sets.clear()
