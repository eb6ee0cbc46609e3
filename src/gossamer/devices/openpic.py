"""OpenPIC interrupt controller as in Apple's KeyLargo: 64 sources, 4 IPIs, 4 timers, one CPU.

A source has a vector, a priority (0: never), a mask, a sense (edge or level) and destinations.
What is pending and not masked is raised; the highest raised priority above the task's and above
everything in service asserts the output.  Reading IACK puts it in service, writing EOI ends the
highest in service.  Registers are little-endian words, 256 KiB.  Source: OpenPIC Multiprocessor
Interrupt Controller Register Interface Specification 1.2; Linux arch/powerpc/include/asm/mpic.h;
docs page openpic.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from operator import attrgetter
from struct import Struct
from typing import ClassVar, Final

from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.core.faces import NO, YES, Face
from gossamer.core.irq import IrqLine
from gossamer.core.region import Region
from gossamer.devices.openpic_timer import FREQUENCY, OpenPicTimer
from gossamer.state.codec import U32, Bitmap, Equal
from gossamer.state.declare import (
    Stateful,
    array,
    bitmap,
    child,
    children,
    derived,
    i32,
    u32,
    wiring,
)
from gossamer.state.layout import Constant, Item, Layout, Nested, View, subsection

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
        """Pending, not masked, with a destination that exists; one of priority 0 waits for ever."""
        return bool(self.pending and not self.ivpr & MASK and self.destmask & 1)


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


_queue_face: Final = attrgetter("bits", "next", "priority")


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


def _exact_timer(n: int) -> Item:
    """What timer `n` showed when it was loaded, and when that was."""
    layout = ["tccr", "load_time"]
    return Nested(f"timer[{n}]", lambda pic: pic.timers[n], "openpic_timer_exact", 1, layout)


_CHOSEN: Final = Struct(f"{2 * (SOURCES + TIMERS)}I")


def _ones(bits: int) -> Iterator[int]:
    """Numbers of the bits that are set."""
    while bits:
        yield (bits & -bits).bit_length() - 1
        bits &= bits - 1


def _item(name: str, n: int) -> Item:
    """Element `n` of a list of objects."""
    return Nested(f"{name}[{n}]", lambda pic: getattr(pic, name)[n], element=(name, n))


class OpenPic(Device):
    """The controller; an `IrqSink` with 64 pins.  `out` is the CPU's external interrupt."""

    vmsd = "openpic"
    version = 3
    minimum = 3

    extra = subsection(
        "openpic/gossamer",
        ours=True,
        lost="its timers, which count or are set up to interrupt",
        layout=[
            *(_item("timer_sources", n) for n in range(TIMERS)),
            *(_exact_timer(n) for n in range(TIMERS)),
        ],
    )

    gcr: int = u32()
    vir: int = u32()
    pir: int = u32()
    spve: int = u32(0xFF)
    tfrr: int = u32(FREQUENCY)
    src: list[Source] = children(Source, SOURCES)
    dst: list[Destination] = children(Destination, 1)
    timers: list[OpenPicTimer] = children(OpenPicTimer, TIMERS)
    msi: list[Message] = children(Message, 8)
    timer_sources: list[Source] = children(Source, TIMERS, within=extra)

    inputs: int = derived()
    #: The sources' `pending` and activity bits, a bit a source, and what guests choose of each.
    pending: int = derived()
    activity: int = derived()
    chosen: bytes = derived()
    out: IrqLine = wiring()

    layouts: ClassVar[dict[str, Layout]] = {
        "": [
            *("gcr", "vir", "pir", "spve", "tfrr"),
            Constant("max_irq", Equal(U32, SOURCES)),
            *(_item("src", n) for n in range(SOURCES)),
            Constant("nb_cpus", Equal(U32, 1)),
            Nested("dst[0]", lambda pic: pic.dst[0]),
            *(_item("timers", n) for n in range(TIMERS)),
            *(_item("msi", n) for n in range(8)),
            Constant("irq_ipi0", Equal(U32, IPI0)),
            Constant("irq_tim0", Equal(U32, TIMER0)),
            Constant("irq_msi", Equal(U32, 0)),
        ]
    }

    def __init__(self, clock: Clock, out: IrqLine) -> None:
        super().__init__(clock)
        self.idstr, self.out, self.inputs = "openpic", out, 0
        self.timers = [
            OpenPicTimer(clock, partial(self._raise_edge, TIMER0 + n), partial(self._idle, n))
            for n in range(TIMERS)
        ]
        self.reset()

    def reset(self) -> None:
        """Hard reset, or the reset bit of the configuration register; the inputs stay as driven."""
        super().reset()
        self._gather()
        self.update_irq()

    def _gather(self) -> None:
        """Work out what is derived of the sources."""
        sources = [*self.src, *self.timer_sources]
        self.pending = sum(bool(s.pending) << n for n, s in enumerate(sources))
        self.activity = sum(bool(s.ivpr & ACTIVITY) << n for n, s in enumerate(sources))
        self._choose()

    def _choose(self) -> None:
        """A vector, priority, sense, mask or destination has changed."""
        sources = [*self.src, *self.timer_sources]
        values = [value for s in sources for value in (s.ivpr & ~ACTIVITY, s.destmask)]
        self.chosen = _CHOSEN.pack(*values)

    @extra.needed
    def extra_needed(self) -> bool:
        """A timer counts, or its interrupt is set up: QEMU's KeyLargo has no such thing."""
        return any(t.running for t in self.timers) or any(
            (s.ivpr, s.idr, s.pending) != (MASK | MODE, 0, 0) for s in self.timer_sources
        )

    def post_load(self, _version: int) -> None:
        self._gather()
        for timer in self.timers:
            timer.arm()

    def region(self) -> Region:
        """The registers: 256 KiB at offset 0x40000 of mac-io."""
        return Region(
            "openpic",
            SIZE,
            self.read_register,
            self.write_register,
            widths=(4,),
            little=True,
            learns=self._learns,
        )

    def _learns(self, offset: int, value: int | None) -> int:
        """What interrupt handlers do: priority, acknowledge, end; but a timer's starts it anew."""
        register = offset - CPU_BASE
        if value is None:
            known = register in (TASK_PRIORITY, WHO_AM_I, IACK)
        else:
            known = register == TASK_PRIORITY or (register == EOI and self.cpu.servicing.next >= 0)
        timers = (self.cpu.raised.bits | self.cpu.servicing.bits) >> TIMER0
        return YES if known and not timers else NO

    def face(self) -> Face:
        cpu = self.cpu
        return (
            self.out.level,
            cpu.ctpr,
            *_queue_face(cpu.raised),
            *_queue_face(cpu.servicing),
            *(self.inputs, self.pending, self.activity),
            *(self.gcr, self.spve, self.chosen),
        )

    def set_face(self, face: Face) -> None:
        cpu = self.cpu
        self.out.level, cpu.ctpr = face[:2]
        cpu.raised.bits, cpu.raised.next, cpu.raised.priority = face[2:5]
        cpu.servicing.bits, cpu.servicing.next, cpu.servicing.priority = face[5:8]
        self.inputs = face[8]
        for n in _ones(self.pending ^ face[9]):
            self._set_pending(n, not self.pending >> n & 1)
        for n in _ones(self.activity ^ face[10]):
            self._set_activity(n, not self.activity >> n & 1)

    # --- sources ------------------------------------------------------------------------------

    @property
    def cpu(self) -> Destination:
        return self.dst[0]

    def source(self, n: int) -> Source:
        return self.src[n] if n < SOURCES else self.timer_sources[n - TIMER0]

    def _is_level(self, n: int) -> bool:
        """IPIs and timers are edges whatever their sense bit says."""
        return n < EXTERNAL and bool(self.src[n].ivpr & LEVEL)

    def _idle(self, n: int) -> bool:
        """Timer `n` is not pending: its next end of a period will be seen."""
        return not self.timer_sources[n].pending

    def _set_pending(self, n: int, pending: bool | int) -> None:
        self.source(n).pending = int(pending)
        self.pending = self.pending & ~(1 << n) | bool(pending) << n

    def _set_activity(self, n: int, active: bool) -> None:
        s = self.source(n)
        s.ivpr = s.ivpr | ACTIVITY if active else s.ivpr & ~ACTIVITY
        self.activity = self.activity & ~(1 << n) | active << n

    def input_changed(self, pin: int, level: bool) -> None:
        bit = 1 << pin
        self.inputs = self.inputs | bit if level else self.inputs & ~bit
        if level or self._is_level(pin):
            self._set_pending(pin, level)
        self._update_source(pin)
        self.update_irq()

    def input_assigned(self, pin: int, level: bool) -> None:
        """A level source's `pending` is its input; a stream in which it is not is put right."""
        bit = 1 << pin
        self.inputs = self.inputs | bit if level else self.inputs & ~bit
        if self._is_level(pin) and bool(self.src[pin].pending) != level:
            self.note(f"level of source {pin} in the stream does not fit its driver")
            self._set_pending(pin, level)
            self._update_source(pin)
            self.out.assign(self.level)

    def _raise_edge(self, n: int) -> None:
        self._set_pending(n, True)
        self._update_source(n)
        self.update_irq()

    def _update_source(self, n: int) -> None:
        """Bring the raised queue and the activity bit up to date with source `n`."""
        s, bit = self.source(n), 1 << n
        raised, servicing = self.cpu.raised, self.cpu.servicing
        in_service = bool(servicing.bits & bit)
        wants = s.wants and not (in_service and self._is_level(n))
        if wants != bool(raised.bits & bit):
            raised.bits ^= bit
        if bool(s.ivpr & ACTIVITY) != (wants or in_service):
            self._set_activity(n, wants or in_service)
        self._find_next(raised)

    def _find_next(self, queue: Queue) -> None:
        """The highest priority of a queue, the lowest number among equals."""
        queue.next, queue.priority, left = -1, -1, queue.bits
        while left:
            n = (left & -left).bit_length() - 1
            left &= left - 1
            if self.source(n).priority > queue.priority:
                queue.next, queue.priority = n, self.source(n).priority

    # --- output -------------------------------------------------------------------------------

    @property
    def level(self) -> bool:
        cpu = self.cpu
        if not self.gcr & GCR_MIXED and self.inputs & 1:
            return True  # pass-through of an 8259 at source 0
        serviced = cpu.servicing.priority if cpu.servicing.next >= 0 else -1
        return cpu.raised.next >= 0 and cpu.raised.priority > max(cpu.ctpr, serviced)

    def update_irq(self) -> None:
        self.out.set(self.level)

    def resume(self) -> None:
        self.out.assign(self.level)

    def _acknowledge(self) -> int:
        """Read IACK: the vector of what is now in service, or the spurious vector."""
        cpu = self.cpu
        n = cpu.raised.next
        serviced = cpu.servicing.priority if cpu.servicing.next >= 0 else -1
        if n < 0 or cpu.raised.priority <= max(cpu.ctpr, serviced):
            self.update_irq()
            return self.spve
        s = self.source(n)
        cpu.servicing.bits |= 1 << n
        self._find_next(cpu.servicing)
        if not self._is_level(n):
            self._set_pending(n, False)
            if n >= TIMER0:
                self.timers[n - TIMER0].arm()
        self._update_source(n)
        self.update_irq()
        return s.ivpr & 0xFF

    def _end_of_interrupt(self) -> None:
        servicing = self.cpu.servicing
        n = servicing.next
        if n < 0:
            self.note("end of interrupt with none in service")
            return
        servicing.bits &= ~(1 << n)
        self._find_next(servicing)
        self._update_source(n)
        self.update_irq()

    # --- registers ----------------------------------------------------------------------------

    def read_register(self, offset: int, _size: int) -> int:
        if offset & 0xF:
            return 0
        if offset >= CPU_BASE or offset < 0x1000:
            return self._read_cpu(offset)
        if offset >= SOURCE_BASE:
            return self._read_source(offset - SOURCE_BASE)
        if TIMER_BASE <= offset < TIMER_BASE + 0x40 * TIMERS:
            return self._read_timer((offset - TIMER_BASE) // 0x40, offset & 0x30)
        if IPI_VECTORS <= offset < IPI_VECTORS + 0x10 * IPIS:
            return self.src[IPI0 + (offset - IPI_VECTORS >> 4)].ivpr
        known = {
            FEATURE: FEATURE_VALUE,
            CONFIGURATION: self.gcr,
            VENDOR: self.vir,
            PROCESSOR_INIT: self.pir,
            SPURIOUS: self.spve,
            TIMER_FREQUENCY: self.tfrr,
        }
        if offset not in known:
            self.note(f"read of unknown register {offset:#x}")
        return known.get(offset, 0xFFFF_FFFF)

    def write_register(self, offset: int, _size: int, value: int) -> None:
        if offset & 0xF:
            return
        if offset >= CPU_BASE or offset < 0x1000:
            self._write_cpu(offset, value)
        elif offset >= SOURCE_BASE:
            self._write_source(offset - SOURCE_BASE, value)
        elif TIMER_BASE <= offset < TIMER_BASE + 0x40 * TIMERS:
            self._write_timer((offset - TIMER_BASE) // 0x40, offset & 0x30, value)
        elif IPI_VECTORS <= offset < IPI_VECTORS + 0x10 * IPIS:
            self._write_vector(IPI0 + (offset - IPI_VECTORS >> 4), value)
        elif offset == CONFIGURATION:
            self._write_configuration(value)
        elif offset == PROCESSOR_INIT:
            self.note(f"processor init {value:#x}")
            self.pir = value & 1
        elif offset == SPURIOUS:
            self.spve = value & 0xFF
        elif offset == TIMER_FREQUENCY:
            self.tfrr = value
        else:
            self.note(f"write to unknown or read-only register {offset:#x}")

    def _write_configuration(self, value: int) -> None:
        if value & GCR_RESET:
            self.reset()
        else:
            self.gcr = value & GCR_MIXED
            self.update_irq()

    def _write_vector(self, n: int, value: int) -> None:
        s = self.source(n)
        s.ivpr = s.ivpr & ACTIVITY | value & IVPR_WRITABLE
        if self._is_level(n):
            self._set_pending(n, self.inputs >> n & 1)
        self._changed(n)

    def _write_destination(self, n: int, value: int) -> None:
        s = self.source(n)
        s.idr = value & 1
        s.destmask = s.idr
        self._changed(n)

    def _changed(self, n: int) -> None:
        """Vector or destination of source `n` were written."""
        self._choose()
        self._update_source(n)
        if self.cpu.servicing.bits >> n & 1:
            self._find_next(self.cpu.servicing)
        self.update_irq()

    def _read_source(self, offset: int) -> int:
        n = offset >> 5
        if n >= SOURCES:
            self.note(f"read of source {n}")
            return 0xFFFF_FFFF
        return self.src[n].idr if offset & 0x10 else self.src[n].ivpr

    def _write_source(self, offset: int, value: int) -> None:
        n = offset >> 5
        if n >= SOURCES:
            self.note(f"write of source {n}")
        elif offset & 0x10:
            self._write_destination(n, value)
        else:
            self._write_vector(n, value)

    def _read_timer(self, n: int, register: int) -> int:
        t, s = self.timers[n], self.timer_sources[n]
        return {0x00: t.current, 0x10: t.tbcr, 0x20: s.ivpr}.get(register, s.idr)

    def _write_timer(self, n: int, register: int, value: int) -> None:
        if register == 0x10:
            self.timers[n].write_base(value)
        elif register == 0x20:
            self._write_vector(TIMER0 + n, value)
        elif register == 0x30:
            self._write_destination(TIMER0 + n, value)
        else:
            self.note("write to the current count of a timer")

    def _cpu_register(self, offset: int) -> int:
        """The register of CPU 0, by its own place or by "this processor" at 0; -1: none."""
        return offset if offset < 0x1000 else offset - CPU_BASE if offset < 0x21000 else -1

    def _read_cpu(self, offset: int) -> int:
        match self._cpu_register(offset):
            case 0x80:
                return self.cpu.ctpr
            case 0x90:
                return 0
            case 0xA0:
                return self._acknowledge()
            case 0xB0 | 0x40 | 0x50 | 0x60 | 0x70:
                return 0
            case _:
                self.note(f"read of unknown register {offset:#x}")
                return 0xFFFF_FFFF

    def _write_cpu(self, offset: int, value: int) -> None:
        register = self._cpu_register(offset)
        if IPI_DISPATCH <= register < IPI_DISPATCH + 0x10 * IPIS:
            if value & 1:
                n = IPI0 + (register - IPI_DISPATCH >> 4)
                self.src[n].destmask = 1
                self._choose()
                self._raise_edge(n)
        elif register == TASK_PRIORITY:
            self.cpu.ctpr = value & 0xF
            self.update_irq()
        elif register == EOI:
            self._end_of_interrupt()
        else:
            self.note(f"write to unknown or read-only register {offset:#x}")
