"""MOS 6522 versatile interface adapter, as Apple's Cuda and PMU sit behind it.

Two 8-bit ports, a shift register, two 16-bit timers and seven interrupt flags.  The timers count
at the Mac's VIA clock of 4.7 MHz / 6; a counter is a formula of (loaded value, load time, now) in
exact integer arithmetic, so nothing accumulates rounding and the ratio to the time base is exact.
Timer 1 free-running has a period of latch + 2 ticks.  Source: MOS 6522 data sheet; docs page
via.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar, Final, Protocol

from gossamer.core.clock import Alarm, Clock
from gossamer.core.device import Device
from gossamer.core.irq import IrqLine
from gossamer.core.region import Region
from gossamer.state.codec import NOT_ARMED, U8, Int
from gossamer.state.declare import Stateful, alarm, array, boolean, children, u8, u16, vtime, wiring
from gossamer.state.layout import Layout, Loss, Nested, View, subsection

CA2, CA1, SR, CB2, CB1, T2, T1 = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40
#: Flags that come from pins and the shift register, not from the timers.
PIN_FLAGS: Final = CA2 | CA1 | SR | CB2 | CB1
"""Bits of IFR and IER."""
IRQ: Final = 0x80
SR_CONTROL: Final = 0x1C
SR_OUT: Final = 0x10
"""ACR: the shift register shifts out."""
T1_FREE_RUN: Final = 0x40
T2_COUNTS_PULSES: Final = 0x20

ORB, ORA, DDRB, DDRA, T1CL, T1CH, T1LL, T1LH = range(8)
T2CL, T2CH, SHIFT, ACR, PCR, IFR, IER, ORA_NH = range(8, 16)

TICKS_NUMERATOR, TICKS_DENOMINATOR = 47, 60_000
"""Ticks a ns: 4.7 MHz / 6 = 47 / 60000 a ns."""
NO_EVENT: Final = (1 << 63) - 1
"""`next_irq_time` of a timer that will not set its flag."""


def _ignore(owner: object, value: int) -> None:
    """A wire field that follows from others."""


class ViaTimer(Stateful):
    """A counter that held `counter_value` at `load_time` (ns).

    `next_irq_time` is the ns at which it next sets its flag; NO_EVENT when it will not.  `timer`
    is armed for that time, so that flags are always up to date; on the wire, as QEMU has it, only
    while the flag's interrupt is `enabled` and the flag not set.
    """

    vmsd = "mos6522_timer"

    latch: int = u16(0xFFFF)
    counter_value: int = u16(0xFFFF)
    load_time: int = vtime()
    next_irq_time: int = vtime(NO_EVENT)
    timer: Alarm = alarm("expired")

    clock: Clock = wiring()
    fire: Callable[[], None] = wiring()
    enabled: Callable[[], bool] = wiring()

    layouts: ClassVar[dict[str, Layout]] = {
        "": [
            *("latch", "counter_value", "load_time", "next_irq_time"),
            View("timer", Int("timer", 8), lambda timer: timer.wire_alarm, _ignore, clock=True),
        ]
    }

    def __init__(self, clock: Clock, fire: Callable[[], None], enabled: Callable[[], bool]) -> None:
        super().__init__()
        self.clock, self.fire, self.enabled = clock, fire, enabled

    @property
    def wire_alarm(self) -> int:
        """The alarm as QEMU would have it; a time before 0, which a stream may hold, is 0."""
        armed = self.next_irq_time < NO_EVENT and self.enabled()
        return max(self.next_irq_time, 0) if armed else NOT_ARMED

    def arm(self) -> None:
        """Arm the alarm as `next_irq_time` says."""
        if self.next_irq_time < NO_EVENT:
            self.timer.set(self.next_irq_time)
        elif self.timer.armed:
            self.timer.cancel()

    def post_load(self, _version: int) -> None:
        self.arm()

    def expired(self) -> None:
        """The alarm's handler."""
        self.fire()


class ViaOwner(Protocol):
    """The microcontroller behind the ports and the shift register."""

    def port_changed(self) -> None:
        """The guest wrote a port, a direction register or ACR."""

    def shift_accessed(self) -> None:
        """The guest read or wrote the shift register; its flag is already cleared."""


class _NoOwner:
    def port_changed(self) -> None:
        """Nothing is behind the ports."""

    def shift_accessed(self) -> None:
        """Nothing is behind the shift register."""


def _put_a(via: Via, value: int) -> None:
    via.a = via.latch_a = value


def _put_b(via: Via, value: int) -> None:
    via.b = via.latch_b = value


class Via(Device):
    """A 6522.  `irq` is its interrupt output; `owner` the chip behind its ports.

    `idle_b` are the levels that port B's pins have at reset (pull-ups, the owner's outputs).
    `a` and `b` are the levels of the ports' pins: outputs as the guest wrote them, inputs as the
    owner drives them.  What the guest wrote to bits that are inputs stays in `latch_a`, `latch_b`
    until they become outputs.
    """

    vmsd = "mos6522"
    version = 1
    minimum = 0  # QEMU 5.2 and before

    extra = subsection("mos6522/gossamer", ours=True)

    a: int = u8()
    b: int = u8()
    dira: int = u8()
    dirb: int = u8(0xFF)
    sr: int = u8()
    acr: int = u8()
    pcr: int = u8()
    ifr: int = u8()
    ier: int = u8()
    last_irq_levels: int = u8(since=1)
    timers: list[ViaTimer] = children(ViaTimer, 2)
    latch_a: int = u8(within=extra)
    latch_b: int = u8(within=extra)
    phases: list[int] = array(U8, 2, within=extra)
    t2_paused: bool = boolean(within=extra)

    irq: IrqLine = wiring()
    owner: ViaOwner = wiring()
    stride: int = wiring()
    idle_b: int = wiring()

    # A stream without our subsection implies latches that agree with the pins.
    layouts: ClassVar[dict[str, Layout]] = {
        "": [
            View("a", U8, lambda via: via.a, _put_a),
            View("b", U8, lambda via: via.b, _put_b),
            *("dira", "dirb", "sr", "acr", "pcr", "ifr", "ier", "last_irq_levels"),
            Nested("timers[0]", lambda via: via.timers[0]),
            Nested("timers[1]", lambda via: via.timers[1]),
        ]
    }

    @extra.losing
    def extra_lost(self) -> Iterator[Loss]:
        """The part of a tick in `phases` no guest can notice."""
        if self.latch_a != self.a or self.latch_b != self.b:
            yield Loss("what the guest wrote to pins that are inputs")
        if self.t2_paused:
            yield Loss("timer 2 waits for pulses")

    @extra.needed
    def extra_needed(self) -> bool:
        """A latch or a timer's phase is not what the fields that QEMU knows imply."""
        return bool(
            self.latch_a != self.a or self.latch_b != self.b or any(self.phases) or self.t2_paused
        )

    def __init__(self, clock: Clock, irq: IrqLine, *, stride: int = 0x200) -> None:
        super().__init__(clock)
        self.idstr = "mos6522"
        self.irq, self.owner, self.stride, self.idle_b = irq, _NoOwner(), stride, 0
        self.timers = [
            ViaTimer(clock, self._timer_1_due, lambda: bool(self.ier & ~self.ifr & T1)),
            ViaTimer(clock, self._timer_2_due, lambda: bool(self.ier & ~self.ifr & T2)),
        ]
        self.reset()
        clock.may_skip(self.timers[0].timer, self._timer_1_quiet, self._skip_timer_1)

    def reset(self) -> None:
        """Every register to its reset value; the timers start from now.

        Port B comes up as outputs, unlike a bare 6522: firmware on these machines does not set
        its direction.
        """
        super().reset()
        self.b = self.latch_b = self.idle_b
        for timer in self.timers:
            timer.load_time = int(self.clock.now)
        self.update_irq()

    def region(self) -> Region:
        """The registers, one byte each, `stride` bytes apart."""
        size = 16 * self.stride
        return Region(
            "via",
            size,
            self.read_via,
            self.write_via,
            widths=(1,),
            still=self._still,
            idle=self._idle,
        )

    def _still(self, offset: int) -> bool:
        """IFR, which guests poll: flags are set by alarms and the owner, never by the time."""
        return offset // self.stride & 15 == IFR

    def _idle(self, offset: int, value: int) -> bool:
        """A write to IFR that clears nothing: OpenBIOS makes one after each poll."""
        return self._still(offset) and not (self.ifr | self.last_irq_levels) & value

    def post_load(self, version: int) -> None:
        """QEMU 5.2 keeps no levels: those that set flags are worked out from the flags."""
        if not version:
            self.last_irq_levels = self.ifr & PIN_FLAGS

    # --- for the owner ------------------------------------------------------------------------

    def drive_b(self, mask: int, levels: int) -> None:
        """Drive the pins of port B in `mask` from outside."""
        self.b = self.b & ~mask | levels & mask
        self.latch_b = self.latch_b & ~mask | levels & mask

    def raise_flag(self, bit: int) -> None:
        """Set a flag of IFR (from the owner: SR, CA1, CB1, ...)."""
        self.ifr |= bit
        self.last_irq_levels |= bit
        self.update_irq()

    def clear_flag(self, bits: int) -> None:
        self.ifr &= ~bits & 0x7F
        self.last_irq_levels &= ~bits & 0x7F
        self.update_irq()

    # --- interrupts ---------------------------------------------------------------------------

    @property
    def level(self) -> bool:
        return bool(self.ifr & self.ier & 0x7F)

    def update_irq(self) -> None:
        self.irq.set(self.level)

    def resume(self) -> None:
        self.irq.assign(self.level)

    # --- timers -------------------------------------------------------------------------------

    def ticks(self, n: int) -> int:
        """Whole ticks of timer `n` since it was loaded."""
        return self._ticks_at(n, self.clock.now)

    def _ticks_at(self, n: int, ns: int) -> int:
        elapsed = (ns - self.timers[n].load_time) * TICKS_NUMERATOR + self.phases[n]
        return max(elapsed, 0) // TICKS_DENOMINATOR

    def _tick_time(self, n: int, tick: int) -> int:
        """The first ns at which `ticks` gives `tick`."""
        at = tick * TICKS_DENOMINATOR - self.phases[n]
        return min(self.timers[n].load_time - (-at // TICKS_NUMERATOR), NO_EVENT)

    def counter(self, n: int) -> int:
        """The counter of timer `n` now."""
        t, passed = self.timers[n], self.ticks(n)
        if n == 0 and self.acr & T1_FREE_RUN and passed > t.counter_value + 1:
            into = (passed - t.counter_value - 2) % (t.latch + 2)
            return (t.latch - into) & 0xFFFF
        if n == 1 and self.acr & T2_COUNTS_PULSES:
            return t.counter_value
        return (t.counter_value - passed) & 0xFFFF

    def _load(self, n: int, value: int) -> None:
        t = self.timers[n]
        t.counter_value, t.load_time, self.phases[n] = value, int(self.clock.now), 0
        if n == 1 and self.acr & T2_COUNTS_PULSES:
            t.next_irq_time, self.t2_paused = NO_EVENT, True
        else:
            t.next_irq_time = self._tick_time(n, value + 1)
        t.arm()

    def _move_load(self, n: int, tick: int, value: int) -> None:
        """Take `tick` of timer `n`, when it held `value`, as its load, in its exact phase."""
        exact = tick * TICKS_DENOMINATOR - self.phases[n]
        whole = -(-exact // TICKS_NUMERATOR)
        self.phases[n] = whole * TICKS_NUMERATOR - exact
        self.timers[n].load_time += whole
        self.timers[n].counter_value = value

    def _settle(self) -> None:
        """Take timer 1's last reload as its load, so that latch or mode may change now."""
        t, passed = self.timers[0], self.ticks(0)
        beyond = passed - t.counter_value - 2
        if self.acr & T1_FREE_RUN and beyond >= 0:
            self._move_load(0, passed - beyond % (t.latch + 2), t.latch)

    def _next_time(self, n: int) -> int:
        """When timer `n`, with its flag up to date, sets it next."""
        t, passed = self.timers[n], self.ticks(n)
        first = t.counter_value + 1
        if passed < first:
            return self._tick_time(n, first)
        if n == 0 and self.acr & T1_FREE_RUN:
            period = t.latch + 2
            return self._tick_time(0, passed + period - (passed - first) % period)
        return NO_EVENT

    def _timer_1_quiet(self) -> bool:
        """Whether timer 1 sets a flag that is set already."""
        return bool(self.ifr & self.last_irq_levels & T1 and self.acr & T1_FREE_RUN)

    def _skip_timer_1(self, before: int) -> None:
        """Pass over the times before `before` at which it would."""
        t = self.timers[0]
        due, period = self._ticks_at(0, t.next_irq_time), t.latch + 2
        rounds = (self._ticks_at(0, before - 1) - due) // period + 1
        t.next_irq_time = self._tick_time(0, due + rounds * period)
        t.arm()

    def _timer_1_due(self) -> None:
        self._timer_due(0)

    def _timer_2_due(self) -> None:
        self._timer_due(1)

    def _timer_due(self, n: int) -> None:
        """Timer `n` sets its flag."""
        t = self.timers[n]
        t.next_irq_time = self._next_time(n) if n == 0 else NO_EVENT
        t.arm()
        self.raise_flag(T2 if n else T1)

    # --- registers ----------------------------------------------------------------------------

    def read_via(self, offset: int, _size: int) -> int:
        match offset // self.stride & 15:
            case 0:
                self._port_accessed(CB1, CB2, 0x20)
                return self.b
            case 1:
                self._port_accessed(CA1, CA2, 0x02)
                return self.a
            case 2:
                return self.dirb
            case 3:
                return self.dira
            case 4:
                self.clear_flag(T1)
                return self.counter(0) & 0xFF
            case 5:
                return self.counter(0) >> 8
            case 6:
                return self.timers[0].latch & 0xFF
            case 7:
                return self.timers[0].latch >> 8
            case 8:
                self.clear_flag(T2)
                return self.counter(1) & 0xFF
            case 9:
                return self.counter(1) >> 8
            case 10:
                value = self.sr
                self.clear_flag(SR)
                self.owner.shift_accessed()
                return value
            case 11:
                return self.acr
            case 12:
                return self.pcr
            case 13:
                flags = self.ifr
                return flags | IRQ if flags & self.ier else flags
            case 14:
                return self.ier | 0x80
            case _:
                return self.a

    def write_via(self, offset: int, _size: int, value: int) -> None:
        register = offset // self.stride & 15
        if register in (ORB, ORA, DDRB, DDRA, ORA_NH):
            self._write_port(register, value)
            self.owner.port_changed()
        elif T1CL <= register <= T2CH:
            self._write_timer(register, value)
            self.update_irq()
        elif register == SHIFT:
            self.sr = value
            self.clear_flag(SR)
            self.owner.shift_accessed()
        elif register == ACR:
            self._write_acr(value)
            self.owner.port_changed()
        elif register == PCR:
            self.pcr = value
        elif register == IFR:
            if (self.ifr | self.last_irq_levels) & value:
                self.clear_flag(value)
        else:
            bits = value & 0x7F
            self.ier = self.ier | bits if value & 0x80 else self.ier & ~bits
            self.update_irq()

    def _port_accessed(self, line_1: int, line_2: int, independent: int) -> None:
        """An access to a port's data drops the flags of its control lines (data sheet)."""
        keeps_2 = self.pcr & (0xE0 if line_2 == CB2 else 0x0E) in (independent, independent * 3)
        bits = line_1 if keeps_2 else line_1 | line_2
        if self.ifr & bits:
            self.clear_flag(bits)

    def _write_port(self, register: int, value: int) -> None:
        match register:
            case 0:
                self.latch_b = value
                self._port_accessed(CB1, CB2, 0x20)
            case 1:
                self.latch_a = value
                self._port_accessed(CA1, CA2, 0x02)
            case 2:
                self.dirb = value
            case 3:
                self.dira = value
            case _:
                self.latch_a = value
        self.a = self.latch_a & self.dira | self.a & ~self.dira
        self.b = self.latch_b & self.dirb | self.b & ~self.dirb

    def _write_timer(self, register: int, value: int) -> None:
        t1, t2 = self.timers
        match register:
            case 4 | 6:
                self._settle()
                t1.latch = t1.latch & 0xFF00 | value
            case 5:
                self.clear_flag(T1)
                t1.latch = t1.latch & 0xFF | value << 8
                self._load(0, t1.latch)
            case 7:
                self._settle()
                self.clear_flag(T1)
                t1.latch = t1.latch & 0xFF | value << 8
            case 8:
                t2.latch = t2.latch & 0xFF00 | value
            case _:
                self.clear_flag(T2)
                t2.latch = t2.latch & 0xFF | value << 8
                self._load(1, t2.latch)

    def _write_acr(self, value: int) -> None:
        changed = self.acr ^ value
        if changed & T1_FREE_RUN:
            self._settle()
            passed, started = self.ticks(0), self.timers[0].counter_value
            if value & T1_FREE_RUN and passed > started + 1:
                self._move_load(0, passed, self.counter(0))
        if changed & T2_COUNTS_PULSES:
            self._switch_timer_2(bool(value & T2_COUNTS_PULSES))
        self.acr = value
        if changed & T1_FREE_RUN:
            self.timers[0].next_irq_time = self._next_time(0)
        for timer in self.timers:
            timer.arm()

    def _switch_timer_2(self, pulses: bool) -> None:
        """Timer 2 stops while it counts pulses of PB6: there are none on these machines."""
        t = self.timers[1]
        if pulses:
            t.counter_value = self.counter(1)
            self.t2_paused = t.next_irq_time != NO_EVENT
            t.next_irq_time = NO_EVENT
        else:
            t.load_time, self.phases[1] = int(self.clock.now), 0
            if self.t2_paused:
                t.next_irq_time = self._tick_time(1, t.counter_value + 1)
            self.t2_paused = False
