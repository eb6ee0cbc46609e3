"""The virtual processors of a machine, as hypercalls and run-time services see them.

Source: LoPAR 14.11.3 (H_CEDE, H_PROD, H_CONFER, H_JOIN) and 7.3.15 (start-cpu); answers as QEMU
7.2 gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from gossamer.devices.spapr.calls import Registers
from gossamer.devices.spapr.spapr import SpaprCpu
from gossamer.devices.spapr.xics import Icp
from gossamer.isa.architecture import MSR_SF

MSR_EE: Final = 1 << 15
MSR_ME: Final = 1 << 12
#: Where interrupts of a CPU go, and in which order: bits of LPCR that a started CPU takes over.
LPCR_AIL: Final = 3 << 23
LPCR_ILE: Final = 1 << 25


class Vcpu:
    """One of them: its registers, its interrupt presentation, what it has registered."""

    def __init__(self, regs: Registers, icp: Icp, own: SpaprCpu) -> None:
        self.regs, self.icp, self.own = regs, icp, own

    @property
    def stopped(self) -> bool:
        """Whether it was never started, has stopped itself, or waits for H_PROD alone."""
        return bool(self.regs.get("halted")) and not self.regs.get("msr") & MSR_EE

    def stop(self) -> None:
        """Stand still; with MSR[EE] an interrupt ends that."""
        self.regs.set("halted", 1)

    def await_prod(self) -> None:
        """Stand still, unless H_PROD was called before."""
        if self.own.prodded:
            self.own.prodded = False
        else:
            self.stop()

    def prod(self) -> None:
        """End what H_CEDE or `await_prod` began; when it did not wait, the next one will not."""
        self.own.prodded = True
        self.regs.set("halted", 0)

    def start(self, caller: Vcpu, address: int, argument: int) -> None:
        """Begin at `address` with `argument` in r3, in 64-bit mode; time is that of the caller."""
        regs, mask = self.regs, LPCR_AIL | LPCR_ILE
        lpcr = regs.get("lpcr") & ~mask | caller.regs.get("lpcr") & mask
        for name, value in (
            ("msr", MSR_SF | MSR_ME),
            ("lpcr", lpcr),
            ("tb_offset", caller.regs.get("tb_offset")),
            ("nia", address),
            ("halted", 0),
        ):
            regs.set(name, value)
        regs.set("gpr", argument, 3)


class Vcpus:
    """All of them, by number: each `spacing` behind the one before.

    `turn`: which one executes, counted from 0; `pass_turn` lets the next one go on.
    """

    def __init__(
        self,
        members: Sequence[Vcpu],
        turn: Callable[[], int],
        pass_turn: Callable[[], None],
        spacing: int = 1,
    ) -> None:
        self.members, self._turn, self.pass_turn = tuple(members), turn, pass_turn
        self._by_number = {n * spacing: one for n, one in enumerate(self.members)}

    @property
    def caller(self) -> Vcpu:
        """The one that calls."""
        return self.members[self._turn()]

    def find(self, number: int) -> Vcpu | None:
        """The one with this number; None where there is none."""
        return self._by_number.get(number)

    def set_lpcr(self, mask: int, value: int) -> None:
        """Set the bits of a mask in every LPCR."""
        for one in self.members:
            one.regs.set("lpcr", one.regs.get("lpcr") & ~mask | value)
