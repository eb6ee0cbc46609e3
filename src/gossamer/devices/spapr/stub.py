"""The few instructions that lie in guest memory where a firmware would.

Each moves its argument to r4, puts a hypercall's number into r3, calls, and returns.
"""

from __future__ import annotations

from struct import pack
from typing import Final

MR_R4_R3: Final = 0x7C64_1B78
LIS_R3: Final = 0x3C60_0000
ORI_R3: Final = 0x6063_0000
SC_1: Final = 0x4400_0022
BLR: Final = 0x4E80_0020


def call(number: int) -> bytes:
    """A function of one argument that is the hypercall `number`."""
    return pack(">5I", MR_R4_R3, LIS_R3 | number >> 16, ORI_R3 | number & 0xFFFF, SC_1, BLR)


#: Where the stub of the client interface lies, and its end: QEMU's firmware takes as much.
CLIENT_ENTRY, END = 0x10C, 0xDA0
#: Where a machine without a kernel is: it waits for ever (H_CEDE).
NO_KERNEL: Final = 0x100
_WAIT: Final = pack(">3I", 0x3860_00E0, SC_1, 0x4BFF_FFF8)
#: What is at the start of memory.
IMAGE: Final = bytes(NO_KERNEL) + _WAIT + call(0xF005)
#: What `instantiate-rtas` puts where the guest wants it; the rest of rtas-size stays as it is.
RTAS: Final = call(0xF000)
#: The stack that the firmware leaves to the kernel.
STACK_BASE, STACK_END = 0x8000, 0x1_0000
STACK: Final = 0xFF60
