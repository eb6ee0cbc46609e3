"""Trace events: counted, and bounded whatever a guest does."""

from __future__ import annotations

from gossamer.core.trace import DISTINCT, OTHERS, Trace


def test_events_are_counted_by_chip_and_text() -> None:
    trace, seen = Trace(), list[tuple[str, str]]()
    trace.listener = lambda chip, text: seen.append((chip, text))
    for _ in range(3):
        trace.event("vga", "write of 4 bytes")
    assert trace.counts == {("vga", "write of 4 bytes"): 3}
    assert len(seen) == 3


def test_texts_that_a_guest_makes_up_are_counted_together_from_some_number_on() -> None:
    trace = Trace()
    for page in range(3 * DISTINCT):
        trace.event("bus", f"write to nothing at {page:#x}")
    trace.event("bus", "write to nothing at 0x0")
    assert len(trace.counts) == DISTINCT + 1
    assert trace.counts["bus", OTHERS] == 2 * DISTINCT
    assert trace.counts["bus", "write to nothing at 0x0"] == 2
