"""A Linux guest fetches a file from the host by HTTP, on gossamer and on QEMU in turn.

    python bench/network.py --kernel vmlinux --initrd initramfs.cpio.gz --peer qemu-system-ppc
    python bench/network.py --kernel vmlinux --initrd initramfs.cpio.gz --move

The first prints MB/s of each card behind `-nic user`, and the ratio to the peer's.  The second has
the guest behind `-netdev stream`, whose other end stays: in the middle of the transfer it is saved
(savevm), and moved live to another process.  Exit status 1: a checksum was wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import select
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.emulator import Emulator
from bench.subjects import OURS, new_log, parser_for
from gossamer.machines.net_options import parse_netdev
from gossamer.net.backend import Backend
from gossamer.net.stream import Stream
from gossamer.net.user import User

CARDS = (("mac99", "sungem"), ("g3beige", "ne2k_pci"))
PIECE = 1 << 20
#: An address; and the card's link, which sungem's driver looks at each second or two.
SETTLED = (
    "ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0 2>/dev/null; "
    "until grep -q 1 /sys/class/net/eth0/carrier; do sleep 1; done; echo LINK${TERM#zz}"
)


class File:
    """What is served: bytes of chance, with a seed.  `sent`: how many have been."""

    def __init__(self, size: int) -> None:
        self.size, self.sent = size, 0
        self._piece = random.Random(20261130).randbytes(PIECE)
        total = hashlib.md5()
        for piece in self.pieces():
            total.update(piece)
        self.md5 = total.hexdigest()

    def pieces(self) -> Iterator[bytes]:
        for number in range(-(-self.size // PIECE)):
            piece = number.to_bytes(8, "big") + self._piece[8:]
            yield piece[: self.size - number * PIECE]


@contextmanager
def served(file: File) -> Iterator[int]:
    """The port of an HTTP server that has nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(file.size))
            self.end_headers()
            file.sent = 0
            for piece in file.pieces():
                self.wfile.write(piece)
                file.sent += len(piece)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def command(options: argparse.Namespace, emulator: str, machine: str) -> list[str]:
    return [
        *emulator.split(), "-M", machine, "-m", options.memory, "-kernel", options.kernel,
        "-initrd", options.initrd, "-append", "console=ttyPZ0",
    ]  # fmt: skip


def fetch(guest: Emulator, port: int) -> None:
    """Let the guest fetch the file; its sum comes on the serial port."""
    guest.type(f"{SETTLED}\n")
    guest.read(60, r"LINK\w")
    guest.text = ""
    guest.type(f"wget -q -O - http://10.0.2.2:{port}/ | md5sum\n")


def checked(guest: Emulator, file: File, seconds: float) -> None:
    """Wait for the sum; SystemExit when it is wrong."""
    guest.read(seconds, r"[0-9a-f]{32}  -")
    found = re.search(r"([0-9a-f]{32})  -", guest.text)
    if found is None or found[1] != file.md5:
        raise SystemExit(f"expected MD5 {file.md5}, the guest says {guest.text[-200:]!r}")


# --- speed ----------------------------------------------------------------------------------------


def measure(options: argparse.Namespace, name: str, emulator: str, card: tuple[str, str]) -> float:
    """MB/s."""
    machine, model = card
    words = [*command(options, emulator, machine), "-nic", f"user,model={model}"]
    guest = Emulator(words, new_log(f"{name}-{machine}", options))
    try:
        guest.start_guest()
        file = File(options.mb * 1_000_000)
        with served(file) as port:
            fetch(guest, port)
            began = time.monotonic()
            checked(guest, file, 1800)
            return file.size / 1e6 / (time.monotonic() - began)
    finally:
        guest.end(kill=True)


def speeds(options: argparse.Namespace) -> None:
    subjects = {"gossamer": OURS} | ({"peer": options.peer} if options.peer else {})
    for card in CARDS:
        found = {name: measure(options, name, words, card) for name, words in subjects.items()}
        ratio = f"  ratio {found['gossamer'] / found['peer']:.2f}" if "peer" in found else ""
        texts = "  ".join(f"{name} {value:.2f} MB/s" for name, value in found.items())
        print(f"{card[0]} {card[1]:9} {options.mb} MB, MD5 right  {texts}{ratio}", flush=True)


# --- in the middle of it --------------------------------------------------------------------------


@contextmanager
def router(path: str) -> Iterator[None]:
    """A user network at the other end of a stream, which stays while the guest moves."""
    ends: tuple[Backend, Backend] = (
        Stream("wire", path, server=True), User("out", parse_netdev("user,id=out").values),
    )  # fmt: skip
    for one, other in (ends, ends[::-1]):
        one.deliver = lambda frames, other=other: len([other.send(frame) for frame in frames])
    stop = threading.Event()

    def pump() -> None:
        while not stop.is_set():
            poller = select.poll()
            owners: dict[int, Backend] = {}
            for one in ends:
                one.flush()
                one.retry()
                for fd, mask in one.events().items():
                    owners[fd] = one
                    poller.register(fd, mask)
            for fd, mask in poller.poll(50):
                owners[fd].handle(fd, mask)

    thread = threading.Thread(target=pump)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        for one in ends:
            one.close()


def wait_for(file: File, share: float, guest: Emulator) -> None:
    """Until that share of the file has left; SystemExit when nothing moves any more."""
    last, since = file.sent, time.monotonic()
    while file.sent < file.size * share:
        guest.read(0.1)
        if file.sent != last:
            last, since = file.sent, time.monotonic()
        elif time.monotonic() - since > 120:
            raise SystemExit(f"the transfer stands at {file.sent} bytes: {guest.text[-200:]!r}")


def move(options: argparse.Namespace) -> None:
    """savevm at a third of the transfer, a live move at two thirds; then the sum."""
    file = File(options.mb * 1_000_000)
    with tempfile.TemporaryDirectory(prefix="net-") as folder, served(file) as port:
        wire = f"{folder}/wire"
        nic = f"stream,model=sungem,server=off,addr.type=unix,addr.path={wire},reconnect=1"
        words = [*command(options, OURS, "mac99"), "-nic", nic]
        log = new_log("moved", options)
        with router(wire):
            here = Emulator(words, log)
            here.start_guest()
            fetch(here, port)
            wait_for(file, 1 / 3, here)
            took, _ = here.command("savevm middle")
            print(f"savevm at {file.sent >> 20} MiB: {took * 1000:.0f} ms", flush=True)
            wait_for(file, 2 / 3, here)
            there = Emulator([*words, "-incoming", f"unix:{folder}/move"], log)
            here.command("migrate_set_parameter max-bandwidth 4G")
            here.command(f"migrate -d unix:{folder}/move")
            said = ""
            while "completed" not in said:
                time.sleep(0.1)
                said = here.command("info migrate")[1]
                if "failed" in said:
                    raise SystemExit(said)
            downtime = re.search(r"downtime: (\d+)", said)
            print(
                f"moved at {file.sent >> 20} MiB: downtime {downtime and downtime[1]} ms",
                flush=True,
            )
            there.text = here.text + there.text
            here.end(kill=False)
            there.command("cont")
            checked(there, file, 1800)
            print(f"{options.mb} MB, MD5 right", flush=True)
            there.command("delvm middle")
            there.end(kill=True)


def main() -> None:
    """Measure, or move."""
    parser = parser_for(__doc__, memory="256")
    parser.add_argument("--mb", type=int, default=100)
    parser.add_argument("--move", action="store_true", help="save and move in the middle of it")
    options = parser.parse_args()
    if options.move:
        move(options)
    else:
        speeds(options)


if __name__ == "__main__":
    main()
