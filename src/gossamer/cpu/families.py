"""The class of a CPU, by its model's family; a family's is imported when there is one of it."""

from __future__ import annotations

from gossamer.core.clock import Clock
from gossamer.cpu.block import RegisterBlock
from gossamer.cpu.cpu import Cpu
from gossamer.cpu.model import CpuModel
from gossamer.isa.spec.parts import EMBEDDED, has


def make(clock: Clock, block: RegisterBlock, model: CpuModel, tb_hz: int) -> Cpu:
    """A CPU of this model, over its register block."""
    if model.architecture.word == 64:
        from gossamer.cpu.cpu_64 import Cpu64, CpuLevel  # noqa: PLC0415

        wide = CpuLevel if "2.07" in model.features else Cpu64
        return wide(clock, block, model, tb_hz)
    if has(model.features, EMBEDDED):
        from gossamer.cpu.cpu_405 import Cpu405  # noqa: PLC0415

        return Cpu405(clock, block, model, tb_hz)
    return Cpu(clock, block, model, tb_hz)
