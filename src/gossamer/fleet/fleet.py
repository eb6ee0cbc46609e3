"""`Fleet`: nodes, machines by name, and where they go."""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Self

from gossamer.base.errors import ConfigError, GossamerError, there_is
from gossamer.fleet import local, moves, rays, recovery
from gossamer.fleet.emulator import checked
from gossamer.fleet.errors import FleetError, NodeLostError
from gossamer.fleet.handle import Handle, NodeLink
from gossamer.fleet.moves import MOVING, Moved
from gossamer.fleet.upgrade import TRIAL, Check, Outcome, upgrade

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
AT_ONCE: Final = 2
"""Moves of a drain or a balance at the same time, on each computer's pair of CPUs enough."""


class Fleet:
    """Machines on nodes; `with` ends those that it started.

    Without `address` the nodes are processes of this computer; with one, the computers of a Ray
    cluster ("auto": the one that this computer is in).
    """

    def __init__(
        self, address: str | None = None, *, nodes: int = 2, folder: Path | None = None,
        checkpoints: Path | None = None, every: float | None = None, tls: Path | None = None,
        lease: float | None = None,
    ) -> None:  # fmt: skip
        """Start or find the nodes, and find the machines that they have.

        `nodes`: how many processes, when `folder` has none yet.  `folder`: where processes are
        found again by a later Fleet; with it they stay when this one ends.  `checkpoints`: folder
        that all nodes see; `every`: seconds between checkpoints.  `tls`: folder of
        `gossamer tls init`, the same on every computer.  `lease`: seconds after which a node that
        cannot be reached stops its machines.
        """
        self._stay = folder is not None or address is not None
        self._temporary = None if folder or address else tempfile.mkdtemp(prefix="gossamer-")
        self._checkpoints = None if checkpoints is None else checkpoints.absolute()
        if every is not None and checkpoints is None:
            raise ConfigError("every: checkpoints need a folder (checkpoints=)")
        if self._checkpoints is not None:
            self._checkpoints.mkdir(parents=True, exist_ok=True)
        self._tls = None if tls is None else str(tls.absolute())
        self._lease = lease
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.faults: list[str] = []
        """What went wrong beside a call: checkpoints, leases.  One line each, the last hundred."""
        self.machines: dict[str, Handle] = {}
        self.draining: set[str] = set()
        self.nodes: dict[str, NodeLink] = {}
        try:
            self._join(address, nodes, Path(folder or self._temporary or "."))
            self._adopt()
        except BaseException:
            self.close()
            raise
        self._tasks = [
            threading.Thread(target=self._each, args=(seconds, task), daemon=True)
            for seconds, task in ((every, self.checkpoint), (lease and lease / 4, self._renew))
            if seconds
        ]
        for task in self._tasks:
            task.start()

    def _join(self, address: str | None, count: int, folder: Path) -> None:
        if address is not None:
            self.nodes = {node.name: node for node in rays.join(address)}
            return
        local.prepare(folder)
        self.nodes = {node.name: node for node in local.found(folder)}
        if not self.nodes:
            names = [f"node{n}" for n in range(1, count + 1)]
            for name in names:
                self.nodes[name] = local.LocalNode.start(name, folder, stay=self._stay)

    def _adopt(self) -> None:
        """Take the machines that the nodes have; what a move left unfinished goes."""
        for node in self.nodes.values():
            for row in node.call("listing"):
                name, status = row["name"], row["status"]
                if name.endswith((MOVING, TRIAL)):
                    if status in ("inmigrate", "gone") or name.endswith(TRIAL):
                        node.call("release", name, True)
                        continue
                    name = name.removesuffix(MOVING)  # it arrived, and its move did not say so
                    node.call("rename", row["name"], name)
                found = Handle(name, row["options"], row["python"], node)
                known = self.machines.get(name)
                self.machines[name] = found if known is None else _the_one(known, found)

    # --- machines -----------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()

    def __getitem__(self, name: str) -> Handle:
        try:
            return self.machines[name]
        except KeyError:
            raise ConfigError(f"no machine {name}; {there_is(self.machines)}") from None

    def node(self, name: str) -> NodeLink:
        """A node by name; ConfigError with those that exist."""
        try:
            return self.nodes[name]
        except KeyError:
            raise ConfigError(f"no node {name}; {there_is(self.nodes)}") from None

    def start(
        self, name: str, options: Sequence[str], node: str | None = None,
        python: str = sys.executable, *, paused: bool = False,
    ) -> Handle:  # fmt: skip
        """Start a machine with the options of `gossamer run`, by default on the emptiest node.

        `python`: interpreter of the environment whose gossamer runs it.  The machine keeps the
        version that it has there, whichever releases it moves to.  ConfigError for a name that is
        used or is none.
        """
        if not NAME.fullmatch(name):
            raise ConfigError(f"name {name!r}: expected letters, digits, - and _, at most 63")
        place = self._emptiest() if node is None else self.node(node)
        handle = Handle(name, checked(options), python, place)
        with self._lock:
            if name in self.machines:
                raise ConfigError(f"the fleet has a machine {name}")
            self.machines[name] = handle
        try:
            with handle.lock:
                known = place.call("start", name, handle.options, python, paused)
                handle.options = known or handle.options  # a node of 0.1.0 answers nothing
        except BaseException:
            del self.machines[name]
            raise
        return handle

    def fork(self, name: str, count: int, nodes: Sequence[str] | None = None) -> list[Handle]:
        """Copies NAME-1 to NAME-`count` of a machine as it is now, over all nodes or `nodes`.

        FleetError for a machine with disks that can be written: the copies would share them.
        """
        original = self[name]
        if _writes(original):
            raise FleetError(f"machine {name} has a disk that it can write: copies would share it")
        places = [self.node(one) for one in nodes] if nodes else list(self.nodes.values())
        running = original.status["status"] == "running"
        with tempfile.TemporaryDirectory(prefix="gossamer-") as folder:
            file = Path(folder) / "object"
            original.save(file)
            made = []
            for number in range(1, count + 1):
                place = places[(number - 1) % len(places)]
                copy = self.start(
                    f"{name}-{number}", original.options, place.name, original.python, paused=True
                )
                copy.call("load", str(file))
                if running:
                    copy.run()
                made.append(copy)
        return made

    def end(self, name: str) -> None:
        """End a machine."""
        self[name].call("release", False)
        del self.machines[name]

    # --- where they are -----------------------------------------------------------------------

    def _count(self, node: NodeLink) -> int:
        return sum(1 for handle in self.machines.values() if handle.node is node)

    def _emptiest(self) -> NodeLink:
        open_to = [node for name, node in self.nodes.items() if name not in self.draining]
        if not open_to:
            raise FleetError("no node is left to take a machine")
        return min(open_to, key=lambda node: self._count(node) / node.facts["cpus"])

    def move(self, name: str, node: str, python: str | None = None) -> Moved:
        """Move a machine to another node, live."""
        return moves.move(self[name], self.node(node), python, tls=self._tls)

    def drain(self, node: str) -> list[Moved]:
        """Move every machine away from a node, which gets no new one until `undrain`."""
        place = self.node(node)
        self.draining.add(node)
        leaving = [handle for handle in self.machines.values() if handle.node is place]
        plan = []
        shares = {
            other: self._count(other) for name, other in self.nodes.items()
            if name not in self.draining
        }  # fmt: skip
        if leaving and not shares:
            raise FleetError("no node is left to take a machine")
        for handle in leaving:
            to = min(shares, key=lambda one: shares[one] / one.facts["cpus"])
            shares[to] += 1
            plan.append((handle, to))
        return self._moved(plan)

    def undrain(self, node: str) -> None:
        """Let a node have machines again."""
        self.draining.discard(self.node(node).name)

    def balance(self) -> list[Moved]:
        """Move machines until no node has two more for each CPU than another."""
        plan = []
        open_to = [node for name, node in self.nodes.items() if name not in self.draining]
        has = {node: [it for it in self.machines.values() if it.node is node] for node in open_to}
        while len(open_to) > 1:
            fullest = max(open_to, key=lambda one: len(has[one]) / one.facts["cpus"])
            emptiest = min(open_to, key=lambda one: len(has[one]) / one.facts["cpus"])
            before = len(has[fullest]) / fullest.facts["cpus"]
            if (len(has[emptiest]) + 1) / emptiest.facts["cpus"] >= before:
                break
            handle = has[fullest].pop()
            has[emptiest].append(handle)
            plan.append((handle, emptiest))
        return self._moved(plan)

    def _moved(self, plan: Sequence[tuple[Handle, NodeLink]]) -> list[Moved]:
        """Carry out a plan; FleetError at its end names all that stayed."""
        done: list[Moved] = []
        stayed: list[str] = []

        def one(step: tuple[Handle, NodeLink]) -> None:
            try:
                done.append(moves.move(*step, tls=self._tls))
            except GossamerError as fault:
                stayed.append(str(fault))

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(one, plan))
        if stayed:
            raise FleetError(f"{len(done)} moved, {len(stayed)} stayed: " + "; ".join(stayed))
        return done

    def upgrade(
        self, environment: str, *, names: Sequence[str] | None = None, max_parallel: int = 2,
        canary: int = 1, check: Check | None = None,
        progress: Callable[[Outcome], None] | None = None,
    ) -> list[Outcome]:  # fmt: skip
        """Move machines into another release: `environment` is a virtual environment or its python.

        See `gossamer.fleet.upgrade`.
        """
        handles = [self[name] for name in (names or list(self.machines))]
        return upgrade(
            handles, interpreter(environment), max_parallel=max_parallel, canary=canary,
            check=check, progress=progress,
        )  # fmt: skip

    # --- loss ---------------------------------------------------------------------------------

    def checkpoint(self) -> None:
        """Save every machine in the folder of checkpoints; FleetError names those that failed."""
        if self._checkpoints is None:
            raise ConfigError("no folder for checkpoints (checkpoints=)")
        failed = []
        for handle in list(self.machines.values()):
            try:
                recovery.checkpoint(handle, self._checkpoints)
            except GossamerError as fault:
                failed.append(f"{handle.name}: {fault}")
        if failed:
            raise FleetError("; ".join(failed))

    def recover(self) -> list[recovery.Back]:
        """Start the machines of lost nodes elsewhere, from their last checkpoints.

        FleetError when a lost node's machines may still run: no lease, and not a process of this
        computer.
        """
        if self._checkpoints is None:
            raise ConfigError("no folder for checkpoints (checkpoints=)")
        back = []
        for name, node in list(self.nodes.items()):
            if not node.gone:
                continue
            found_at = time.time_ns()
            if not node.certain:
                if self._lease is None:
                    raise FleetError(
                        f"node {name} does not answer and has no lease: its machines may still run"
                    )
                time.sleep(self._lease + 1.0)
            del self.nodes[name]
            self.draining.discard(name)
            for handle in list(self.machines.values()):
                if handle.node is node:
                    to = self._emptiest()
                    back.append(recovery.bring_back(handle, to, self._checkpoints, found_at))
        return back

    def _renew(self) -> None:
        for node in list(self.nodes.values()):
            names = [it.name for it in self.machines.values() if it.node is node]
            node.call("renew", self._lease, names)

    def _each(self, seconds: float, task: Callable[[], None]) -> None:
        while True:
            try:
                task()
            except GossamerError as fault:
                self.faults = [*self.faults[-99:], str(fault)]
            if self._over.wait(seconds):
                return

    # --- at a glance --------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """Each machine: name, node, status, version of its environment, clock-ns, instructions."""
        rows = []
        for node in self.nodes.values():
            try:
                rows += [{"node": node.name} | row for row in node.call("listing")]
            except NodeLostError as fault:
                rows.append({"node": node.name, "name": "", "status": "lost", "error": str(fault)})
        return rows

    def close(self) -> None:
        """Let go; nodes that were started for this fleet alone end, with their machines."""
        self._over.set()
        if not self._stay:
            self.shut_down()
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def shut_down(self) -> None:
        """End all machines and nodes."""
        self._over.set()
        for node in self.nodes.values():
            with contextlib.suppress(GossamerError):
                node.close()
        self.nodes, self.machines = {}, {}


def interpreter(environment: str) -> str:
    """The python of a virtual environment's folder; a file is taken as it is."""
    path = Path(environment)
    found = path / "bin" / "python" if path.is_dir() else path
    if not found.exists():
        raise ConfigError(f"{environment}: expected a virtual environment or a python")
    return str(found.absolute())


def _the_one(known: Handle, found: Handle) -> Handle:
    """Of two processes with one machine, the sender of a finished move goes."""
    for stays, goes in ((found, known), (known, found)):
        if goes.status["status"] == "postmigrate" and stays.status["status"] != "postmigrate":
            goes.call("release", True)
            return stays
    raise FleetError(
        f"machine {known.name} is on {known.node.name} and on {found.node.name}: "
        "end one of them by hand"
    )


def _writes(handle: Handle) -> bool:
    return any(
        not row["inserted"]["ro"] for row in handle.command("query-block") if row.get("inserted")
    )
