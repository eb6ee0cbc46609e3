"""The class of a CPU, by its model's family."""

from __future__ import annotations

from gossamer.core.clock import Clock
from gossamer.cpu.block import RegisterBlock
from gossamer.cpu.cpu import Cpu
from gossamer.cpu.cpu_64 import Cpu64, CpuLevel
from gossamer.cpu.cpu_405 import Cpu405
from gossamer.cpu.model import CpuModel
from gossamer.isa.spec.parts import EMBEDDED, has


def make(clock: Clock, block: RegisterBlock, model: CpuModel, tb_hz: int) -> Cpu:
    """A CPU of this model, over its register block."""
    if model.architecture.word == 64:
        wide = CpuLevel if "2.07" in model.features else Cpu64
        return wide(clock, block, model, tb_hz)
    kind = Cpu405 if has(model.features, EMBEDDED) else Cpu
    return kind(clock, block, model, tb_hz)
