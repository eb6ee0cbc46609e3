"""What a drive has read and written, counted between the drive and its image."""

from __future__ import annotations

from gossamer.base.data import Data, field
from gossamer.devices.ide.media import BlockBackend


class Traffic(Data, frozen=False):
    """Bytes and requests since the machine was started.

    `highest`: the end of what was written furthest behind.
    """

    read_bytes: int = 0
    written_bytes: int = 0
    reads: int = 0
    writes: int = 0
    flushes: int = 0
    failed_reads: int = 0
    failed_writes: int = 0
    failed_flushes: int = 0
    highest: int = 0
    #: The granules of 1 MiB that were written, while a copy goes on; None: they are not noted.
    noted: set[int] | None = field(default=None, compare=False)
    #: What the last failure was of, "read" or "write", and why.
    failure: tuple[str, Exception] | None = field(default=None, compare=False)


class Counted:
    """An image whose requests are counted in `traffic`."""

    def __init__(self, image: BlockBackend, traffic: Traffic) -> None:
        self.image, self.traffic = image, traffic

    @property
    def size(self) -> int:
        return self.image.size

    @property
    def read_only(self) -> bool:
        return self.image.read_only

    def read(self, offset: int, length: int) -> bytes:
        traffic = self.traffic
        try:
            data = self.image.read(offset, length)
        except BaseException as fault:
            traffic.failed_reads += 1
            self._note("read", fault)
            raise
        traffic.reads += 1
        traffic.read_bytes += length
        return data

    def write(self, offset: int, data: bytes) -> None:
        traffic = self.traffic
        if traffic.noted is not None and data:
            traffic.noted.update(range(offset >> 20, (offset + len(data) - 1 >> 20) + 1))
        try:
            self.image.write(offset, data)
        except BaseException as fault:
            traffic.failed_writes += 1
            self._note("write", fault)
            raise
        traffic.writes += 1
        traffic.written_bytes += len(data)
        traffic.highest = max(traffic.highest, offset + len(data))

    def flush(self) -> None:
        try:
            self.image.flush()
        except BaseException as fault:
            self.traffic.failed_flushes += 1
            self._note("write", fault)
            raise
        self.traffic.flushes += 1

    def _note(self, operation: str, fault: BaseException) -> None:
        if isinstance(fault, Exception):
            self.traffic.failure = operation, fault
