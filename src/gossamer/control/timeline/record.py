"""A run in one file: the state at its begin, the inputs with their places, hashes on the way.

A zip archive: ``start`` is a save file, ``inputs.json`` a list of [ns, kind, values…], ``run.json``
where it begins and ends and [ns, inputs, hash] at points between.  It is replayed by running.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gossamer.base.errors import ConfigError, GossamerError, HostError
from gossamer.base.late import Late
from gossamer.block import OverlayImage
from gossamer.control.timeline.journal import Moment, checked
from gossamer.control.timeline.timeline import MOST_INPUTS, Timeline
from gossamer.control.vm import Vm

if TYPE_CHECKING:
    import tempfile
    import zipfile
else:
    tempfile = Late(lambda: import_module("tempfile"))
    zipfile = Late(lambda: import_module("zipfile"))

FORMAT: Final = 1
_LONGEST: Final = 256 << 20
"""Bytes of inputs.json and run.json at the most."""
Points = list[tuple[int, int, int]]


def write_record(vm: Vm, timeline: Timeline, path: Path | str, points: int = 100) -> Points:
    """Write what has been since the timeline's begin; the machine stays where it is.

    `points` hashes at equal distances of virtual time, which running it again must meet.
    """
    if not 1 <= points <= 10_000:
        raise ConfigError(f"record: expected 1 to 10000 points, got {points}")
    kept = [disk.name for disk in vm.disks.writable if not isinstance(disk.image, OverlayImage)]
    if kept:
        raise ConfigError(
            f"record: {', '.join(kept)} would go into no file: snapshot=on keeps what is written "
            "where a record can take it from, or readonly=on"
        )
    if any(disk.failures for disk in timeline.ring.disks):
        raise ConfigError("record: the host has refused something to a disk, which no file says")
    here, begin, end = timeline.now, timeline.begin, timeline.end
    place = Path(path)
    part = place.with_name(f".{place.name}.part")
    try:
        with tempfile.TemporaryDirectory(prefix="gossamer-record") as folder:
            start = Path(folder) / "start"
            timeline.go(begin)
            vm.save(start)
            found: Points = []
            for n in range(1, points + 1):
                timeline.forward(begin.ns + (end.ns - begin.ns) * n // points)
                found.append((vm.clock_ns, timeline.cursor, vm.state_hash()))
            rows = [[one.ns, one.kind, *one.values] for one in timeline.inputs]
            run = {
                "format": FORMAT,
                "begin": [begin.instructions, begin.ns],
                "end": [end.instructions, end.ns],
                "hashes": found,
            }
            with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as out:
                out.write(start, "start", zipfile.ZIP_STORED)
                out.writestr("inputs.json", json.dumps(rows))
                out.writestr("run.json", json.dumps(run))
            part.replace(place)
    except OSError as fault:
        raise HostError(f"{place}: cannot be written: {fault.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
        timeline.go(here)
    return found


def read_record(
    path: Path | str, files: Mapping[str, Path | str | None] | None = None
) -> tuple[Vm, Timeline, Points]:
    """The machine of a record at its begin, its timeline with all that comes, and the hashes."""
    place = Path(path)
    try:
        with zipfile.ZipFile(place) as archive, tempfile.TemporaryDirectory() as folder:
            run, rows = _json(archive, "run.json"), _json(archive, "inputs.json")
            begin, end, points = _run(run, str(place))
            if not isinstance(rows, list) or len(rows) > MOST_INPUTS:
                raise ConfigError(f"{place}: inputs.json: expected up to {MOST_INPUTS} inputs")
            inputs = [checked(row, f"{place}: input {n}") for n, row in enumerate(rows)]
            times = [begin[1], *(one.ns for one in inputs), end[1]]
            if times != sorted(times):
                raise ConfigError(f"{place}: the inputs are not in order")
            start = archive.extract("start", folder)
            vm = Vm.load(start, files=files)
    except OSError as fault:
        raise HostError(f"{place}: {fault.strerror or fault}") from None
    except (zipfile.BadZipFile, KeyError, zlib.error, EOFError, NotImplementedError) as fault:
        raise ConfigError(f"{place}: no record of a run: {fault}") from None
    try:
        if (vm.instructions, vm.clock_ns) != begin:
            raise ConfigError(f"{place}: its state is not that of its begin")
        timeline = Timeline(vm)
    except GossamerError:
        vm.disks.abandon()
        raise
    vm.inputs.keep_down()
    timeline.expect(inputs, Moment(*end, len(inputs)))
    return vm, timeline, points


def verify(vm: Vm, timeline: Timeline, points: Points) -> None:
    """Run a record again; ConfigError says at which point it came to another state."""
    for n, (ns, inputs, expected) in enumerate(points, 1):
        timeline.forward(ns)
        got = vm.state_hash()
        if (timeline.cursor, got) != (inputs, expected):
            raise ConfigError(
                f"record: at point {n} of {len(points)}, {ns / 1e9:.6f} s, the hash is "
                f"{got:016x}, expected {expected:016x}"
            )


def _json(archive: zipfile.ZipFile, name: str) -> Any:  # noqa: ANN401 - whatever a file holds
    size = archive.getinfo(name).file_size
    if size > _LONGEST:
        raise ConfigError(f"{archive.filename}: {name}: {size} bytes, expected {_LONGEST} at most")
    try:
        return json.loads(archive.read(name))
    except (ValueError, RecursionError) as fault:
        raise ConfigError(f"{archive.filename}: {name}: not JSON: {fault}") from None


def _run(run: object, where: str) -> tuple[tuple[int, int], tuple[int, int], Points]:
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        raise ConfigError(f"{where}: run.json: expected format {FORMAT}")
    begin, end, points = (run.get(name) for name in ("begin", "end", "hashes"))
    return _numbers(begin, 2, where), _numbers(end, 2, where), [
        _numbers(one, 3, where) for one in (points if isinstance(points, list) else [None])
    ]  # fmt: skip


def _numbers(value: object, count: int, where: str) -> Any:  # noqa: ANN401 - a tuple of `count`
    if not isinstance(value, list) or [type(one) for one in value] != [int] * count:
        raise ConfigError(f"{where}: run.json: expected {count} numbers, got {value!r:.80}")
    if not all(0 <= one < 1 << 64 for one in value):
        raise ConfigError(f"{where}: run.json: {value!r:.80} is out of range")
    return tuple(value)
