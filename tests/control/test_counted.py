"""What drives have read and written, as query-blockstats says it."""

from __future__ import annotations

import pytest

from gossamer.base.errors import HostError
from gossamer.control.counted import Counted, Traffic


class Image:
    size = 4096
    read_only = False
    fails = False

    def read(self, offset: int, length: int) -> bytes:
        self._fail()
        return bytes(length)

    def write(self, offset: int, data: bytes) -> None:
        self._fail()

    def flush(self) -> None:
        self._fail()

    def _fail(self) -> None:
        if self.fails:
            raise HostError("the host has no room")


def test_requests_are_counted_and_failures_apart() -> None:
    image, traffic = Image(), Traffic()
    counted = Counted(image, traffic)
    assert (counted.size, counted.read_only) == (4096, False)
    counted.read(0, 512)
    counted.write(512, bytes(1024))
    counted.write(0, bytes(512))
    counted.flush()
    image.fails = True
    for action in (lambda: counted.read(0, 512), lambda: counted.write(0, b"a"), counted.flush):
        with pytest.raises(HostError):
            action()
    assert traffic == Traffic(
        read_bytes=512, written_bytes=1536, reads=1, writes=2, flushes=1,
        failed_reads=1, failed_writes=1, failed_flushes=1, highest=1536,
    )  # fmt: skip
