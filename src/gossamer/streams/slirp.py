"""The section of QEMU's user-mode network, whose length only its version says."""

from __future__ import annotations

from typing import Final

from gossamer.migrate.framing import Section
from gossamer.migrate.source import Source
from gossamer.migrate.vmdesc import FieldDesc, StructDesc

IDSTR: Final = "slirp"
_VERSION, _SIZE = 4, 131


def layout(section: Section, source: Source) -> StructDesc | None:
    """Its layout while no connection is open."""
    if section.version_id != _VERSION or source.peek(1) != b"\0":
        return None
    return StructDesc("", 0, (FieldDesc("data", "buffer", _SIZE),))
