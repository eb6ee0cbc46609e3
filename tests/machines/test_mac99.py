"""mac99 as a whole: OpenBIOS with each of its VIAs, real QEMU's streams, its order of sections."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError
from gossamer.base.units import MiB
from gossamer.control.vm import Vm
from gossamer.core.memory import RamBlock
from gossamer.devices.adb.keyboard import AdbKeyboard
from gossamer.devices.cuda import Cuda
from gossamer.devices.usb.hid import UsbKeyboard
from gossamer.machines.build import build
from gossamer.machines.config import Config
from gossamer.machines.mac99 import VIAS
from gossamer.migrate.ram_writer import largest_first
from tests.devices.captures import QEMU, all_sections, capture_drives, save_body

PROMPT = b"0 > "
CAPTURES = {
    "mac99-S": "cuda",
    "mac99-run": "cuda",
    "mac99-disk-run": "cuda",
    "mac99-icount": "cuda",
    "decr-mac99": "cuda",
    "cpu-pattern-mac99": "cuda",
    "mac99-pmu-S": "pmu",
    "mac99-pmu-run": "pmu",
}
#: Loading and saving 7.2 itself changes these too (facts section 8); the clock's host ticks and
#: what belongs to the control floor are not the machine's.
NOT_COMPARED = {"timer", "cpu_common", "cpu", "globalstate", "slirp"}


def config(via: str = "cuda", **kw) -> Config:
    kw.setdefault("ram_size", 64 * MiB)
    return Config(
        machine="mac99", graphic=False, icount=5, icount_sleep=False, rtc_base=0,
        prom_env=("auto-boot?=false",), serials=("null",), properties={"via": via}, **kw,
    )  # fmt: skip


def capture_config(name: str, **kw) -> Config:
    bare = name == "cpu-pattern-mac99"
    size = (64 if bare else 128) * MiB
    return config(CAPTURES[name], ram_size=size, nic=not bare, **kw)


@pytest.mark.usefixtures("openbios")
@pytest.mark.parametrize("via", VIAS)
def test_openbios_comes_to_its_prompt_and_is_saved_and_loaded(via: str) -> None:
    vm, out = Vm(config(via)), bytearray()
    vm.serial_sinks = [out.extend]
    while not out.endswith(PROMPT):
        assert vm.instructions < 1_000_000_000, out.decode(errors="replace")
        vm.run(instructions=10_000_000)
    assert b"CPU type PowerPC,G4" in out
    state, hash_ = vm.save_bytes(), vm.state_hash()
    other = Vm(config(via))
    other.load_bytes(state)
    assert other.state_hash() == hash_
    assert other.save_bytes() == state
    answers = [type_line(one, "2a 3 * .") for one in (vm, other)]
    assert b" 7e  ok" in answers[0]
    assert answers[0] == answers[1]
    assert (vm.instructions, vm.state_hash()) == (other.instructions, other.state_hash())


def type_line(vm: Vm, text: str) -> bytes:
    out = bytearray()
    vm.serial_sinks = [out.extend]
    for byte in text.encode() + b"\r":
        for _ in range(1000):
            if vm.serial_room(0):
                break
            vm.run(instructions=1000)
        vm.serial_receive(0, byte)
        vm.run(instructions=100_000)
    for _ in range(200):
        if out.endswith(PROMPT):
            break
        vm.run(instructions=100_000)
    return bytes(out)


@pytest.mark.usefixtures("openbios")
@pytest.mark.parametrize("name", sorted(CAPTURES))
def test_every_section_of_a_real_stream_comes_out_as_it_went_in(
    shared: Path, name: str, tmp_path: Path
) -> None:
    vm = Vm(capture_config(name, drives=capture_drives(name, tmp_path)))
    vm.mends = False
    vm.load_bytes(lzma.decompress((shared / "streams" / f"{name}.mig.xz").read_bytes()))
    found = [s for s in all_sections(shared) if s.capture == name]
    mine = {(p.idstr, p.instance): p.device for p in vm.machine.sections}
    order = [(s.idstr, s.instance) for s in found if s.idstr not in ("slirp", "globalstate")]
    assert list(mine) == order
    compared = 0
    for section in found:
        if section.idstr not in NOT_COMPARED:
            device = mine[section.idstr, section.instance]
            assert save_body(device, QEMU) == section.body, section
            assert device.version == section.version
            compared += 1
    assert compared >= 20
    vm.close()


@pytest.mark.usefixtures("openbios")
@pytest.mark.parametrize("name", ["mac99-run", "mac99-pmu-run"])
def test_a_real_stream_goes_on_and_hears_its_keyboard(shared: Path, name: str) -> None:
    """At the prompt on the screen, the firmware polls ADB or USB: a key must be taken."""
    vm = Vm(capture_config(name))
    vm.load_bytes(lzma.decompress((shared / "streams" / f"{name}.mig.xz").read_bytes()))
    keyboard = vm.machine.keyboard
    assert isinstance(keyboard, UsbKeyboard | AdbKeyboard)
    keyboard.key(0x00, True)
    keyboard.key(0x00, False)
    waiting = keyboard.hid.n if isinstance(keyboard, UsbKeyboard) else keyboard.count
    assert waiting == 2
    before = vm.read_physical(0x8100_0000, 0x10_0000)
    vm.run(instructions=10_000_000)
    waiting = keyboard.hid.n if isinstance(keyboard, UsbKeyboard) else keyboard.count
    assert waiting == 0
    assert vm.read_physical(0x8100_0000, 0x10_0000) != before  # the letter on the screen


def test_vector_registers_travel_half_swapped(shared: Path) -> None:
    vm = Vm(capture_config("cpu-pattern-mac99"))
    vm.mends = False
    data = lzma.decompress((shared / "streams" / "cpu-pattern-mac99.mig.xz").read_bytes())
    vm.load_bytes(data)
    values = vm.machine.cpu.block.all("vr")
    assert any(values)
    found = next(
        s for s in all_sections(shared) if (s.capture, s.idstr) == ("cpu-pattern-mac99", "cpu")
    )
    swapped = b"".join(v.to_bytes(16, "big")[8:] + v.to_bytes(16, "big")[:8] for v in values)
    assert swapped in found.body
    assert swapped in save_body(vm.machine.cpu, QEMU)
    assert vm.machine.cpu.block.get("vscr") == 0x0001_0000


def test_ram_blocks_are_those_of_the_stream() -> None:
    m = build(config(ram_size=128 * MiB, bios="builtin"))
    blocks = largest_first([(b.name, b.size) for b in m.arena.blocks if isinstance(b, RamBlock)])
    assert [(b.name, getattr(b, "length", getattr(b, "size", 0))) for b in blocks] == [
        ("ppc_core99.ram", 0x800_0000),
        ("pci.2:0e.0/vga.vram", 0x100_0000),
        ("ppc_core99.bios", 0x10_0000),
        ("pci.2:0e.0/vga.rom", 0x1_0000),
    ]


def test_a_g3_may_stand_in_a_mac99_and_other_cpus_may_not() -> None:
    assert build(config(bios="builtin")).cpu.model.name == "7400"
    m = build(config(cpu="750", bios="builtin"))
    assert m.cpu.model.pvr == 0x0008_0301
    with pytest.raises(ConfigError, match=r"unknown CPU for mac99 '603'; did you mean 603e"):
        build(config(cpu="603", bios="builtin"))


def test_system_reset_starts_the_firmware_again() -> None:
    vm = Vm(config(bios="builtin"))
    vm.run_to(20_000_000)
    cuda = vm.machine.part("macio/cuda")
    assert isinstance(cuda, Cuda)
    cuda.system_reset()
    vm.run(instructions=1)
    vm.reset()
    assert vm.register("pc") == 0xFFF0_0100
