"""The bits of MSR, and the interrupts that they let in between two instructions.

Source: MPC750UM 2.1.1 and 4.3.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import bit
from gossamer.isa.interrupts import Interrupt, Irq

MSR_POW: Final = bit(13)
MSR_ILE: Final = bit(15)
MSR_EE: Final = bit(16)
MSR_PR: Final = bit(17)
MSR_FP: Final = bit(18)
MSR_ME: Final = bit(19)
MSR_SE: Final = bit(21)
MSR_BE: Final = bit(22)
MSR_IP: Final = bit(25)
MSR_IR: Final = bit(26)
MSR_DR: Final = bit(27)
MSR_RI: Final = bit(30)
MSR_LE: Final = bit(31)

#: Interrupts that arrive between instructions: source, vector, MSR bits that all must be set,
#: in order of priority (MPC750UM table 4-3).  Edge sources are cleared when taken.
ASYNCHRONOUS: Final = (
    (Irq.RESET, Interrupt.RESET, 0, True),
    (Irq.MACHINE_CHECK, Interrupt.MACHINE_CHECK, MSR_ME, True),
    (Irq.SMI, Interrupt.SMI, MSR_EE, True),
    (Irq.EXTERNAL, Interrupt.EXTERNAL, MSR_EE, False),
    (Irq.PERFORMANCE, Interrupt.PERFORMANCE, MSR_EE, True),
    (Irq.DECREMENTER, Interrupt.DECREMENTER, MSR_EE, True),
    (Irq.THERMAL, Interrupt.THERMAL, MSR_EE, True),
)
