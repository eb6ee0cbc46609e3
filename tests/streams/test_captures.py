"""What a real QEMU sends over sockets: multifd channels, XBZRLE, postcopy and its return path."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gossamer.migrate.inspect import open_stream
from gossamer.migrate.pages import PageIndex
from tests.streams.qemu_run import Qemu
from tests.waiting import PATIENCE, until

Run = Callable[..., Any]
MACHINE = ("-M", "g3beige", "-m", "64", "-nic", "none")


def capability(guest: Qemu, *names: str) -> None:
    states = [{"capability": name, "state": True} for name in names]
    guest.command("migrate-set-capabilities", capabilities=states)


class Listener:
    """Takes connections on a socket and keeps what each one sends, in order of arrival."""

    def __init__(self, path: Path, relay: Path | None = None) -> None:
        self.path, self.relay = path, relay
        self.sent: list[bytearray] = []
        self.answered: list[bytearray] = []
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen(8)
        self.threads: list[threading.Thread] = []
        self._start(self._accept)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_fault: object) -> None:
        """All that was sent is in the logs: the senders have ended."""
        self.server.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(PATIENCE)
        self.server.close()

    def _start(self, run: Callable[[], None]) -> None:
        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self.server.accept()
            except OSError:
                return
            self.sent.append(bytearray())
            self.answered.append(bytearray())
            onward = None
            if self.relay is not None:
                onward = socket.socket(socket.AF_UNIX)
                onward.connect(str(self.relay))
                self._pump(onward, peer, self.answered[-1])
            self._pump(peer, onward, self.sent[-1])

    def _pump(self, source: socket.socket, target: socket.socket | None, log: bytearray) -> None:
        def run() -> None:
            with source:
                try:
                    while part := source.recv(1 << 16):
                        log.extend(part)
                        if target is not None:
                            target.sendall(part)
                    if target is not None:
                        target.shutdown(socket.SHUT_WR)
                except OSError:
                    return

        self._start(run)


@pytest.mark.parametrize("method", ["none", "zlib"])
def test_multifd_channels(stream_command: Run, qemu: Path, tmp_path: Path, method: str) -> None:
    with Listener(tmp_path / "socket") as listener, Qemu(qemu, *MACHINE) as guest:
        time.sleep(0.5)
        capability(guest, "multifd")
        parameters = {"multifd-channels": 2, "multifd-compression": method}
        guest.command("migrate-set-parameters", **parameters)
        guest.command("migrate", uri=f"unix:{listener.path}")
        guest.until("query-migrate", "completed")
    pages, sent, kinds = 0, 0, []
    for i, log in enumerate(listener.sent):
        path = tmp_path / f"channel{i}"
        path.write_bytes(log)
        tree = stream_command("show", path, "--json").json
        if "sections" in tree:
            kinds.append("main")
            assert tree["machine"] == "g3beige"
            sent = sum(block["data"] + block["zero"] for block in tree["ram"].values())
        else:
            kinds.append(tree["form"])
            assert tree["compression"] in (method, "none")
            pages += sum(block["pages"] for block in tree["blocks"])
    assert sorted(kinds) == ["a multifd channel", "a multifd channel", "main"]
    total = (64 << 20) + (16 << 20) + (4 << 20) + (64 << 10)
    assert pages > 50
    assert sent + pages >= total // 4096


def test_postcopy_and_its_return_path(stream_command: Run, qemu: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    with Qemu(qemu, *MACHINE, "-incoming", "defer") as target, Qemu(qemu, *MACHINE) as source:
        try:
            for side in (source, target):
                capability(side, "postcopy-ram", "return-path")
        except RuntimeError as fault:
            pytest.skip(f"no postcopy on this host: {fault}")
        target.command("migrate-incoming", uri=f"unix:{there}")
        with Listener(tmp_path / "here", there) as listener:
            # So slowly that memory is not over before the word to switch comes.
            source.command("migrate-set-parameters", **{"max-bandwidth": 1 << 16})
            source.command("migrate", uri=f"unix:{listener.path}")
            source.until("query-migrate", "active")
            source.command("migrate-start-postcopy")
            source.command("migrate-set-parameters", **{"max-bandwidth": 1 << 30})
            source.until("query-migrate", "completed")
    forward, back = tmp_path / "forward", tmp_path / "back"
    forward.write_bytes(listener.sent[0])
    back.write_bytes(listener.answered[0])
    tree = stream_command("show", forward, "--json").json
    assert tree["kind"].startswith("postcopy")
    assert {"PACKAGED", "POSTCOPY_LISTEN", "POSTCOPY_RUN"} <= set(tree["commands"])
    cuda = next(s for s in tree["sections"] if s["name"] == "cuda")
    assert cuda["values"]["data_in_size"] >= 0, "our layouts stand in for the description"
    messages = stream_command("show", back, "--as", "return-path", "--json").json["messages"]
    assert messages[0]["message"] == "PONG"
    assert messages[-1] == {"message": "SHUT", "value": 0, "length": 0, "block": "", "bitmap": ""}


# lis r4,1; again: addi r3,r3,1; addi r5,r5,4096; rlwinm r5,r5,0,9,31; stwx r3,r5,r4; b again
COUNTER = bytes.fromhex("3c800001 38630001 38a51000 54a5027e 7c65212e 4bfffff0")


def test_xbzrle_pages(stream_command: Run, qemu: Path, tmp_path: Path) -> None:
    """A guest that counts in 2,048 pages of memory, migrated slowly: deltas are sent."""
    out, rom = tmp_path / "out.mig", tmp_path / "rom"
    rom.write_bytes(bytes(0x100) + COUNTER + bytes((1 << 20) - 0x100 - len(COUNTER)))
    machine = ("-M", "mac99", "-m", "64", "-nic", "none", "-bios", str(rom))
    with Qemu(qemu, *machine) as guest:
        capability(guest, "xbzrle")
        slow = {"max-bandwidth": 1 << 25, "downtime-limit": 1}
        guest.command("migrate-set-parameters", **slow)
        guest.command("migrate", uri=f"exec:cat > {out}")
        until(
            lambda: guest.command("query-migrate").get("xbzrle-cache", {}).get("pages", 0) > 100,
            saw=lambda: guest.command("query-migrate"),
        )
        fast = {"max-bandwidth": 1 << 30, "downtime-limit": 2000}
        guest.command("migrate-set-parameters", **fast)
        guest.until("query-migrate", "completed")
        word = guest.monitor("xp /1wx 0x10000").split(":")[1].strip()
    tree = stream_command("show", out, "--json").json
    packed = sum(block["packed"] for block in tree["ram"].values())
    assert packed > 0
    index = PageIndex()
    with out.open("rb") as file:
        open_stream(file, on_ram=lambda _section, record: index(record))
        table = index.table("ppc_core99.ram")
        page = table.page(file, table.numbers.tolist().index(16), 4096)
    assert int.from_bytes(page[:4], "big") == int(word, 16), "the deltas add up to the last value"
