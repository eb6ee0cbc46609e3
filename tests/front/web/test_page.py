"""The page: who gets it, and what its WebSockets lead to."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus

from gossamer.front.web import pages
from tests.front.vnc.rfb import RAW, Rfb
from tests.front.web.browser import TOKEN, Served

Make = Callable[..., Served]
FOLDER = Path(pages.__file__).parent


def test_page_needs_its_token_and_says_so(served: Make) -> None:
    host = served()
    status, body, headers = host.get("/")
    assert status == 200
    assert b"<title>gossamer</title>" in body
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    for token in ("", "wrong"):
        status, body, _ = host.get("/", token=token)
        assert status == 403
        assert body == (
            b"the address lacks its token: gossamer has written the whole one where it runs\n"
        )


def test_requests_for_other_hosts_and_from_other_pages_are_refused(served: Make) -> None:
    host = served()
    here = f"127.0.0.1:{host.port}"
    assert host.get("/", Host="evil.example")[:2] == (403, b"this server is not 'evil.example'\n")
    for name in ("localhost:1", here, "[::1]:7"):
        assert host.get("/", Host=name)[0] == 200
    for origin in ("http://evil.example", f"https://{here}", "null", "http://127.0.0.1:1"):
        with pytest.raises(InvalidStatus, match="403"):
            host.open("/qmp", origin=origin)
    with pytest.raises(InvalidStatus, match="403"):
        host.open("/qmp", token="x")
    with pytest.raises(InvalidStatus, match="404"):
        host.open("/nothing")
    with pytest.raises(InvalidStatus, match="404"):
        host.open("/serial9")
    assert any("may not connect" in line or "is not" in line for line in host.said)
    assert len(host.said) == 1, "one line in ten seconds"


def test_only_the_files_of_the_page_are_served(served: Make) -> None:
    host = served()
    for path in (
        "/page/../server.py", "/page/%2e%2e/server.py", "/vendor/novnc/LICENSE.txt", "/page/",
        "//x",
    ):  # fmt: skip
        assert host.get(path)[0] == 404, path


def test_every_file_that_the_page_names_is_there() -> None:
    """References of the HTML, and imports of each module, ours and those of others."""
    seen, todo = (
        set(),
        re.findall(r'(?:href|src)="([^"]+)"', (FOLDER / "page/index.html").read_text()),
    )
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        found = pages.file(path)
        assert found is not None, path
        if found.kind == "js":
            for name in re.findall(
                r"""(?:from|import) ?["']([./][^"']+)["'];""", found.body.decode()
            ):
                todo.append(str((Path(path).parent / name).resolve()))
    assert len(seen) > 50
    unused = {p for p in pages.listed() if p not in seen}
    assert unused == set(), "nothing is shipped that the page does not load"


def test_the_page_has_a_monitor_of_its_own(served: Make) -> None:
    host = served()
    one, other = host.monitor(), host.monitor()
    assert one.greeting["QMP"]["version"] == other.greeting["QMP"]["version"]
    assert one.do("query-status")["status"] == "prelaunch"
    one.do("cont")
    assert other.do("query-status")["running"] is True
    assert any(event["event"] == "RESUME" for event in other.events)
    one.peer.send("{]")
    assert "error" in one.peer.recv(30)


def test_serial_ports_are_shown_from_their_begin_and_typed_into(served: Make) -> None:
    host = served()
    host.client.do("cont")
    first = host.open("/serial0")
    text = b""
    while b"watched\r\n" not in text:
        text += first.recv(30)  # type: ignore[operator]
    late = host.open("/serial0")
    assert b"watched\r\n" in late.recv(30)  # type: ignore[operator]
    late.send(b"x")
    assert b"tick" in late.recv(30) or b"tick" in late.recv(30)  # type: ignore[operator]


def test_the_screen_is_that_of_vnc(served: Make) -> None:
    host = served(machine=("-M", "g3beige", "-bios", "builtin-screen", "-m", "8", "-vga", "std"))
    serial = host.open("/serial0")
    said = b""
    while b"shown there" not in said:
        said += serial.recv(30)  # type: ignore[operator]
    rfb = Rfb.on(_Pieces(host.open("/vnc")))
    rfb.start(RAW)
    picture = rfb.full()
    assert picture.shape == (480, 640)
    assert picture[240, 320] == 0x9FC2EA, "the middle of the web"
    assert len(np.unique(picture)) > 100


class _Pieces:
    """A WebSocket as a socket."""

    def __init__(self, peer: object) -> None:
        self.peer, self.data = peer, b""

    def recv(self, count: int) -> bytes:
        while not self.data:
            self.data = self.peer.recv(30)  # type: ignore[attr-defined]
        piece, self.data = self.data[:count], self.data[count:]
        return piece

    def sendall(self, data: bytes) -> None:
        self.peer.send(data)  # type: ignore[attr-defined]


def test_view_only_pages_have_neither_monitor_nor_keys(served: Make) -> None:
    host = served(web="view-only=on")
    with pytest.raises(InvalidStatus, match="404"):
        host.open("/qmp")
    assert host.open("/vnc").recv(30) == b"RFB 003.008\n"


def test_tokens_are_of_chance_unless_given(served: Make) -> None:
    assert served().client.do("x-query-web")["address"].endswith(f"?token={TOKEN}")
