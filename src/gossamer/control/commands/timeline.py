"""Commands for a machine's past."""

from __future__ import annotations

from pathlib import Path

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.base.units import MiB
from gossamer.control.commands.table import command
from gossamer.control.session import Session
from gossamer.control.shapes import Size
from gossamer.control.timeline import search
from gossamer.control.timeline.journal import Moment
from gossamer.control.timeline.record import write_record
from gossamer.control.timeline.timeline import LIMIT, Timeline, timeline_of


class Place(Data):
    """Instructions since power-on, and virtual time in ns."""

    icount: int
    ns: int
    label: str | None = None


class TimelineInfo(Data):
    """Begin, marks and end of the timeline, where the machine is, and bytes of checkpoints."""

    moments: tuple[Place, ...]
    now: Place
    checkpoints: int
    inputs: int
    size: Size
    limit: Size


def _place(moment: Moment) -> Place:
    return Place(moment.instructions, moment.ns, moment.label or None)


@command("x-timeline")
def timeline(session: Session, enable: bool = True, limit: int = LIMIT // MiB) -> None:
    """Keep the machine's past from now on, in so many MiB at most, or forget it."""
    if not enable:
        timeline_of(session.vm).close()
        return
    session.check_idle()
    session.vm.disks.check_free()
    Timeline(session.vm, limit=limit * MiB)


@command("x-query-timeline", held=True)
def query_timeline(session: Session) -> TimelineInfo:
    """The machine's past: from where to where, and its marks."""
    past = timeline_of(session.vm)
    return TimelineInfo(
        tuple(_place(moment) for moment in past.moments()),
        _place(past.now),
        len(past.ring.all),
        len(past.inputs),
        Size(past.size),
        Size(past.limit),
    )


@command("x-mark")
def mark(session: Session, label: str = "") -> Place:
    """Remember where the machine is, to go back there."""
    return _place(timeline_of(session.vm).mark(label))


@command("x-rewind")
def rewind(
    session: Session, to: str | None = None, ns: int | None = None, icount: int | None = None
) -> Place:
    """Go back to a mark, by virtual ns, or by instructions."""
    session.check_idle()
    return _place(timeline_of(session.vm).rewind(to, ns=ns, instructions=icount))


class LastWrite(Data):
    """The store that wrote last: its address, where on the line of time, bytes in hexadecimal."""

    pc: Size
    place: Place
    before: str
    after: str


@command("x-last-write")
def last_write(session: Session, address: int, size: int = 4) -> LastWrite:
    """Which instruction wrote last to memory at an effective address."""
    session.check_idle()
    found = search.last_write(timeline_of(session.vm), address, size)
    if found is None:
        raise ConfigError(f"nothing has written to {address:#x} since the timeline's begin")
    place = _place(found.moment)
    return LastWrite(Size(found.pc), place, found.before.hex(), found.after.hex())


@command("x-record")
def record(session: Session, filename: str, points: int = 100) -> None:
    """Write the machine's past to a file that can be replayed."""
    write_record(session.vm, timeline_of(session.vm), Path(filename), points)


# --- QEMU's names -------------------------------------------------------------------------------


@command("replay-seek")
def replay_seek(session: Session, icount: int) -> None:
    """Go to where so many instructions had been executed."""
    session.check_idle()
    timeline_of(session.vm).go_to_count(icount)


@command("replay-break")
def replay_break(session: Session, icount: int) -> None:
    """Stop, once, where so many instructions have been executed."""
    timeline_of(session.vm).break_at(icount)


@command("replay-delete-break")
def replay_delete_break(session: Session) -> None:
    """Do not stop where replay-break said."""
    timeline_of(session.vm).delete_break()
