"""A virtual machine cut at any instruction, saved and loaded, ends where the uncut one does."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError, GossamerError, StreamError
from gossamer.base.units import NS_PER_S, MiB
from gossamer.control import disk_state
from gossamer.control.vm import Vm
from gossamer.core import host
from gossamer.core.clock import Clock
from gossamer.cpu.model import DOZE_750
from gossamer.cpu.msr import MSR_EE, MSR_POW
from gossamer.engine.processor import Stop
from gossamer.isa.text import assemble
from gossamer.machines.config import Config
from gossamer.machines.guests import watcher
from gossamer.machines.machine import Machine
from gossamer.machines.options import parse
from tests.engine.programs import CODE, DATA, TABLE, PageTable, make_table, number, pool, vectors

RAM = 4 * MiB  # the least that the bare machine takes is not our subject
TOTAL = 4000
WORDS = pool(1, 2000)


def config(**kw) -> Config:
    return Config(machine="bare", ram_size=RAM, icount=0, icount_sleep=False, nic=False, **kw)


def fill(m: Machine, seed: int) -> None:
    """A random program with translation, decrementer and a typing user, as power-on state."""
    rng = random.Random(seed)
    block = m.cpu.block
    for at, code in vectors().items():
        m.memory.write(at, code)
    for n in range(3 * 1024):
        m.memory.write(CODE + 4 * n, rng.choice(WORDS).to_bytes(4, "big"))
    m.memory.write(DATA, rng.randbytes(0x3000))
    for n in range(32):
        block.set("gpr", number(rng), n)
        block.set("fpr", rng.getrandbits(64), n)
    for n in range(16, 24):
        block.set("gpr", rng.choice((DATA, CODE, 0xF000_0000)) + rng.randrange(0, 0xFFC, 2), n)
    msr = 0x8000 | 0x1000 | 0x2000
    if seed & 1:
        segments = [n * 0x111 for n in range(16)]
        for n, value in enumerate(segments):
            block.set("sr", value, n)
        m.memory.write(TABLE, bytes(make_table(rng, segments).data))
        block.set("sdr1", TABLE)
        msr |= 0x30
    block.set("sprg", CODE, 3)
    block.set("nia", CODE)
    block.set("msr", msr)
    m.cpu.set_decrementer(rng.randrange(100))
    m.engine.flush()


def vm_of(seed: int) -> Vm:
    vm = Vm(config())
    fill(vm.machine, seed)
    return vm


def go(vm: Vm, count: int) -> None:
    """On to instruction `count`, the user typing at fixed moments."""
    for moment in range(500, count + 1, 500):
        if vm.instructions < moment:
            if vm.run_to(moment) is not Stop.LIMIT:
                return
            if vm.serial_room(0):
                vm.serial_receive(0, moment & 0xFF)
    if vm.instructions < count:
        vm.run_to(count)


@pytest.mark.parametrize("seed", range(8))
def test_cut_is_no_cut(seed: int) -> None:
    whole = vm_of(seed)
    go(whole, TOTAL)
    rng = random.Random(seed)
    cut = vm_of(seed)
    for at in sorted(rng.sample(range(1, TOTAL), 3)):
        go(cut, at)
        data = cut.save_bytes()
        other = Vm(config())
        other.load_bytes(data)
        assert other.state_hash() == cut.state_hash(), f"at {at}"
        assert other.save_bytes() == data, f"at {at}"
        cut = other
    go(cut, TOTAL)
    assert cut.state_hash() == whole.state_hash()
    assert cut.save_bytes() == whole.save_bytes()


def test_saving_does_not_change_the_run_of_the_saved_machine() -> None:
    for seed in (1, 2):
        whole, saved = vm_of(seed), vm_of(seed)
        go(whole, 2000)
        for at in range(100, 2001, 100):
            go(saved, at)
            saved.save_bytes()
        assert saved.state_hash() == whole.state_hash()


def test_save_file_brings_the_machine_back(tmp_path: Path) -> None:
    vm = vm_of(3)
    go(vm, 1234)
    vm.save(tmp_path / "one.gsm")
    before = vm.state_hash()
    go(vm, 2000)
    after = vm.state_hash()
    vm.restore(tmp_path / "one.gsm")
    assert (vm.instructions, vm.state_hash()) == (1234, before)
    go(vm, 2000)
    assert vm.state_hash() == after


def test_translations_known_before_a_save_are_looked_up_again_in_both_machines() -> None:
    """A guest that clears R and C with no tlbie: the next access sets them at the same time."""
    saved = Vm(config())
    segments, ea, ra = [0x123] * 16, 0x3000_0000, 0x10_0000
    table = PageTable()
    table.add(segments[3], ea >> 12 & 0xFFFF, ra, 2)
    m = saved.machine
    m.memory.write(TABLE, bytes(table.data))
    m.memory.write(CODE, assemble("stw 3,0(4); stw 3,0(4); stw 3,0(4)", CODE))
    for n, value in enumerate(segments):
        m.cpu.block.set("sr", value, n)
    for register, value in {"sdr1": TABLE, "nia": CODE, "msr": 0x10}.items():
        m.cpu.block.set(register, value)
    m.cpu.block.set("gpr", ea, 4)
    entry = TABLE + next(n for n in range(0, len(table.data), 8) if table.data[n] & 0x80)
    bare = saved.read_physical(entry, 8)

    def step_and_look(vm: Vm) -> bytes:
        """The entry after one more store, which found it without R and C, past all translations."""
        vm.machine.arena.view[entry : entry + 8] = bare
        vm.step()
        return vm.read_physical(entry, 8)

    assert step_and_look(saved) != bare
    assert step_and_look(saved) == bare  # the engine knows the page
    loaded = Vm(saved.config)
    loaded.load_bytes(saved.save_bytes())
    assert step_and_look(saved) == step_and_look(loaded) != bare


def test_page_that_the_guest_has_cleared_is_clear_after_a_load() -> None:
    """A machine newly built has something there: what an option put into RAM."""
    options = "-M bare -m 4 -serial null -icount 0 -device loader,addr=0x200000,data=7,data-len=4"
    vm = Vm(parse(options.split()))
    assert vm.read_physical(0x20_0000, 4) != bytes(4)
    vm.write_physical(0x20_0000, bytes(4))
    other = Vm(vm.config)
    other.load_bytes(vm.save_bytes())
    assert other.read_physical(0x20_0000, 4) == bytes(4)
    assert other.state_hash() == vm.state_hash()


def test_state_hash_sees_every_change() -> None:
    vm = vm_of(0)
    seen = {vm.state_hash()}
    vm.machine.memory.write(0x30_0000, b"\1")
    seen.add(vm.state_hash())
    vm.machine.cpu.block.set("gpr", 0x1234, 7)
    seen.add(vm.state_hash())
    vm.serial_receive(0, 65)
    seen.add(vm.state_hash())
    vm.step()
    seen.add(vm.state_hash())
    assert len(seen) == 5
    vm.machine.memory.write(0x30_0000, b"\1")
    assert vm.state_hash() in seen


def test_refused_stream_leaves_the_machine_as_it_was() -> None:
    vm = vm_of(1)
    go(vm, 300)
    data = vm.save_bytes()
    before, state = vm.state_hash(), vm.run_state
    rng = random.Random(5)
    cuts = [0, 1, 7, 8, 20, 60, len(data) // 2, *rng.sample(range(len(data)), 12)]
    for length in cuts:
        # The end element and what follows it may be absent only as a whole.
        if length >= len(data) - 1:
            continue
        try:
            vm.load_bytes(data[:length])
        except StreamError:
            pass
        else:
            assert vm.save_bytes() == data, length
        assert (vm.state_hash(), vm.run_state) == (before, state), length
    go(vm, 600)
    uncut = vm_of(1)
    go(uncut, 600)
    assert vm.state_hash() == uncut.state_hash()


def test_stream_of_another_machine_or_size_is_refused_with_its_reason() -> None:
    vm = vm_of(1)
    data = vm.save_bytes()
    small = Vm(Config(machine="bare", ram_size=2 * RAM, icount=0, nic=False))
    before = small.state_hash()
    with pytest.raises(StreamError, match=rf"{RAM} bytes, this machine has {2 * RAM}"):
        small.load_bytes(data)
    assert small.state_hash() == before
    named = data.replace(b"bare", b"fare", 1)
    with pytest.raises(StreamError, match="machine fare, expected bare"):
        vm.load_bytes(named)


def test_section_in_a_wrong_place_or_of_a_wrong_version_is_refused() -> None:
    vm = vm_of(1)
    data = vm.save_bytes()
    at = data.index(b"\x03cpu\0\0\0\0\0\0\0\x05")
    with pytest.raises(StreamError, match=r"version 6, this build reads 5\.\.5"):
        vm.load_bytes(data[: at + 11] + b"\x06" + data[at + 12 :])
    with pytest.raises(StreamError, match="no such section"):
        vm.load_bytes(data[: at + 1] + b"cpX" + data[at + 4 :])


def test_save_file_of_another_configuration_is_refused(tmp_path: Path) -> None:
    vm_of(1).save(tmp_path / "one.gsm")
    other = Vm(Config(machine="bare", ram_size=2 * RAM, icount=0, nic=False))
    with pytest.raises(ConfigError, match=f"RAM in bytes: expected {2 * RAM}, got {RAM}"):
        other.restore(tmp_path / "one.gsm")


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bits_of_a_bare_stream_never_crash(seed: int) -> None:
    """A bare stream has no checksum: a flip is refused with a reason, or a value is another."""
    vm = vm_of(seed)
    go(vm, 200)
    data = vm.save_bytes()
    rng = random.Random(seed)
    tail = len(data) - 20_000
    for _ in range(60):
        at = rng.choice((rng.randrange(200), rng.randrange(max(tail, 0), len(data))))
        flipped = bytearray(data)
        flipped[at] ^= 1 << rng.randrange(8)
        other = Vm(config())
        try:
            other.load_bytes(bytes(flipped))
        except GossamerError:
            continue
        other.run(instructions=50)


def test_step_executes_exactly() -> None:
    vm = vm_of(2)
    for n in range(1, 40):
        vm.step()
        assert vm.instructions == n
    vm.step(100)
    assert vm.instructions == 139


def test_reset_starts_again_with_time_going_on() -> None:
    vm = vm_of(2)
    go(vm, 500)
    now = vm.clock_ns
    vm.reset()
    assert (vm.register("pc"), vm.clock_ns, vm.instructions) == (0xFFF0_0100, now, 500)


def test_time_of_the_host_that_a_save_or_load_takes_is_not_the_guests(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    now = 0
    monkeypatch.setattr(host, "monotonic_ns", lambda: now)
    options = ["-M", "bare", "-m", "4", "-nographic", "-serial", "null", "-monitor", "none"]
    vm = Vm(parse(options))
    vm.cont()
    vm.run_slice(1_000_000)
    clock = vm.clock_ns
    save_file, savevm = disk_state.save_file, disk_state.savevm

    def slow(*given, **named):
        nonlocal now
        now += 150_000_000
        return (save_file if len(given) == 3 else savevm)(*given, **named)

    monkeypatch.setattr(disk_state, "save_file", slow)
    monkeypatch.setattr(disk_state, "savevm", slow)
    vm.save(tmp_path / "one.gossamer")
    assert now == 150_000_000
    assert vm.pace.target(now) == clock
    vm.savevm("one")
    assert now > 150_000_000
    assert vm.pace.target(now) == clock


def test_decrementer_that_is_due_while_the_cpu_idles_is_in_the_save(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now = 0
    monkeypatch.setattr(host, "monotonic_ns", lambda: now)
    vm = Vm(parse(["-M", "bare", "-m", "4", "-nographic", "-serial", "null", "-monitor", "none"]))
    vm.run_to(2_100_000)  # the next alarm is most of a millisecond away
    vm.cont()
    block = vm.machine.cpu.block
    block.set("hid0", DOZE_750)
    block.set("msr", block.get("msr") | MSR_POW | MSR_EE)
    vm.run_slice(1_000_000)
    assert vm.idle_until_ns is not None
    due = vm.machine.clock.deadline
    now = vm.idle_until_ns + 5_000_000
    vm.save(tmp_path / "idle.gossamer")
    assert vm.clock_ns == due
    loaded = Vm.load(tmp_path / "idle.gossamer")
    ticks = int.from_bytes(loaded.read_physical(watcher.DATA, 4), "big")
    loaded.run(until_ns=due + NS_PER_S // watcher.TICK_HZ // 2)
    assert int.from_bytes(loaded.read_physical(watcher.DATA, 4), "big") == ticks + 1


def test_guest_is_at_leisure_when_it_has_waited_for_longer_than_a_boot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0
    monkeypatch.setattr(host, "monotonic_ns", lambda: now)
    vm = Vm(parse(["-M", "bare", "-m", "4", "-nographic", "-serial", "null", "-monitor", "none"]))
    monkeypatch.setattr(Clock, "idle_deadline", property(lambda self: self.now + NS_PER_S))
    rests: list[int] = []
    monkeypatch.setattr(vm.machine, "rest", lambda: rests.append(now))
    vm.run_to(2_100_000)
    vm.cont()
    block, seen = vm.machine.cpu.block, list[tuple[int, bool]]()
    while len(seen) < 35:
        block.set("hid0", DOZE_750)
        block.set("msr", block.get("msr") | MSR_POW | MSR_EE)
        vm.run_slice(1_000_000)
        if vm.idle_until_ns is None:  # an interrupt was due
            continue
        seen.append((now, vm.at_leisure))
        now = vm.idle_until_ns
    assert seen == [(when, when >= 3_000_000_000) for when, _ in seen]
    assert rests == [when for when, leisure in seen if leisure]
    assert 0 < len(rests) < len(seen)


class Frames:
    """An alarm every 10 us that may be passed over while it is `calm`."""

    def __init__(self, clock: Clock, calm: bool) -> None:
        self.clock, self.times = clock, list[int]()
        self.alarm = clock.alarm(self.fire)
        self.alarm.set(clock.now + 5)
        clock.may_skip(self.alarm, lambda: calm, self.skip)

    def fire(self) -> None:
        self.times.append(self.clock.now)
        self.alarm.set(self.alarm.due + 10_000)

    def skip(self, before: int) -> None:
        when = self.alarm.when
        self.alarm.set(when + (before - when - 1) // 10_000 * 10_000)


def test_idle_time_that_is_warped_passes_over_quiet_alarms() -> None:
    """A USB controller's frames took eight times as long as all else of an idle mac99."""
    ends, fired = [], []
    for calm in (True, False):
        vm = Vm(parse(["-M", "bare", "-m", "4", "-nographic", "-serial", "null"]))
        vm.run_to(2_100_000)
        clock, block = vm.machine.clock, vm.machine.cpu.block
        due = clock.deadline
        frames = Frames(clock, calm)
        block.set("hid0", DOZE_750)
        block.set("msr", block.get("msr") | MSR_POW | MSR_EE)
        vm.run(until_ns=due + 20_000)
        fired.append(len([t for t in frames.times if t < due]))
        ends.append((vm.instructions, vm.clock_ns, frames.alarm.when, vm.state_hash()))
    assert fired[0] <= 1 < 20 < fired[1]
    assert ends[0] == ends[1]
