"""Memory at fixed places of a file (capability mapped-ram)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gossamer.base.errors import ConfigError, GossamerError, StreamError
from gossamer.control.vm import Vm
from tests.control.test_live import PATIENT, interleave, machine, running, scribble


def saved(vm: Vm, place: str) -> None:
    vm.transfers.capabilities.add("mapped-ram")
    vm.transfers.parameters.downtime_limit = 0
    steps = vm.transfers.send(place, limits=PATIENT)
    interleave(vm, steps, at=lambda n: scribble(vm, n) if n < 12 else None)


@pytest.mark.parametrize("offset", ["", ",offset=12345"])
def test_a_guest_that_writes_is_in_the_file_as_it_was_stopped(offset: str, tmp_path: Path) -> None:
    vm = running()
    saved(vm, f"file:{tmp_path}/m{offset}")
    there = machine()
    received = there.incoming(f"file:{tmp_path}/m{offset}")
    assert not received.foreign
    assert there.state_hash() == vm.state_hash()
    there.run(instructions=100_000)


def test_the_file_by_hand(tmp_path: Path) -> None:
    """As QEMU's mapped-ram.rst has it, read without our reader."""
    vm = running()
    saved(vm, f"file:{tmp_path}/m")
    data = (tmp_path / "m").read_bytes()
    assert b"configuration/capabilities\x00\x00\x00\x01\x00\x00\x00\x01\x0amapped-ram" in data[:200]
    at = data.index(b"\x03ram\x00\x00\x00\x00\x00\x00\x00\x04") + 12
    total = int.from_bytes(data[at : at + 8], "big")
    assert total & 0xFFF == 4  # MEM_SIZE
    at, seen = at + 8, 0
    blocks = {block.name: block for block in vm.machine.arena.blocks}
    while seen < total - 4:
        name = data[at + 1 : at + 1 + data[at]].decode()
        at += 1 + len(name)
        length, version, size, bitmap, pages = (
            int.from_bytes(data[at + a : at + b], "big")
            for a, b in ((0, 8), (8, 12), (12, 20), (20, 28), (28, 36))
        )
        assert (version, size, bitmap, pages % (1 << 20)) == (1, 4096, at + 36, 0)
        bits = np.frombuffer(data, "<u8", (length // 4096 + 63) // 64, bitmap)
        content = bytearray(length)
        for n in range(length // 4096):
            if int(bits[n // 64]) >> n % 64 & 1:
                content[n * 4096 : (n + 1) * 4096] = data[
                    pages + n * 4096 : pages + n * 4096 + 4096
                ]
        assert content == bytes(vm.machine.arena.bytes_of(blocks[name]))
        seen, at = seen + length, pages + length
    assert data[at : at + 8] == (0x10).to_bytes(8, "big")  # EOS
    assert (tmp_path / "m").stat().st_blocks * 512 < len(data) // 2, "zero pages are holes"


def test_what_is_cut_or_lies_is_refused(tmp_path: Path) -> None:
    vm = running()
    saved(vm, f"file:{tmp_path}/m")
    data = bytearray((tmp_path / "m").read_bytes())
    there = machine()
    before = there.state_hash()
    ends = [100, 200, 1 << 20, len(data) // 2, len(data) - 70_000, len(data) - 30_000]
    lies = [(data.index(b"mapped-ram"), b"mapped-ran")]
    head = data.index(b"\x03ram\x00\x00\x00\x00\x00\x00\x00\x04") + 20
    head += 1 + data[head] + 8
    lies += [(head + 3, b"\x02"), (head + 10, b"\x00"), (head + 12, b"\xff"), (head + 20, b"\xff")]
    for n, end in enumerate(ends):
        (tmp_path / f"cut{n}").write_bytes(data[:end])
        with pytest.raises(StreamError):
            there.incoming(f"file:{tmp_path}/cut{n}")
    for n, (at, wrong) in enumerate(lies):
        bad = bytearray(data)
        bad[at : at + len(wrong)] = wrong
        (tmp_path / f"lie{n}").write_bytes(bad)
        with pytest.raises(StreamError) as refused:
            there.incoming(f"file:{tmp_path}/lie{n}")
        assert "\n" not in str(refused.value)
    assert there.state_hash() == before


def test_only_files_have_places(tmp_path: Path) -> None:
    vm = running()
    vm.transfers.capabilities.add("mapped-ram")
    for place in (f"unix:{tmp_path}/x", f"exec:cat > {tmp_path}/x"):
        with pytest.raises(ConfigError, match="mapped-ram needs file:"):
            vm.migrate(place)
    with pytest.raises(ConfigError, match=r"QEMU 7\.2 does not know it"):
        vm.migrate(f"file:{tmp_path}/x", profile="qemu-7.2")
    assert vm.run_state == "running"
    saved(vm, f"file:{tmp_path}/m")
    with pytest.raises(GossamerError, match="from a file only"):
        machine().incoming(f"exec:cat {tmp_path}/m")
