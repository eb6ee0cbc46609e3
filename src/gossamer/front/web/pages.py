"""The files of the page: what is served under which path, and the headers of every answer."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Final

from websockets.datastructures import Headers
from websockets.http11 import Response

from gossamer.base.data import Data

TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "json": "application/json",
    "txt": "text/plain; charset=utf-8",
    "bin": "application/octet-stream",
}
#: Scripts are files of this server alone; xterm.js makes style sheets of its own.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: "
    "blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PHRASES: Final = {
    200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip
_FOLDERS: Final = {"/page/": "page", "/vendor/": "vendor"}
_SERVED: Final = ("js", "mjs", "css", "svg", "png")


class Answer(Data):
    """A whole answer; `kind` one of `TYPES`."""

    body: bytes
    kind: str = "txt"
    status: int = 200

    def serialize(self, *, more: dict[str, str] | None = None) -> bytes:
        """As it goes on the wire."""
        return head(self.status, self.kind, len(self.body), more) + self.body


def head(status: int, kind: str, length: int, more: dict[str, str] | None = None) -> bytes:
    """The head of an answer whose body has `length` bytes."""
    headers = Headers(
        {
            "Connection": "close",
            "Content-Length": str(length),
            "Content-Type": TYPES[kind],
            "Cache-Control": "no-store",
            "Content-Security-Policy": POLICY,
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            **(more or {}),
        }
    )
    return bytes(Response(status, PHRASES[status], headers).serialize())


def refusal(status: int, text: str) -> Answer:
    return Answer(f"{text}\n".encode(), "txt", status)


@cache
def listed() -> dict[str, tuple[str, str]]:
    """Folder and name below this package by path: only what was found here is ever opened."""
    found: dict[str, tuple[str, str]] = {}
    root = resources.files(__package__)
    for prefix, folder in _FOLDERS.items():
        todo = [(root / folder, "")]
        while todo:
            place, under = todo.pop()
            for one in place.iterdir():
                name = f"{under}{one.name}"
                if one.is_dir():
                    todo.append((one, f"{name}/"))
                elif name.rpartition(".")[2] in _SERVED:
                    found[prefix + name] = folder, name
    return found


@cache
def page() -> Answer:
    """The page itself."""
    return Answer((resources.files(__package__) / "page" / "index.html").read_bytes(), "html")


@cache
def file(path: str) -> Answer | None:
    """One of its files; None where there is none of that path."""
    where = listed().get(path)
    if where is None:
        return None
    place = resources.files(__package__) / where[0]
    for part in where[1].split("/"):
        place /= part
    return Answer(place.read_bytes(), path.rpartition(".")[2])
