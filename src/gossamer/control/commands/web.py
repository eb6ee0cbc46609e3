"""Commands about the page for browsers."""

from __future__ import annotations

from gossamer.base.data import Data
from gossamer.control.commands.table import command
from gossamer.control.session import Session


class WebInfo(Data):
    """The page: its address (with the token that lets in), how many connections it has."""

    enabled: bool
    address: str | None = None
    connections: int | None = None


@command("x-query-web", held=True)
def query_web(session: Session) -> WebInfo:
    """The page for browsers, and its address."""
    if session.web is None:
        return WebInfo(enabled=False)
    return WebInfo(True, *session.web())
