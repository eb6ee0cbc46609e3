"""What a machine reports to the timeline that it has, if it has one (`control.timeline`)."""

from __future__ import annotations

from typing import Protocol


class History(Protocol):
    """The past of a machine.  `next_cut` is the instruction count of the next checkpoint."""

    next_cut: int

    @property
    def mode(self) -> str:
        """QEMU's word: record at the latest moment, play before it."""

    def note(self, kind: str, values: tuple[int | str, ...]) -> None:
        """An input from outside comes now, between two instructions."""

    def broken(self, why: str) -> None:
        """Something has changed that no input says: the past ends here."""

    def cut(self) -> bool:
        """Take a checkpoint; the machine is at `next_cut`.  Whether it is to stop here."""
