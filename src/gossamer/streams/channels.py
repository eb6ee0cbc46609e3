"""`show` for what is not a main stream: multifd channels, return paths, preempt channels."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from typing import Any, Final

from gossamer.base.units import PAGE_SIZE
from gossamer.migrate import multifd, ram, returnpath
from gossamer.migrate.ram import Mark, OpenRamReader, Run
from gossamer.migrate.source import Source
from gossamer.streams.open import Input
from gossamer.streams.page import Page, plural, size_text

FORMS: Final = {"stream", "multifd", "return-path", "preempt"}


def recognise(given: Input) -> str:
    """`stream` or `multifd` by the first bytes; the others have no mark and must be named."""
    start = given.file.read(4)
    given.file.seek(0)
    return "multifd" if multifd.is_channel(start) else "stream"


def show(page: Page, given: Input, form: str, args: argparse.Namespace) -> None:
    """Print a capture of another channel."""
    source = Source(given.file)
    size = args.page_size or PAGE_SIZE
    if form == "multifd":
        report = _multifd(source, size)
    elif form == "preempt":
        report = _preempt(source, size)
    else:
        report = _return_path(source)
    if args.json:
        json.dump(report, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    page.heading(f"{given.name}: {given.size:,} bytes, {report['form']}")
    for name, value in report.items():
        if isinstance(value, list):
            for row in value:
                page.line("  " + "  ".join(f"{k} {v}" for k, v in row.items() if v not in ("", 0)))
        elif name != "form":
            page.value(1, name, str(value))


def _multifd(source: Source, size: int) -> dict[str, Any]:
    out: dict[str, Any] = {"form": "a multifd channel"}
    packets, syncs, pages, zeros, wire = 0, 0, Counter[str](), Counter[str](), 0
    methods: set[str] = set()
    for item in multifd.walk(source, size):
        if isinstance(item, multifd.Hello):
            out |= {"channel": item.channel, "uuid": item.uuid.hex()}
            continue
        packets += 1
        syncs += item.sync
        wire += item.wire_length
        if len(item.addresses):
            methods.add(item.method)
        pages[item.block] += len(item.addresses)
        zeros[item.block] += len(item.zeros)
    out |= {"packets": packets, "syncs": syncs, "compression": ", ".join(sorted(methods)) or "none"}
    out["bytes"] = size_text(wire)
    out["blocks"] = [
        {"block": name, "pages": pages[name], "zero pages": zeros[name]}
        for name in pages
        if pages[name] or zeros[name]
    ]
    return out


def _preempt(source: Source, size: int) -> dict[str, Any]:
    reader = OpenRamReader(size)
    pages: Counter[str] = Counter()
    ended = False
    while source.fill(1):
        for record in reader.read(source):
            if isinstance(record, Run):
                pages[record.block.name] += len(record.addresses)
            elif isinstance(record, Mark):
                ended = record.kind == ram.EOS
    return {
        "form": "a postcopy preempt channel",
        "ended": "with an end record" if ended else "cut",
        "blocks": [{"block": name, "pages": count} for name, count in pages.items()],
    }


def _return_path(source: Source) -> dict[str, Any]:
    rows = []
    for message in returnpath.walk(source):
        rows.append(
            {
                "message": message.kind.name,
                "value": message.value,
                "length": message.length,
                "block": message.block,
                "bitmap": plural(len(message.bitmap), "byte") if message.bitmap else "",
            }
        )
    return {"form": "a return path", "messages": rows}
