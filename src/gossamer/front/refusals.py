"""Lines about peers that were refused: what a peer can repeat costs one line in a while."""

from __future__ import annotations

from typing import Final

from gossamer.control.session import Session
from gossamer.core import host

_BETWEEN_NS: Final = 10_000_000_000
"""Between two lines."""


class Refusals:
    """Reports for the server called `server`; what came in between is counted."""

    def __init__(self, session: Session, server: str) -> None:
        self._session, self._server = session, server
        self._reported: int | None = None
        self._unreported = 0

    def report(self, text: str) -> None:
        """One line, or a count in the next one."""
        now = host.monotonic_ns()
        if self._reported is not None and now - self._reported < _BETWEEN_NS:
            self._unreported += 1
            return
        more = f" ({self._unreported} more since the last line)" if self._unreported else ""
        self._reported, self._unreported = now, 0
        self._session.report(f"gossamer: {self._server}: {text}{more}")
