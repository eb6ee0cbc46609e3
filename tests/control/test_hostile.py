"""No save, however damaged, does worse than an error of one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.base.errors import GossamerError
from tests.control.hostile import MACHINES, Trial


@pytest.mark.parametrize("machine", MACHINES)
def test_damaged_saves_are_refused_or_run(machine: str, tmp_path: Path) -> None:
    trial = Trial(machine, tmp_path)
    trial.run(100)
    assert trial.results["stream refused"] > 10
    assert trial.results["container refused"] > 40


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("machine", MACHINES)
def test_damaged_saves_are_refused_or_run_more(machine: str, tmp_path: Path) -> None:
    trial = Trial(machine, tmp_path, seed=2)
    trial.run(1000)
    assert sum(trial.results.values()) == 1000


def test_every_truncation_of_a_container_is_refused(tmp_path: Path) -> None:
    trial = Trial("bare", tmp_path)
    whole = trial.container
    for end in [*range(64), *range(64, len(whole), 97), len(whole) - 1]:
        trial.damaged.write_bytes(whole[:end])
        with pytest.raises(GossamerError):
            trial.vm.restore(trial.damaged)
    assert trial.vm.state_hash() == trial.before


def test_every_flipped_bit_of_a_frame_head_is_refused(tmp_path: Path) -> None:
    trial = Trial("bare", tmp_path)
    for at in range(40):
        for bit in range(8):
            data = bytearray(trial.container)
            data[at] ^= 1 << bit
            trial.damaged.write_bytes(data)
            with pytest.raises(GossamerError):
                trial.vm.restore(trial.damaged)
