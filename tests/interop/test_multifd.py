"""Pages over several connections (capability multifd), with a real QEMU 7.2 at the other end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gossamer.migrate.channels import Limits, Listener
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


def computes(station: GossamerStation | QemuStation) -> None:
    """The firmware's prompt works out a product, in hexadecimal."""
    seen = len(station.output)
    station.type(b"2a 3 * .\r")
    station.expect(b"7e  ok", 20.0, seen)
