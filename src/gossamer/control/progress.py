"""How far a save, a load or a transfer has come, for a front that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final


class Progress:
    """Is notified of long operations and their parts.  This one shows nothing; see `front`.

    It is called from the machine's thread, a few times for each MiB at most, and must be quick.
    """

    @contextmanager
    def operation(self, name: str) -> Iterator[None]:
        """Something begins that may take long; it is over, well or not, with the `with`."""
        del name
        yield

    def phase(self, name: str, total: int | None = None) -> None:
        """A part begins: `total` bytes, or None when that is not known."""

    def advance(self, done: int) -> None:
        """`done` more bytes of the part."""


SILENT: Final = Progress()
