"""Case 9: KeyboardInterrupt at any line of the block layer, and the image is closed as usual."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from gossamer import block
from gossamer.block import Image, Qcow2Image, RawDisk, create, open_image

SIZE = 2 << 20
SECTOR = 512
FOLDER = str(Path(block.__file__).parent)


class Interrupt:
    """Raises KeyboardInterrupt at the n-th line that runs in gossamer.block."""

    def __init__(self, line: int | None) -> None:
        self.lines, self._at = 0, line

    def __enter__(self) -> Interrupt:
        self._before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        return self._line if frame.f_code.co_filename.startswith(FOLDER) else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        if event == "line":
            self.lines += 1
            if self.lines == self._at:
                raise KeyboardInterrupt
        return self._line


class Work:
    """Writes, flushes and saves; what has been flushed, and what may be there besides."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.content = bytearray(image.read(0, SIZE))
        self._settle()

    def _settle(self) -> None:
        self.sectors = [{bytes(self.content[n : n + SECTOR])} for n in range(0, SIZE, SECTOR)]

    def run(self) -> None:
        generator = random.Random(1)
        for n in range(12):
            at = generator.randrange((SIZE - 100_352) // SECTOR) * SECTOR
            data = generator.randbytes(100_352)
            self.content[at : at + len(data)] = data
            for sector in range(at // SECTOR, (at + len(data)) // SECTOR):
                self.sectors[sector].add(bytes(self.content[sector * SECTOR :][:SECTOR]))
            self.image.write(at, data)
            if n % 3 == 1:
                self.image.flush()
                self._settle()
            if n % 5 == 2:
                self.save(n)

    def save(self, n: int) -> None:
        if isinstance(self.image, Qcow2Image):
            self.image.create_snapshot(f"s{n}", [b"state" * 30_000], vm_clock_ns=0, date_ns=n)
        else:
            assert isinstance(self.image, RawDisk)
            self.image.capture(str(n))

    def check(self, image: Image) -> None:
        content = image.read(0, SIZE)
        for n, allowed in enumerate(self.sectors):
            assert content[n * SECTOR : (n + 1) * SECTOR] in allowed, hex(n * SECTOR)


@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_case_9_image_when_interrupted_at_any_line_then_what_was_flushed_is_there(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    format: str,
) -> None:
    for name in ("fsync", "fdatasync"):  # only the process ends here
        monkeypatch.setattr(os, name, lambda fd: None)
    path = tmp_path / "disk"

    def attempt(line: int | None) -> tuple[Work, int]:
        create(path, format, SIZE, cluster_size=4096)
        work = Work(open_image(path, format=format))
        interrupt = Interrupt(line)
        try:
            with interrupt:
                work.run()
        except KeyboardInterrupt:
            pass
        else:
            assert line is None
        return work, interrupt.lines

    work, lines = attempt(None)
    work.image.close()
    path.unlink()
    generator = random.Random(2)
    for line in sorted(generator.sample(range(1, lines), 40)):
        work, _ = attempt(line)
        if line % 3 == 0:
            work.image.read(0, SIZE)
            work.image.flush()
        if line % 3 == 1:
            work.image.close()
        else:
            work.image.abandon()
        image = open_image(path, format=format)
        work.check(image)
        image.close()
        if format == "qcow2":
            request.getfixturevalue("judge").check(path, leaks=True)
        else:
            for file in (tmp_path / "disk.undo").glob("*"):
                file.unlink()
        path.unlink()
