"""A node: what runs on one computer and holds the machines there.

`Node.call` is the only door: a method's name and arguments in, its result or one line of error out,
all of it JSON, whichever way leads here (`local`, `rays`).  Bytes travel as base64.

A lease (`renew`) guards against two copies: a node that its fleet cannot reach any more stops its
machines when the lease is over, and the fleet waits for that before it starts them elsewhere.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

from gossamer.base.errors import ConfigError, GossamerError, HostError
from gossamer.base.version import VERSION
from gossamer.core.host import cores
from gossamer.fleet.emulator import Emulator, pinned

OVER: Final = frozenset({"completed", "failed", "cancelled", "none"})
METHODS: Final = frozenset(
    {"facts", "environment", "start", "receive", "receiving", "send", "sending", "command"}
    | {
        "release",
        "listing",
        "screen",
        "save",
        "load",
        "hash",
        "text",
        "wrote",
        "type",
        "renew",
        "rename",
    }
)
WATCH_S: Final = 0.2


class Node:
    """The machines of one computer, by name."""

    def __init__(self, name: str, folder: Path | None = None) -> None:
        """`folder` is for sockets and logs, a short path; without it one of its own is made."""
        self.name = name
        self._own = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix="gossamer-")) if folder is None else folder
        self._machines: dict[str, Emulator] = {}
        self._lock = threading.Lock()
        self._serial = 0
        self._lease: float | None = None
        self._closing = threading.Event()
        self._watch = threading.Thread(target=self._watch_lease, daemon=True)
        self._watch.start()

    def call(self, method: str, arguments: list[Any]) -> dict[str, Any]:
        """Carry out a method of METHODS: {"result": ...} or {"error": one line}."""
        if method not in METHODS:
            return {"error": f"a node of gossamer {VERSION} has no method {method}"}
        try:
            return {"result": getattr(self, method)(*arguments)}
        except GossamerError as fault:
            return {"error": str(fault)}
        except OSError as fault:
            return {"error": f"{fault.filename or self.folder}: {fault.strerror or fault}"}
        except TypeError as fault:  # from a fleet of another release
            return {"error": f"{method}: {fault}"}

    # --- the node -----------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """What a fleet places machines by: the computer (its boot), CPUs, release, load."""
        return {
            "name": self.name,
            "pid": os.getpid(),
            "host": os.uname().nodename,
            "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            "cpus": cores(),
            "version": VERSION,
            "load": os.getloadavg()[0],
        }

    def environment(self, python: str) -> str:
        """The version of gossamer that an interpreter has; HostError when it has none."""
        try:
            done = subprocess.run(  # noqa: S603 - an environment that the user named
                [python, "-c", "from gossamer.base.version import VERSION; print(VERSION)"],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as fault:
            raise HostError(f"environment {python}: {fault}") from None
        if done.returncode:
            said = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
            raise HostError(f"environment {python} has no gossamer: {said[0]}")
        return done.stdout.strip()

    def listing(self) -> list[dict[str, Any]]:
        """Each machine: name, pid, python, options, status, instructions, clock-ns."""
        return [
            {"name": name, "pid": it.process.pid, "python": it.python, "options": it.options}
            | self._status(it)
            for name, it in sorted(self._machines.items())
        ]

    def _status(self, it: Emulator) -> dict[str, Any]:
        try:
            return it.status
        except GossamerError as fault:
            return {"status": "gone" if not it.alive else "silent", "error": str(fault)}

    def renew(self, seconds: float, entitled: list[str]) -> list[str]:
        """Machines may run for `seconds` more; those not `entitled` live elsewhere and end here.

        Returns the names of those that ended.
        """
        late = self._lease is not None and time.monotonic() > self._lease
        ended = [name for name in list(self._machines) if late and name not in entitled]
        for name in ended:
            self.release(name, True)
        self._lease = time.monotonic() + seconds
        if late:
            for it in self._machines.values():
                if it.fenced:
                    it.qmp.command("cont")
                    it.fenced = False
        return ended

    def _watch_lease(self) -> None:
        while not self._closing.wait(WATCH_S):
            if self._lease is None or time.monotonic() <= self._lease:
                continue
            for it in list(self._machines.values()):
                with contextlib.suppress(GossamerError):
                    if it.status["status"] == "running":
                        it.qmp.command("stop")
                        it.fenced = True

    def close(self) -> None:
        """End every machine, and the node."""
        self._closing.set()
        for name in list(self._machines):
            with contextlib.suppress(GossamerError):  # a move in the middle may have taken it
                self.release(name, False)
        if self._own:
            shutil.rmtree(self.folder, ignore_errors=True)

    # --- machines -----------------------------------------------------------------------------

    def _begin(self, name: str, options: list[str], python: str, *, incoming: bool) -> Emulator:
        with self._lock:
            if name in self._machines:
                raise ConfigError(f"node {self.name} has a machine {name}")
            self._serial += 1
            folder = self.folder / str(self._serial)
        folder.mkdir(mode=0o700)
        try:
            made = Emulator(folder, options, python, incoming=incoming)
        except GossamerError as fault:
            shutil.rmtree(folder, ignore_errors=True)
            raise type(fault)(f"machine {name} on {self.name}: {fault}") from None
        with self._lock:
            if name in self._machines:
                made.close()
                raise ConfigError(f"node {self.name} has a machine {name}")
            self._machines[name] = made
        return made

    def _of(self, name: str) -> Emulator:
        try:
            return self._machines[name]
        except KeyError:
            raise ConfigError(f"node {self.name} has no machine {name}") from None

    def start(self, name: str, options: list[str], python: str, paused: bool) -> list[str]:
        """A new machine; its options, with the version that its environment chose."""
        it = self._begin(name, options, python, incoming=False)
        it.options = pinned(options, it.qmp.command("query-name")["machine"])
        if not paused:
            it.qmp.command("cont")
        return it.options

    def receive(self, name: str, options: list[str], python: str, transport: list[str]) -> str:
        """A process that waits for a machine, which stays paused; the URI to send it to.

        `transport`: ["unix"], or ["tcp", ADDRESS, FOLDER of tls-creds-x509 or ""].
        """
        it = self._begin(name, options, python, incoming=True)
        try:
            if transport[0] == "unix":
                place = f"unix:{it.folder}/in"
            else:
                self._trust(it, "server", transport[2])
                place = f"tcp:{transport[1]}:0"
            it.qmp.command("migrate-incoming", uri=place)
            return self._listening(it, place)
        except GossamerError:
            self.release(name, True)
            raise

    def _listening(self, it: Emulator, place: str) -> str:
        if place.startswith("unix:"):
            return place
        end = time.monotonic() + 10
        while time.monotonic() < end:
            for at in it.qmp.command("query-migrate").get("socket-address", []):
                return f"tcp:{at['host']}:{at['port']}"
            time.sleep(0.01)
        raise HostError(f"no port to receive at {place}")

    def _trust(self, it: Emulator, endpoint: str, folder: str) -> None:
        if not folder:
            return
        with contextlib.suppress(GossamerError):  # of an earlier move: it came here, or it stayed
            it.qmp.command("object-del", id="fleet-tls")
        it.qmp.command(
            "object-add", **{"qom-type": "tls-creds-x509"}, id="fleet-tls", dir=folder,
            endpoint=endpoint, **{"verify-peer": True},
        )  # fmt: skip
        it.qmp.command("migrate-set-parameters", **{"tls-creds": "fleet-tls"})

    def receiving(self, name: str) -> dict[str, Any]:
        """How far an arriving machine is: query-status, and the error of query-migrate."""
        it = self._of(name)
        answer = self._status(it)
        if answer["status"] == "gone":
            return answer
        return answer | {"transfer": it.qmp.command("query-migrate")}

    def send(self, name: str, place: str, folder: str) -> None:
        """Begin to send a machine to `place`."""
        it = self._of(name)
        if place.startswith("tcp:"):
            self._trust(it, "client", folder)
        it.qmp.command("migrate", uri=place)

    def sending(self, name: str, seconds: float) -> dict[str, Any]:
        """Wait up to `seconds` for the end of a transfer: query-migrate."""
        it = self._of(name)
        end = time.monotonic() + seconds
        while True:
            answer: dict[str, Any] = it.qmp.command("query-migrate")
            if answer.get("status", "none") in OVER or time.monotonic() > end:
                return answer
            time.sleep(0.01)

    def command(self, name: str, command: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401
        """A command of QMP."""
        return self._of(name).qmp.command(command, **arguments)

    def release(self, name: str, kill: bool) -> list[Any]:
        """End a machine's process; what its guest wrote, as `text` gives it."""
        it = self._of(name)
        if kill:
            it.process.kill()
        it.close()
        with self._lock:
            self._machines.pop(name, None)
        shutil.rmtree(it.folder, ignore_errors=True)
        return _written(it, 0)

    # --- what is in them ----------------------------------------------------------------------

    def rename(self, name: str, to: str) -> None:
        """A machine that has arrived takes its name."""
        with self._lock:
            if to in self._machines:
                raise ConfigError(f"node {self.name} has a machine {to}")
            self._machines[to] = self._machines.pop(name)

    def screen(self, name: str) -> str:
        """The picture, PNG, base64."""
        it = self._of(name)
        file = it.folder / "screen.png"
        it.qmp.command("screendump", filename=str(file), format="png")
        data = base64.b64encode(file.read_bytes()).decode()
        file.unlink()
        return data

    def save(self, name: str, file: str) -> dict[str, Any]:
        """Save a machine in a file: query-status just before, and bytes of the file."""
        it = self._of(name)
        before = it.status
        part = Path(f"{file}.part")
        try:
            it.qmp.command("x-save", file=str(part))
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
        return before | {"bytes": Path(file).stat().st_size}

    def load(self, name: str, file: str) -> dict[str, Any]:
        """Load a machine from a file: its query-status."""
        it = self._of(name)
        it.qmp.command("x-load", file=file)
        return it.status

    def hash(self, name: str) -> dict[str, Any]:
        """Hash of the whole state of a machine, and its instruction count."""
        answer: dict[str, Any] = self._of(name).qmp.command("x-query-hash")
        return answer

    def text(self, name: str, since: int) -> list[Any]:
        """[end, base64]: what the guest wrote at its serial port from byte `since` on."""
        return _written(self._of(name), since)

    def wrote(self, name: str, end: int, text: str) -> None:
        """What the guest wrote where it was before."""
        self._of(name).before(end, base64.b64decode(text))

    def type(self, name: str, text: str) -> None:
        """Send bytes, base64, to the serial port."""
        self._of(name).type(base64.b64decode(text))


def _written(it: Emulator, since: int) -> list[Any]:
    end, text = it.text(since)
    return [end, base64.b64encode(text).decode()]
