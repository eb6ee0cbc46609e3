"""Streams for the tools: recorded ones unpacked once, and a way to run the command line."""

from __future__ import annotations

import io
import json
import lzma
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gossamer.streams import command as stream_cli


@dataclass(frozen=True)
class Ran:
    """What a command printed and its status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(scope="session")
def stream_command() -> Callable[..., Ran]:
    """`gossamer stream …` in this process."""

    def run(*arguments: object) -> Ran:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = stream_cli.main([str(a) for a in arguments])
        return Ran(status, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def recorded(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The path of a recorded stream or image, unpacked."""
    folder = tmp_path_factory.mktemp("recorded")

    def unpack(name: str) -> Path:
        target = folder / name
        if not target.exists():
            sub = "dumps" if name.endswith(".json") else "streams"
            with lzma.open(shared / sub / f"{name}.xz") as packed, target.open("wb") as out:
                shutil.copyfileobj(packed, out)
        return target

    return unpack
