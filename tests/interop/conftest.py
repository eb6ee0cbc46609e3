"""Stations for machines that travel: ours and a real QEMU."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gossamer.machines.config import Config
from gossamer.machines.options import parse
from gossamer.verify.hops.command import COMMON, GossamerStation
from gossamer.verify.hops.qemu import QemuStation

MACHINE = ("-M", "g3beige", "-m", "128", "-prom-env", "auto-boot?=false")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose name is short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="gsm-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def config(openbios: Path) -> Config:
    return parse([*MACHINE, *COMMON, "-icount", "shift=5,sleep=off"])


@pytest.fixture(scope="session")
def at_prompt(config: Config) -> bytes:
    """Our machine at the prompt of its firmware."""
    station = GossamerStation(config)
    station.expect(b"0 > ", 60.0)
    station.run(1_000_000)
    return station.vm.save_bytes()


@pytest.fixture
def ours(config: Config) -> Iterator[GossamerStation]:
    station = GossamerStation(config)
    yield station
    station.vm.close()


@pytest.fixture
def prompt(ours: GossamerStation, at_prompt: bytes) -> GossamerStation:
    ours.vm.load_bytes(at_prompt)
    ours.output += b"0 > "
    return ours


@pytest.fixture
def start_qemu(qemu: Path) -> Iterator[Callable[..., QemuStation]]:
    """Starts QEMUs, each in a folder of its own; ends them all."""
    started: list[tuple[QemuStation | None, Path]] = []

    def start(*options: str, machine: tuple[str, ...] = MACHINE) -> QemuStation:
        path = Path(tempfile.mkdtemp(prefix="gsm-"))
        started.append((None, path))
        made = QemuStation(path, *machine, *options, program=qemu)
        started[-1] = made, path
        return made

    yield start
    for made, path in started:
        if made is not None:
            made.close()
        shutil.rmtree(path)
