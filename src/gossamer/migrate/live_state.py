"""What the capabilities of a sender leave in a stream beside the machine, and what it means here.

A stream that has every page loads, whatever its sender had switched on.  What cannot be taken on
is refused with the capability's name.  Seen in streams of QEMU 7.2.22 with each capability on.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from gossamer.base.errors import StreamError
from gossamer.migrate.framing import Cmd, Command, Section
from gossamer.migrate.source import Source

HARMLESS: Final = frozenset(
    {Cmd.OPEN_RETURN_PATH, Cmd.PING, Cmd.SWITCHOVER_START, Cmd.POSTCOPY_ADVISE}
)
"""Commands of a sender that has sent every page before the devices: POSTCOPY_ADVISE alone says
that it might have gone on otherwise."""
BITMAPS: Final = "dirty-bitmap"
DISKS: Final = "block"
NO_BITMAPS: Final = 0x01
"""The whole of a dirty-bitmap section where no disk has one."""

_COLO: Final = "the sender replicates the machine (capability x-colo), which is not done here"
_POSTCOPY: Final = (
    "the sender has switched over to postcopy: pages come on demand, from a sender that is still "
    "there (capability postcopy-ram)"
)
REASONS: Final = {
    Cmd.ENABLE_COLO: _COLO,
    Cmd.POSTCOPY_LISTEN: _POSTCOPY,
    Cmd.POSTCOPY_RUN: _POSTCOPY,
    Cmd.POSTCOPY_RAM_DISCARD: _POSTCOPY,
    Cmd.POSTCOPY_RESUME: _POSTCOPY,
    Cmd.RECV_BITMAP: _POSTCOPY,
    Cmd.PACKAGED: _POSTCOPY,
}
"""Why each other command is refused."""
DISKS_REASON: Final = (
    "the content of disks is in the stream (capability block), which is not taken on here: copy "
    "the images and switch it off"
)
BITMAPS_REASON: Final = (
    "dirty bitmaps of disks are in the stream (capability dirty-bitmaps), which are not kept here"
)


POSTCOPY: Final = frozenset(
    {Cmd.POSTCOPY_RAM_DISCARD, Cmd.PACKAGED, Cmd.POSTCOPY_LISTEN, Cmd.POSTCOPY_RUN}
)
"""Commands of a sender that switches over to postcopy."""
RECOVERY: Final = frozenset({Cmd.RECV_BITMAP, Cmd.POSTCOPY_RESUME})
"""Those with which it goes on over another connection."""


def check_command(command: Command, agreed: Collection[int] = ()) -> None:
    """StreamError for a command that asks for more than a machine in one piece, and `agreed`."""
    if command.number not in HARMLESS and command.number not in agreed:
        reason = REASONS[Cmd(command.number)]
        raise StreamError(f"command {command.name}: {reason}", "", command.offset)


def passes(section: Section, source: Source) -> bool:
    """Read a section of another live handler that says nothing; False for any other section."""
    if section.idstr == DISKS:
        raise source.error(DISKS_REASON)
    if section.idstr != BITMAPS:
        return False
    if source.uint(1) != NO_BITMAPS:
        raise source.error(BITMAPS_REASON)
    return True
