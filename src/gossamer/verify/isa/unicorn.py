"""The peer Unicorn: the same program as in qemu-ppc, entered and left where it would call Linux.

Unicorn runs in supervisor mode and says little of why it stopped, so it serves for user-mode
integer instructions; kinds of interrupts are not distinguished.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gossamer.base.errors import ConfigError, HostError
from gossamer.verify.isa.qemu import runner
from gossamer.verify.isa.record import PADS, REC, SIZE, STOPPED, Record

PAGE: Final = 0x1000
MSR_FP: Final = 0x2000


def modules() -> tuple[Any, Any]:
    """The library, which has no types, and its constants."""
    try:
        import unicorn  # noqa: PLC0415 (a peer need not be installed)
        from unicorn import ppc_const  # noqa: PLC0415
    except ImportError:
        raise ConfigError("peer unicorn: the package unicorn is not installed") from None
    return unicorn, ppc_const


class Unicorn:
    """Runs records in Unicorn."""

    name = "unicorn"

    def __init__(self) -> None:
        unicorn, ppc = modules()
        self.error: type[Exception] = unicorn.UcError
        self.program = runner()
        mode = unicorn.UC_MODE_PPC32 | unicorn.UC_MODE_BIG_ENDIAN
        self.uc = unicorn.Uc(unicorn.UC_ARCH_PPC, mode)
        self.uc.ctl_set_cpu_model(ppc.UC_CPU_PPC32_750_V3_1)
        self.msr = ppc.UC_PPC_REG_MSR
        self.uc.mem_map(PAGE, REC + SIZE - PAGE)
        self.uc.mem_write(self.program.origin, self.program.code)
        self.uc.hook_add(unicorn.UC_HOOK_INTR, self.interrupted)
        self.stopped = False

    def interrupted(self, *_: object) -> None:
        self.stopped = True
        self.uc.emu_stop()

    def run_one(self, record: Record) -> Record:
        s = self.program.symbols
        self.uc.mem_write(REC, record.pack())
        self.uc.reg_write(self.msr, MSR_FP)
        self.stopped = False
        try:
            self.uc.emu_start(s["load"], s["send"])
        except self.error:
            self.stopped = True
        if self.stopped:
            self.finish(record, s["send"])
        after = Record.unpack(bytes(self.uc.mem_read(REC, SIZE)))
        if self.stopped:
            after.signal, after.pad = STOPPED, 0
        return after

    def finish(self, record: Record, end: int) -> None:
        """Save the registers as they were when the instruction was refused."""
        try:
            self.uc.emu_start(PADS, end)
        except self.error as e:
            raise HostError(f"unicorn: lost after {record.word:#010x}: {e}") from e

    def run(self, records: Sequence[Record]) -> list[Record]:
        return [self.run_one(r) for r in records]
