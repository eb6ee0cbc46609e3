"""What tests of the pseries beside QEMU have in common."""

from __future__ import annotations

from io import BytesIO

from gossamer.control.globalstate import GlobalState
from gossamer.control.profiles import READING, profile_of
from gossamer.control.stream_in import _Bodies, read_stream
from gossamer.control.stream_out import Extra, save_stream
from gossamer.machines.build import build
from gossamer.machines.machine import Machine
from gossamer.machines.options import parse
from gossamer.migrate.framing import Section, Walker
from gossamer.migrate.releases import release
from gossamer.migrate.source import Source

#: What QEMU's TCG needs switched off, by CPU.
CAPS = {"970mp_v1.1": "cap-vsx=off,cap-dfp=off,cap-htm=off", "power8": "cap-htm=off"}


def loaded(stream: bytes, options: tuple[str, ...]) -> Machine:
    m = build(parse(list(options)), arrives=True)
    read_stream(m, BytesIO(stream), Extra("globalstate", GlobalState()), READING)
    return m


def changed_sections(stream: bytes, options: tuple[str, ...], *, live: bool = False) -> set[str]:
    """Load a stream of QEMU's, write it again for QEMU: the sections that are not the same bytes.

    What the guest does not see is left out: the state of QEMU's own network stack, the time stamp
    of its host in `timer`.  `live`: it was taken at any moment, so that QEMU may have been about to
    deliver an interrupt, which its stream says beside the state that the interrupt follows from.
    """
    out, bodies = BytesIO(), []
    m = loaded(stream, options)
    save_stream(m, out, Extra("globalstate", GlobalState()), profile_of(release("qemu-7.2")))
    for data in (stream, out.getvalue()):
        found: dict[tuple[str, int, int], bytes] = {}
        reader = Reader(build(parse(list(options)), arrives=True), data, found)
        for _ in Walker(Source(BytesIO(data), 0), reader).events():
            pass
        # What QEMU's pass came to, which may be nothing, and the rest.
        first, rest = found.pop(("spapr/htab", 0, 2), b""), found.pop(("spapr/htab", 0, 3))
        found["spapr/htab", 0, 2] = (first[:-8] or rest[:4]) + rest[4:]
        found["timer", 0, 4] = found["timer", 0, 4][8:]
        found.pop(("slirp", 0, 4), None)
        if live:
            found |= {key: body[:4] for key, body in found.items() if key[0] == "cpu_common"}
        bodies.append(found)
    theirs, ours = bodies
    return {key[0] for key in {*theirs, *ours} if theirs.get(key) != ours.get(key)}


class Reader:
    """Walks a stream and keeps the bodies of its sections."""

    def __init__(self, m: Machine, stream: bytes, found: dict[tuple[str, int, int], bytes]) -> None:
        self.stream, self.found = stream, found
        source = Source(BytesIO(stream), 0)
        self.bodies = _Bodies(m, source, Extra("globalstate", GlobalState()), READING)

    def __call__(self, section: Section, source: Source) -> None:
        start = source.offset
        self.bodies(section, source)
        if section.idstr != "ram":
            body = self.stream[start : source.offset]
            self.found[section.idstr, section.instance_id, int(section.kind)] = body
