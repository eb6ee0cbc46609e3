"""Streams that a real QEMU wrote, loaded into our g3beige and run."""

from __future__ import annotations

import gzip
import io
import lzma
from pathlib import Path

import pytest

from gossamer.base.errors import StreamError
from gossamer.base.units import MiB
from gossamer.control.vm import Vm
from gossamer.devices.escc import MASTER_ENABLE, Escc
from gossamer.devices.heathrow import Heathrow
from gossamer.isa.interrupts import Irq
from gossamer.machines.config import Config
from gossamer.migrate.framing import Section
from gossamer.migrate.inspect import open_stream
from tests.devices.captures import capture_drives

POWER_ON = {"g3beige-S", "g3-nonet", "g3-uuid", "g3-xis", "g3-compress", "g3-nofoot"}
RUNNING = {"g3beige-run", "decr-g3beige", "g3-disk-run", "g3-icount-run"}


def config(name: str = "", **kw) -> Config:
    kw.setdefault("ram_size", 128 * MiB)
    kw.setdefault("nic", "nonet" not in name)
    return Config(
        machine="g3beige", graphic=False, icount=5, icount_sleep=False, serials=("null",),
        prom_env=("auto-boot?=false",), **kw,
    )  # fmt: skip


def stream(shared: Path, name: str) -> bytes:
    return lzma.decompress((shared / "streams" / f"{name}.mig.xz").read_bytes())


def section(data: bytes, idstr: str) -> Section:
    found = open_stream(io.BytesIO(data)).find(idstr)
    assert found is not None
    return found


def section_bytes(data: bytes, idstr: str) -> bytes:
    """The body of a section."""
    found = section(data, idstr)
    return data[found.body : found.body + found.length]


@pytest.mark.usefixtures("openbios")
@pytest.mark.parametrize("name", sorted(POWER_ON | RUNNING))
def test_it_loads_and_runs(shared: Path, name: str, tmp_path: Path) -> None:
    data = stream(shared, name)
    vm = Vm(config(name, drives=capture_drives(name, tmp_path)))
    vm.load_bytes(data)
    at = int.from_bytes(section_bytes(data, "cpu")[292:296], "big")
    assert vm.register("pc") == at
    clock = int.from_bytes(section_bytes(data, "timer")[16:24], "big")
    assert vm.clock_ns == clock
    assert [c.idstr for c in vm.carried] == ([] if name == "g3-nonet" else ["slirp"])
    mended = "\n".join(vm.repairs)
    if name in POWER_ON:
        assert "it is as at power on" in mended
        assert vm.register("dec") == 0xFFFF_FFFF
    else:
        assert "decrementer: not carried (spr[22] is 0x0)" in mended
        assert "TB is" in mended
        assert vm.machine.cpu.block.get("irq", Irq.DECREMENTER) == 1
    before = vm.instructions
    vm.run_to(before + 200_000)
    assert vm.instructions == before + 200_000
    assert vm.register("pc") >> 20 == 0xFFF  # in the firmware, in no exception loop
    assert vm.register("pc") != at
    vm.close()


@pytest.mark.usefixtures("openbios")
def test_what_is_not_known_here_goes_on_to_the_next(shared: Path) -> None:
    data = stream(shared, "g3beige-run")
    vm = Vm(config())
    vm.load_bytes(data)
    again = Vm(config())
    again.load_bytes(vm.save_bytes())
    assert again.repairs == []
    assert again.carried == vm.carried
    assert again.carried[0].body == section_bytes(data, "slirp")
    assert again.state_hash() == vm.state_hash()


@pytest.mark.usefixtures("openbios")
def test_literally(shared: Path) -> None:
    vm = Vm(config())
    vm.mends = False
    vm.load_bytes(stream(shared, "g3beige-run"))
    assert vm.repairs == []
    assert vm.register("dec") == 0
    assert vm.machine.cpu.block.get("irq", Irq.DECREMENTER) == 0


@pytest.fixture
def rom2(shared: Path, tmp_path: Path) -> Path:
    path = tmp_path / "rom2"
    path.write_bytes(gzip.decompress((shared / "streams" / "roms" / "rom2.bin.gz").read_bytes()))
    return path


def test_a_pending_interrupt_reaches_the_guest(shared: Path, rom2: Path) -> None:
    """QEMU 7.2 loads this stream and never delivers it (facts section 7)."""
    vm = Vm(config(ram_size=64 * MiB, bios=str(rom2), nic=False))
    vm.load_bytes(stream(shared, "hpend"))
    assert any("source 18 (VIA (CUDA)) is pending" in line for line in vm.repairs)
    pic = vm.machine.part("macio/heathrow")
    assert isinstance(pic, Heathrow)
    assert pic.pics[1].pending == 1 << 18
    # The guest spins for minutes before it enables interrupts: its loop counters are cut short.
    block = vm.machine.cpu.block
    block.set("gpr", 1, 8)
    block.set("ctr", 1)
    assert vm.read_physical(0x2000, 4) != bytes.fromhex("0000005a")
    vm.run(instructions=1000)
    assert vm.read_physical(0x2000, 4) == bytes.fromhex("0000005a")
    assert vm.register("pc") & 0xFFF00FFF == 0xFFF00508  # its external interrupt handler


def test_another_cpu_and_another_ram_size(shared: Path) -> None:
    vm = Vm(config())
    before = vm.state_hash()
    with pytest.raises(StreamError, match=r"PVR must be 0x00080301 \(750\), got 0x00060401"):
        vm.load_bytes(stream(shared, "g3-603e"))
    with pytest.raises(StreamError, match=r"ppc_heathrow\.ram: 67108864 bytes, this machine has"):
        vm.load_bytes(stream(shared, "hpend"))
    with pytest.raises(StreamError, match="machine mac99, expected g3beige"):
        vm.load_bytes(stream(shared, "mac99-S"))
    assert vm.state_hash() == before


# --- the form of later releases, forged from 7.2's (facts section 11) -------------------------


def later_form(data: bytes, *, dec: int, quiesced: int = 0) -> bytes:
    """As QEMU 10.2 writes it: command 11, cpu/rtas_stopped, the new globalstate, DEC in spr[22]."""
    out = bytearray(data)
    state, cpu, timer = (section(data, name) for name in ("globalstate", "cpu", "timer"))
    out[state.body + 4 + 32] = 1
    name = b"cpu/rtas_stopped"
    sub = b"\x05" + bytes([len(name)]) + name + b"\0\0\0\1" + bytes([quiesced])
    at = cpu.body + 296 + 22 * 4
    out[at : at + 4] = dec.to_bytes(4, "big")
    end = cpu.body + cpu.length
    out[end:end] = sub
    out[timer.offset : timer.offset] = b"\x08\x00\x0b\x00\x00"
    # The description no longer fits; a loader does not look at its fields.
    return bytes(out)


@pytest.mark.usefixtures("openbios")
def test_the_form_of_qemu_10(shared: Path) -> None:
    vm = Vm(config())
    vm.load_bytes(later_form(stream(shared, "g3beige-run"), dec=0x1234_5678))
    assert vm.register("dec") == 0x1234_5678
    assert not any("decrementer" in line for line in vm.repairs)
    with pytest.raises(StreamError, match="stopped by its firmware"):
        vm.load_bytes(later_form(stream(shared, "g3beige-run"), dec=1, quiesced=1))
    vm.load_bytes(later_form(stream(shared, "g3beige-run"), dec=0xFFFF_FA00))
    assert any("passed zero 92 us before the save" in line for line in vm.repairs)
    assert vm.machine.cpu.block.get("irq", Irq.DECREMENTER) == 1


@pytest.mark.usefixtures("openbios")
def test_an_old_senders_spr_22_is_not_believed(shared: Path) -> None:
    """QEMU 7.2 keeps what it was sent there, for ever."""
    data = bytearray(stream(shared, "g3beige-run"))
    at = section(bytes(data), "cpu").body + 296 + 22 * 4
    data[at : at + 4] = b"\0\0\x12\x34"
    vm = Vm(config())
    vm.load_bytes(bytes(data))
    assert "not carried (spr[22] is 0x1234)" in vm.repairs[0]


@pytest.mark.usefixtures("openbios")
def test_sections_that_are_missing_are_named(shared: Path) -> None:
    data = stream(shared, "g3beige-run")
    found = section(data, "adb_kbd")
    cut = data[: found.offset] + data[found.body + found.length + 5 :]
    vm = Vm(config())
    vm.load_bytes(cut)
    assert vm.repairs[0] == "section adb_kbd is not in the stream: as at power on"


@pytest.mark.usefixtures("openbios")
def test_drives_and_cards_must_be_those_of_the_sender(shared: Path) -> None:
    vm = Vm(config())
    before = vm.state_hash()
    with pytest.raises(StreamError, match="drive at this place: expected none, got disk"):
        vm.load_bytes(stream(shared, "g3-disk-run"))
    with pytest.raises(StreamError, match=r"the sender has no such device: pci.0:02.0/ne2000"):
        vm.load_bytes(stream(shared, "g3-nonet"))
    assert vm.state_hash() == before


@pytest.mark.usefixtures("openbios")
def test_serial_interrupts_that_qemu_does_not_save(shared: Path) -> None:
    """QEMU's WR9 stays as after reset; a guest that enabled interrupts in WR1 needs it."""
    data = bytearray(stream(shared, "g3beige-run"))
    at = section(bytes(data), "escc").body + 58 + 26
    assert not data[at + 9] & MASTER_ENABLE  # channel A is the second one
    data[at + 1] = 0x13
    vm = Vm(config())
    vm.load_bytes(bytes(data))
    assert "macio/escc: WR9 is not carried" in "\n".join(vm.repairs)
    escc = vm.machine.part("macio/escc")
    assert isinstance(escc, Escc)
    assert [channel.wregs[9] for channel in escc.chn] == [MASTER_ENABLE] * 2
    escc.a.receive(0x41)
    escc.a.wregs[3] |= 1
    escc.a.receive(0x41)
    assert escc.chn[1] is escc.a
    pic = vm.machine.part("macio/heathrow")
    assert isinstance(pic, Heathrow)
    assert pic.pics[1].levels >> 15 & 1
