"""Who may talk to the page's server: the token, and which host a browser believes it talks to.

A page of another site can make a browser connect to any address.  It cannot know the token; the
name in Host keeps out one that makes its own name point here (DNS rebinding), and Origin one that
runs in the same browser.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from typing import Final
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers, MultipleValuesError

from gossamer.base.data import Data
from gossamer.core import host as host_door
from gossamer.machines.config import Web

TOKEN_BYTES: Final = 16
LONGEST_QUERY: Final = 2048


class Asked(Data):
    """A request's path and its query."""

    path: str
    query: dict[str, str]


def asked(target: str) -> Asked:
    """What a request line asks for; ValueError for what is no path."""
    if not target.startswith("/") or len(target) > LONGEST_QUERY:
        raise ValueError("the path is not one of this server's")
    split = urlsplit(target)
    query = parse_qs(split.query, max_num_fields=16)
    return Asked(split.path, {key: values[-1] for key, values in query.items()})


class Gate:
    """The rules of one server."""

    def __init__(self, options: Web) -> None:
        self.token = options.token or host_door.random_bytes(TOKEN_BYTES).hex()
        self._names = {"localhost", options.host.lower(), socket.gethostname().lower()}

    def knows(self, given: Asked) -> bool:
        """Whether the request has the token."""
        return hmac.compare_digest(given.query.get("token", "").encode(), self.token.encode())

    def refusal(self, headers: Headers) -> str | None:
        """Why a request is not answered, whatever it asks for; None: it may be."""
        try:
            there, origin = headers.get("Host", ""), headers.get("Origin")
            name = (urlsplit(f"//{there}").hostname or "").lower()
        except (MultipleValuesError, ValueError):
            return "Host or Origin cannot be read"
        if not self._is_here(name):
            return f"this server is not {name or 'without a name'!r:.80}"
        if origin is not None and origin != f"http://{there}":
            return f"a page of {origin!r:.80} may not connect to {there!r:.80}"
        return None

    def _is_here(self, name: str) -> bool:
        """Names can be made to point anywhere; an address is what it is."""
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
