"""A machine goes from its node to another one, live, and exists exactly once at every moment.

The receiver loads everything or nothing, and stays paused; only when it says that it has the
machine does it run, and the sender ends.  Until then the sender goes on after any failure, and the
receiver is dead before it does.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any, Final

from gossamer.base.data import Data
from gossamer.fleet.errors import FleetError, NodeLostError
from gossamer.fleet.handle import Handle, NodeLink

STEP_S: Final = 20.0
SETTLE_S: Final = 120.0
MOVING: Final = ".moving"
"""Behind a name: the process that waits for the machine of that name."""


class Moved(Data):
    """How a move went: virtual time stood for `downtime_ms`, as the sender measured."""

    machine: str
    source: str
    target: str
    bytes: int
    downtime_ms: int
    total_s: float


def transport(source: NodeLink, target: NodeLink, tls: str | None) -> list[str]:
    """How two nodes reach each other; FleetError between computers without TLS."""
    if source.facts["boot"] == target.facts["boot"]:
        return ["unix"]
    if tls is None:
        raise FleetError(
            f"{source.name} and {target.name} are different computers: a machine moves between "
            "them inside TLS (gossamer tls init DIR, Fleet(tls=DIR))"
        )
    return ["tcp", target.facts["host"], tls]


def move(
    handle: Handle,
    target: NodeLink,
    python: str | None = None,
    *,
    tls: str | None = None,
    compare: bool = False,
) -> Moved:
    """Move a machine to `target`, into the environment of `python` (its own).

    With `compare` both ends' state hashes must be equal before the receiver runs.  FleetError: the
    machine is where it was, in the state in which it was.
    """
    begun = time.monotonic()
    with handle.lock:
        source, name = handle.node, handle.name
        python = python or handle.python
        running = handle.status["status"] == "running"
        waiting = name + MOVING
        way = transport(source, target, tls)
        place = target.call("receive", waiting, handle.options, python, way)
        figures: dict[str, Any] = {}
        try:
            try:
                figures = _sent(handle, place, way[2] if len(way) > 2 else "")
                _arrived(target, waiting)
                if compare:
                    _compared(handle, target, waiting)
            except NodeLostError:
                if not _only_there(source, target, waiting):
                    raise
            if running:
                target.call("command", waiting, "cont", {})
            if target is not source:
                target.call("rename", waiting, name)
        except FleetError as fault:
            _back(handle, target, waiting, running)
            raise FleetError(f"machine {name} stays on {source.name}: {fault}") from None
        handle.node, handle.python = target, python
        with contextlib.suppress(NodeLostError):  # the machine has left it
            written = source.call("release", name, False)
            if target is source:
                target.call("rename", waiting, name)
            target.call("wrote", name, *written)
    ram = figures.get("ram", {})
    return Moved(
        name, source.name, target.name, int(ram.get("transferred", 0)),
        int(figures.get("downtime", 0)), time.monotonic() - begun,
    )  # fmt: skip


def _sent(handle: Handle, place: str, tls: str) -> dict[str, Any]:
    handle.node.call("send", handle.name, place, tls)
    while True:
        found = handle.node.call("sending", handle.name, STEP_S)
        status = found.get("status", "none")
        if status == "completed":
            return dict(found)
        if status in ("failed", "cancelled", "none"):
            raise FleetError(found.get("error-desc") or f"the transfer ended as {status}")


def _arrived(target: NodeLink, waiting: str) -> None:
    end = time.monotonic() + SETTLE_S
    while True:
        found = target.call("receiving", waiting)
        if found["status"] in ("paused", "prelaunch"):
            return
        if found["status"] != "inmigrate" or time.monotonic() > end:
            why = found.get("error") or found.get("transfer", {}).get("error-desc")
            raise FleetError(f"the receiver is {found['status']}: {why or 'it says no more'}")
        time.sleep(0.005)


def _compared(handle: Handle, target: NodeLink, waiting: str) -> None:
    there, here = target.call("hash", waiting), handle.call("hash")
    if there != here:
        raise FleetError(f"the receiver's state hash is {there['hash']}, expected {here['hash']}")


def _only_there(source: NodeLink, target: NodeLink, waiting: str) -> bool:
    """Whether the sender is dead for sure and the whole machine had arrived before."""
    if not (source.certain and source.gone):
        return False
    return bool(target.call("receiving", waiting)["status"] == "paused")


def _back(handle: Handle, target: NodeLink, waiting: str, running: bool) -> None:
    """The receiver ends, and then the sender goes on as before."""
    try:
        target.call("release", waiting, True)
    except NodeLostError as fault:
        if not (target.certain and target.gone):
            raise FleetError(
                f"{fault}; whether {handle.name} runs there is not known, so it stays stopped on "
                f"{handle.node.name}: end {target.name} for sure, then `run` it"
            ) from None
    except FleetError:
        pass  # it has no such machine any more
    if running and handle.status["status"] != "running":
        handle.run()
