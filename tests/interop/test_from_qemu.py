"""Machines that a real QEMU 7.2 runs, taken over by ours."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from gossamer.base.errors import GossamerError, StreamError
from gossamer.control.steps import Steps, finish
from gossamer.migrate.channels import Limits, Listener
from gossamer.verify.hops.command import GossamerStation
from gossamer.verify.hops.qemu import QemuStation

Start = Callable[..., QemuStation]
LIMITS = Limits(meet=10.0, stall=10.0, total=60.0)


def computes(station: GossamerStation | QemuStation) -> None:
    """The firmware's prompt works out a product, in hexadecimal."""
    seen = len(station.output)
    station.type(b"2a 3 * .\r")
    station.expect(b"7e  ok", 20.0, seen)


@pytest.mark.parametrize("kind", ["unix", "tcp", "exec", "fd"])
def test_before_the_first_instruction(
    kind: str, start_qemu: Start, ours: GossamerStation, folder: Path
) -> None:
    qemu = start_qemu("-S")
    if kind in ("unix", "tcp"):
        listener = Listener(f"unix:{folder}/m" if kind == "unix" else "tcp:127.0.0.1:0", LIMITS)
        qemu.command("migrate", uri=listener.uri)
        received = ours.vm.incoming(listener)
    elif kind == "exec":
        qemu.migrate(f"exec:cat > {folder}/m")
        received = ours.vm.incoming(f"exec:cat {folder}/m")
    else:
        place = f"{folder}/s"
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind(place)
        server.listen(1)
        qemu.command("migrate", uri=f"unix:{place}")
        end, _ = server.accept()
        server.close()
        received = ours.vm.incoming(f"fd:{end.detach()}")
    qemu.wait_sent()
    assert received.foreign
    assert ours.vm.run_state == "prelaunch"
    assert (ours.vm.register("pc"), ours.vm.clock_ns) == (0xFFF0_0100, 0)
    assert ours.vm.register("dec") == 0xFFFF_FFFF
    assert len(ours.vm.carried) == 1
    if kind == "unix":
        ours.expect(b"0 > ", 60.0)
        computes(ours)


def test_at_the_prompt(start_qemu: Start, ours: GossamerStation, folder: Path) -> None:
    qemu = start_qemu()
    qemu.expect(b"0 > ")
    qemu.type(b": twice 2 * ; 15 ")
    qemu.expect(b"15 ")  # what is still in its socket does not travel
    listener = Listener(f"unix:{folder}/m", LIMITS)
    qemu.command("migrate", uri=listener.uri)
    received = ours.vm.incoming(listener)
    qemu.wait_sent()
    assert ours.vm.run_state == "running"
    assert any("decrementer: not carried" in line for line in received.repaired)
    ours.type(b"twice .\r")
    ours.expect(b"2a  ok", 20.0)
    computes(ours)


def test_a_sender_with_a_return_path(
    start_qemu: Start, ours: GossamerStation, folder: Path
) -> None:
    """QEMU waits for our word before it counts the machine as gone."""
    qemu = start_qemu("-S")
    on = [{"capability": "return-path", "state": True}]
    qemu.command("migrate-set-capabilities", capabilities=on)
    listener = Listener(f"unix:{folder}/m", LIMITS)
    qemu.command("migrate", uri=listener.uri)
    ours.vm.incoming(listener)
    assert qemu.wait_sent()["status"] == "completed"


def test_a_capability_that_was_not_agreed_on(
    start_qemu: Start, ours: GossamerStation, folder: Path
) -> None:
    qemu = start_qemu("-S")
    on = [{"capability": "postcopy-ram", "state": True}]
    qemu.command("migrate-set-capabilities", capabilities=on)
    before = ours.vm.state_hash()
    listener = Listener(f"unix:{folder}/m", LIMITS)
    qemu.command("migrate", uri=listener.uri)
    with pytest.raises(StreamError, match=r"switch its capability postcopy-ram off|the file ends"):
        ours.vm.incoming(listener)
    assert ours.vm.state_hash() == before
    assert qemu.status in ("prelaunch", "paused")


def test_memory_that_follows(start_qemu: Start, ours: GossamerStation, folder: Path) -> None:
    """QEMU switches over to postcopy: the guest computes here while its memory comes."""
    qemu = start_qemu()
    qemu.expect(b"0 > ")
    qemu.type(b": twice 2 * ; 15 ")
    qemu.expect(b"15 ")
    on = [{"capability": "postcopy-ram", "state": True}]
    qemu.command("migrate-set-capabilities", capabilities=on)
    qemu.command("migrate-set-parameters", **{"max-postcopy-bandwidth": 1 << 20})
    ours.vm.transfers.capabilities.add("postcopy-ram")
    listener = Listener(f"unix:{folder}/m", LIMITS)
    # It switches over before the first page: it cannot be through by then.
    qemu.command("migrate-set-parameters", **{"max-bandwidth": 4096})
    qemu.command("migrate", uri=listener.uri)
    qemu.command("migrate-start-postcopy")
    follows: list[Steps[None]] = []
    finish(ours.vm.transfers.receive(listener, beside=follows.append))
    arena = ours.vm.machine.arena
    assert arena.absent.any()
    ours.type(b"twice .\r")
    ours.expect(b"2a  ok", 20.0)
    qemu.command("migrate-set-parameters", **{"max-postcopy-bandwidth": 0})
    finish(follows.pop())
    assert not arena.absent.any()
    assert qemu.wait_sent()["ram"]["postcopy-requests"] > 0
    computes(ours)


def test_a_sender_that_is_killed(start_qemu: Start, prompt: GossamerStation, folder: Path) -> None:
    """QEMU dies in the middle: our machine is what it was, and runs."""
    qemu = start_qemu("-S")
    qemu.command("migrate-set-parameters", **{"max-bandwidth": 20000})
    listener = Listener(f"unix:{folder}/m", LIMITS)
    qemu.command("migrate", uri=listener.uri)
    before = prompt.vm.state_hash()
    qemu.process.kill()
    with pytest.raises(GossamerError, match="m: "):
        prompt.vm.incoming(listener)
    assert prompt.vm.state_hash() == before
    computes(prompt)


def test_with_a_disk_of_another_kind(
    start_qemu: Start, ours: GossamerStation, folder: Path
) -> None:
    """Options that do not match: another RAM size is refused with both sizes."""
    qemu = start_qemu("-S", machine=("-M", "g3beige", "-m", "64"))
    listener = Listener(f"unix:{folder}/m", LIMITS)
    qemu.command("migrate", uri=listener.uri)
    with pytest.raises(StreamError, match="67108864 bytes, this machine has 134217728"):
        ours.vm.incoming(listener)
