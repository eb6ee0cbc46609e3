"""Hypercalls: who answers which number, and what the answers are called.

A guest calls with `sc 1`: the number in r3, arguments from r4 on; the return code comes back in
r3, results from r4 on (LoPAR 14.4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from gossamer.core.memory import AddressMap
from gossamer.core.trace import QUIET, Trace

# Return codes (LoPAR 14.4, table 163).
SUCCESS: Final = 0
BUSY: Final = 1
BAD_MODE, CONTINUE = 16, 18
HARDWARE, FUNCTION, PRIVILEGE, PARAMETER = -1, -2, -3, -4
PTEG_FULL, NOT_FOUND, RESERVED_DABR = -6, -7, -8
RESOURCE: Final = -16
P2, P3, P4 = -55, -56, -57
UNSUPPORTED_FLAG: Final = -256

#: MSR[PR]
PROBLEM: Final = 1 << 14
NUMBER: Final = 3
FIRST: Final = 4


class Registers(Protocol):
    """A CPU's registers by name, as `cpu.block.RegisterBlock` has them."""

    def get(self, name: str, index: int = 0) -> int: ...
    def set(self, name: str, value: int, index: int = 0) -> None: ...


Handler = Callable[[Registers], int]
"""Answers a hypercall: reads arguments from the registers, puts results there; the return code."""


def arguments(regs: Registers, count: int) -> list[int]:
    """The first `count` arguments."""
    return [regs.get("gpr", FIRST + n) for n in range(count)]


def results(regs: Registers, *values: int) -> None:
    """Put results where the caller finds them."""
    for n, value in enumerate(values):
        regs.set("gpr", value, FIRST + n)


class GuestRam:
    """A guest's memory from 0 to its size, for services that are given addresses in it.

    Nothing outside is ever touched: callers ask `has` first.
    """

    def __init__(self, memory: AddressMap, size: int) -> None:
        self.memory, self.size = memory, size

    def has(self, ra: int, length: int = 1) -> bool:
        return ra >= 0 and length >= 0 and ra + length <= self.size

    def read(self, ra: int, length: int) -> bytes:
        assert self.has(ra, length), (ra, length)
        return self.memory.read(ra, length) if length else b""

    def write(self, ra: int, data: bytes) -> None:
        assert self.has(ra, len(data)), (ra, len(data))
        if data:
            self.memory.write(ra, data)

    def uint(self, ra: int, size: int) -> int:
        return int.from_bytes(self.read(ra, size), "big")

    def words(self, ra: int, count: int) -> list[int]:
        """So many words of 32 bits."""
        data = self.read(ra, 4 * count)
        return [int.from_bytes(data[n : n + 4], "big") for n in range(0, 4 * count, 4)]

    def put_words(self, ra: int, values: Sequence[int]) -> None:
        """Words of 32 bits, each modulo that."""
        self.write(ra, b"".join((value & 0xFFFF_FFFF).to_bytes(4, "big") for value in values))

    def put(self, ra: int, value: int, size: int) -> None:
        self.write(ra, (value & (1 << 8 * size) - 1).to_bytes(size, "big"))

    def text(self, ra: int, most: int) -> bytes | None:
        """The bytes before a zero; None where there is none within `most` bytes of memory."""
        if not self.has(ra):
            return None
        found, zero, _ = self.read(ra, min(most, self.size - ra)).partition(b"\0")
        return found if zero else None


class Hypercalls:
    """The table of a machine's hypercalls."""

    def __init__(self, trace: Trace = QUIET) -> None:
        self.trace = trace
        self.handlers: dict[int, Handler] = {}

    def add(self, handlers: dict[int, Handler]) -> None:
        """Let `handlers` answer their numbers."""
        taken = self.handlers.keys() & handlers.keys()
        assert not taken, [hex(n) for n in taken]
        self.handlers.update(handlers)

    def __call__(self, regs: Registers) -> None:
        """Answer the call that the registers hold."""
        number = regs.get("gpr", NUMBER)
        handler = self.handlers.get(number)
        if regs.get("msr") & PROBLEM:
            code = PRIVILEGE
        elif handler is None:
            self.trace.event("hypercall", f"{number:#x} is not known")
            code = FUNCTION
        else:
            code = handler(regs)
        regs.set("gpr", code, NUMBER)
