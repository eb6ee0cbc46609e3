"""Cuts into a new process: the parent saves a file, a child goes on from it and saves another."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from gossamer.base.data import replace
from gossamer.base.errors import GossamerError, HostError
from gossamer.control.vm import Vm
from gossamer.verify.cuts.track import Input, Track

LIMIT_S = 600


def continue_in_child(track: Track, ns: int, file: Path) -> None:
    """Go on to virtual `ns` in a child process, and then here again from what it saved."""
    track.vm.save(file)
    order = file.with_suffix(".json")
    order.write_text(
        json.dumps(
            {"inputs": track.inputs, "done": track.done, "ns": ns, "file": str(file)}
            | {"files": track.files, "shutdown": track.config.shutdown}
        )
    )
    command = [sys.executable, "-m", "gossamer", "verify", "cuts", "--continue-from", str(order)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)  # noqa: S603
    if done.returncode != 0:
        raise HostError(f"the child process failed: {done.stderr.strip()[-500:]}")
    answer = json.loads(done.stdout)
    track.done = answer["done"]
    track.load_file(file)
    track.out += [(at, byte) for at, byte in answer["out"]]


def serve(order: Path) -> int:
    """The child's side."""
    try:
        given = json.loads(order.read_text())
    except (OSError, ValueError) as fault:
        raise GossamerError(f"--continue-from: {order}: {fault}") from None
    file = Path(given["file"])
    vm = Vm.load(file, files=given["files"])
    vm.config = replace(vm.config, shutdown=given["shutdown"])
    track = Track(vm.config, [Input(*i) for i in given["inputs"]], given["done"], given=vm)
    track.run_to(ns=given["ns"])
    track.vm.save(file)
    print(json.dumps({"done": track.done, "out": track.out}))
    return 0
