"""Bit helpers on Python integers."""

from __future__ import annotations


def ones(width: int) -> int:
    """A value with the low `width` bits set."""
    return (1 << width) - 1


def signed(value: int, width: int) -> int:
    """Read the low `width` bits of `value` as two's complement."""
    value &= ones(width)
    return value - (1 << width) if value >> (width - 1) else value


def bit(n: int, width: int = 32) -> int:
    """The weight of bit `n` as the books count: 0 is the most significant."""
    return 1 << (width - 1 - n)


def align_down(value: int, size: int) -> int:
    """The multiple of `size` (a power of two) at or below `value`."""
    return value & -size


def align_up(value: int, size: int) -> int:
    """The multiple of `size` (a power of two) at or above `value`."""
    return (value + size - 1) & -size
