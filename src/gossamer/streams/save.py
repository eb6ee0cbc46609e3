"""Streams into and out of our save files, byte for byte."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from gossamer.base.errors import ConfigError, StreamError
from gossamer.base.version import VERSION
from gossamer.migrate.container import ContainerWriter, Meta
from gossamer.migrate.inspect import StreamFile
from gossamer.streams.meaning import context_of
from gossamer.streams.open import new_file
from gossamer.streams.show import RamSum

SAVE_FILE: Final = "save-file"
"""Not a form of the stream: our container around the bytes as they are."""
PLAIN: Final = "plain"
"""The stream's bytes as they are, out of a container or an image."""
_CHUNK = 1 << 20


def copy(stream: StreamFile, counted: RamSum, form: str, out: str, source: str) -> None:
    """Write the stream's bytes, plain or in a save file; StreamError if pages are missing."""
    if fault := counted.fault(stream):
        raise StreamError(fault, stream.name)
    if form == PLAIN:
        with new_file(out, source) as target:
            for part in _parts(stream):
                target.write(part)
        return
    if out == "-":
        raise ConfigError("a save file needs a name: it is not written to standard output")
    machine = stream.configuration.machine if stream.configuration else ""
    ram = next((of.block.length for of in counted.blocks.values()), 0)
    meta = Meta(
        machine=machine,
        machine_version="",
        ram_size=ram,
        created_ns=time.time_ns(),
        icount=0,
        name=stream.name,
        gossamer=VERSION,
        clock_ns=context_of(stream).clock or 0,
    )
    with ContainerWriter(out, meta) as save:
        for part in _parts(stream):
            save.write(part)
        save.commit()


def _parts(stream: StreamFile) -> Iterator[bytes]:
    left = stream.end - stream.trailing
    stream.file.seek(0)
    while left:
        part = stream.file.read(min(_CHUNK, left))
        if not part:
            raise StreamError(f"the file has become shorter while it was read ({left} bytes)")
        left -= len(part)
        yield part
