"""A running Linux of QEMU 7.2's, mended by the doctor: QEMU 7.2 goes on with it."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from gossamer.streams import command as stream_cli
from gossamer.verify.hops.qemu import QemuStation
from tests.conftest import program
from tests.interop.pseries import CAPS


def test_a_mended_linux_goes_on_in_qemu(shared: Path, tmp_path: Path) -> None:
    """Its decrementer was lost; the interrupt's handler sets it anew, so that a sleep ends."""
    source = shared / "pseries" / "streams" / "7.2-power8-linux.mig.xz"
    if not source.is_file():
        pytest.skip("the shared folder has no pseries")
    stream, fixed = tmp_path / "stream", tmp_path / "fixed"
    stream.write_bytes(lzma.decompress(source.read_bytes()))
    assert stream_cli.main(["doctor", str(stream), "--fix", str(fixed)]) == 1
    assert fixed.read_bytes() != stream.read_bytes()
    line = ("-M", f"pseries-7.2,x-vof=on,{CAPS['power8']}", "-cpu", "power8", "-m", "256")
    card = ("-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n")
    qemu = program("qemu-system-ppc64", "qemu-system-ppc")
    incoming = ("-incoming", f"exec:cat {fixed}")
    with QemuStation(tmp_path, *line, "-nodefaults", *card, *incoming, program=qemu) as station:
        station.wait_loaded()
        station.type(b"sleep 1; echo $((40+3))=\r")
        station.expect(b"43=", 60.0)
