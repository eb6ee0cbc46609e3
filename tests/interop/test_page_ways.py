"""Pages over several connections, or at fixed places, with a real QEMU 7.2 at the other end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gossamer.migrate.channels import Limits, Listener
from gossamer.streams import command as tool
from gossamer.verify.hops.command import GossamerStation
from gossamer.verify.hops.qemu import QemuStation

Start = Callable[..., QemuStation]
LIMITS = Limits(meet=10.0, stall=10.0, total=60.0)
CHANNELS = 3


def switched_on(qemu: QemuStation, method: str) -> None:
    on = [{"capability": "multifd", "state": True}]
    qemu.command("migrate-set-capabilities", capabilities=on)
    values = {"multifd-channels": CHANNELS, "multifd-compression": method}
    qemu.command("migrate-set-parameters", **values)


@pytest.mark.parametrize("method", ["none", "zlib", "zstd"])
def test_from_qemu_and_back(
    method: str, start_qemu: Start, ours: GossamerStation, folder: Path
) -> None:
    qemu = start_qemu()
    qemu.expect(b"0 > ", 60.0)
    switched_on(qemu, method)
    ours.vm.transfers.capabilities.add("multifd")
    ours.vm.transfers.parameters.multifd_channels = CHANNELS
    ours.vm.transfers.parameters.multifd_compression = method
    listener = Listener(f"unix:{folder}/m", LIMITS)
    qemu.command("migrate", uri=listener.uri)
    received = ours.vm.incoming(listener)
    assert received.foreign
    qemu.wait_sent()
    computes(ours)
    back = start_qemu("-incoming", "defer")
    switched_on(back, method)
    back.command("migrate-incoming", uri=f"unix:{folder}/back")
    ours.vm.migrate(f"unix:{folder}/back", profile="qemu-7.2", limits=LIMITS)
    back.wait_loaded()
    computes(back)


def test_a_mapped_ram_file_as_records_for_qemu_7_2(
    start_qemu: Start, prompt: GossamerStation, folder: Path
) -> None:
    """No QEMU here writes or reads such files: the form of 10.0, made a plain stream of 7.2."""
    prompt.vm.transfers.capabilities.add("mapped-ram")
    prompt.vm.migrate(f"file:{folder}/m", profile="qemu-10.0")
    words = ["convert", "--to", "qemu-7.2", f"{folder}/m", f"{folder}/plain"]
    assert tool.main(words) == 0
    qemu = start_qemu("-incoming", f"exec:cat {folder}/plain")
    qemu.wait_loaded()
    computes(qemu)


def computes(station: GossamerStation | QemuStation) -> None:
    """The firmware's prompt works out a product, in hexadecimal."""
    seen = len(station.output)
    station.type(b"2a 3 * .\r")
    station.expect(b"7e  ok", 20.0, seen)
