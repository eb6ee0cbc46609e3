"""The monitor's words for the machine's past."""

from __future__ import annotations

import re
from typing import Any, Final

from gossamer.base.errors import ConfigError
from gossamer.control.commands.rows import TABLE
from gossamer.control.commands.timeline import LastWrite, Place, TimelineInfo
from gossamer.control.session import Session
from gossamer.front.hmp import memory
from gossamer.front.hmp.row_table import composed, row
from gossamer.front.hmp.words import Arguments, number

_UNITS: Final = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_AMOUNT: Final = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)(s|ms|us|ns|i)", re.ASCII)


def _place(place: Place) -> str:
    label = f"  {place.label}" if place.label else ""
    return f"instruction {place.icount}, {place.ns / 1e9:.9f} s{label}"


def _info(past: TimelineInfo) -> str:
    here = past.now
    places = [(one.icount, one.ns) for one in past.moments]
    now = here.icount, here.ns
    lines = [_place(one) for one in past.moments]
    if now in places:
        lines[places.index(now)] += "  <- here"
    else:
        lines.append(f"here: {_place(here)}")
    return "\n".join(
        [
            *lines,
            f"{past.checkpoints} checkpoints, {past.inputs} inputs, "
            f"{past.size / 2**20:.1f} of {past.limit / 2**20:.0f} MiB",
        ]
    )


def _written(found: LastWrite) -> str:
    return f"{found.pc:#010x} wrote it at {_place(found.place)}: {found.before} -> {found.after}"


def _rewind(session: Session, given: Arguments) -> str:
    """``rewind 2s``, ``rewind 500ms``, ``rewind 1000i`` (instructions), ``rewind MARK``."""
    text = given["where"]
    amount = _AMOUNT.fullmatch(text)
    values: dict[str, Any] = {"to": text}
    if amount is not None and amount[2] == "i":
        if "." in amount[1]:
            raise ConfigError(f"rewind: expected a whole number of instructions, got {text!r}")
        values = {"icount": int(amount[1])}
    elif amount is not None:
        values = {"ns": round(float(amount[1]) * _UNITS[amount[2]])}
    place = TABLE.find("x-rewind")(session, values)
    assert isinstance(place, Place)
    return _place(place)


def _timeline(session: Session, given: Arguments) -> str:
    state = given.get("state", "on")
    if state not in ("on", "off"):
        raise ConfigError(f"timeline: expected on or off, got {state!r}")
    values: dict[str, Any] = {"enable": state == "on"}
    if "limit" in given:
        values["limit"] = number(given["limit"], "MIB")
    TABLE.find("x-timeline")(session, values)
    return ""


def _last_write(session: Session, given: Arguments) -> str:
    values = {"address": memory.value_of(session, given["address"])}
    if "size" in given:
        values["size"] = number(given["size"], "SIZE")
    found = TABLE.find("x-last-write")(session, values)
    assert isinstance(found, LastWrite)
    return _written(found)


composed("timeline", "[on|off:state] [MIB:limit]", "keep the machine's past, or not", _timeline)
row("mark", "[LABEL:label]", "x-mark", _place)
composed("rewind", "WHERE:where", "back by 2s, 500ms, 1000i (instructions), or to a mark", _rewind)
composed("last-write", "ADDRESS:address [SIZE:size]", "which store wrote there last", _last_write)
row("record", "FILE:filename", "x-record")
row("replay_seek", "ICOUNT:icount", "replay-seek")
row("replay_break", "ICOUNT:icount", "replay-break")
row("replay_delete_break", "", "replay-delete-break")
row("info timeline", "", "x-query-timeline", _info)
