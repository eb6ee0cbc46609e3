"""SIGKILL of either end at any moment of a live transfer: never do two machines go on.

Sender and receiver are processes of their own, forked, so that a trial costs little.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gossamer.base.errors import GossamerError
from gossamer.migrate.channels import Listener
from tests.control.test_live import PATIENT, interleave, machine, running

STEP_S = 0.002
"""How long each step of a transfer is drawn out, so that there are moments to hit."""


class Process:
    """A function in a process of its own; what it gives comes back as JSON."""

    def __init__(self, work: Callable[[Callable[[], None]], dict[str, Any]]) -> None:
        self.out, inside = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(self.out)
            found: dict[str, Any] = {"fault": "no end"}
            with contextlib.suppress(BaseException):
                found = work(lambda: os.write(inside, b"\n") and None)
            os.write(inside, json.dumps(found).encode())
            os._exit(0)
        os.close(inside)

    def ready(self) -> None:
        assert os.read(self.out, 1) == b"\n"

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def result(self) -> dict[str, Any] | None:
        """None when it was killed before it had one."""
        text = b""
        while part := os.read(self.out, 65536):
            text += part
        os.close(self.out)
        os.waitpid(self.pid, 0)
        return json.loads(text) if text.strip() else None


def take(place: str, ready: Callable[[], None]) -> dict[str, Any]:
    there, listener = machine(), Listener(place, PATIENT)
    ready()
    try:
        there.incoming(listener)
    except GossamerError as fault:
        return {"error": str(fault)}
    return {"count": there.instructions, "hash": there.state_hash()}


def send(place: str, ready: Callable[[], None]) -> dict[str, Any]:
    vm = running()
    vm.transfers.parameters.downtime_limit = 0
    ready()
    error, began = "", time.monotonic()
    try:
        steps = vm.transfers.send(place, limits=PATIENT)
        interleave(vm, steps, between=5000, at=lambda n: time.sleep(STEP_S))
    except GossamerError as fault:
        error = str(fault)
    found = {"state": vm.run_state, "error": error, "took": time.monotonic() - began}
    found["hash"] = vm.state_hash()
    if error:
        vm.cont()  # also from doubt: a person who has looked at the receiver does so
        before = vm.instructions
        vm.run(instructions=1000)
        found["went_on"] = vm.instructions == before + 1000
    return found


def hash_after(count: int) -> int:
    """Of a machine that ran so far without being moved."""
    vm = machine()
    vm.run_to(count)
    return vm.state_hash()


def once(folder: Path, victim: str, after_s: float) -> tuple[str, float]:
    """One transfer whose `victim` is killed; what came of it, and how long it took."""
    folder.mkdir()
    place = f"unix:{folder}/m"
    receiver = Process(lambda ready: take(place, ready))
    receiver.ready()
    sender = Process(lambda ready: send(place, ready))
    sender.ready()
    if victim:
        time.sleep(after_s)
        (sender if victim == "sender" else receiver).kill()
    here, there = sender.result(), receiver.result()
    took = 0.0 if here is None else here["took"]
    assert here is None or "fault" not in here
    there_runs = there is not None and "hash" in there
    if there_runs:
        right = hash_after(there["count"]) if here is None else here["hash"]
        assert there["hash"] == right, "its guest is right"
    if here is None:
        return "the receiver's" if there_runs else "gone with the sender", took
    if not here["error"]:
        assert here["state"] == "postmigrate"
        return "moved", took
    assert here["went_on"]
    assert "\n" not in here["error"]
    if here["state"] == "running":
        assert not there_runs, "two machines run"
        return "stayed", took
    assert (here["state"], "cont goes on here" in here["error"]) == ("postmigrate", True)
    return "doubtful", took


def sweep(folder: Path, count: int) -> Counter[str]:
    end, took = once(folder / "whole", "", 0.0)
    assert end == "moved"
    chance, found = random.Random(count), Counter[str]()
    for n in range(count):
        for victim in ("sender", "receiver"):
            after = chance.uniform(0.0, took)
            end, _ = once(folder / f"{victim}{n}", victim, after)
            assert victim == "sender" or end != "gone with the sender"
            found[f"{victim} killed: {end}"] += 1
    print(dict(found))
    return found


def test_killed_at_some_moments(tmp_path: Path) -> None:
    found = sweep(tmp_path, 3)
    assert sum(found.values()) == 6


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_many_moments(tmp_path: Path) -> None:
    """GOSSAMER_SWEEP=100: as many moments of each end as the sweep of a release."""
    found = sweep(tmp_path, int(os.environ.get("GOSSAMER_SWEEP", "10")))
    assert found["receiver killed: stayed"]
