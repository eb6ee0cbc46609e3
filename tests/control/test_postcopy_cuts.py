"""A proxy cuts a move by postcopy at any byte: the guest goes on at one end, or is mended."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from pathlib import Path

from gossamer.control.steps import finish
from gossamer.migrate.channels import Limits, Listener
from tests.control.test_live_cuts import Proxy
from tests.control.test_postcopy import Beside, machine, running, until

#: Places where it is cut.
CUTS = int(os.environ.get("GOSSAMER_SWEEP", "16"))
LIMITS = Limits(meet=600.0, stall=600.0, total=600.0)
WHOLE = 1 << 40


def once(folder: Path, forth: int, back: int) -> tuple[str, list[int]]:
    """One move, cut after so many bytes each way; what came of it."""
    folder.mkdir()
    with contextlib.closing(running()) as here, contextlib.closing(machine()) as there:
        before = here.state_hash()
        listener = Listener(f"unix:{folder}/m", LIMITS)
        proxy = Proxy(folder, forth, back, stall=False)
        follows: list[Beside] = []
        steps = here.transfers.send(f"unix:{folder}/proxy", limits=LIMITS)
        here.transfers.start_postcopy()
        taking = Beside(
            there.transfers.receive(listener, beside=lambda s: follows.append(Beside(s)))
        )
        sending = Beside(steps)
        out = here.transfers.outgoing
        assert out is not None
        until(lambda: not sending.is_alive() or out.status == "postcopy-paused")
        taking.join(600)
        assert not taking.is_alive()
        if taking.fault is not None and sending.is_alive():
            here.transfers.cancel()  # a look at the receiver shows that it never ran it
            sending.join(600)
            assert "cont goes on here" in out.error
            here.cont()
            end = "stayed, after a look at the receiver"
        elif taking.fault is not None:
            assert sending.fault is not None
            assert here.run_state == "running"
            end = "stayed"
        else:
            coming = there.transfers.arriving
            assert coming is not None
            until(lambda: coming.status in ("completed", "postcopy-paused"))
            end = "moved"
            if coming.status == "postcopy-paused":
                there.transfers.recover(f"unix:{folder}/again")
                finish(here.transfers.resuming(f"unix:{folder}/again"))
                end = "mended"
                sending.join(600)
            elif sending.is_alive():  # only its last word was lost: all of it has arrived
                here.transfers.cancel()
                sending.join(600)
                end = "moved, after a look at the receiver"
            follows[0].join(600)
            assert (coming.status, follows[0].fault) == ("completed", None)
            assert here.run_state == "postmigrate"
        proxy.join(600)
        runs = there if taking.fault is None else here
        assert runs.run_state == "running"
        assert runs.state_hash() == before
        return end, proxy.counts


def test_cut_at_any_byte(tmp_path: Path) -> None:
    end, (forth, back) = once(tmp_path / "whole", WHOLE, WHOLE)
    assert end == "moved"
    ends: Counter[str] = Counter()
    for n in range(CUTS):
        ends[once(tmp_path / f"f{n}", 1 + (forth - 2) * n // (CUTS - 1), WHOLE)[0]] += 1
    for n in range(CUTS // 4):
        ends[once(tmp_path / f"b{n}", WHOLE, 1 + (back - 2) * n // (CUTS // 4))[0]] += 1
    print(dict(ends))
    assert ends["mended"]
    assert ends["stayed"]
