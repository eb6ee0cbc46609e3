"""QEMU's `cpu_common` section: whether the CPU waits, and what is pending.  Source: facts 6, 7."""

from __future__ import annotations

from typing import Final

from gossamer.core.device import Device
from gossamer.cpu.cpu import Cpu
from gossamer.state.codec import I32, U32
from gossamer.state.declare import wiring
from gossamer.state.layout import View, subsection

INTERRUPT_HARD: Final = 2


def _put_halted(common: CpuCommon, value: int) -> None:
    """MSR[POW] says whether a CPU waits, but not for one that its hypervisor lets wait."""
    if common.cpu.model.architecture.word == 64:
        common.cpu.block.set("halted", int(value != 0))


def _put_request(common: CpuCommon, value: int) -> None:
    """Nothing to keep: the interrupt controllers say what is pending."""


class CpuCommon(Device):
    """Derived from the CPU in both directions."""

    vmsd = "cpu_common"
    version = 1
    minimum = 1
    layouts = {
        "": [
            View("halted", U32, lambda c: int(c.cpu.waiting), _put_halted),
            View(
                "interrupt_request",
                U32,
                lambda c: INTERRUPT_HARD if c.cpu.pending() else 0,
                _put_request,
            ),
        ]
    }
    exception = subsection(
        "cpu_common/exception_index",
        layout=[View("exception_index", I32, lambda c: -1, lambda c, value: None)],
    )

    cpu: Cpu = wiring()

    def __init__(self, cpu: Cpu) -> None:
        super().__init__(cpu.clock)
        self.idstr = "cpu_common"
        self.cpu = cpu

    @exception.needed
    def exception_needed(self) -> bool:
        """Never written: our CPU is never saved in mid-exception; QEMU's re-executes at NIP."""
        return False
