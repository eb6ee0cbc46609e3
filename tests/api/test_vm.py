"""The machine as a Python object: options, runs that end where they should, hooks, memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import gossamer
from gossamer import ExpectError, GossamerError, Vm
from gossamer.machines.guests.watcher import DATA

CHECKOUT = Path(__file__).resolve().parents[2]
BUILTIN = {"ram": "8M", "icount": 5, "bios": "builtin", "nographic": True}


@pytest.fixture
def vm() -> Iterator[Vm]:
    with Vm("g3beige", **BUILTIN) as made:
        yield made


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"rma": "1M"}, "unknown keyword 'rma'; did you mean ram?"),
        ({"ram": "x"}, "-m: expected a size such as 128, 128M or 1G, got 'x'"),
        ({"snapshot": 3}, "snapshot: expected True or False, got 3"),
        ({"icount": 77}, "-icount: shift must be 0 to 10, got '77'"),
        ({"serial": "stdio"}, "unknown keyword 'serial'"),
        ({"devices": [object()]}, "devices: expected text, a number, a path or a dict"),
    ],
)
def test_wrong_keyword_is_refused_in_one_line(given: dict[str, object], text: str) -> None:
    with pytest.raises(GossamerError) as fault:
        Vm("g3beige", **given)  # type: ignore[arg-type]
    assert text in str(fault.value)
    assert "\n" not in str(fault.value)


def test_keywords_are_the_options_of_the_command_line() -> None:
    with Vm(
        "mac99",
        ram="16M",
        devices=["usb-kbd", {"": "usb-mouse", "id": "m"}],
        cpu="7400",
        bios="builtin",
    ) as vm:
        assert [d.driver for d in vm.control.config.devices] == ["usb-kbd", "usb-mouse"]
        assert vm.control.config.ram_size == 16 << 20


def test_runs_are_relative_and_exact(vm: Vm) -> None:
    assert vm.run(instructions=1000).why == "instructions"
    vm.step(5)
    assert vm.instructions == 1005
    before = vm.ns
    assert vm.run_for(0.001).why == "seconds"
    assert vm.ns == before + 1_000_000
    with pytest.raises(GossamerError, match="must not be negative"):
        vm.run(instructions=-1)


def test_run_until_stops_at_the_byte_the_instruction_the_access(vm: Vm) -> None:
    assert vm.serial.expect(r"tick (\d\d\d) ")[1] == "100"
    assert vm.serial.text.endswith("tick 100 ")
    assert vm.run_until(pc=0x900).pc == 0x900
    again = vm.run_until(pc=0x900)
    assert again.why == "pc"
    ticks = vm.memory.u32(DATA)
    stop = vm.run_until(write=DATA)
    assert (stop.why, stop.what) == ("write", DATA)
    assert vm.memory.u32(DATA) == ticks + 1
    assert vm.run_until(predicate=lambda vm: vm.memory.u32(DATA) > 110).why == "predicate"
    assert vm.run_until(pc=0x1, instructions=1000).why == "instructions"
    assert vm.run_until(text="never", seconds=0.001).why == "seconds"
    with pytest.raises(GossamerError, match="give pc, write"):
        vm.run_until()
    with pytest.raises(GossamerError, match="no event 'NONE'"):
        vm.run_until(event="NONE")


def test_same_calls_give_the_same_state_with_hooks_and_without(vm: Vm) -> None:
    seen: list[int] = []
    vm.run(instructions=500_000)
    hook = vm.on_exception("decrementer", lambda vm: seen.append(vm.instructions))
    accesses: list[str] = []
    watch = vm.on_access(DATA, lambda vm, met: accesses.append(met.kind), length=4)
    vm.run(instructions=500_000)
    hook.remove()
    watch.remove()
    vm.run(instructions=100_000)
    assert len(seen) > 10
    assert seen == sorted(set(seen))
    assert {"read", "write"} == set(accesses)
    with Vm("g3beige", **BUILTIN) as plain:
        plain.run(instructions=1_100_000)
        assert plain.state_hash == vm.state_hash


def test_guest_that_says_nothing_or_takes_nothing_is_reported(vm: Vm) -> None:
    with pytest.raises(ExpectError, match=r"has taken 3 bytes of 99 in 0.0001 s"):
        vm.serial.send("x" * 99, seconds=0.0001)
    with pytest.raises(ExpectError, match=r"expected 'no' within 0.001 s .* got '"):
        vm.serial.expect("no", seconds=0.001)
    with pytest.raises(GossamerError, match="expected characters of one byte"):
        vm.serial.send("→")


def test_registers_and_memory_are_read_and_written(vm: Vm) -> None:
    vm.regs.r5 = 0x1234
    assert vm.regs["r5"] == 0x1234
    assert {"msr", "sr0", "ibat0u"} <= set(dir(vm.regs))
    with pytest.raises(AttributeError, match="no register 'r99'"):
        _ = vm.regs.r99
    with pytest.raises(AttributeError, match="pvr cannot be written"):
        vm.regs.pvr = 1
    with pytest.raises(GossamerError, match=r"r5: expected 0 to 2\*\*32-1"):
        vm.regs.r5 = -1
    vm.memory[0x3000:0x3004] = b"\x01\x02\x03\x04"
    assert vm.memory.u32(0x3000) == 0x01020304
    assert vm.physical[0x3001:0x3003] == b"\x02\x03"
    with pytest.raises(GossamerError, match="is no memory"):
        _ = vm.memory[0x80813020:0x80813024]
    with pytest.raises(GossamerError, match="4 bytes at 0x00003000, got 2"):
        vm.memory[0x3000:0x3004] = b"ab"
    with pytest.raises(GossamerError, match=r"no symbol 'main': vm.symbols.load"):
        _ = vm.memory["main"]


def test_symbols_come_from_an_elf_file(vm: Vm, tmp_path: Path) -> None:
    with pytest.raises(GossamerError, match="expected an ELF file"):
        vm.symbols.load(__file__)
    with pytest.raises(GossamerError, match="No such file"):
        vm.symbols.load(tmp_path / "none")
    vm.symbols._places, vm.symbols._sorted = {"main": (0x1000, 8)}, [(0x1000, "main")]
    assert vm.symbols.near(0x1004) == "main+0x4"
    with pytest.raises(GossamerError, match="did you mean main"):
        _ = vm.symbols["mian"]


def test_screen_is_an_array_and_a_png() -> None:
    with Vm("g3beige", ram="8M", icount=5, bios="builtin") as vm:
        width, height = vm.screen.size
        shown = vm.screen.array()
        assert (shown.shape, shown.dtype) == ((height, width, 3), np.uint8)
        assert vm.screen.png().startswith(b"\x89PNG")
        assert vm._repr_png_() == vm.screen.png()
        with pytest.raises(GossamerError, match=r"ends in .png or .ppm"):
            vm.screen.save("screen.gif")
        with pytest.raises(GossamerError, match="no key of a US keyboard"):
            vm.keys.type("é")
        vm.keys.type("Hi!")
        vm.pointer.move(3, 4)
        with pytest.raises(GossamerError, match="needs a tablet"):
            vm.pointer.to(1, 1)


def test_save_and_load_bring_the_state_back(vm: Vm, tmp_path: Path) -> None:
    vm.run(instructions=300_000)
    vm.save(tmp_path / "cut")
    again = Vm.load(tmp_path / "cut")
    assert again.state_hash == vm.state_hash
    again.serial.expect("tick 100 ", seconds=0.2)
    again.close()


#: A program of `examples/` that needs no files, and what it prints.
EXAMPLES = {
    "watch_an_interrupt": "interrupts at instructions 3",
    "compare_states": "alike: True",
    "find_who_wrote": "the store at 0x944 wrote 10",
    "many_futures": "different states: 3",
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs(name: str) -> None:
    command = [sys.executable, CHECKOUT / "examples" / f"{name}.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert EXAMPLES[name] in done.stdout


def test_package_offers_its_front_and_is_typed() -> None:
    assert {"Vm", "ExpectError"} <= set(gossamer.__all__)
    assert (Path(gossamer.__file__).parent / "py.typed").is_file()
    with pytest.raises(AttributeError):
        _ = gossamer.nothing


def test_each_block_is_reported_at_its_begin(vm: Vm) -> None:
    vm.run(instructions=300_000)
    with Vm("g3beige", **BUILTIN) as plain:
        plain.run(instructions=302_000)
        value = plain.state_hash
    seen: list[tuple[int, int]] = []
    end = vm.on_block(lambda vm, address: seen.append((vm.instructions, address)))
    vm.run(instructions=2_000)
    end()
    assert vm.state_hash == value, "the guest executes the same instructions"
    assert len(seen) > 20
    assert all(address % 4 == 0 for _, address in seen)
    lengths = [later[0] - one[0] for one, later in pairwise(seen)]
    assert min(lengths) > 0
    vm.on_block(lambda vm, address: vm.stop())
    assert vm.run(instructions=1000).why == "hook"


def test_accesses_to_a_chip_by_its_name(vm: Vm) -> None:
    vm.serial.expect("tick 100 ")  # the guest has put the chips in their places
    names = vm.regions
    assert names["ppc_heathrow.ram"] == range(8 << 20)
    seen: list[str] = []
    hook = vm.on_access(names["escc"], lambda vm, met: seen.append(met.kind))
    vm.serial.expect("tick 200 ")
    hook.remove()
    assert "write" in seen
    with pytest.raises(GossamerError, match="in a row"):
        vm.on_access(range(0, 8, 2), lambda vm, met: None)
