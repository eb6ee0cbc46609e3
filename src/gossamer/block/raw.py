"""A raw image: the file is the disk."""

from __future__ import annotations

import errno
from typing import Final

from gossamer.block.errors import ImageError
from gossamer.block.hostfile import Buffer, HostFile
from gossamer.block.image import SECTOR, BaseImage
from gossamer.block.probe import probe_bytes

_ZEROS: Final = bytes(1 << 20)


class RawFile(BaseImage):
    """Reads and writes the file itself.  A last partial sector is filled up with zeros.

    An image that was `probed` to be raw must not become one of another format because the
    guest writes that format's magic into its first sector: such a write is refused.
    """

    format = "raw"

    def __init__(self, file: HostFile, *, probed: bool = False) -> None:
        size = -(-file.size // SECTOR) * SECTOR
        super().__init__(file.path, size, read_only=file.read_only)
        self.file = file
        self.probed = probed

    def read(self, offset: int, length: int) -> bytes:
        self._check(offset, length)
        return self.file.read_at(offset, length)

    def write(self, offset: int, data: Buffer) -> None:
        view = memoryview(data).cast("B")
        self._check_write(offset, len(view))
        self.check_first_sector(offset, view)
        self._hash.touch(offset, len(view))
        self.file.write_at(offset, view)

    def check_first_sector(self, offset: int, view: memoryview) -> None:
        if self.probed and offset == 0 and probe_bytes(bytes(view[:SECTOR])) != "raw":
            message = "the guest writes another format's magic; say format=raw to allow that"
            raise ImageError(self.path, message, errno.EPERM)

    def zero(self, offset: int, length: int) -> None:
        self._check_write(offset, length)
        end = offset + length
        while offset < end:
            piece = min(len(_ZEROS), end - offset)
            self.write(offset, memoryview(_ZEROS)[:piece])
            offset += piece

    def zero_run(self, offset: int) -> int:
        if offset >= self.file.size:
            return self.size - offset
        return self.file.hole_at(offset)

    def flush(self) -> None:
        self._check(0, 0)
        if not self.read_only:
            self.file.sync()

    def close(self) -> None:
        if not self.closed:
            try:
                self.flush()
            finally:
                self.closed = True
                self.file.close()
