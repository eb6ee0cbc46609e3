"""OpenPIC interrupt controller as in Apple's KeyLargo: 64 sources, 4 IPIs, 4 timers, one CPU.

A source has a vector, a priority (0: never), a mask, a sense (edge or level) and destinations.
What is pending and not masked is raised; the highest raised priority above the task's and above
everything in service asserts the output.  Reading IACK puts it in service, writing EOI ends the
highest in service.  Registers are little-endian words, 256 KiB.  Source: OpenPIC Multiprocessor
Interrupt Controller Register Interface Specification 1.2; Linux arch/powerpc/include/asm/mpic.h;
docs page openpic.md.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Final

from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.core.irq import IrqLine
from gossamer.core.region import Region
from gossamer.devices.openpic_timer import FREQUENCY, OpenPicTimer
from gossamer.state.codec import I32, U32, Bitmap, Equal
from gossamer.state.declare import (
    Stateful,
    array,
    bitmap,
    child,
    children,
    derived,
    i32,
    u32,
    vtime,
    wiring,
)
from gossamer.state.layout import Constant, Layout, Nested, View, subsection

SIZE: Final = 0x40000
EXTERNAL: Final = 64
"""Sources with an input pin."""
IPIS: Final = 4
TIMERS: Final = 4
SOURCES: Final = EXTERNAL + IPIS
"""Sources on the wire as QEMU has them; the timers' come behind, in our subsection."""
IPI0, TIMER0 = EXTERNAL, SOURCES
QUEUE_BITS: Final = 320

MASK: Final = 0x8000_0000
ACTIVITY: Final = 0x4000_0000
MODE: Final = 0x2000_0000
LEVEL: Final = 0x0040_0000
IVPR_WRITABLE: Final = 0x80CF_00FF
"""Mask, polarity, sense, priority and eight bits of vector."""
GCR_RESET: Final = 0x8000_0000
GCR_MIXED: Final = 0x2000_0000
"""8259 pass-through disabled."""

# Offsets.
FEATURE, CONFIGURATION, VENDOR, PROCESSOR_INIT = 0x1000, 0x1020, 0x1080, 0x1090
IPI_VECTORS, SPURIOUS, TIMER_FREQUENCY, TIMER_BASE = 0x10A0, 0x10E0, 0x10F0, 0x1100
SOURCE_BASE, CPU_BASE = 0x10000, 0x20000
IPI_DISPATCH, TASK_PRIORITY, WHO_AM_I, IACK, EOI = 0x40, 0x80, 0x90, 0xA0, 0xB0
FEATURE_VALUE: Final = EXTERNAL - 1 << 16 | 0x02
"""Last source, one CPU (0), revision 1.2."""


class Source(Stateful):
    """One source.  `pending`: an edge is latched, or the level input is active."""

    vmsd = "openpic_irqsource"

    ivpr: int = u32(MASK | MODE)
    idr: int = u32()
    destmask: int = u32()
    last_cpu: int = i32()
    pending: int = i32()

    @property
    def priority(self) -> int:
        return self.ivpr >> 16 & 0xF

    @property
    def wants(self) -> bool:
        """Pending, not masked, with a priority and a destination that exists."""
        return bool(
            self.pending and not self.ivpr & MASK and self.priority and self.destmask & 1
        )


def _queue_bits(name: str) -> View:
    def put(queue: Queue, value: int) -> None:
        if value >> SOURCES + TIMERS:
            raise ValueError(f"there are {SOURCES + TIMERS} sources, got bits {value:#x}")
        queue.bits = value

    return View(name, Bitmap(QUEUE_BITS), lambda queue: queue.bits, put)


class Queue(Stateful):
    """A set of sources; `next` is the one of highest priority (-1: none), `priority` its own."""

    vmsd = "openpic_irq_queue"

    bits: int = bitmap(QUEUE_BITS, wire="queue")
    next: int = i32(-1)
    priority: int = i32()

    layouts = {"": [_queue_bits("queue"), "next", "priority"]}


class Destination(Stateful):
    """What one CPU sees: its task priority, what is raised for it and what it is servicing."""

    vmsd = "openpic_irqdest"

    ctpr: int = i32(15)
    raised: Queue = child(Queue)
    servicing: Queue = child(Queue)
    outputs_active: list[int] = array(U32, 5)


class Message(Stateful):
    """A shared message register; this model has no messages, QEMU sends them all the same."""

    vmsd = "openpic_msi"

    msir: int = u32()


def _timer_field(n: int) -> View:
    """The exact load time of timer `n`."""

    def put(pic: OpenPic, value: int) -> None:
        pic.timers[n].load_time = value

    return View(f"load_time[{n}]", vtime_codec(), lambda pic: pic.timers[n].load_time, put, clock=True)


def _timer_count(n: int) -> View:
    """What timer `n` showed then."""

    def put(pic: OpenPic, value: int) -> None:
        pic.timers[n].tccr = value

    return View(f"loaded[{n}]", U32, lambda pic: pic.timers[n].tccr, put)
