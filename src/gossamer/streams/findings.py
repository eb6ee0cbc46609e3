"""What the doctor finds in a stream: how bad, where, what the guest will feel, and the mend."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from gossamer.base.data import Data
from gossamer.streams.patient import Patient


class Grade(IntEnum):
    """How bad a finding is for the guest."""

    NOTE = 0
    TROUBLE = 1
    LOSS = 2


class Finding(Data):
    """One finding: what the stream shows, what the guest will feel, and the mend if any."""

    grade: Grade
    name: str
    where: str
    what: str
    feel: str
    mend: str = ""
    apply: Callable[[Patient], None] | None = None
