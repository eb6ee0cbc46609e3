"""Our machines, handed to a real QEMU 7.2."""

from __future__ import annotations

import io
import json
import lzma
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError, HostError
from gossamer.cli import main
from gossamer.control.steps import finish
from gossamer.control.transfer import Transfer
from gossamer.control.vm import Vm
from gossamer.isa.interrupts import Irq
from gossamer.migrate.channels import Limits
from gossamer.migrate.inspect import open_stream
from gossamer.verify.hops.command import GossamerStation
from gossamer.verify.hops.qemu import QemuStation

Start = Callable[..., QemuStation]
FORM = "qemu-7.2"
LIMITS = Limits(meet=10.0, stall=10.0, total=60.0)


def computes(station: QemuStation) -> None:
    seen = len(station.output)
    station.type(b"2a 3 * .\r")
    station.expect(b"7e  ok", 20.0, seen)


@pytest.mark.parametrize("kind", ["unix", "tcp", "exec"])
def test_at_the_prompt(kind: str, start_qemu: Start, prompt: GossamerStation, folder: Path) -> None:
    if kind == "exec":
        sent = prompt.vm.migrate(f"exec:cat > {folder}/m", profile=FORM)
        qemu = start_qemu("-incoming", f"exec:cat {folder}/m")
    elif kind == "unix":
        qemu = start_qemu("-incoming", f"unix:{folder}/m")
        sent = prompt.vm.migrate(f"unix:{folder}/m", profile=FORM)
    else:
        qemu = start_qemu("-incoming", "defer")
        qemu.command("migrate-incoming", uri="tcp:127.0.0.1:0")
        port = qemu.command("query-migrate")["socket-address"][0]["port"]
        sent = prompt.vm.migrate(f"tcp:127.0.0.1:{port}", profile=FORM)
    assert qemu.wait_loaded() == "running"
    computes(qemu)
    assert sent.lost == ("pci: the bridge's own configuration space",)
    assert prompt.vm.run_state == "postmigrate"


def test_before_the_first_instruction(
    start_qemu: Start, ours: GossamerStation, folder: Path
) -> None:
    qemu = start_qemu("-incoming", f"unix:{folder}/m")
    sent = ours.vm.migrate(f"unix:{folder}/m", profile=FORM)
    assert qemu.wait_loaded() == "prelaunch"
    assert sent.lost == ()
    qemu.command("cont")
    qemu.expect(b"0 > ", 20.0)
    computes(qemu)


def test_the_sections_are_qemus_own(shared: Path, prompt: GossamerStation, folder: Path) -> None:
    """Ids, names, instances, versions, order and described fields as in QEMU's stream."""
    prompt.vm.migrate(f"file:{folder}/m", profile=FORM)
    mine = open_stream(io.BytesIO((folder / "m").read_bytes()))
    data = lzma.decompress((shared / "streams" / "g3beige-run.mig.xz").read_bytes())
    theirs = open_stream(io.BytesIO(data))

    def listed(stream):
        found = [(s.section_id, s.idstr, s.instance_id, s.version_id) for s in stream.sections]
        return [s for s in dict.fromkeys(found) if s[1] != "slirp"]

    def whole(fields):
        """Elements that are described one by one, where QEMU describes them as an array."""
        out = []
        for f in fields:
            f = dict(f)
            index = f.pop("index", 0)
            f["array_len"] = f.get("array_len", 1) + index
            if "struct" in f:
                f["struct"] = {**f["struct"], "fields": whole(f["struct"]["fields"])}
            if index:
                before = out.pop()
                assert {**before, "array_len": f["array_len"]} == f
            out.append(f)
        return out

    def described(stream):
        devices = json.loads(stream.description.text)["devices"]
        return {
            (d["name"], d["instance_id"]): {**d, "fields": whole(d["fields"])}
            for d in devices
            if d["name"] not in ("slirp", "ide")  # the drives differ
        }

    assert listed(mine) == listed(theirs)
    assert described(mine) == described(theirs)
    assert mine.configuration == theirs.configuration


def test_qemu_has_every_register_and_byte(
    start_qemu: Start, prompt: GossamerStation, folder: Path
) -> None:
    """Saved again by QEMU without having run: the same but for what QEMU always changes."""
    prompt.vm.run_state = "paused"
    prompt.vm.migrate(f"exec:cat > {folder}/m", profile=FORM)
    qemu = start_qemu("-S", "-incoming", f"exec:cat {folder}/m")
    assert qemu.wait_loaded() == "paused"
    qemu.migrate(f"exec:cat > {folder}/again")
    mine = open_stream(io.BytesIO((folder / "m").read_bytes()))
    theirs = open_stream(io.BytesIO((folder / "again").read_bytes()))
    changed = set()
    for section in mine.devices:
        twin = theirs.find(section.idstr, section.instance_id)
        assert twin is not None
        if mine.body(section) != theirs.body(twin):
            changed.add(section.title)
    # Facts section 8: cpu_common gets EXITTB; QEMU writes its host's ticks into timer.
    assert changed <= {"cpu_common", "timer", "ide", "ide/1"}
    registers = qemu.monitor("info registers")
    gprs = re.findall(r"GPR\d\d ((?:[0-9a-f]{16} ?)+)", registers)
    values = [int(word, 16) for line in gprs for word in line.split()]
    assert values == prompt.vm.machine.cpu.block.all("gpr")
    at = prompt.vm.register("pc")
    assert f"NIP {at:08x}" in registers
    again = Vm(prompt.vm.config)
    again.incoming(f"file:{folder}/again")
    assert bytes(again.machine.arena.bytes_of(again.machine.block("ppc_heathrow.ram"))) == bytes(
        prompt.vm.machine.arena.bytes_of(prompt.vm.machine.block("ppc_heathrow.ram"))
    )


def test_a_guest_that_uses_the_decrementer(prompt: GossamerStation, folder: Path) -> None:
    """7.2's own decrementer ticks at 2**32: a younger time base is moved on to there, or not."""
    cpu = prompt.vm.machine.cpu
    cpu.set_decrementer(0x0010_0000)
    date = prompt.vm.machine.part("macio/cuda").seconds
    with pytest.raises(ConfigError, match=r"no decrementer interrupt for .* s.*--keep-tb"):
        prompt.vm.migrate(f"file:{folder}/k", profile=FORM, keep_tb=True)
    assert prompt.vm.run_state == "running"
    sent = prompt.vm.migrate(f"file:{folder}/m", profile=FORM)
    assert any("the time base jumps on by" in line for line in sent.lost)
    there = Vm(prompt.vm.config)
    there.incoming(f"file:{folder}/m")
    assert there.register("tb") == 1 << 32
    assert there.machine.part("macio/cuda").seconds - date in (0, 1)


def test_the_time_base_goes_on(prompt: GossamerStation, folder: Path) -> None:
    """An offset that the guest set becomes part of the stream's clock, and so do all timers."""
    m = prompt.vm.machine
    m.cpu.block.set("tb_offset", 0x12_3456_789A)
    tb, via = m.cpu.timebase, m.part("macio/via")
    age = m.clock.now - via.timers[0].load_time
    sent = prompt.vm.migrate(f"file:{folder}/m", profile=FORM)
    assert not any("time base" in line for line in sent.lost)
    there = Vm(prompt.vm.config)
    there.incoming(f"file:{folder}/m")
    assert there.register("tb") == tb
    assert there.machine.cpu.block.get("tb_offset") == 0
    loaded = there.machine.part("macio/via").timers[0].load_time
    assert there.clock_ns - loaded == age


def test_the_form_of_qemu_10(prompt: GossamerStation, folder: Path) -> None:
    m = prompt.vm.machine
    m.cpu.set_decrementer(0x1234_5678)
    prompt.vm.migrate(f"file:{folder}/m", profile="qemu-10")
    stream = open_stream(io.BytesIO((folder / "m").read_bytes()))
    assert [c.name for c in stream.commands] == ["SWITCHOVER_START"]
    state = stream.find("globalstate")
    assert state is not None
    body = stream.body(state)
    assert body == b"\0\0\0\x08running".ljust(36, b"\0") + b"\x01\x00" + bytes(66)
    cpu = stream.find("cpu")
    assert cpu is not None
    assert stream.body(cpu)[296 + 88 : 296 + 92] == bytes.fromhex("12345678")


def test_it_goes_on_to_where_nothing_is_pending(prompt: GossamerStation, folder: Path) -> None:
    """A character on its way out is waited for; an interrupt that is not taken is named."""
    vm = prompt.vm
    vm.machine.part("macio/escc").a.true_rate = True  # else a character is sent at once
    vm.serial_receive(0, ord("1"))
    for _ in range(2000):
        if vm.machine.part("macio/escc").a.tx_timer.armed:
            break
        vm.run(instructions=500)
    else:
        pytest.fail("the firmware does not echo")
    sent = vm.migrate(f"file:{folder}/m", profile=FORM)
    assert sent.settled_ns > 0
    assert not any("character" in line for line in sent.lost)
    vm.run_state = "running"
    vm.machine.cpu.input_changed(Irq.SMI, True)
    sent = vm.migrate(f"file:{folder}/n", profile=FORM)
    assert "interrupt smi is pending" in sent.lost
    assert 50_000_000 <= sent.settled_ns < 60_000_000


REFUSING = {
    "another machine": (("-M", "mac99", "-m", "128"), "machine type|mac99|refused|gone"),
    "other RAM": (("-M", "g3beige", "-m", "64"), "refused|gone"),
    "another CPU": (("-M", "g3beige", "-m", "128", "-cpu", "604"), "refused|gone"),
}


@pytest.mark.parametrize("name", REFUSING)
def test_a_qemu_that_refuses(
    name: str, start_qemu: Start, prompt: GossamerStation, folder: Path
) -> None:
    machine, text = REFUSING[name]
    qemu = start_qemu("-incoming", f"unix:{folder}/m", machine=machine)
    before = prompt.vm.state_hash()
    with pytest.raises(HostError, match=text):
        prompt.vm.migrate(f"unix:{folder}/m", profile=FORM, limits=LIMITS)
    qemu.process.wait(600)
    assert prompt.vm.run_state == "running"
    assert prompt.vm.state_hash() == before
    seen = len(prompt.output)
    prompt.type(b"2a 3 * .\r")
    prompt.expect(b"7e  ok", 20.0, seen)


def test_hops(qemu: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "hops", "--machine", "g3beige", "--guest", "openbios"]) == 0
    printed = capsys.readouterr().out
    assert "4 of 4 hops" in printed
    assert "4 loops ended with the right number" in printed


def test_hops_on_mac99(qemu: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "hops", "--machine", "mac99", "--hops", "2"]) == 0
    assert "2 of 2 hops" in capsys.readouterr().out


def test_hops_that_go_wrong(qemu: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A QEMU that is none, and a guest that is wrong about its result."""
    assert main(["verify", "hops", "--hops", "1", "--qemu", "true"]) == 1
    assert "WRONG: QEMU did not start" in capsys.readouterr().out
    assert main(["verify", "hops", "--guest", "linux"]) == 2


def test_the_profile_in_one_word(prompt: GossamerStation, folder: Path) -> None:
    """As a monitor gives it."""
    prompt.vm.machine.cpu.set_decrementer(1000)
    with pytest.raises(ConfigError, match="--keep-tb"):
        prompt.vm.migrate(f"qemu-7.2,keep-tb+file:{folder}/m")
    sent = prompt.vm.migrate(f"qemu-7.2+file:{folder}/m+n")
    assert (sent.profile, sent.uri) == ("qemu-7.2", f"file:{folder}/m+n")
    assert (folder / "m+n").stat().st_size == sent.stream_bytes


def following(
    prompt: GossamerStation, start_qemu: Start, folder: Path, *more: str
) -> tuple[QemuStation, Transfer, threading.Thread]:
    """A machine that has switched over to a QEMU before its memory; pages come on demand."""
    transfers = prompt.vm.transfers
    qemu = start_qemu("-incoming", "defer", *more)
    on = [{"capability": "postcopy-ram", "state": True}]
    try:
        qemu.command("migrate-set-capabilities", capabilities=on)
    except HostError as fault:
        pytest.skip(f"QEMU cannot receive memory that follows here: {fault}")
    qemu.command("migrate-incoming", uri=f"unix:{folder}/m")
    transfers.capabilities.add("postcopy-ram")
    transfers.parameters.max_postcopy_bandwidth = 1  # nothing goes that was not asked for
    steps = transfers.send(f"unix:{folder}/m", profile=FORM, limits=LIMITS)
    transfers.start_postcopy()
    sending = threading.Thread(target=finish, args=(steps,), daemon=True)
    sending.start()
    assert transfers.outgoing is not None
    return qemu, transfers.outgoing, sending


def test_memory_that_follows(start_qemu: Start, prompt: GossamerStation, folder: Path) -> None:
    """QEMU runs the guest, and asks for the pages that it reaches for."""
    qemu, transfer, sending = following(prompt, start_qemu, folder)
    assert qemu.wait_loaded() == "running"
    computes(qemu)
    figures = transfer.figures
    assert transfer.status == "postcopy-active"
    assert figures.postcopy_requests > 0
    assert figures.remaining > 0
    prompt.vm.transfers.parameters.max_postcopy_bandwidth = 0
    sending.join(600)
    assert not sending.is_alive()
    assert (transfer.status, transfer.figures.remaining) == ("completed", 0)
    computes(qemu)
    assert qemu.command("query-migrate")["status"] == "completed"


def test_memory_that_follows_over_another_connection(
    start_qemu: Start, prompt: GossamerStation, folder: Path
) -> None:
    """The connection breaks while QEMU runs the guest; both ends meet again."""
    qemu, transfer, sending = following(prompt, start_qemu, folder)
    assert qemu.wait_loaded() == "running"
    prompt.vm.transfers.pause()
    while transfer.status != "postcopy-paused":
        assert sending.is_alive()
        sending.join(0.01)
    while qemu.command("query-migrate")["status"] != "postcopy-paused":
        sending.join(0.01)
    qemu.command("migrate-recover", uri=f"unix:{folder}/n")
    finish(prompt.vm.transfers.resuming(f"unix:{folder}/n"))
    prompt.vm.transfers.parameters.max_postcopy_bandwidth = 0
    sending.join(600)
    assert not sending.is_alive()
    assert (transfer.status, transfer.figures.remaining) == ("completed", 0)
    computes(qemu)
