"""QEMU as a station on a host that does much else: nothing that its guest prints is lost."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import pytest

from gossamer.base.errors import HostError
from gossamer.verify.hops.qemu import QemuStation

Start = Callable[..., QemuStation]


def test_what_a_guest_prints_while_we_stand_still_is_read(
    start_qemu: Start, openbios: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = subprocess.Popen.__init__

    def slowly(self: subprocess.Popen[bytes], *words: object, **given: object) -> None:
        begin(self, *words, **given)  # type: ignore[call-overload]
        time.sleep(3)  # the guest is at its prompt before we come to its serial port

    monkeypatch.setattr(subprocess.Popen, "__init__", slowly)
    start_qemu().expect(b"0 > ")


def test_qemu_that_ends_is_not_waited_for(start_qemu: Start, openbios: object) -> None:
    station = start_qemu("-S")
    station.process.kill()
    with pytest.raises(HostError, match="QEMU is gone"):
        station.expect(b"0 > ")
