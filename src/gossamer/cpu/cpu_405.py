"""The 405 as a stateful object: its interrupt inputs, its timers, its TLB on the wire.

PIT, fixed-interval timer and watchdog are deadlines on the clock of the time base (`timers_405`):
alarms fire only where a status bit would change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import ClassVar, Final

from gossamer.base.units import tick_time
from gossamer.core.clock import Alarm
from gossamer.core.dcr import DcrBus
from gossamer.cpu import exceptions_405
from gossamer.cpu import wire_405 as wire
from gossamer.cpu.cpu import Cpu
from gossamer.cpu.exceptions_405 import ASYNCHRONOUS, MSR_CE, MSR_EE
from gossamer.cpu.msr import MSR_POW
from gossamer.isa.interrupts import Irq, Irq405
from gossamer.isa.spec import timers_405 as timers
from gossamer.isa.spec.embedded import DCR_WRITE, MSR_405
from gossamer.isa.spec.sprs_405 import RealMode
from gossamer.isa.spec.utlb import LITTLE, USER
from gossamer.state.declare import derived, wiring
from gossamer.state.layout import Loss, subsection

RESET_VECTOR: Final = 0xFFFF_FFFC
CCR0_RESET: Final = 0x0070_0000
#: Kinds of reset (TCR[WRC], DBCR0[RST]).
CORE, CHIP, SYSTEM = 1, 2, 3
#: DBSR[MRR], and where TSR[WRS] lies.
MRR_SHIFT: Final = 8
WRS_SHIFT: Final = 28


class Cpu405(Cpu):
    """A PowerPC 405.

    `asks_reset` is called when a system reset is asked for, `forget` when every translation is to
    be forgotten.
    """

    HAS_DECREMENTER: ClassVar[bool] = False
    TRACING_MSR: ClassVar[int] = 0
    WAKING_MSR: ClassVar[int] = MSR_EE | MSR_CE
    ENGINE_INTERRUPTS: ClassVar[bool] = False
    SOURCES: ClassVar[type[IntEnum]] = Irq405

    without = (
        *("cpu/fpu", "cpu/altivec", "cpu/tlb6xx", "cpu/itlb/gossamer"),
        *("cpu/gossamer", "cpu/rate/gossamer"),
    )
    #: As QEMU from 9.0.3 on names it; 7.2 writes the name of another part's TLB and reads neither.
    tlb = subsection(
        "cpu/tlbemb",
        layout=wire.TLB,
        lost="the TLB's entries, which an operating system loads again",
    )
    tlb_of_7_2 = subsection("cpu/tlb6xx", layout=wire.TLB)
    own = subsection("cpu/405/gossamer", ours=True, layout=wire.OWN)

    dcr: DcrBus = wiring()
    asks_reset: Callable[[], None] = wiring()
    forget: Callable[[], None] = wiring()
    pit: Alarm = derived()
    fit: Alarm = derived()
    watchdog: Alarm = derived()

    def connect(self) -> None:
        super().connect()
        self.dcr = DcrBus()
        self.dcr.changed = self._note_dcrs
        self.asks_reset = self.forget = _nothing
        self.pit = self.clock.alarm(self._pit_expired)
        self.fit = self.clock.alarm(self._fit_expired)
        self.watchdog = self.clock.alarm(self._watchdog_expired)
        for alarm in (self.pit, self.fit, self.watchdog):
            alarm.private = True

    # --- on the wire ------------------------------------------------------------------------------

    @tlb_of_7_2.needed
    def tlb_of_7_2_needed(self) -> bool:
        """Read only."""
        return False

    @own.losing
    def own_lost(self) -> Iterator[Loss]:
        """What QEMU keeps nothing of, or never arms again."""
        zero = self.pit_zero
        if zero:
            left = (zero - self.ticks) * 1000 // self.tb_hz
            how = "reloads" if self.block.get("tcr") & timers.ARE else "is one-shot"
            yield Loss(
                f"PIT expires in {left} ms and {how} ({self.block.get('pit_reload')} ticks): it "
                "stands still there until the guest writes it"
            )
        tcr, tsr = self.block.get("tcr"), self.block.get("tsr")
        if tcr & (timers.WIE | timers.WRC):
            yield Loss("the watchdog, which never expires there again")
        if tcr & timers.FIE:
            yield Loss("the fixed-interval timer, which never fires there")
        if tcr & timers.PIE and tsr & timers.PIS:
            yield Loss("a PIT interrupt is pending", passes=True)
        if self.block.get("msr") & MSR_CE:
            yield Loss("MSR[CE], which the first interrupt there clears")
        if any(tag & (LITTLE | USER) for tag in self.block.all("utlb_tag")):
            yield Loss("attributes E and U0 of pages in the TLB")

    # --- resets -----------------------------------------------------------------------------------

    def reset(self) -> None:
        """System reset, or the chip's; TSR[WRS] says which where the watchdog asked for it."""
        cause = self.block.get("reset_cause")
        kind = cause & 3 or SYSTEM
        self.clear()
        self._start(kind, kind if cause & timers.BY_WATCHDOG else 0)

    def _start(self, kind: int, by_watchdog: int) -> None:
        """What every reset sets (chapter 8)."""
        block = self.block
        for name in ("msr", "tcr", "esr", "reserved", "reset_cause"):
            block.set(name, 0)
        for n in range(2):
            block.set("dbcr", 0, n)
        for source in range(8):
            if source not in (Irq405.CRITICAL, Irq405.EXTERNAL):
                block.set("irq", 0, source)
        for which in RealMode:
            block.set("real_mode", 0xFFFF_FFFF if which is RealMode.GUARDED else 0, which)
        block.set("tsr", by_watchdog << WRS_SHIFT)
        block.set("dbsr", kind << MRR_SHIFT)
        block.set("ccr0", CCR0_RESET)
        block.set("nia", RESET_VECTOR)
        self._note_dcrs()
        self.rearm()

    def _reset_taken(self) -> None:
        """A reset that the watchdog or DBCR0 asked for: the machine's, or the core's here."""
        asked = self.block.get("irq", Irq405.RESET)
        kind, watchdog = asked & 3, bool(asked & timers.BY_WATCHDOG)
        self.block.set("irq", 0, Irq405.RESET)
        self.note(
            f"reset {('', 'core', 'chip', 'system')[kind]} by {'watchdog' if watchdog else 'DBCR0'}"
        )
        if kind != CORE:
            self.block.set("reset_cause", asked)
            self.asks_reset()
            return
        self._start(kind, kind if watchdog else 0)
        self.forget()

    # --- time -------------------------------------------------------------------------------------

    @property
    def decrementer(self) -> int:
        """It has none."""
        return 0

    def set_decrementer(self, value: int) -> None:
        self.rearm()

    def rearm(self) -> None:
        """Arm what will change a status bit, or stop PIT."""
        tcr, tsr = self.block.get("tcr"), self.block.get("tsr")
        zero = self.pit_zero
        if zero and not (tcr & timers.ARE and tsr & timers.PIS):
            self.pit.set(tick_time(zero, self.tb_hz))
        else:
            self.pit.cancel()
        if tsr & timers.FIS:
            self.fit.cancel()
        else:
            self.fit.set(self._rises(timers.FIT_BITS[tcr >> timers.FP_SHIFT & 3]))
        over = tsr & timers.ENW and tsr & timers.WIS and not tcr & timers.WRC
        if over:
            self.watchdog.cancel()
        else:
            self.watchdog.set(self._rises(timers.WATCHDOG_BITS[tcr >> timers.WP_SHIFT & 3]))

    def registers_written(self) -> None:
        self._drive()
        self.rearm()

    @property
    def pit_zero(self) -> int:
        """The tick at which PIT is zero next; 0 while it stands still."""
        zero, period, now = self.block.get("pit_zero"), self.block.get("pit_reload"), self.ticks
        if zero and zero <= now and self.block.get("tcr") & timers.ARE and period:
            zero += ((now - zero) // period + 1) * period
        return zero

    @property
    def pit_value(self) -> int:
        """What a read of PIT gives."""
        zero = self.pit_zero
        return max(zero - self.ticks, 0) if zero else 0

    def set_pit(self, value: int) -> None:
        """As a write of PIT: it counts from `value` on; zero stops it."""
        self.block.set("pit_reload", value)
        self.block.set("pit_zero", self.ticks + value if value else 0)
        self.rearm()

    def _rises(self, bit: int) -> int:
        """When bit `bit` of the time base goes from 0 to 1 next, ns."""
        ticks, weight = self.ticks, 1 << bit
        passed = (ticks + self.block.get("tb_offset") - weight) % (2 * weight)
        return tick_time(ticks + 2 * weight - passed, self.tb_hz)

    def _pit_expired(self) -> None:
        zero = self.pit_zero
        self.block.set("pit_zero", zero if self.block.get("tcr") & timers.ARE else 0)
        self._set_status(self.block.get("tsr") | timers.PIS)

    def _fit_expired(self) -> None:
        self._set_status(self.block.get("tsr") | timers.FIS)

    def _watchdog_expired(self) -> None:
        tsr, tcr = self.block.get("tsr"), self.block.get("tcr")
        if not tsr & timers.ENW:
            self._set_status(tsr | timers.ENW)
        elif not tsr & timers.WIS:
            self._set_status(tsr | timers.WIS)
        else:
            kind = tcr >> timers.WRC_SHIFT & 3
            self.block.set("irq", kind | timers.BY_WATCHDOG if kind else 0, Irq405.RESET)
            self._set_status(tsr)

    def _set_status(self, tsr: int) -> None:
        """TSR, and the levels that follow from it."""
        self.block.set("tsr", tsr)
        self._drive()
        if exceptions_405.is_due(self.block.all("irq"), self.block.get("msr")):
            self.changed()
        self.rearm()

    def _drive(self) -> None:
        tsr, tcr = self.block.get("tsr"), self.block.get("tcr")
        for source, status, enable in (
            (Irq405.PIT, timers.PIS, timers.PIE),
            (Irq405.FIT, timers.FIS, timers.FIE),
            (Irq405.WATCHDOG, timers.WIS, timers.WIE),
        ):
            self.block.set("irq", int(bool(tsr & status and tcr & enable)), source)

    # --- interrupts -------------------------------------------------------------------------------

    def input_changed(self, pin: int, level: bool) -> None:
        """Input `pin` (an `Irq405`) moved."""
        self.block.set("irq", int(level), pin)
        if level and exceptions_405.is_due(self.block.all("irq"), self.block.get("msr")):
            self.changed()

    def pending(self) -> tuple[Irq | Irq405, int, bool] | None:
        if not self.block.any("irq"):
            return None
        if self.block.get("irq", Irq405.RESET):
            self._reset_taken()
        irq, msr = self.block.all("irq"), self.block.get("msr")
        for source, vector, enabled_by, edge in ASYNCHRONOUS:
            if irq[source] and msr & enabled_by:
                return source, int(vector), edge
        return None

    @property
    def waiting(self) -> bool:
        """MSR[WE]: until an interrupt."""
        return bool(self.block.get("msr") & MSR_POW)

    # --- device control registers -----------------------------------------------------------------

    def _note_dcrs(self) -> None:
        """Let instructions know which numbers there are."""
        words = [0] * 32
        for number in self.dcr.numbers:
            words[number >> 5] |= 1 << (number & 31)
        for n, word in enumerate(words):
            self.block.set("dcr_there", word, n)

    def access_dcr(self, argument: int) -> None:
        """An mfdcr or mtdcr: the argument of the effect `dcr`."""
        number, register = argument & 0x3FF, argument >> 10 & 31
        if argument & DCR_WRITE:
            self.dcr.write(number, self.block.get("gpr", register))
        else:
            self.block.set("gpr", self.dcr.read(number), register)

    def post_load(self, version: int) -> None:
        super().post_load(version)
        self.block.set("msr", self.block.get("msr") & MSR_405)
        self._note_dcrs()
        self._drive()


def _nothing() -> None:
    """No listener is connected."""
