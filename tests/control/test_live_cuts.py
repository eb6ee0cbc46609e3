"""A proxy cuts or stalls a live transfer at any byte: exactly one machine can go on."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections import Counter
from pathlib import Path

import pytest

from gossamer.base.errors import HostError
from gossamer.control.vm import Vm
from gossamer.machines.options import parse
from gossamer.migrate.channels import Limits, Listener
from tests.control.test_live import LINE, PATIENT, interleave, scribble

#: Places where a bit is flipped: half of them at the beginning, half over the last third.
FLIPS = int(os.environ.get("GOSSAMER_SWEEP", "16"))
QUICK = Limits(meet=600.0, stall=0.6, total=600.0)
"""For a way that stalls."""


class Proxy(threading.Thread):
    """Between two sockets; ends after `forth` bytes to the receiver or `back` bytes from it.

    `stall`: it stays there and moves nothing more.  `flip`: it only flips a bit of the next byte
    to the receiver, and goes on.
    """

    def __init__(
        self, folder: Path, forth: int, back: int, *, stall: bool, flip: bool = False
    ) -> None:
        super().__init__(daemon=True)
        self.flip = forth if flip else -1
        self.limits = {0: 1 << 40 if flip else forth, 1: back}
        self.counts = [0, 0]
        self.stall = stall
        self.over = threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / "proxy"))
        self.listener.listen(1)
        self.folder = folder
        self.start()

    def run(self) -> None:
        sender, _ = self.listener.accept()
        receiver = socket.socket(socket.AF_UNIX)
        receiver.connect(str(self.folder / "m"))
        ends = [sender, receiver]
        with contextlib.suppress(OSError):
            while self._move(ends):
                pass
        if self.stall:
            self.over.wait(600)
        for end in (*ends, self.listener):
            end.close()

    def _move(self, ends: list[socket.socket]) -> bool:
        for end in select.select(ends, [], [], 5)[0]:
            way = ends.index(end)
            left = self.limits[way] - self.counts[way]
            data = end.recv(min(65536, left)) if left else b""
            if not data:
                return False
            at = self.flip - self.counts[0]
            if way == 0 and 0 <= at < len(data):
                data = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
            ends[1 - way].sendall(data)
            self.counts[way] += len(data)
        return all(self.counts[n] < self.limits[n] for n in (0, 1))


def machine() -> Vm:
    return Vm(parse(LINE))


def once(
    folder: Path, forth: int, back: int, *, stall: bool = False, flip: bool = False
) -> tuple[str, list[int]]:
    """One transfer; what came of it, after the checks that hold for each."""
    folder.mkdir()
    with contextlib.closing(machine()) as vm, contextlib.closing(machine()) as there:
        return _once(vm, there, folder, forth, back, stall=stall, flip=flip)


def _once(
    vm: Vm, there: Vm, folder: Path, forth: int, back: int, *, stall: bool, flip: bool
) -> tuple[str, list[int]]:
    vm.run(instructions=20_000)
    vm.cont()
    vm.transfers.parameters.max_bandwidth = 0
    limits = QUICK if stall else PATIENT
    listener = Listener(f"unix:{folder}/m", limits)
    proxy = Proxy(folder, forth, back, stall=stall, flip=flip)
    faults: list[BaseException] = []

    def take() -> None:
        try:
            there.incoming(listener, limits=limits)
        except BaseException as fault:
            faults.append(fault)

    taker = threading.Thread(target=take, daemon=True)
    taker.start()
    error = ""
    try:
        interleave(
            vm, vm.transfers.send(f"unix:{folder}/proxy", limits=limits),
            at=lambda n: scribble(vm, n) if n < 8 else None,
        )  # fmt: skip
    except HostError as fault:
        error = str(fault)
    taker.join(600)
    proxy.over.set()
    proxy.join(600)
    assert not taker.is_alive()
    assert "\n" not in error
    here_runs, there_runs = vm.run_state == "running", not faults
    assert not (here_runs and there_runs), "two machines run"
    if there_runs and not flip:  # what is not inside TLS has no checksum
        assert there.state_hash() == vm.state_hash()
    if not error:
        assert there_runs
        return "moved", proxy.counts
    if here_runs:
        return "stayed", proxy.counts
    # In doubt: it stands still, says how to decide, and can go on here.
    assert (vm.run_state, "cont goes on here" in error) == ("postmigrate", True)
    if not there_runs:
        vm.cont()
        vm.run(instructions=1000)
    return f"doubtful, {'there' if there_runs else 'nowhere'}", proxy.counts


def sweep(folder: Path, places: int, *, stall: bool = False) -> Counter[str]:
    """Cuts spread over all bytes both ways, and at each of the last ones."""
    end, (forth, back) = once(folder / "whole", 1 << 40, 1 << 40)
    assert end == "moved"
    ways = [(n * forth // places, 1 << 40) for n in range(places)]
    ways += [(forth - n, 1 << 40) for n in range(0 if stall else 1, 8)]
    ways += [(1 << 40, n) for n in range(1 if stall else 0, back)]
    found: Counter[str] = Counter()
    for n, (there, here) in enumerate(ways):
        found[once(folder / str(n), there, here, stall=stall)[0]] += 1
    print(dict(found))
    return found


def test_cut_at_any_byte(tmp_path: Path) -> None:
    found = sweep(tmp_path, 25)
    assert found["stayed"] >= 15
    assert found["doubtful, there"] >= 1, "its word was lost"


def test_stalled_at_some_bytes(tmp_path: Path) -> None:
    end, (forth, _) = once(tmp_path / "whole", 1 << 40, 1 << 40)
    assert end == "moved"
    for n, place in enumerate((5, forth // 2, forth - 3)):
        found, _ = once(tmp_path / str(n), place, 1 << 40, stall=True)
        # How much there is to send follows from how fast the host was: the last may be behind it.
        assert found.startswith(("stayed", "doubtful")) or place > forth // 2


def test_flipped_at_some_bytes(tmp_path: Path) -> None:
    """Whatever it makes of the stream: one machine goes on, and the reason is one line."""
    end, (forth, _) = once(tmp_path / "whole", 1 << 40, 1 << 40)
    assert end == "moved"
    found: Counter[str] = Counter()
    for n in range(FLIPS):
        place = n if n < FLIPS // 2 else forth - 1 - n * (forth // 3 // FLIPS)
        found[once(tmp_path / str(n), place, 1 << 40, flip=True)[0]] += 1
    print(dict(found))
    assert found["stayed"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_cut_at_many_bytes(tmp_path: Path) -> None:
    """GOSSAMER_SWEEP=500: as many places as the sweep of a release."""
    found = sweep(tmp_path, int(os.environ.get("GOSSAMER_SWEEP", "50")))
    assert found["stayed"] >= 30
    assert set(found) <= {"stayed", "moved", "doubtful, there", "doubtful, nowhere"}


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    once(tmp_path / "a", 1 << 40, 1 << 40)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for n in range(3):
        once(tmp_path / str(n), 20_000, 1 << 40)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2
