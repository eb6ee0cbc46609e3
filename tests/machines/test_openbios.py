"""Real firmware: OpenBIOS comes to its prompt, computes, and is saved and loaded on the way."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gossamer.control.vm import Vm
from gossamer.machines.config import Config

PROMPT = b"0 > "


@pytest.fixture(scope="session")
def at_prompt(openbios: Path) -> tuple[Config, bytes, bytes]:
    """Configuration, state and console output of a g3beige at the prompt."""
    config = Config(
        ram_size=64 << 20,
        bios=str(openbios),
        graphic=False,
        icount=5,
        icount_sleep=False,
        prom_env=("auto-boot?=false",),
        serials=("null",),
        rtc_base=0,
    )
    vm = Vm(config)
    out = bytearray()
    vm.serial_sinks = [out.extend]
    while not out.endswith(PROMPT):
        assert vm.instructions < 2_000_000_000, out.decode(errors="replace")
        vm.run(instructions=10_000_000)
    return config, vm.save_bytes(), bytes(out)


def type_line(vm: Vm, text: str) -> bytes:
    """Type a line at the prompt; what the console shows up to the next prompt."""
    out = bytearray()
    vm.serial_sinks = [out.extend]
    for byte in text.encode() + b"\r":
        while not vm.serial_room(0):
            vm.run(instructions=1000)
        vm.serial_receive(0, byte)
        vm.run(instructions=100_000)
    for _ in range(200):
        if out.endswith(PROMPT):
            break
        vm.run(instructions=100_000)
    return bytes(out)


def test_openbios_comes_to_its_prompt(at_prompt):
    _, _, out = at_prompt
    assert b"OpenBIOS" in out
    assert b"CPU type PowerPC,750" in out
    assert b"Memory: 64M" in out


def test_loaded_machine_computes_at_the_prompt(at_prompt):
    config, state, _ = at_prompt
    vm = Vm(config)
    vm.load_bytes(state)
    assert b" 7e  ok" in type_line(vm, "2a 3 * .")


def test_save_of_a_loaded_machine_is_the_same_bytes(at_prompt):
    config, state, _ = at_prompt
    vm = Vm(config)
    vm.load_bytes(state)
    assert vm.save_bytes() == state


def test_same_input_at_the_same_instruction_gives_the_same_state(at_prompt):
    config, state, _ = at_prompt
    hashes = set()
    for _ in range(2):
        vm = Vm(config)
        vm.load_bytes(state)
        type_line(vm, "1 2 + .")
        hashes.add((vm.instructions, vm.state_hash()))
    assert len(hashes) == 1


def test_nothing_typed_is_lost_however_fast_it_comes(at_prompt):
    """The receive FIFO is kept full, and the guest stalls at random between two looks at it."""
    config, state, _ = at_prompt
    vm, chance = Vm(config), random.Random(3)
    vm.load_bytes(state)
    out = bytearray()
    vm.serial_sinks = [out.extend]
    text = b"6" + b" " * 30 + b"7" + b" " * 30 + b"* ."  # each word that is looked up takes long
    waiting = list(text)
    while waiting:
        for _ in range(vm.serial_room(0)):
            if waiting:
                vm.serial_receive(0, waiting.pop(0))
        vm.run(instructions=chance.choice((1, 7, 100, 3000, 60_000)))
    vm.run(instructions=2_000_000)
    assert bytes(out) == text
    vm.serial_receive(0, 13)
    vm.run(instructions=30_000_000)
    assert out.endswith(b" 2a  ok\r\n0 > ")
