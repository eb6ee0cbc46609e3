"""The device control registers of embedded parts: 1024 numbers, apart from memory.

A chip adds the numbers that it answers to; the CPU asks for one at a time, 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

COUNT: Final = 1024
Read = Callable[[int], int]
Write = Callable[[int, int], None]


class DcrBus:
    """Who answers to which number."""

    def __init__(self) -> None:
        self._readers: dict[int, Read] = {}
        self._writers: dict[int, Write] = {}
        #: Called when a number was added.
        self.changed: Callable[[], None] = lambda: None

    def add(self, numbers: Iterable[int], read: Read, write: Write) -> None:
        """Let `read(number)` and `write(number, value)` see to some numbers."""
        for number in numbers:
            assert 0 <= number < COUNT, number
            assert number not in self._readers, f"DCR {number:#x} is taken"
            self._readers[number], self._writers[number] = read, write
        self.changed()

    @property
    def numbers(self) -> tuple[int, ...]:
        """Every number that something answers to."""
        return tuple(sorted(self._readers))

    def read(self, number: int) -> int:
        return self._readers[number](number) & 0xFFFF_FFFF

    def write(self, number: int, value: int) -> None:
        self._writers[number](number, value)
