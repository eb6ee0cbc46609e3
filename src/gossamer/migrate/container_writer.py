"""Writes a save file: complete and on the medium under its name, or not there at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

import xxhash

from gossamer.base.data import Data, replace
from gossamer.base.errors import HostError
from gossamer.base.late import zstandard
from gossamer.core import host
from gossamer.migrate.area import Area
from gossamer.migrate.container_frame import (
    AREA,
    CHUNK,
    DISK,
    END,
    HEADER,
    MAGIC,
    MAGIC_PLACED,
    MAX_DISKS,
    MAX_NAME,
    META,
    NAME,
    RAW,
    STRM,
    TAIL,
    ZSTD,
    header,
)
from gossamer.migrate.container_meta import Meta

Buffer = bytes | bytearray | memoryview
SUFFIX = ".part"


class Written(Data):
    """What a save cost: bytes in and out, ns of it spent waiting for the medium, ns in all."""

    stream_bytes: int
    disk_bytes: int
    file_bytes: int
    fsync_ns: int
    took_ns: int = 0


class FrameWriter:
    """Frames one after the other, given to `sink`; `end` makes them a whole save.

    `packs`: they are compressed, which takes several times longer than all the rest.  `placed`:
    the stream is in an `area`.  What `sink` gets is its own during the call only.
    """

    def __init__(
        self,
        sink: Callable[[Buffer], object],
        meta: Meta,
        *,
        packs: bool = True,
        placed: bool = False,
    ) -> None:
        self._sink = sink
        self._pack = zstandard.ZstdCompressor(level=1) if packs else None
        self._hash = xxhash.xxh3_128()
        self._buffer = memoryview(bytearray(CHUNK))
        self._filled = 0
        self._frames = self._stream = self._disk = self._size = 0
        self._disks: set[str] = set()
        self._out(MAGIC_PLACED if placed else MAGIC)
        self._frame(META, meta.encode())

    def write(self, data: Buffer) -> int:
        """Append bytes of the stream; before any `disk`."""
        assert not self._disks, "the stream comes before the disks"
        view = memoryview(data).cast("B")
        size = len(view)
        while len(view):
            if not self._filled and len(view) >= CHUNK:
                self._frame(STRM, view[:CHUNK])
                view = view[CHUNK:]
                continue
            at = self._filled
            step = min(CHUNK - at, len(view))
            self._buffer[at : at + step] = view[:step]
            view = view[step:]
            self._filled += step
            if self._filled == CHUNK:
                self._flush()
        self._stream += size
        return size

    @staticmethod
    def room(meta: Meta, length: int) -> int:
        """Bytes before an area of `length` bytes."""
        frames = HEADER.size * 2 + len(meta.encode()) + Area.frame_size(length)
        return len(MAGIC_PLACED) + frames

    def area(self, area: Area) -> None:
        """Say where the stream is; the caller lets `sink` go on at `area.end` then."""
        self._frame(AREA, area.pack(), packs=False)
        self._stream = area.length

    def disk(self, name: str, chunks: Iterable[Buffer]) -> None:
        """Store the content of a disk; `name` is ASCII, once a file."""
        self._flush()
        label = name.encode("ascii")
        assert 0 < len(label) <= MAX_NAME, name
        assert name not in self._disks, name
        assert len(self._disks) < MAX_DISKS, "too many disks"
        self._disks.add(name)
        self._frame(NAME, label)
        for chunk in chunks:
            view = memoryview(chunk).cast("B")
            for at in range(0, len(view), CHUNK):
                piece = view[at : at + CHUNK]
                self._frame(DISK, piece)
                self._disk += len(piece)

    def end(self) -> Written:
        """Write the last frame; `fsync_ns` is 0."""
        self._flush()
        tail = TAIL.pack(self._frames, self._stream, self._disk, self._hash.digest())
        self._frame(END, tail)
        return Written(self._stream, self._disk, self._size, 0)

    def _flush(self) -> None:
        if self._filled:
            filled, self._filled = self._filled, 0
            self._frame(STRM, self._buffer[:filled])

    def _frame(self, kind: bytes, raw: Buffer, *, packs: bool = True) -> None:
        stored, codec = raw, RAW
        if self._pack is not None and packs:
            packed = self._pack.compress(raw)
            if len(packed) < len(raw):
                stored, codec = packed, ZSTD
        head = header(kind, codec, self._frames, len(raw), stored)
        if kind != END:
            self._hash.update(head)
        self._frames += 1
        self._out(head)
        self._out(stored)

    def _out(self, data: Buffer) -> None:
        self._sink(data)
        self._size += len(data)


class ContainerWriter(FrameWriter):
    """Writes one save file; `with` removes what was not committed.

    The bytes go to a file without a name in the folder of `path`; `commit` syncs it, gives it its
    name and syncs the folder, so that a save that is killed at any moment leaves the old file
    whole, and nothing else.  Where the host has no such files, it has a temporary name that the
    next save of the same name removes.  Memory of the guest is private: a new file is readable by
    its owner only, a replaced one keeps its mode.
    """

    def __init__(
        self, path: Path | str, meta: Meta, *, packs: bool = True, placed: bool = False
    ) -> None:
        try:
            self.path = Path(path).resolve()
            mode = mode_of(self.path)
            _remove_abandoned(self.path)
            fd, self._temporary = _new_file(self.path)
        except OSError as fault:
            raise HostError(f"{path}: cannot be created: {fault.strerror}") from None
        except ValueError as fault:
            raise HostError(f"{str(path)!r}: not a file name: {fault}") from None
        self._file = os.fdopen(fd, "wb", buffering=0)
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.fchmod(fd, mode)
        self.result: Written | None = None
        super().__init__(self._store, meta, packs=packs, placed=placed)

    def put(self, place: int, *parts: Buffer) -> None:
        """Write at a place of the file."""
        for part in parts:
            view = memoryview(part)
            while view:
                at = place
                done = self._host(lambda at=at, v=view: os.pwrite(self._file.fileno(), v, at))  # type: ignore[misc]
                place, view = place + done, view[done:]

    def go_on(self, place: int) -> None:
        """Let the next frame be at `place`."""
        self._host(lambda: self._file.seek(place))

    def commit(self) -> Written:
        """Finish the file and put it in its place; only now is there anything under `path`."""
        whole = self.end()
        began = host.monotonic_ns()
        self._host(lambda: os.fsync(self._file.fileno()))
        took = host.monotonic_ns() - began
        self._host(self._name)
        self._file.close()
        began = host.monotonic_ns()
        self._host(lambda: _sync_folder(self.path.parent))
        took += host.monotonic_ns() - began
        self.result = replace(whole, fsync_ns=took)
        return self.result

    def _name(self) -> None:
        if self._temporary is None:
            name, fd = _temporary_name(self.path), self._file.fileno()
            # Only with a dir_fd, which an absolute path does not use, is the link followed.
            os.link(f"/proc/self/fd/{fd}", name, src_dir_fd=fd, follow_symlinks=True)
            self._temporary = name
        self._temporary.replace(self.path)

    def abandon(self) -> None:
        """Remove what was written; nothing to do after `commit`."""
        if not self._file.closed:
            self._file.close()
            if self._temporary is not None:
                self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> ContainerWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()

    def _store(self, data: Buffer) -> None:
        view = memoryview(data)
        while view:
            view = view[self._host(lambda view=view: self._file.write(view)) :]  # type: ignore[misc]

    def _host(self, action: Callable[[], object]) -> int:
        """Do something to the file; HostError, and no temporary file, when the host refuses."""
        try:
            done = action()
        except OSError as fault:
            self.abandon()
            raise HostError(f"{self.path}: cannot be written: {fault.strerror}") from None
        return done if isinstance(done, int) else 0


def _new_file(path: Path) -> tuple[int, Path | None]:
    """A file to become `path`: its descriptor, and its name where it must have one."""
    nameless = getattr(os, "O_TMPFILE", 0)
    if nameless and Path("/proc/self/fd").is_dir():
        with contextlib.suppress(OSError):  # not every file system can; the next says why
            return os.open(path.parent, nameless | os.O_RDWR | os.O_CLOEXEC, 0o600), None
    name = _temporary_name(path)
    return os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600), name


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{host.random_bytes(8).hex()}{SUFFIX}")


def mode_of(path: Path) -> int:
    """Access mode for the new file; HostError when `path` is no place for one."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return stat.S_IRUSR | stat.S_IWUSR
    if not stat.S_ISREG(status.st_mode):
        raise HostError(f"{path}: not a regular file, a save cannot replace it")
    return stat.S_IMODE(status.st_mode)


def _remove_abandoned(path: Path) -> None:
    """Remove temporary files of saves to `path` that were killed (their lock is free)."""
    for entry in path.parent.glob("." + _literal(path.name) + ".*" + SUFFIX):
        try:
            fd = os.open(entry, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            entry.unlink(missing_ok=True)
        except OSError:
            continue
        finally:
            os.close(fd)


def _literal(name: str) -> str:
    """`name` as a pattern that matches only itself."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _sync_folder(folder: Path) -> None:
    """Put a folder's entries on the medium."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
