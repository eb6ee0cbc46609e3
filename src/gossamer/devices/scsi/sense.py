"""Sense: why a command failed.  Source: SPC-3, 4.5."""

from __future__ import annotations

from typing import Final

Sense = tuple[int, int, int]
"""Key, additional code, its qualifier."""

GOOD, CHECK_CONDITION, BUSY = 0x00, 0x02, 0x08
NO_SENSE_KEY, UNIT_ATTENTION = 0, 6

NO_SENSE: Final[Sense] = (0, 0, 0)
LUN_NOT_READY: Final[Sense] = (2, 0x04, 0x03)
NO_MEDIUM: Final[Sense] = (2, 0x3A, 0x00)
REMOVAL_PREVENTED: Final[Sense] = (5, 0x53, 0x02)
NOT_READY_REMOVAL: Final[Sense] = (2, 0x53, 0x02)
READ_ERROR: Final[Sense] = (3, 0x11, 0x00)
WRITE_ERROR: Final[Sense] = (3, 0x0C, 0x00)
MISCOMPARE: Final[Sense] = (0xE, 0x1D, 0x00)
TARGET_FAILURE: Final[Sense] = (4, 0x44, 0x00)
INVALID_OPCODE: Final[Sense] = (5, 0x20, 0x00)
OUT_OF_RANGE: Final[Sense] = (5, 0x21, 0x00)
INVALID_FIELD: Final[Sense] = (5, 0x24, 0x00)
NO_SUCH_LUN: Final[Sense] = (5, 0x25, 0x00)
INVALID_PARAMETER: Final[Sense] = (5, 0x26, 0x00)
PARAMETER_LENGTH: Final[Sense] = (5, 0x1A, 0x00)
INCOMPATIBLE_FORMAT: Final[Sense] = (5, 0x30, 0x00)
SAVING_NOT_SUPPORTED: Final[Sense] = (5, 0x39, 0x00)
WRITE_PROTECTED: Final[Sense] = (7, 0x27, 0x00)
ABORTED: Final[Sense] = (0xB, 0x00, 0x06)
RESET: Final[Sense] = (6, 0x29, 0x00)
MEDIUM_CHANGED: Final[Sense] = (6, 0x28, 0x00)
EJECT_REQUESTED: Final[Sense] = (6, 0x5A, 0x01)

LENGTH: Final = 18


def fixed(sense: Sense) -> bytes:
    """Sense data in the fixed format."""
    key, asc, ascq = sense
    return bytes((0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, asc, ascq, 0, 0, 0, 0))


def described(sense: Sense) -> bytes:
    """Sense data in the descriptor format, without any."""
    key, asc, ascq = sense
    return bytes((0x72, key, asc, ascq, 0, 0, 0, 0))


def converted(data: bytes, *, in_fixed: bool) -> bytes:
    """Fixed sense data, or none, in the format that is wanted."""
    sense = (data[2] & 0xF, data[12], data[13]) if len(data) >= LENGTH else NO_SENSE
    return fixed(sense) if in_fixed else described(sense)
