"""What interrupts an instruction, or comes between two: vectors, inputs, and kinds of access.

Bodies (`isa.body`) and all that runs a CPU speak of them; a CPU that only runs has no bodies.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from gossamer.base.bits import bit


class Interrupt(IntEnum):
    """Vector offsets (MPC750UM table 4-2)."""

    RESET = 0x100
    MACHINE_CHECK = 0x200
    DSI = 0x300
    DATA_SEGMENT = 0x380  # these two: Power ISA Book III-S 6.5.4, 6.5.6
    ISI = 0x400
    FETCH_SEGMENT = 0x480
    EXTERNAL = 0x500
    ALIGNMENT = 0x600
    PROGRAM = 0x700
    FP_UNAVAILABLE = 0x800
    DECREMENTER = 0x900
    SYSTEM_CALL = 0xC00
    TRACE = 0xD00
    PERFORMANCE = 0xF00
    VEC_UNAVAILABLE = 0xF20
    VSX_UNAVAILABLE = 0xF40  # Power ISA 2.07 Book III-S 6.5
    FACILITY = 0xF60
    FETCH_MISS = 0x1000  # these three: MPC603eUM 4.1
    LOAD_MISS = 0x1100
    STORE_MISS = 0x1200
    IABR = 0x1300
    SMI = 0x1400
    VEC_ASSIST = 0x1600
    THERMAL = 0x1700


class Irq(IntEnum):
    """Elements of the `irq` register: an input's level or a pending (edge) exception, 0 or 1."""

    RESET = 0
    MACHINE_CHECK = 1
    SMI = 2
    EXTERNAL = 3
    PERFORMANCE = 4
    DECREMENTER = 5
    THERMAL = 6


class Irq405(IntEnum):
    """The same of a 405: levels of inputs, and of what its timers' status and enable bits give."""

    RESET = 0
    MACHINE_CHECK = 1
    CRITICAL = 2
    EXTERNAL = 3
    PIT = 4
    FIT = 5
    WATCHDOG = 6


SRR1_FP_ENABLED: Final = bit(11)
SRR1_ILLEGAL: Final = bit(12)
SRR1_PRIVILEGED: Final = bit(13)
SRR1_TRAP: Final = bit(14)
SRR1_SUBSEQUENT: Final = bit(15)  # SRR0 holds the address of an instruction after the cause


class Access(IntEnum):
    """Kinds of access to an effective address."""

    READ = 0
    WRITE = 1
    FETCH = 2
