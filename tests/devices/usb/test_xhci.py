"""xHCI: registers, ports, rings and events beside QEMU's answers, time, interrupts, the wire."""

from __future__ import annotations

import json
import zlib
from hashlib import sha256
from pathlib import Path

import pytest

from gossamer.base.errors import StreamError
from gossamer.base.wire import WireReader
from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.core.memory import AddressMap, Arena
from gossamer.devices.pci import PciBus, Window
from gossamer.devices.usb.device import HIGH
from gossamer.devices.usb.hid import UsbKeyboard, UsbMouse
from gossamer.devices.usb.hub import UsbHub
from gossamer.devices.usb.xhci import Xhci
from gossamer.devices.usb.xhci_core import EVENT_INTERRUPT
from gossamer.state.describe import describe
from gossamer.state.transfer import OURS, load
from tests.devices.captures import QEMU, save_body
from tests.devices.usb import xhci_rig as r
from tests.devices.usb.xhci_rig import Driver, setup, trb
from tests.devices.usb.xhci_scenarios import KEYBOARD, SCENARIOS, configured, device, started

MS = 1_000_000
SIZE = 2 << 20
VECTORS = Path(__file__).parents[2] / "vectors"
RECORDED = json.loads((VECTORS / "xhci_qemu.json").read_text())
SECTIONS = json.loads((VECTORS / "xhci_sections_qemu.json").read_text())


class Rig:
    """A controller with keyboard, mouse and hub, two megabytes of memory; the driver's `Access`."""

    def __init__(self, kind="nec-usb-xhci", name="pci.0", *, memory=b"", messages=False, **more):
        self.clock = Clock()
        self.map = AddressMap(Arena(SIZE))
        self.map.map(self.map.arena.add("ram", SIZE), 0)
        self.lines = [IrqLine() for _ in range(4)]
        window = Window(self.map, 0x8000_0000, 0x1000_0000, 0x8000_0000)
        self.bus = PciBus(self.clock, name, self.lines, memory=window)
        self.messages = []
        if messages:
            self.bus.message = lambda address, data: self.messages.append((address, data))
        self.xhci = Xhci(self.clock, self.bus, 5 << 3, kind, **more)
        self.devices = []
        self.map.write(0, memory)
        self.xhci.write_config(4, 2, 0x06)

    def plug(self):
        for n, kind in ((0, UsbKeyboard), (1, UsbMouse), (3, UsbHub)):
            one = kind(self.clock, f"pci.0:05.0/{n + 1}/{kind.vmsd}")
            one.speed = one.speed if kind is UsbHub else HIGH
            self.devices.append(one)
            self.xhci.connect(n, one)
        return self

    def reg(self, offset):
        return self.xhci.read(offset, 4)

    def set_reg(self, offset, value):
        self.xhci.write(offset, 4, value)

    def bytes(self, at, size):
        return self.map.read(at, size)

    def set_bytes(self, at, data):
        self.map.write(at, data)

    def step(self, ns):
        self.clock.advance(self.clock.now + ns)

    @property
    def irq(self):
        return any(line.level for line in self.lines)

    @property
    def keyboard(self):
        return self.devices[0]

    @property
    def parts(self):
        return [self.bus, self.xhci, *self.devices]

    def state(self):
        return b"".join(save_body(part, OURS) for part in self.parts) + self.map.read(0, SIZE)

    def cut(self, profile=OURS):
        """Another machine that goes on where this one is."""
        other = Rig(memory=self.map.read(0, SIZE)).plug()
        other.clock.set(self.clock.now)
        for one, two in zip(self.parts, other.parts, strict=True):
            load(two, WireReader(save_body(one, profile)), two.version)
        for two in other.parts:
            two.resume()
        assert other.irq == self.irq
        if profile is OURS:
            assert other.state() == self.state()
        return other


@pytest.fixture
def rig():
    return Rig().plug()


# --- beside QEMU ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_driver_sees_what_it_sees_in_qemu(rig, name):
    seen = json.loads(json.dumps(SCENARIOS[name](rig)))
    assert len(seen) == len(RECORDED[name])
    for n, (one, recorded) in enumerate(zip(seen, RECORDED[name], strict=True)):
        assert one == recorded, n


class Cutting(Rig):
    """A rig that is saved, and goes on from the save, every few accesses."""

    def __init__(self):
        self.now, self.count = Rig().plug(), 0

    def cut_sometimes(self):
        self.count += 1
        if self.count % 7 == 0:
            self.now = self.now.cut()

    def reg(self, offset):
        self.cut_sometimes()
        return self.now.reg(offset)

    def set_reg(self, offset, value):
        self.cut_sometimes()
        self.now.set_reg(offset, value)

    def bytes(self, at, size):
        return self.now.bytes(at, size)

    def set_bytes(self, at, data):
        self.now.set_bytes(at, data)

    def step(self, ns):
        self.now.step(ns)


@pytest.mark.parametrize("name", ["ports", "stalls", "configure", "interrupts_in", "pending"])
def test_a_cut_at_any_access_changes_nothing(name):
    assert json.loads(json.dumps(SCENARIOS[name](Cutting()))) == RECORDED[name]


def section_rig(name):
    """A controller as the sender of a section had it."""
    idstr, body, _ = SECTIONS[name]
    place, _, _ = idstr.partition(":")
    words = name.split()
    kind = next((w for w in words if "xhci" in w), "nec-usb-xhci")
    more = {}
    if "p2=2" in words:
        more = {"high": 2, "super_": 1}
    for one in ("msi", "msix"):
        more |= {one: False} if f"{one}=off" in words else {}
    made = Rig(kind, place, messages="pseries" in words, **more)
    if words[-1] == "usual":
        for n in range(2):
            made.devices.append(UsbKeyboard(made.clock, "pci.0:05.0/1/usb-kbd"))
            made.devices[n].speed = HIGH
            made.xhci.connect(n, made.devices[n])
    return made, zlib.decompress(bytes.fromhex(body))


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_of_qemus_is_loaded_and_written_again(name):
    made, body = section_rig(name)
    made.xhci.write_config(4, 2, 0)
    assert save_body(made.xhci) == body  # as it is at power on
    made.xhci.core.usbcmd = 7
    reader = WireReader(body)
    load(made.xhci, reader, 1, QEMU)
    assert reader.left == 0
    assert save_body(made.xhci) == body
    described = json.dumps(describe(made.xhci, QEMU)["fields"])
    assert sha256(described.encode()).hexdigest() == SECTIONS[name][2]


def test_a_device_is_not_reset_before_the_driver_does_so(rig):
    recorded = (0).to_bytes(1, "big") + (1).to_bytes(4, "big") + bytes(124)
    assert save_body(rig.keyboard, QEMU) == recorded  # as QEMU 7.2's pseries at power on
    rig.keyboard.reset()
    assert save_body(rig.keyboard, QEMU) == recorded
    started(rig).port_reset(KEYBOARD)
    assert rig.keyboard.dev.state == 3
    assert rig.keyboard.hid.protocol == 1


# --- reports --------------------------------------------------------------------------------------


def polled(rig):
    """A keyboard that is set up, with a block for its next report."""
    d, slot = configured(rig)
    d.queue_in(slot, 3, 8)
    d.kick(slot, 3)
    return d, slot


def test_a_key_arrives_in_the_next_microframe_of_its_endpoint(rig):
    d, _ = polled(rig)
    rig.step(100 * MS)
    assert d.events() == []
    assert not rig.xhci.core.service.armed
    rig.keyboard.key(0x00, True)
    assert rig.xhci.core.service.when == 104 * MS
    rig.step(3 * MS - 1)
    assert d.events() == []
    rig.step(1)
    (event,) = d.events()
    assert event[2:] == [1 << 24, 0x0103_8001]
    assert rig.bytes(r.DATA_AT + 0x800, 8) == bytes([0, 0, 4, 0, 0, 0, 0, 0])
    rig.step(8 * MS)  # there is no second block
    assert not rig.xhci.core.service.armed


def test_one_report_in_each_interval(rig):
    d, slot = polled(rig)
    for _ in range(3):
        rig.keyboard.key(0x00, True)
        rig.keyboard.key(0x00, False)
        d.queue_in(slot, 3, 8)
    got = []
    for _ in range(6):
        rig.step(8 * MS)
        got.append(len(d.events()))
    assert got == [1, 1, 1, 1, 0, 0]


def test_a_key_before_the_doorbell_waits_for_it(rig):
    d, slot = configured(rig)
    rig.keyboard.key(0x00, True)
    rig.step(20 * MS)
    assert d.events() == []
    d.queue_in(slot, 3, 8)
    d.kick(slot, 3)
    rig.step(8 * MS)
    assert len(d.events()) == 1


def test_a_report_longer_than_its_block_is_cut(rig):
    d, slot = configured(rig)
    d.queue_in(slot, 3, 4)
    d.kick(slot, 3)
    rig.keyboard.key(0x00, True)
    rig.step(8 * MS)
    (event,) = d.events()
    assert event[2] == 1 << 24


def test_idle_time_is_kept(rig):
    d, slot = configured(rig)
    d.control(slot, setup(0x21, 10, 0x0A00, 0, 0))  # 40 ms
    for _ in range(4):
        d.queue_in(slot, 3, 8)
    d.kick(slot, 3)
    for _ in range(164):
        rig.step(MS)
    assert len(d.events()) == 4


def test_waiting_reports_survive_a_save_for_any_receiver(rig):
    for profile in (OURS, QEMU):
        here = Rig().plug()
        d, _ = polled(here)
        here.step(5 * MS)
        there = here.cut(profile)
        d.a = there
        there.keyboard.key(0x00, True)
        there.step(16 * MS)
        assert len(d.events()) == 1


def test_a_key_that_waits_for_its_microframe_survives_a_save_for_any_receiver(rig):
    d, _ = polled(rig)
    rig.step(20 * MS)
    rig.keyboard.key(0x00, True)
    assert rig.xhci.core.waiting
    there = d.a = rig.cut(QEMU)
    assert there.xhci.core.waiting
    there.step(16 * MS)
    assert len(d.events()) == 1


def test_a_stopped_endpoint_keeps_its_block(rig):
    d, slot = polled(rig)
    rig.step(20 * MS)
    events = d.command_all(r.STOP_ENDPOINT, 0, slot << 24 | 3 << 16)
    assert [e[3] >> 10 & 63 for e in events] == [32, 33]
    assert events[0][2] >> 24 == 26
    rig.keyboard.key(0x00, True)
    rig.step(20 * MS)
    assert d.events() == []
    d.kick(slot, 3)
    rig.step(8 * MS)
    assert len(d.events()) == 1


def test_no_ops_are_reported(rig):
    d, slot = device(rig)
    d.ring(slot, 1).put(trb(0, 0, r.NO_OP, r.IOC))
    d.kick(slot, 1)
    (event,) = d.events()
    assert event[2] >> 24 == 1


# --- behind a hub ---------------------------------------------------------------------------------


def test_a_keyboard_behind_a_hub_is_reached_by_its_route(rig):
    hub = rig.devices[2]
    inner = UsbKeyboard(rig.clock, "pci.0:05.0/4.3/usb-kbd")
    hub.connect(2, inner)
    d, slot = device(rig, 8)
    d.control(slot, setup(0, 9, 1, 0, 0))
    d.configure(slot, 8, 3, 7, 2, 6, speed=1)
    d.queue_in(slot, 3, 2)
    d.kick(slot, 3)
    rig.step(8 * MS)
    (event,) = d.events()
    assert event[2] >> 24 == 1
    assert rig.bytes(r.DATA_AT + 0x800, 2) == b"\x08\x00"
    d.control(slot, setup(0x23, 3, 4, 3, 0))
    second = d.enable()
    assert d.address(second, 8, speed=1, route=3, packet=8)[2] >> 24 == 1
    assert d.read(second, setup(0x80, 6, 0x100, 0, 18))[:8].hex() == "1201000200000008"
    d.control(second, setup(0, 9, 1, 0, 0))
    d.control(second, setup(0x21, 10, 0, 0, 0))
    d.configure(second, 8, 3, 7, 8, 3, speed=1, route=3)
    d.queue_in(second, 3, 8)
    d.kick(second, 3)
    rig.step(20 * MS)
    d.events()
    inner.key(0x00, True)
    rig.step(MS)
    assert [e[3] >> 24 for e in d.events()] == [second]
    third = d.enable()
    assert d.address(third, 8, speed=1, route=4, packet=8)[2] >> 24 == 5


def test_devices_come_and_go(rig):
    d = started(rig)
    rig.xhci.disconnect(1)
    assert rig.reg(r.PORTS + 16 * 5) == 0x2_02A0
    rig.xhci.connect(1, rig.devices[1], hot=True)
    assert rig.reg(r.PORTS + 16 * 5) == 0x2_0EE1
    assert [(e[0] >> 24, e[3] >> 10 & 63) for e in d.events()] == [(6, 34), (6, 34)]


def test_a_device_that_is_gone_is_a_transaction_error(rig):
    d, slot = device(rig)
    rig.xhci.disconnect(0)
    d.events()
    d.queue_control(slot, setup(0x80, 6, 0x100, 0, 18))
    d.kick(slot, 1)
    (event,) = d.events()
    assert event[2] >> 24 == 4


def test_a_suspended_port_is_woken_by_a_key(rig):
    d, slot = configured(rig)
    d.control(slot, setup(0, 3, 1, 0, 0))  # remote wake-up
    at = r.PORTS + 16 * (KEYBOARD - 1)
    rig.set_reg(at, 0x1_0260)
    d.events()
    rig.keyboard.key(0x00, True)
    assert rig.reg(at) == 0x40_0FE3  # resume, and the change of the link
    assert [e[3] >> 10 & 63 for e in d.events()] == [34]
    rig.set_reg(at, 0x41_0200)
    assert rig.reg(at) == 0x40_0E03  # cleared, and changed again
    assert [e[3] >> 10 & 63 for e in d.events()] == [34]


# --- time -----------------------------------------------------------------------------------------


def test_mfindex_counts_microframes_of_virtual_time(rig):
    d = Driver(rig)
    rig.step(3 * MS)
    d.start()
    assert rig.reg(r.RUNTIME) == 0
    rig.step(125_000 * 5 + 124_999)
    assert rig.reg(r.RUNTIME) == 5
    rig.step(125_000 * 0x4000)
    assert rig.reg(r.RUNTIME) == 5
    rig.set_reg(r.COMMAND, 0)
    rig.step(MS)
    rig.set_reg(r.COMMAND, r.RUN)
    assert rig.reg(r.RUNTIME) == 0


def test_wraps_are_reported_where_they_are_asked_for(rig):
    d = Driver(rig)
    d.start(run=r.RUN | r.INTERRUPT | 0x400)
    rig.step(2_048 * MS - 1)
    assert d.events() == []
    rig = rig.cut()
    d.a = rig
    rig.step(1)
    assert [e[3] >> 10 & 63 for e in d.events()] == [39]
    rig.step(2_048 * MS)
    assert len(d.events()) == 1


# --- interrupts -----------------------------------------------------------------------------------


def no_op(d):
    d.commands.put(trb(0, 0, r.COMMAND_NO_OP))
    d.a.set_reg(r.DOORBELLS, 0)


def test_the_pin_says_what_the_first_interrupter_says(rig):
    d = started(rig)
    assert not rig.irq
    no_op(d)
    assert rig.irq
    rig.set_reg(r.INTERRUPTER, 3)
    assert not rig.irq
    rig.set_reg(r.INTERRUPTER, 0)
    no_op(d)
    assert not rig.irq
    assert rig.reg(r.STATUS) & EVENT_INTERRUPT
    rig.set_reg(r.INTERRUPTER, 2)
    assert rig.irq
    rig.set_reg(r.COMMAND, r.RUN)
    assert not rig.irq


def test_messages_instead_of_the_pin():
    rig = Rig(messages=True).plug()
    d = started(rig)
    at = r.TABLE + 16 * 0
    for n, value in enumerate((0x1000, 0, 0x55, 0)):
        rig.set_reg(at + 4 * n, value)
    rig.xhci.write_config(0x92, 2, 0x8000)
    no_op(d)
    assert rig.messages == [(0x1000, 0x55)]
    assert not rig.irq
    assert rig.reg(r.INTERRUPTER) == 2  # the message has taken IP away
    no_op(d)
    assert len(rig.messages) == 1  # nothing was acknowledged
    rig.set_reg(r.INTERRUPTER + 0x18, r.EVENTS + 16 | 8)
    assert len(rig.messages) == 2  # there is a second event
    d.events()
    no_op(d)
    assert len(rig.messages) == 3
    rig.xhci.write_config(0x92, 2, 0)
    assert not rig.irq


def test_the_pin_is_quiet_while_there_are_messages():
    rig = Rig(messages=True).plug()
    d = Driver(rig)
    d.start(run=r.RUN)
    no_op(d)
    rig.xhci.write_config(0x92, 2, 0x8000)
    rig.set_reg(r.COMMAND, r.RUN | r.INTERRUPT)
    assert rig.reg(r.INTERRUPTER) == 3
    assert not rig.irq
    rig.xhci.write_config(0x92, 2, 0)
    assert rig.irq


def test_msi_with_as_many_messages_as_the_guest_allows():
    rig = Rig(messages=True).plug()
    d = started(rig)
    rig.xhci.write_config(0x74, 4, 0x2003)
    rig.xhci.write_config(0x7C, 2, 0x41)
    rig.xhci.write_config(0x72, 2, 0xFFFF)
    assert rig.xhci.read_config(0x72, 2) == 0xF9  # 0x88, enabled, seven of its field
    no_op(d)
    assert rig.messages == [(0x2000, 0x40)]


def test_events_of_another_interrupter(rig):
    d, slot = device(rig)
    d.make_events(3, r.TABLE_AT + 0x100, r.EVENTS + 0x800)
    ring = d.ring(slot, 1)
    ring.put(trb(setup(0x80, 6, 0x100, 0, 18), 8, r.SETUP, 3 << 16 | r.IMMEDIATE))
    ring.put(trb(r.DATA_AT, 18, r.DATA, 1 << 16))
    ring.put(trb(0, 3 << 22, r.STATUS_STAGE, r.IOC))
    d.kick(slot, 1)
    assert d.events() == []
    assert r.words(rig.bytes(r.EVENTS + 0x800, 16))[2] == 1 << 24
    assert rig.reg(r.INTERRUPTER + 3 * 0x20) == 1


# --- bad drivers ----------------------------------------------------------------------------------


def test_a_ring_that_loops_is_given_up(rig):
    d, slot = device(rig)
    at = d.ring(slot, 1).at
    rig.set_bytes(at, trb(at, 0, r.LINK, 1))
    d.kick(slot, 1)
    assert d.events() == []


def test_commands_without_end_go_on_in_the_next_microframe(rig):
    d = started(rig)
    blocks = b"".join(trb(0, 0, r.COMMAND_NO_OP, 1) for _ in range(8))
    rig.set_bytes(r.COMMANDS, blocks + trb(r.COMMANDS, 0, r.LINK, 1))
    rig.set_reg(r.DOORBELLS, 0)
    core = rig.xhci.core
    assert core.service.armed
    assert core.waiting == 1
    rig = rig.cut()
    rig.step(MS)
    assert rig.xhci.core.service.when == rig.clock.now + 125_000
    assert len(d.events()) > 0


def test_transfers_without_end_too(rig):
    d, slot = device(rig)
    at = d.ring(slot, 1).at
    rig.set_bytes(at, trb(0, 0, r.NO_OP, 1) + trb(at, 0, r.LINK, 1))
    d.kick(slot, 1)
    assert rig.xhci.core.waiting == 1 << 32 * slot + 1


def test_a_transfer_of_too_many_blocks_is_an_error(rig):
    d, slot = device(rig)
    at = d.ring(slot, 1).at
    rig.set_bytes(at, trb(0, 0, r.NORMAL, 0x11) + trb(at, 0, r.LINK, 1))
    d.kick(slot, 1)
    assert [e[2] >> 24 for e in d.events()] == [5]


def test_a_chain_without_end_halts_an_interrupt_endpoint(rig):
    d, slot = configured(rig)
    at = d.ring(slot, 3).at
    rig.set_bytes(at, trb(r.DATA_AT, 8, r.NORMAL, 0x11) + trb(at, 0, r.LINK, 1))
    d.kick(slot, 3)
    rig.keyboard.key(0x00, True)
    rig.step(8 * MS)
    assert [e[2] >> 24 for e in d.events()] == [5]
    assert rig.bytes(d.output(slot) + 96, 1)[0] & 7 == 2


@pytest.mark.parametrize("where", [0xFFFF_FFFF_FFFF_FFC0, 0x7000_0000, SIZE - 0x20, 0])
def test_contexts_to_nowhere(rig, where):
    d = started(rig)
    d.port_reset(KEYBOARD)
    d.events()
    slot = d.enable()
    rig.set_bytes(r.BASE + 8 * slot, where.to_bytes(8, "little"))
    rig.set_bytes(r.INPUT, (0).to_bytes(4, "little") + (3).to_bytes(4, "little") + bytes(24))
    for kind in range(r.DISABLE_SLOT, r.RESET_DEVICE + 1):
        for parameter in (where & ~0xF, r.INPUT):
            d.command_all(kind, parameter, slot << 24 | 1 << 16)
    d.kick(slot, 1)
    d.kick(slot, 255)
    d.kick(64, 1)


def test_a_controller_that_is_no_bus_master_touches_nothing(rig):
    d = started(rig)
    rig.xhci.write_config(4, 2, 0x02)
    d.commands.put(trb(0, 0, r.COMMAND_NO_OP))
    before = rig.map.read(0, SIZE)
    rig.set_reg(r.DOORBELLS, 0)
    assert rig.map.read(0, SIZE) == before
    assert rig.reg(r.STATUS) & 0x1000


def test_nonsense_in_a_stream_is_refused(rig):
    d = started(rig)
    no_op(d)
    good = save_body(rig.xhci)
    rig.xhci.core.intr[0].er_ep_idx = 64
    with pytest.raises(StreamError, match="er_ep_idx must be below 64"):
        load(Rig().xhci, WireReader(save_body(rig.xhci)), 1)
    with pytest.raises(StreamError, match="configuration byte"):
        load(Rig("qemu-xhci").xhci, WireReader(good), 1)
