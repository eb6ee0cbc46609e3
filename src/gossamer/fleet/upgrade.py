"""Machines move into another release of gossamer, one after another, and back where it is worse.

For each machine: a copy is loaded in the new release and thrown away (what it refuses is known
before anything moves), the machine moves and its state hash is compared, the caller's own check
says whether the guest is well, and otherwise the machine moves back.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Literal

from gossamer.base.data import Data
from gossamer.base.errors import GossamerError
from gossamer.fleet.errors import FleetError
from gossamer.fleet.handle import Handle
from gossamer.fleet.moves import move

TRIAL: Final = ".trial"
Check = Callable[[Handle], object]


class Outcome(Data):
    """What happened to one machine.

    `refused`: the new release cannot load it, nothing moved.  `returned`: it moved, was not right
    there, and is back.  `skipped`: an earlier machine was not right.
    """

    machine: str
    result: Literal["moved", "refused", "returned", "skipped", "failed"]
    why: str = ""
    downtime_ms: int = 0
    seconds: float = 0.0


def upgrade(
    handles: Sequence[Handle], python: str, *, max_parallel: int = 2, canary: int = 1,
    check: Check | None = None, progress: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:  # fmt: skip
    """Move `handles` into the environment of `python`, in order; what happened to each.

    `canary` machines go first, alone; unless all of them moved, the others are skipped.  `check`
    gets the handle in the new release; what it raises, or False, sends the machine back.
    FleetError when the environment has no gossamer on some node.
    """
    for node in {handle.node.name: handle.node for handle in handles}.values():
        node.call("environment", python)
    done: list[Outcome] = []

    def one(handle: Handle) -> Outcome:
        outcome = _one(handle, python, check)
        if progress is not None:
            progress(outcome)
        return outcome

    with ThreadPoolExecutor(max(1, max_parallel)) as pool:
        first = list(handles[: max(0, canary)])
        done += [one(handle) for handle in first]
        rest = handles[len(first) :]
        bad = next((it for it in done if it.result != "moved"), None)
        if bad is not None:
            why = f"{bad.machine} went first and was {bad.result}"
            return done + [Outcome(it.name, "skipped", why) for it in rest]
        return done + list(pool.map(one, rest))


def _one(handle: Handle, python: str, check: Check | None) -> Outcome:
    begun, before = time.monotonic(), handle.python

    def said(result: Literal["refused", "returned", "failed"], fault: object) -> Outcome:
        return Outcome(handle.name, result, str(fault), seconds=time.monotonic() - begun)

    try:
        tried(handle, python)
    except FleetError as fault:
        return said("refused", fault)
    try:
        moved = move(handle, handle.node, python, compare=True)
    except FleetError as fault:
        return said("refused", fault)
    try:
        if check is not None and check(handle) is False:
            raise FleetError("its check says no")
    except Exception as fault:  # the caller's check may raise anything
        try:
            move(handle, handle.node, before, compare=True)
        except GossamerError as stuck:
            return said("failed", f"{fault}; and on its way back: {stuck}")
        return said("returned", fault)
    return Outcome(
        handle.name, "moved", downtime_ms=moved.downtime_ms, seconds=time.monotonic() - begun
    )


def tried(handle: Handle, python: str) -> None:
    """Load a copy of the machine in another environment and throw it away; FleetError says why not.

    The copy never runs: its disks are the machine's.
    """
    node, trial = handle.node, handle.name + TRIAL
    with tempfile.TemporaryDirectory(prefix="gossamer-") as folder:
        file = str(Path(folder) / "copy")
        saved = handle.call("save", file)
        node.call("start", trial, handle.options, python, True)
        try:
            loaded = node.call("load", trial, file)
        finally:
            node.call("release", trial, True)
    if loaded["clock-ns"] < saved["clock-ns"]:
        raise FleetError(f"the copy stands at {loaded['clock-ns']} ns, saved later than "
                         f"{saved['clock-ns']} ns")  # fmt: skip
