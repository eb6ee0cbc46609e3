"""Everything that is done to the files of a folder, and the folder as a crash would leave it.

Two kinds of crash: the process is killed (all that was done is there), or the power fails: of what
was written to a file since its last fsync each sector may be there or not, and of the names that
were made, changed and removed in a folder since its last fsync only the first few are there.
"""

from __future__ import annotations

import os
import random
import stat
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

SECTOR = 512


class RecordedHost:
    """Use while `os` is patched by `record`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log: list[tuple[Any, ...]] = []
        self._files: dict[tuple[int, int], int] = {}
        self._count = 0
        self.before = {
            path.relative_to(folder): (self._number(path.stat()), path.read_bytes())
            for path in folder.rglob("*")
            if path.is_file()
        }

    def _number(self, status: os.stat_result) -> int:
        key = status.st_dev, status.st_ino
        return self._files[key] if key in self._files else self._new_number(status)

    def _new_number(self, status: os.stat_result) -> int:
        """The host uses the inode of a removed file again."""
        self._count += 1
        self._files[status.st_dev, status.st_ino] = self._count - 1
        return self._count - 1

    def _ours(self, fd: int) -> int | None:
        """The number of a regular file in our folder."""
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return None
        where = Path(f"/proc/self/fd/{fd}").readlink()
        return self._number(status) if where.is_relative_to(self.folder) else None

    def _name(self, path: object) -> Path | None:
        whole = Path(os.fspath(path)).absolute()  # type: ignore[call-overload]
        return whole.relative_to(self.folder) if whole.is_relative_to(self.folder) else None

    def record(self, patch: pytest.MonkeyPatch) -> None:
        real_open, real_pwrite, real_pwritev = os.open, os.pwrite, os.pwritev
        real_truncate, real_rename, real_unlink = os.ftruncate, os.rename, os.unlink
        real_mkdir, real_rmdir = os.mkdir, os.rmdir

        def open_(path: Any, flags: int, mode: int = 0o777, **kw: Any) -> int:
            made = flags & os.O_CREAT and not Path(path).exists()
            fd = real_open(path, flags, mode, **kw)
            if made and (name := self._name(path)) is not None:
                self.log.append(("name", name, self._new_number(os.fstat(fd))))
            return fd

        def pwrite(fd: int, data: Any, at: int) -> int:
            done = real_pwrite(fd, data, at)
            if (file := self._ours(fd)) is not None:
                self.log.append(("write", file, at, bytes(memoryview(data).cast("B")[:done])))
            return done

        def pwritev(fd: int, parts: Any, at: int, *flags: int) -> int:
            done = real_pwritev(fd, parts, at, *flags)
            if (file := self._ours(fd)) is not None:
                self.log.append(("write", file, at, b"".join(map(bytes, parts))[:done]))
            return done

        def truncate(fd: int, size: int) -> None:
            real_truncate(fd, size)
            if (file := self._ours(fd)) is not None:
                self.log.append(("truncate", file, size))

        def sync(fd: int) -> None:
            where = Path(f"/proc/self/fd/{fd}").readlink()
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                self.log.append(("sync names", self._name(where)))
            elif (file := self._ours(fd)) is not None:
                self.log.append(("sync", file))

        def rename(old: Any, new: Any, **kw: Any) -> None:
            real_rename(old, new, **kw)
            self.log.append(("rename", self._name(old), self._name(new)))

        def unlink(path: Any, **kw: Any) -> None:
            real_unlink(path, **kw)
            self.log.append(("unlink", self._name(path)))

        def mkdir(path: Any, *args: Any, **kw: Any) -> None:
            real_mkdir(path, *args, **kw)
            self.log.append(("mkdir", self._name(path)))

        def rmdir(path: Any, **kw: Any) -> None:
            real_rmdir(path, **kw)
            self.log.append(("rmdir", self._name(path)))

        patch.setattr(os, "open", open_)
        patch.setattr(os, "pwrite", pwrite)
        patch.setattr(os, "pwritev", pwritev)
        patch.setattr(os, "ftruncate", truncate)
        patch.setattr(os, "fsync", sync)
        patch.setattr(os, "fdatasync", sync)
        patch.setattr(os, "rename", rename)
        patch.setattr(os, "unlink", unlink)
        patch.setattr(os, "mkdir", mkdir)
        patch.setattr(os, "rmdir", rmdir)

    def crash(self, where: Path, count: int, lost: random.Random | None = None) -> None:
        """Make the folder at `where` as it is after `count` steps; `lost`: the power fails."""
        steps = self.log[:count]
        kept = self._names_that_lasted(steps, lost) if lost else set(range(len(steps)))
        synced: dict[int, int] = {}
        for n, step in enumerate(steps):
            if step[0] == "sync":
                synced[step[1]] = n
        contents = {number: bytearray(data) for number, data in self.before.values()}
        names = {name: number for name, (number, _) in self.before.items()}
        folders: set[Path] = set()
        for n, step in enumerate(steps):
            match step:
                case ("write", file, at, data):
                    safe = not lost or n < synced.get(file, -1)
                    _write(contents.setdefault(file, bytearray()), at, data, None if safe else lost)
                case ("truncate", file, size):
                    content = contents.setdefault(file, bytearray())
                    if not lost or n < synced.get(file, -1) or lost.random() < 0.5:
                        content[size:] = bytes(max(size - len(content), 0))
                case ("name", name, file) if n in kept:
                    names[name] = file
                case ("rename", old, new) if n in kept and old in names:
                    names[new] = names.pop(old)
                case ("unlink", name) if n in kept:
                    names.pop(name, None)
                case ("mkdir", name) if n in kept:
                    folders.add(name)
                case ("rmdir", name) if n in kept:
                    folders.discard(name)
        for name in folders:
            (where / name).mkdir(parents=True, exist_ok=True)
        for name, number in names.items():
            if name.parent == Path() or name.parent in folders:
                (where / name).write_bytes(contents.get(number, b""))

    @staticmethod
    def _names_that_lasted(steps: list[tuple[Any, ...]], lost: random.Random) -> set[int]:
        """Of the steps that concern names those that are on the medium."""
        kinds = ("name", "rename", "unlink", "mkdir", "rmdir")
        pending: dict[Path, list[int]] = {}
        kept: set[int] = set()
        for n, step in enumerate(steps):
            if step[0] == "sync names":
                kept.update(pending.pop(step[1], []))
            elif step[0] in kinds:
                pending.setdefault(step[1].parent, []).append(n)
        for numbers in pending.values():
            kept.update(numbers[: lost.randrange(len(numbers) + 1)])
        return kept


def _write(content: bytearray, at: int, data: bytes, lost: random.Random | None) -> None:
    pieces = [(0, len(data))]
    if lost is not None:
        cuts = sorted({0, *range(-at % SECTOR, len(data), SECTOR), len(data)})
        chance = lost.choice((0.1, 0.5, 0.9))
        pieces = [(a, b) for a, b in pairwise(cuts) if lost.random() < chance]
    for first, last in pieces:
        start, stop = at + first, at + last
        content.extend(bytes(max(stop - len(content), 0)))
        content[start:stop] = data[first:last]
