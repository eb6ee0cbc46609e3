"""Images to work on, and QEMU's tools to judge them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gossamer.block import Qcow2Image, create, open_image

LEAKS_ONLY = 3  # qemu-img check: no errors, leaked clusters


class Judge:
    """qemu-img, run on an image."""

    def __init__(self, program: Path) -> None:
        self.program = program

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(self.program), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)

    def check(self, path: Path, *, leaks: bool = False) -> None:
        """No errors and, unless `leaks` are allowed, no leaked clusters."""
        result = self.run("check", "-U", "-f", "qcow2", path)
        allowed = (0, LEAKS_ONLY) if leaks else (0,)
        assert result.returncode in allowed, result.stdout + result.stderr

    def content(self, path: Path, *options: str) -> bytes:
        """The disk as QEMU reads it."""
        out = path.with_suffix(".content")
        result = self.run("convert", "-U", *options, "-O", "raw", path, out)
        assert result.returncode == 0, result.stderr
        content = out.read_bytes()
        out.unlink()
        return content


@pytest.fixture(scope="session")
def judge(qemu_img: Path) -> Judge:
    return Judge(qemu_img)


@pytest.fixture(scope="session")
def qemu_io(qemu_img: Path) -> Callable[..., str]:
    """Run qemu-io commands on an image."""
    program = shutil.which("qemu-io")
    if program is None:
        pytest.skip("qemu-io is not installed (Debian package qemu-utils)")

    def run(path: Path, *commands: str) -> str:
        arguments = [part for command in commands for part in ("-c", command)]
        result = subprocess.run(
            [program, "-f", "qcow2", *arguments, str(path)],
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


@pytest.fixture
def new_qcow2(tmp_path: Path) -> Callable[..., Qcow2Image]:
    """Create and open a qcow2 image; closed after the test."""
    opened: list[Qcow2Image] = []

    def make(size: int = 4 << 20, name: str = "disk.qcow2", **options: object) -> Qcow2Image:
        create(tmp_path / name, "qcow2", size, **options)
        image = open_image(tmp_path / name)
        assert isinstance(image, Qcow2Image)
        opened.append(image)
        return image

    yield make
    for image in opened:
        if not image.closed:
            image.abandon()
