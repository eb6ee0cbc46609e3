"""XICS: interrupt sources (ICS) and the presentation controller of a CPU (ICP).

Source: LoPAR chapter 7 and 14.5.4.5 (H_XIRR and its kin), states as QEMU 7.2's stream has them.  A
source presents itself to a server at its priority; what the server cannot take is rejected, and
presents itself again when the server's priority falls.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from typing import Final

from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.core.irq import IrqLine
from gossamer.devices.spapr.calls import PARAMETER, SUCCESS, Handler, Registers, results
from gossamer.state.codec import U32, Equal
from gossamer.state.declare import Stateful, children, derived, u8, u32, wiring
from gossamer.state.layout import Constant, Layout

H_EOI, H_CPPR, H_IPI, H_IPOLL, H_XIRR, H_XIRR_X = 0x64, 0x68, 0x6C, 0x70, 0x74, 0x2FC

#: The source number of an interprocessor interrupt; the least favoured priority, which masks.
IPI: Final = 2
MASKED: Final = 0xFF

#: Sources of a machine; of one whose numbers are given out in order.
COUNT, EARLY_COUNT = 4096, 1024

# Status of a source
ASSERTED, SENT, REJECTED, MASKED_PENDING = 1, 2, 4, 8
# Its flags: level or message (edge); none: not claimed.
LSI, MSI = 1, 2


class Source(Stateful):
    """One interrupt source."""

    vmsd = "ics/irq"
    version = 2
    minimum = 1

    server: int = u32()
    priority: int = u8(MASKED)
    saved_priority: int = u8(MASKED)
    status: int = u8()
    flags: int = u8()

    def __init__(self) -> None:
        super().__init__()
        self.flags = 0

    def reset(self) -> None:
        """What the source is stays: who has it has claimed it."""
        flags = self.flags
        super().reset()
        self.flags = flags


class Icp(Device):
    """The presentation controller of server `number`.  `irq` is the CPU's external input."""

    vmsd = "icp/server"
    version = 1
    minimum = 1

    xirr: int = u32()
    pending_priority: int = u8(MASKED)
    mfrr: int = u8(MASKED)

    number: int = wiring()
    irq: IrqLine = wiring()
    ics: Ics = wiring()

    def __init__(self, clock: Clock, number: int, irq: IrqLine, ics: Ics) -> None:
        super().__init__(clock)
        self.idstr = "icp/server"
        self.number, self.irq, self.ics = number, irq, ics
        ics.servers[number] = self
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.update_irq()

    @property
    def cppr(self) -> int:
        """The priority that a source must be more favoured than (a smaller number)."""
        return self.xirr >> 24

    @property
    def xisr(self) -> int:
        """The source that is presented; 0: none."""
        return self.xirr & 0xFF_FFFF

    def _present(self, source: int, priority: int) -> None:
        self.xirr = self.xirr & 0xFF00_0000 | source
        self.pending_priority = priority

    def _withdraw(self) -> None:
        """Give back what is presented: it will come again."""
        source = self.xisr
        self._present(0, MASKED)
        if source != IPI:
            self.ics.reject(source)

    def offer(self, source: int, priority: int) -> None:
        """A source of the ICS presents itself."""
        if priority >= self.cppr or (self.xisr and self.pending_priority <= priority):
            self.ics.reject(source)
        else:
            if self.xisr:
                self._withdraw()
            self._present(source, priority)
        self.update_irq()

    def _check_ipi(self) -> None:
        if self.mfrr >= self.cppr or (self.xisr and self.pending_priority <= self.mfrr):
            return
        if self.xisr:
            self._withdraw()
        self._present(IPI, self.mfrr)

    def _again(self) -> None:
        """Let everything that was rejected present itself."""
        self._check_ipi()
        self.ics.again(self.number)
        self.update_irq()

    def set_cppr(self, cppr: int) -> None:
        before = self.cppr
        self.xirr = cppr << 24 | self.xisr
        if cppr < before:
            if self.xisr and cppr <= self.pending_priority:
                self._withdraw()
            self.update_irq()
        elif not self.xisr:
            self._again()

    def set_mfrr(self, mfrr: int) -> None:
        self.mfrr = mfrr
        self._check_ipi()
        self.update_irq()

    def accept(self) -> int:
        """Take what is presented: XIRR, and its priority becomes the CPU's."""
        xirr = self.xirr
        self.xirr = self.pending_priority << 24
        self.pending_priority = MASKED
        self.update_irq()
        return xirr

    def end(self, xirr: int) -> None:
        """An interrupt is over: the CPU's priority is what it was before."""
        self.xirr = xirr & 0xFF00_0000 | self.xisr
        self.ics.end(xirr & 0xFF_FFFF)
        if not self.xisr:
            self._again()

    def update_irq(self) -> None:
        self.irq.set(self.xisr != 0)

    def resume(self) -> None:
        self.irq.assign(self.xisr != 0)


def _layout(count: int) -> Layout:
    return [Constant("nr_irqs", Equal(U32, count)), "irqs"]


class Ics(Device):
    """The sources, numbered from `first`."""

    vmsd = "ics"
    version = 1
    minimum = 1
    layouts = {"": _layout(COUNT)}

    irqs: list[Source] = children(Source, COUNT)
    #: Places of those that were claimed, ascending: a few of thousands.
    claimed: list[int] = derived()
    first: int = wiring()
    servers: dict[int, Icp] = wiring()

    def __init__(self, clock: Clock, first: int) -> None:
        super().__init__(clock)
        self.idstr = "ics"
        self.first = first
        self.servers = {}
        self.claimed = []
        super().reset()

    def post_load(self, version: int) -> None:
        self.claimed = [n for n, one in enumerate(self.irqs) if one.flags]

    def source(self, number: int) -> Source | None:
        """A source that was claimed; None where there is none."""
        n = number - self.first
        if not 0 <= n < len(self.irqs) or not self.irqs[n].flags:
            return None
        return self.irqs[n]

    def claim(self, number: int, *, level: bool = False) -> None:
        """There is such a source from now on."""
        n = number - self.first
        if not self.irqs[n].flags:
            insort(self.claimed, n)
        self.irqs[n].flags = LSI if level else MSI

    def release(self, number: int) -> None:
        n = number - self.first
        one = self.irqs[n]
        one.reset()
        if one.flags:
            self.claimed.remove(n)
        one.flags = 0

    # --- inputs -----------------------------------------------------------------------------------

    def input_changed(self, pin: int, level: bool) -> None:
        """Source number `pin` moved."""
        one = self.source(pin)
        if one is None:
            return
        if one.flags & LSI:
            one.status = one.status | ASSERTED if level else one.status & ~ASSERTED
            self._present_level(pin, one)
        elif level:
            self.pulse(pin)

    def input_assigned(self, pin: int, level: bool) -> None:
        """The level after a load; what it has led to is the source's own state."""
        one = self.source(pin)
        if one is not None and one.flags & LSI:
            one.status = one.status | ASSERTED if level else one.status & ~ASSERTED

    def pulse(self, number: int) -> None:
        """A message: the edge of a source."""
        one = self.source(number)
        if one is None:
            return
        if one.priority == MASKED:
            one.status |= MASKED_PENDING
            self.note(f"{number:#x} is masked: kept")
        else:
            self._offer(number, one)

    def _present_level(self, number: int, one: Source) -> None:
        if one.priority != MASKED and one.status & ASSERTED and not one.status & SENT:
            one.status |= SENT
            self._offer(number, one)

    def _offer(self, number: int, one: Source) -> None:
        icp = self.servers.get(one.server)
        if icp is None:
            one.status |= REJECTED
            return
        icp.offer(number, one.priority)

    # --- what a presentation controller asks for --------------------------------------------------

    def reject(self, number: int) -> None:
        """The server could not take it, or gave it back."""
        one = self.source(number)
        if one is not None:
            one.status |= REJECTED
            if one.flags & LSI:
                one.status &= ~SENT

    def again(self, server: int) -> None:
        """Everything for a server that was rejected, or is still asserted, presents itself."""
        for n in self.claimed:
            one = self.irqs[n]
            if one.server != server or not one.status:
                continue
            if one.flags & LSI:
                self._present_level(self.first + n, one)
            elif one.status & REJECTED:
                one.status &= ~REJECTED
                if one.priority != MASKED:
                    self._offer(self.first + n, one)

    def end(self, number: int) -> None:
        one = self.source(number)
        if one is not None and one.flags & LSI:
            one.status &= ~SENT

    # --- run-time services ------------------------------------------------------------------------

    def set_xive(self, number: int, server: int, priority: int, saved: int) -> None:
        """Where a source that was claimed goes."""
        one = self.source(number)
        assert one is not None, hex(number)
        one.server, one.priority, one.saved_priority = server, priority, saved
        if one.flags & LSI:
            self._present_level(number, one)
        elif one.status & MASKED_PENDING and priority != MASKED:
            one.status &= ~MASKED_PENDING
            self._offer(number, one)


class EarlyIcs(Ics):
    """Fewer of them: those of a machine from before numbers were fixed."""

    layouts = {"": _layout(EARLY_COUNT)}

    irqs: list[Source] = children(Source, EARLY_COUNT)


def xics_calls(ics: Ics, caller: Callable[[], Icp]) -> dict[int, Handler]:
    """The hypercalls; `caller` gives the calling CPU's controller."""

    def cppr(regs: Registers) -> int:
        caller().set_cppr(regs.get("gpr", 4) & 0xFF)
        return SUCCESS

    def ipi(regs: Registers) -> int:
        icp = ics.servers.get(regs.get("gpr", 4))
        if icp is None:
            return PARAMETER
        icp.set_mfrr(regs.get("gpr", 5) & 0xFF)
        return SUCCESS

    def xirr(regs: Registers) -> int:
        results(regs, caller().accept())
        return SUCCESS

    def eoi(regs: Registers) -> int:
        caller().end(regs.get("gpr", 4) & 0xFFFF_FFFF)
        return SUCCESS

    def poll(regs: Registers) -> int:
        icp = ics.servers.get(regs.get("gpr", 4))
        if icp is None:
            return PARAMETER
        results(regs, icp.xirr, icp.mfrr)
        return SUCCESS

    return {H_CPPR: cppr, H_IPI: ipi, H_XIRR: xirr, H_EOI: eoi, H_IPOLL: poll}
