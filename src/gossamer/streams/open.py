"""Finds the stream that a user names: a file, standard input, a snapshot, a save file."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError, HostError, StreamError
from gossamer.block import Qcow2Image, open_image
from gossamer.migrate.area import AreaReader
from gossamer.migrate.container import Container, is_container, open_container
from gossamer.migrate.container_frame import MAGIC, MAGICS
from gossamer.migrate.container_writer import mode_of
from gossamer.migrate.framing import Configuration, Section
from gossamer.migrate.inspect import Schema, StreamFile, open_stream
from gossamer.migrate.ram import Record

LONG: Final = 256 << 20
"""A file from this size on gets a progress bar."""
_CHUNK: Final = 1 << 20
QCOW2: Final = b"QFI\xfb"

OnRam = Callable[[Section, Record], None]


class Input(Data):
    """A stream ready to be read from the front or anywhere."""

    file: BinaryIO
    name: str
    size: int


@contextmanager
def open_input(spec: str) -> Iterator[Input]:
    """Open what `spec` names: FILE, `-`, `IMAGE.qcow2@SNAPSHOT`, or a save file of ours."""
    if spec == "-":
        with tempfile.TemporaryFile() as spool:
            _spool(sys.stdin.buffer, spool)
            yield _input(spool, "standard input")
        return
    path, _, snapshot = spec.rpartition("@")
    if path and not Path(spec).exists() and Path(path).exists():
        yield from _snapshot(path, snapshot, spec)
    elif is_container(spec):
        with open_container(spec) as container:
            yield from _contained(container, spec)
    else:
        try:
            file = Path(spec).open("rb")  # noqa: SIM115 - closed by the `with` below
        except OSError as fault:
            raise HostError(f"{spec}: cannot be opened: {fault.strerror}") from None
        with file:
            try:
                begins = file.peek(4)[:4]
            except OSError as fault:
                raise HostError(f"{spec}: cannot be read: {fault.strerror}") from None
            if begins == QCOW2:
                raise ConfigError(f"{spec} is a qcow2 image: name a snapshot as {_names(spec)}")
            if not file.seekable():
                with tempfile.TemporaryFile() as spool:
                    _spool(file, spool)
                    yield _input(spool, spec)
                return
            yield _input(file, spec)


def _snapshot(path: str, snapshot: str, spec: str) -> Iterator[Input]:
    image = _shared(path)
    try:
        with image.open_vmstate(snapshot) as file:
            if file.read(len(MAGIC)) not in MAGICS:
                yield _input(file, spec)
                return
            yield from _contained(Container(file, spec), spec)
    finally:
        image.close()


def _shared(path: str) -> Qcow2Image:
    """An image as it is, also while a machine writes to it: its snapshots do not change."""
    image = open_image(path, format="qcow2", read_only=True, force_share=True)
    assert isinstance(image, Qcow2Image)
    return image


def _contained(container: Container, spec: str) -> Iterator[Input]:
    """The stream in a save of ours; one at fixed places is read where it is."""
    stream = container.read_stream()
    if isinstance(stream, AreaReader):
        yield _input(io.BufferedReader(stream, _CHUNK), spec)
        return
    with tempfile.TemporaryFile() as spool:
        _spool(stream, spool)
        yield _input(spool, spec)


def _names(path: str) -> str:
    image = _shared(path)
    try:
        names = [s.name for s in image.snapshots if s.vmstate_size]
    finally:
        image.close()
    return " or ".join(f"{path}@{n}" for n in names) or f"{path}@NAME (but it has none)"


def _spool(source: object, target: BinaryIO) -> None:
    while part := source.read(_CHUNK):  # type: ignore[attr-defined]
        target.write(part)
    target.seek(0)


def _input(file: BinaryIO, name: str) -> Input:
    size = file.seek(0, 2)
    file.seek(0)
    if size == 0:
        raise StreamError("is empty: not a QEMU stream", name)
    return Input(file, name, size)


def read_stream(
    given: Input,
    *,
    on_ram: OnRam | None = None,
    schema: Callable[[Configuration | None], Schema | None] | None = None,
    page_size: int | None = None,
) -> StreamFile:
    """Walk a stream, with a bar on the terminal when it is long."""
    if given.size < LONG or not sys.stderr.isatty():
        return open_stream(
            given.file, given.name, schema=schema, on_ram=on_ram, page_size=page_size
        )
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"reading {Path(given.name).name}", total=given.size)

        def advance(section: Section, record: Record) -> None:
            progress.update(task, completed=getattr(record, "offset", 0))
            if on_ram is not None:
                on_ram(section, record)

        return open_stream(
            given.file, given.name, schema=schema, on_ram=advance, page_size=page_size
        )


@contextmanager
def new_file(path: str, source: str) -> Iterator[BinaryIO]:
    """A file written beside `path` and given its name when all is well; `-` is standard output.

    As a save it holds the memory of the guest: a new file is its owner's alone, a replaced one
    keeps its mode, a link stays one.
    """
    if path == "-":
        yield sys.stdout.buffer
        return
    target = Path(path)
    if source != "-" and target.exists() and Path(source).exists() and target.samefile(source):
        raise ConfigError(f"{path}: is the stream that is read; give another name")
    part: Path | None = None
    try:
        if target.exists() and not target.is_file():  # a device or a pipe keeps its name
            with target.open("wb") as out:
                yield out
            return
        target = target.resolve()
        mode = mode_of(target)
        fd, name = tempfile.mkstemp(".part", f".{target.name}.", target.parent)
        part = Path(name)
        with os.fdopen(fd, "wb") as out:
            os.fchmod(fd, mode)
            yield out
        part.replace(target)
    except OSError as fault:
        raise HostError(f"{path}: cannot be written: {fault.strerror}") from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
