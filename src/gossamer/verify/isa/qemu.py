"""The peer qemu-ppc (user mode): one static program runs record after record from its input."""

from __future__ import annotations

from collections.abc import Sequence

from gossamer.cpu.model import PVRS_405
from gossamer.isa.text import Program, assemble_program
from gossamer.verify.isa.qemu_user import BASE, elf, qemu_ppc, run_blocks
from gossamer.verify.isa.record import END_EA, Record
from gossamer.verify.isa.runner import INTEGER, USER


def runner(model: str = "750") -> Program:
    """The program, from its source."""
    return assemble_program(INTEGER if model in PVRS_405 else USER, BASE)


class QemuUser:
    """Runs records in qemu-ppc."""

    name = "qemu"

    def __init__(self, model: str = "750", program: str | None = None) -> None:
        self.program, self.model = qemu_ppc(program), model
        self.image = elf(runner(model).code, END_EA)

    def run(self, records: Sequence[Record], timeout: float = 600) -> list[Record]:
        blocks = run_blocks(
            self.program, self.model, self.image, [r.pack() for r in records], timeout
        )
        return [Record.unpack(block) for block in blocks]
