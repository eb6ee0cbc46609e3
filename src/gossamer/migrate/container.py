"""Reads gossamer's save files: checksummed frames around the untouched bytes of a stream.

Nothing is allocated because the file claims it, and no byte is given out before its checksum has
been tested.  The format: `container_frame`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import xxhash

from gossamer.base.data import Data
from gossamer.base.errors import HostError, StreamError, there_is
from gossamer.base.late import zstandard
from gossamer.migrate.area import Area, AreaReader
from gossamer.migrate.container_frame import (
    AREA,
    CHUNK,
    DISK,
    END,
    FOLLOWERS,
    FOLLOWERS_PLACED,
    HEADER,
    MAGIC,
    MAGIC_PLACED,
    MAGICS,
    MAX_DISKS,
    MAX_NAME,
    META,
    NAME,
    RAW,
    STRM,
    TAIL,
    ZSTD,
    Frame,
)
from gossamer.migrate.container_meta import MAX_META, DiskMeta, Meta
from gossamer.migrate.container_writer import ContainerWriter, Written

__all__ = (
    "Container",
    "ContainerWriter",
    "DiskMeta",
    "Meta",
    "StreamReader",
    "Written",
    "is_container",
    "open_container",
)


class FrameRun(Data):
    """Frames of one kind one after the other: the stream's, or those of one disk."""

    offset: int
    number: int
    count: int
    size: int


EMPTY = FrameRun(0, 0, 0, 0)


def is_container(path: Path | str) -> bool:
    """Whether a file begins as ours do; False too for what cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(MAGIC)) in MAGICS
    except OSError:
        return False


def open_container(path: Path | str, *, verify: bool = True) -> Container:
    """Open a save file; with `verify` every frame's checksum is tested before this returns."""
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - the container closes it
    except OSError as fault:
        raise HostError(f"{path}: cannot be opened: {fault.strerror}") from None
    try:
        return Container(file, str(path), verify=verify)
    except BaseException:
        file.close()
        raise


class Container:
    """A save file open for reading.  `meta` says what it holds; `disks` are the names in it."""

    def __init__(self, file: BinaryIO, path: str, *, verify: bool = True) -> None:
        self.file, self.path = file, path
        self._unpack = zstandard.ZstdDecompressor(max_window_size=8 << 20)
        self._hash = xxhash.xxh3_128()
        magic = self._bytes(0, len(MAGIC))
        if magic not in MAGICS:
            raise self._error("not a save file of gossamer", 0)
        self._followers = FOLLOWERS_PLACED if magic == MAGIC_PLACED else FOLLOWERS
        #: Where the stream is when it is not in frames.
        self.area: Area | None = None
        first = self._header(len(MAGIC), 0)
        if first.kind != META or first.raw > MAX_META:
            raise self._error("the first frame must be META", first.offset)
        self.meta = Meta.parse(self._payload(first), path, first.offset)
        self._stream, self._disks = EMPTY, dict[str, FrameRun]()
        self._walk(first, payloads=verify)

    @property
    def disks(self) -> tuple[str, ...]:
        return tuple(self._disks)

    @property
    def stream_size(self) -> int:
        """Bytes of the stream."""
        return self._stream.size if self.area is None else self.area.length

    def verify(self) -> None:
        """Read, check and unpack every frame; StreamError at the first that is wrong."""
        if self.area is not None:
            AreaReader(self.file, self.area, self.path).verify()
        for _ in self._chunks(self._stream):
            pass
        for name in self._disks:
            for _ in self.read_disk(name):
                pass
        self._walk(self._header(len(MAGIC), 0), payloads=True)

    def read_stream(self) -> StreamReader | AreaReader:
        """The stream's bytes as a file, verified as they are read."""
        if self.area is not None:
            return AreaReader(self.file, self.area, self.path)
        return StreamReader(self._chunks(self._stream))

    def read_disk(self, name: str) -> Iterator[bytes]:
        """The content of a disk, in order."""
        if name not in self._disks:
            raise self._error(f"no disk named {name!r}; {there_is(self._disks)}", None)
        return self._chunks(self._disks[name])

    def disk_size(self, name: str) -> int:
        """Bytes that `read_disk` gives."""
        return self._disks[name].size if name in self._disks else 0

    def close(self) -> None:
        self.file.close()

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- frames -------------------------------------------------------------------------------

    def _error(self, message: str, offset: int | None) -> StreamError:
        return StreamError(message, self.path, offset)

    def _bytes(self, offset: int, n: int) -> bytes:
        """`n` bytes at `offset`; callers bound `n`."""
        try:
            self.file.seek(offset)
            data = self.file.read(n)
        except OSError as fault:
            raise self._error(f"cannot be read: {fault.strerror}", offset) from None
        if len(data) < n:
            text = f"the file ends too early: {n} bytes needed, {len(data)} left"
            raise self._error(text, offset)
        return data

    def _header(self, offset: int, number: int) -> Frame:
        packed = self._bytes(offset, HEADER.size)
        *fields, check = HEADER.unpack(packed)
        frame = Frame(offset, *fields)
        if xxhash.xxh3_64_intdigest(packed[:-8]) != check:
            raise self._error(f"frame {number}: damaged header (checksum)", offset)
        if frame.kind not in (META, STRM, AREA, NAME, DISK, END):
            raise self._error(f"frame {number}: unknown kind {frame.kind!r}", offset)
        if frame.number != number:
            raise self._error(f"frame {number} expected, got frame {frame.number}", offset)
        if frame.codec not in (RAW, ZSTD):
            raise self._error(f"frame {number}: unknown codec {frame.codec}", offset)
        if not (frame.raw <= CHUNK and frame.stored <= frame.raw) or (
            frame.codec == RAW and frame.stored != frame.raw
        ):
            text = f"frame {number}: {frame.stored} bytes for {frame.raw}, at most {CHUNK}"
            raise self._error(text, offset)
        return frame

    def _stored(self, frame: Frame) -> bytes:
        data = self._bytes(frame.offset + HEADER.size, frame.stored)
        if xxhash.xxh3_64_intdigest(data) != frame.digest:
            raise self._error(f"frame {frame.number}: damaged (checksum)", frame.offset)
        return data

    def _payload(self, frame: Frame) -> bytes:
        data = self._stored(frame)
        if frame.codec == RAW:
            return data
        try:
            # Asked first: the library allocates what the compressed bytes claim to become.
            claimed = zstandard.frame_content_size(data)
            if claimed != frame.raw:
                text = f"unpacks to {claimed} bytes, its header says {frame.raw}"
                raise self._error(f"frame {frame.number}: {text}", frame.offset)
            return self._unpack.decompress(data, allow_extra_data=False)
        except zstandard.ZstdError as fault:
            raise self._error(f"frame {frame.number}: {fault}", frame.offset) from None

    def _chunks(self, run: FrameRun) -> Iterator[bytes]:
        at, number = run.offset, run.number
        for _ in range(run.count):
            frame = self._header(at, number)
            yield self._payload(frame)
            at, number = frame.end, number + 1

    def _walk(self, frame: Frame, *, payloads: bool) -> None:
        """Check order, counts and END, and learn where stream and disks are."""
        self._hash.reset()
        stream, disks, area = EMPTY, dict[str, FrameRun](), None
        name = ""
        while frame.kind != END:
            self._hash.update(self._bytes(frame.offset, HEADER.size))
            if frame.kind == STRM:
                stream = _longer(stream, frame)
            elif frame.kind == AREA:
                area = Area.parse(self._payload(frame), self.path, frame.offset)
                if area.start < frame.end:
                    raise self._error("AREA begins inside the frame", frame.offset)
            elif frame.kind == NAME:
                name = self._disk_name(frame, disks)
                disks[name] = EMPTY
            elif frame.kind == DISK:
                disks[name] = _longer(disks[name], frame)
            if payloads:
                self._stored(frame)
            end = area.end if frame.kind == AREA and area else frame.end
            after = self._header(end, frame.number + 1)
            if after.kind not in self._followers[frame.kind]:
                raise self._error(f"{_name(after.kind)} after {_name(frame.kind)}", after.offset)
            frame = after
        size = stream.size if area is None else area.length
        self._check_end(frame, size, sum(run.size for run in disks.values()))
        self._stream, self._disks, self.area = stream, disks, area
        if payloads and area is not None:
            AreaReader(self.file, area, self.path).verify()

    def _disk_name(self, frame: Frame, disks: dict[str, FrameRun]) -> str:
        raw = self._payload(frame) if frame.raw <= MAX_NAME else b""
        name = raw.decode("ascii", "replace")
        if not raw or not raw.isascii() or not name.isprintable():
            raise self._error("a disk's name must be 1 to 255 ASCII characters", frame.offset)
        if name in disks:
            raise self._error(f"disk {name!r} is there twice", frame.offset)
        if len(disks) >= MAX_DISKS:
            raise self._error(f"more than {MAX_DISKS} disks", frame.offset)
        return name

    def _check_end(self, frame: Frame, stream: int, disks: int) -> None:
        payload = self._payload(frame)
        expected = (frame.number, stream, disks, self._hash.digest())
        if len(payload) != TAIL.size or TAIL.unpack(payload) != expected:
            raise self._error("END does not fit the frames before it", frame.offset)
        self.file.seek(frame.end)
        if self.file.read(1):
            raise self._error("bytes after END", frame.end)


def _longer(run: FrameRun, frame: Frame) -> FrameRun:
    if not run.count:
        return FrameRun(frame.offset, frame.number, 1, frame.raw)
    return FrameRun(run.offset, run.number, run.count + 1, run.size + frame.raw)


def _name(kind: bytes) -> str:
    return kind.decode("ascii").strip()


class StreamReader(io.RawIOBase):
    """The stream inside a container; `read` gives verified bytes only."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._source = chunks
        self._chunk, self._at = b"", 0
        self._position = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes, all that is left when negative or None; b"" at the end."""
        if size is None or size < 0:
            return self.readall()
        if not size or not self._more():
            return b""
        chunk, start = self._chunk, self._at
        end = min(start + size, len(chunk))
        self._position += end - start
        # What has been read is not kept: a machine that waits to be collected has the reader.
        self._chunk, self._at = (chunk, end) if end < len(chunk) else (b"", 0)
        # A whole chunk is handed on as it is.
        return chunk if not start and size >= len(chunk) else chunk[start:end]

    def readinto(self, buffer: object, /) -> int:
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        got = self.read(len(target))
        target[: len(got)] = got
        return len(got)

    def _more(self) -> bool:
        while self._at == len(self._chunk):
            chunk = next(self._source, None)
            if chunk is None:
                return False
            self._chunk, self._at = chunk, 0
        return True
