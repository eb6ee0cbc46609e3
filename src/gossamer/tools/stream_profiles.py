"""The forms of a stream that releases of QEMU write and read, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Profile:
    """One release's form, for the Mac machines.

    Source: facts on releases (5.2, 7.2, 10.0 and 10.2 read or captured; what lies between is
    said to belong to the release that brought it).
    """

    name: str
    switchover: bool
    """Sends SWITCHOVER_START before the devices, and knows it."""
    via_version: int
    """Version of `mos6522`: 0 has no last_irq_levels."""
    icount_shift: int
    """Version of `timer/icount/shift`: 2 has last_delta."""
    suspended: bool
    """`globalstate` says whether the machine was suspended."""
    described: bool
    """The description has the configuration."""
    reads_decrementer: bool
    """Loads DEC from spr[22]."""
    compress: bool
    """Reads COMPRESS_PAGE with its capability."""
    any_fill: bool
    """Takes a ZERO record with another byte than 0."""
    flush: bool
    """Knows MULTIFD_FLUSH."""
    reservation: bool
    """Knows `cpu/reservation`."""
    quiesced: bool
    """Knows `cpu/rtas_stopped`."""


QEMU: Final = {
    p.name: p
    for p in (
        Profile(
            "qemu-5.2", switchover=False, via_version=0, icount_shift=1, suspended=False,
            described=False, reads_decrementer=False, compress=True, any_fill=True, flush=False,
            reservation=False, quiesced=False,
        ),
        Profile(
            "qemu-7.2", switchover=False, via_version=1, icount_shift=2, suspended=False,
            described=False, reads_decrementer=False, compress=True, any_fill=True, flush=False,
            reservation=False, quiesced=False,
        ),
        Profile(
            "qemu-10.0", switchover=True, via_version=1, icount_shift=2, suspended=True,
            described=True, reads_decrementer=True, compress=False, any_fill=False, flush=True,
            reservation=True, quiesced=False,
        ),
        Profile(
            "qemu-11", switchover=True, via_version=1, icount_shift=2, suspended=True,
            described=True, reads_decrementer=True, compress=False, any_fill=False, flush=True,
            reservation=True, quiesced=True,
        ),
    )
}  # fmt: skip
SAVE_FILE: Final = "save-file"
"""Not a form of the stream: our container around the bytes as they are."""
PLAIN: Final = "plain"
"""The stream's bytes as they are, out of a container or an image."""
