"""OHCI USB host controller on PCI, as Apple's KeyLargo has it: registers, frames, root hub.

A frame is (FI + 1) bit times of 12 MHz, 1 ms as it should be; an alarm marks each start of one.
What lists do in a frame is in ohci_lists.py, the ports in ohci_hub.py.  Source: OpenHCI Open Host
Controller Interface Specification for USB 1.0a; docs page ohci.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar, Final

from gossamer.core.clock import Alarm, Clock
from gossamer.core.region import Region
from gossamer.devices.pci import PciBus, PciDevice, pci_struct
from gossamer.devices.usb.device import UsbFunction
from gossamer.devices.usb.ohci_hub import CHANGES, Port
from gossamer.devices.usb.ohci_lists import Frame, Transfer
from gossamer.state.codec import U8, Octets
from gossamer.state.declare import (
    Stateful,
    alarm,
    boolean,
    buffer,
    child,
    children,
    i32,
    u8,
    u16,
    u32,
    vtime,
    wiring,
)
from gossamer.state.layout import Item, Layout, Loss, Nested, View, subsection

PORTS: Final = 3
ALL_PORTS: Final = 15
BAR_SIZE: Final = 0x100

# HcControl.
RATIO, PERIODIC, ISOCHRONOUS, CONTROL, BULK = 0x003, 0x004, 0x008, 0x010, 0x020
STATE, RESET, RESUME, OPERATIONAL, SUSPEND = 0x0C0, 0x000, 0x040, 0x080, 0x0C0
ROUTING: Final = 0x100
CONTROL_WRITABLE: Final = 0x7FF
# HcCommandStatus.
HOST_RESET, CONTROL_FILLED, BULK_FILLED, OWNERSHIP = 0x1, 0x2, 0x4, 0x8
# HcInterruptStatus.
DONE_WRITTEN, FRAME_STARTED, RESUME_SEEN = 0x02, 0x04, 0x08
UNRECOVERABLE, NUMBER_OVERFLOW, HUB_CHANGED, OWNER_CHANGED = 0x10, 0x20, 0x40, 0x4000_0000
MASTER_ENABLE: Final = 0x8000_0000
INTERRUPTS: Final = 0x4000_007F
NO_DELAY_SET: Final = 7

FRAME_INTERVAL: Final = 0x2EDF
FRAME_INTERVALS: Final = range(11_000, 13_000)
"""Those that are taken as they are; a frame of another length would be no USB frame."""
LARGEST_PACKET: Final = 0x2778
LOW_SPEED_THRESHOLD: Final = 0x628
HUB_DESCRIPTOR: Final = 0x200 | PORTS
"""Three ports, always powered."""
HCCA_FRAME, HCCA_DONE = 0x80, 0x84


def _exact_port(n: int) -> Item:
    name = f"signal[{n}]"
    return Nested(name, lambda core: core.rhport[n], "ohci-core/port_exact", 1, ["signal"])


def _port(n: int) -> Item:
    return Nested(f"rhport[{n}]", lambda core: core.rhport[n])


class OhciCore(Stateful):
    """The controller behind the registers; its fields are named as QEMU names them on the wire."""

    vmsd = "ohci-core"
    version = 1
    minimum = 1

    eof = subsection("ohci-core/eof-timer")
    extra = subsection(
        "ohci-core/gossamer",
        ours=True,
        layout=["sof_phase", *(_exact_port(n) for n in range(PORTS))],
    )

    sof_time: int = vtime()
    ctl: int = u32()
    status: int = u32()
    intr_status: int = u32()
    intr: int = u32(MASTER_ENABLE)
    hcca: int = u32()
    ctrl_head: int = u32()
    ctrl_cur: int = u32()
    bulk_head: int = u32()
    bulk_cur: int = u32()
    per_cur: int = u32()
    done: int = u32()
    done_count: int = i32(NO_DELAY_SET)
    fsmps: int = u16(LARGEST_PACKET)
    fit: int = u8()
    fi: int = u16(FRAME_INTERVAL)
    frt: int = u8()
    frame_number: int = u16()
    padding: int = u16()
    pstart: int = u32()
    lst: int = u32(LOW_SPEED_THRESHOLD)
    rhdesc_a: int = u32(HUB_DESCRIPTOR)
    rhdesc_b: int = u32()
    rhstatus: int = u32()
    rhport: list[Port] = children(Port, ALL_PORTS)
    hstatus: int = u32()
    hmask: int = u32()
    hreset: int = u32()
    htest: int = u32()
    old_ctl: int = u32()
    #: QEMU's own: a packet in the air when it stopped.  Kept, not used.
    usb_buf: bytearray = buffer(8192)
    async_td: int = u32()
    async_complete: bool = boolean()
    eof_timer: Alarm = alarm("frame_ends", within=eof)
    #: What a frame's end is later than `eof_timer` says, in thirds of a ns.
    sof_phase: int = u8(within=extra)

    clock: Clock = wiring()
    changed: Callable[[], None] = wiring()
    note: Callable[[str], None] = wiring()
    read_memory: Callable[[int, int], bytes] = wiring()
    write_memory: Callable[[int, bytes], None] = wiring()

    layouts: ClassVar[dict[str, Layout]] = {
        "": [
            *("sof_time", "ctl", "status", "intr_status", "intr", "hcca", "ctrl_head"),
            "ctrl_cur",
            *("bulk_head", "bulk_cur", "per_cur", "done", "done_count", "fsmps", "fit", "fi"),
            *("frt", "frame_number", "padding", "pstart", "lst", "rhdesc_a", "rhdesc_b"),
            "rhstatus",
            *(_port(n) for n in range(ALL_PORTS)),
            *("hstatus", "hmask", "hreset", "htest", "old_ctl"),
            View(
                "usb_buf",
                Octets(U8, 8192),
                lambda core: core.usb_buf,
                lambda core, value: setattr(core, "usb_buf", value),
            ),
            *("async_td", "async_complete"),
        ]
    }

    def __init__(
        self,
        clock: Clock,
        changed: Callable[[], None],
        note: Callable[[str], None],
        read_memory: Callable[[int, int], bytes],
        write_memory: Callable[[int, bytes], None],
    ) -> None:
        super().__init__()
        self.clock, self.changed, self.note = clock, changed, note
        self.read_memory, self.write_memory = read_memory, write_memory
        self.rhport = [Port(clock, self.hub_changed) for _ in range(ALL_PORTS)]

    @eof.needed
    def eof_needed(self) -> bool:
        return self.eof_timer.armed

    @extra.losing
    def extra_lost(self) -> Iterator[Loss]:
        """The part of a nanosecond in `sof_phase` no guest can notice."""
        if any(port.signal.armed for port in self.rhport):
            yield Loss("a port drives reset or resume", passes=True)

    @extra.needed
    def extra_needed(self) -> bool:
        """A port drives reset or resume, or frames are no whole ns."""
        return bool(self.sof_phase) or any(p.signal.armed for p in self.rhport)

    def reset(self) -> None:
        """Hard reset: registers, and the ports see their devices anew."""
        super().reset()
        for port in self.rhport:
            port.attach()
        if any(port.ctrl & CHANGES for port in self.rhport):
            self.intr_status |= HUB_CHANGED

    # --- memory -------------------------------------------------------------------------------

    def dma_read(self, at: int, count: int) -> bytes:
        return self.read_memory(at & 0xFFFF_FFFF, count)

    def dma_write(self, at: int, data: bytes) -> None:
        self.write_memory(at & 0xFFFF_FFFF, data)

    def pieces(self, t: Transfer, size: int) -> list[tuple[int, int]]:
        """The one or two (address, length) of the next `size` bytes of a transfer's buffer."""
        first = min(size, 0x1000 - (t.buffer & 0xFFF))
        rest = size - first
        return [(t.buffer, first), (t.end & 0xFFFF_F000, rest)][: 2 if rest else 1]

    def dma_buffer(self, t: Transfer, size: int) -> bytes:
        if not size:
            return b""
        return b"".join(self.dma_read(at, count) for at, count in self.pieces(t, size))

    def dma_scatter(self, t: Transfer, data: bytes) -> None:
        if data:
            for at, count in self.pieces(t, len(data)):
                self.dma_write(at, data[:count])
                data = data[count:]

    # --- frames -------------------------------------------------------------------------------

    @property
    def operational(self) -> bool:
        return self.ctl & STATE == OPERATIONAL

    def _start_frames(self) -> None:
        self.sof_time, self.sof_phase = int(self.clock.now), 0
        self._arm(self.sof_time)
        self._raise(FRAME_STARTED)

    def _arm(self, start: int) -> None:
        """Arm the end of the frame that began at `start` and `sof_phase` thirds of a ns."""
        interval = self.fi
        if interval not in FRAME_INTERVALS:
            self.note(f"frame interval {interval} is no USB frame")
            interval = FRAME_INTERVAL
        whole, self.sof_phase = divmod((interval + 1) * 250 + self.sof_phase, 3)
        self.eof_timer.set(start + whole)

    def frame_ends(self) -> None:
        """The alarm's handler: the end of a frame and the start of the next."""
        self.sof_time = self.eof_timer.due
        self._arm(self.sof_time)
        self.frt = self.fit
        self.frame_number = self.frame_number + 1 & 0xFFFF
        if not self.frame_number & 0x7FFF:
            self._raise(NUMBER_OVERFLOW)
        self._show_number()
        self._write_done_queue()
        self._raise(FRAME_STARTED)
        self._serve_lists()

    def quiet(self) -> bool:
        """Whether the end of a frame only counts now: no list to serve, nothing to report."""
        if self.intr & FRAME_STARTED or self.done_count != NO_DELAY_SET:
            return False
        if self.frame_number & 0x7FFF == 0x7FFF:
            return False  # the number's top bit changes, and is reported
        if self.ctl & CONTROL and (self.status & CONTROL_FILLED or self.ctrl_cur):
            return False
        if self.ctl & BULK and (self.status & BULK_FILLED or self.bulk_cur):
            return False
        if self.fi not in FRAME_INTERVALS:
            return False
        periodic = self.ctl & PERIODIC and self.hcca
        return not periodic or not any(self.dma_read(self.hcca, 4 * 32))

    def skip(self, before: int) -> None:
        """What quiet frames that end before `before` do, at once."""
        each, phase, first = (self.fi + 1) * 250, self.sof_phase, self.eof_timer.when
        count = (3 * (before - first) - phase - 1) // each + 1
        # The frame in which the number's top bit changes reports it.
        count = min(count, 0x7FFF - (self.frame_number & 0x7FFF))
        if count <= 0:
            return
        whole, self.sof_phase = divmod((count - 1) * each + phase, 3)
        self.sof_time = first + whole
        self._arm(self.sof_time)
        self.frt = self.fit
        self.frame_number += count
        self._show_number()
        self._raise(FRAME_STARTED)

    def _show_number(self) -> None:
        if self.hcca:
            self.dma_write(self.hcca + HCCA_FRAME, self.frame_number.to_bytes(4, "little"))

    def _write_done_queue(self) -> None:
        """Hand the done queue over when its delay is over and the last one has been seen."""
        if self.done_count == 0 and self.hcca and not self.intr_status & DONE_WRITTEN:
            others = self.intr & self.intr_status & INTERRUPTS
            word = self.done & ~1 | (1 if others else 0)
            self.dma_write(self.hcca + HCCA_DONE, word.to_bytes(4, "little"))
            self.done, self.done_count = 0, NO_DELAY_SET
            self._raise(DONE_WRITTEN)
        elif 0 < self.done_count < NO_DELAY_SET:
            self.done_count -= 1

    def retired(self, at: int, delay: int) -> None:
        """A transfer descriptor was put on the done queue."""
        self.done = at
        self.done_count = min(self.done_count, delay)

    def _serve_lists(self) -> None:
        """The periodic list once, then control and bulk round and round while anything moves."""
        frame, moved = Frame(self), False
        if self.ctl & PERIODIC and self.hcca:
            entry = self.dma_read(self.hcca + 4 * (self.frame_number & 31), 4)
            frame.periodic(int.from_bytes(entry, "little"))
        while frame.left > 0:
            moved = self._serve_control(frame) or moved
            moved = self._serve_bulk(frame) or moved
            midway = (self.ctl & CONTROL and self.ctrl_cur) or (self.ctl & BULK and self.bulk_cur)
            if not midway:
                if not moved:
                    break
                moved = False

    def _serve_control(self, frame: Frame) -> bool:
        """Some control endpoints, as many as the ratio to bulk says; whether any moved."""
        if not self.ctl & CONTROL or not (self.status & CONTROL_FILLED or self.ctrl_cur):
            return False
        start = self.ctrl_cur or self.ctrl_head
        if not self.ctrl_cur:
            self.status &= ~CONTROL_FILLED
        self.ctrl_cur, busy, moved = frame.asynchronous(start, (self.ctl & RATIO) + 1)
        if busy:
            self.status |= CONTROL_FILLED
        return moved

    def _serve_bulk(self, frame: Frame) -> bool:
        if not self.ctl & BULK or not (self.status & BULK_FILLED or self.bulk_cur):
            return False
        start = self.bulk_cur or self.bulk_head
        if not self.bulk_cur:
            self.status &= ~BULK_FILLED
        self.bulk_cur, busy, moved = frame.asynchronous(start, 1)
        if busy:
            self.status |= BULK_FILLED
        return moved

    def device_at(self, address: int) -> UsbFunction | None:
        """The device with a USB address that transactions reach."""
        for port in self.rhport[:PORTS]:
            device = port.reachable
            found = device.find(address) if device is not None else None
            if found is not None:
                return found
        return None

    # --- interrupts ---------------------------------------------------------------------------

    @property
    def level(self) -> bool:
        return bool(self.intr & MASTER_ENABLE and self.intr & self.intr_status & INTERRUPTS)

    def _raise(self, bits: int) -> None:
        self.intr_status |= bits
        self.changed()

    def hub_changed(self) -> None:
        self._raise(HUB_CHANGED)

    def wake(self, port: Port) -> None:
        """A device asks for resume: its port's, and the bus's when that is suspended."""
        resumed = port.wake()
        if self.ctl & STATE == SUSPEND and (resumed or port.reachable is not None):
            self.ctl = self.ctl & ~STATE | RESUME
            self._raise(RESUME_SEEN)

    def port_moved(self) -> None:
        """A device was plugged in or out: the hub says so, and wakes a bus that is suspended."""
        seen = HUB_CHANGED | (RESUME_SEEN if self.ctl & STATE == SUSPEND else 0)
        self._raise(seen)

    # --- registers ----------------------------------------------------------------------------

    def read(self, n: int) -> int:
        """Register number `n` (a word each)."""
        if 0x15 <= n < 0x15 + PORTS:
            return self.rhport[n - 0x15].read()
        match n:
            case 0x00:
                return 0x10
            case 0x04 | 0x05:
                return self.intr
            case 0x0D:
                return self.fit << 31 | self.fsmps << 16 | self.fi
            case 0x0E:
                return self._remaining()
        name = PLAIN.get(n)
        if name is None:
            self.note(f"read of unknown register {4 * n:#x}")
            return 0
        value: int = getattr(self, name)
        return value

    def _remaining(self) -> int:
        """HcFmRemaining: bit times until the frame ends."""
        if not self.operational or not self.eof_timer.armed:
            return self.frt << 31
        passed = max(self.clock.now - self.sof_time, 0) * 12 // 1000
        return self.frt << 31 | max(self.fi - passed, 0)

    def write(self, n: int, value: int) -> None:
        if 0x15 <= n < 0x15 + PORTS:
            self.rhport[n - 0x15].write(value)
            return
        special = SPECIAL.get(n)
        if special is not None:
            special(self, value)
        elif n in MASKS:
            setattr(self, PLAIN[n], value & MASKS[n])
        elif n not in HARD_WIRED:
            self.note(f"write to unknown or read-only register {4 * n:#x}")

    def write_control(self, value: int) -> None:
        self.old_ctl, self.ctl = self.ctl, value & CONTROL_WRITABLE
        old, new = self.old_ctl & STATE, self.ctl & STATE
        self.old_ctl = self.ctl
        if old == new:
            return
        if new == OPERATIONAL:
            self._start_frames()
        else:
            self.eof_timer.cancel()
        if new == RESET:
            for port in self.rhport:
                port.attach()
            if any(port.ctrl & CHANGES for port in self.rhport):
                self.hub_changed()

    def write_command(self, value: int) -> None:
        self.status |= value & (CONTROL_FILLED | BULK_FILLED)
        if value & OWNERSHIP:
            self._raise(OWNER_CHANGED)
        if value & HOST_RESET:
            self.soft_reset()

    def soft_reset(self) -> None:
        """HostControllerReset: every register but routing and the root hub; then suspended."""
        kept = [self.rhdesc_a, self.rhdesc_b, self.rhstatus, self.ctl & ROUTING]
        ports, buffer_ = [(p.ctrl, p.signal.when) for p in self.rhport], self.usb_buf
        super().reset()
        self.rhdesc_a, self.rhdesc_b, self.rhstatus, routing = kept
        self.usb_buf, self.ctl = buffer_, SUSPEND | routing
        for port, (ctrl, when) in zip(self.rhport, ports, strict=True):
            port.ctrl = ctrl
            if when >= 0:
                port.signal.set(when)
        self.changed()

    def acknowledge(self, value: int) -> None:
        self.intr_status &= ~(value & INTERRUPTS)
        self.changed()

    def enable(self, value: int) -> None:
        self.intr |= value & (INTERRUPTS | MASTER_ENABLE)
        self.changed()

    def disable(self, value: int) -> None:
        self.intr &= ~value
        self.changed()

    def write_interval(self, value: int) -> None:
        self.fit, self.fsmps, self.fi = value >> 31, value >> 16 & 0x7FFF, value & 0x3FFF

    def write_hub_status(self, value: int) -> None:
        """Remote wake-up enable of the hub; power switching has no effect."""
        if value & MASTER_ENABLE:
            self.rhstatus &= ~0x8000
        if value & 0x8000:
            self.rhstatus |= 0x8000


PLAIN: Final = {
    0x01: "ctl", 0x02: "status", 0x03: "intr_status", 0x06: "hcca", 0x07: "per_cur",
    0x08: "ctrl_head", 0x09: "ctrl_cur", 0x0A: "bulk_head", 0x0B: "bulk_cur", 0x0C: "done",
    0x0F: "frame_number", 0x10: "pstart", 0x11: "lst", 0x12: "rhdesc_a", 0x13: "rhdesc_b",
    0x14: "rhstatus",
}  # fmt: skip
"""Register numbers and the fields that they show."""
MASKS: Final = {
    0x06: 0xFFFF_FF00, 0x08: 0xFFFF_FFF0, 0x09: 0xFFFF_FFF0, 0x0A: 0xFFFF_FFF0,
    0x0B: 0xFFFF_FFF0, 0x10: 0x3FFF, 0x11: 0xFFF,
}  # fmt: skip
"""Those that are plain storage, and their writable bits."""
HARD_WIRED: Final = (0x12, 0x13)
"""The hub's descriptors: drivers write power settings, these are as the board is."""
SPECIAL: Final[dict[int, Callable[[OhciCore, int], None]]] = {
    0x01: OhciCore.write_control,
    0x02: OhciCore.write_command,
    0x03: OhciCore.acknowledge,
    0x04: OhciCore.enable,
    0x05: OhciCore.disable,
    0x0D: OhciCore.write_interval,
    0x14: OhciCore.write_hub_status,
}


class Ohci(PciDevice):
    """The PCI function: 106b:003f, BAR 0 with 256 bytes of registers."""

    vmsd = "ohci"
    version = 1
    minimum = 1
    layouts: ClassVar[dict[str, Layout]] = {
        "": [pci_struct("parent_obj"), Nested("state", lambda ohci: ohci.core)]
    }

    core: OhciCore = child(OhciCore)

    def __init__(self, clock: Clock, bus: PciBus, devfn: int) -> None:
        super().__init__(
            clock, bus, devfn, vendor=0x106B, device=0x003F, class_code=0x0C_03_10, pin=1
        )
        self.core = OhciCore(clock, self._changed, self.note, self.dma_read, self.dma_write)
        region = Region("ohci", BAR_SIZE, self.read, self.write, widths=(4,), little=True)
        self.add_bar(0, region)
        self.reset()
        clock.may_skip(self.core.eof_timer, self.core.quiet, self.core.skip)

    def connect(self, port: int, device: UsbFunction, *, hot: bool = False) -> None:
        """Plug a device into a port (0..2); `hot`: while the machine runs."""
        where = self.core.rhport[port]
        device.wakeup = lambda: self.core.wake(where)
        if hot:
            where.plug(device)
            self.core.port_moved()
            return
        where.device = device
        where.attach()
        self.core.intr_status |= HUB_CHANGED

    @property
    def devices(self) -> list[UsbFunction | None]:
        """What is in the ports."""
        return [port.device for port in self.core.rhport[:PORTS]]

    def disconnect(self, port: int) -> None:
        """Take the device out of a port (0..2)."""
        self.core.rhport[port].unplug()
        self.core.port_moved()

    def _changed(self) -> None:
        self.update_irq()

    def update_irq(self) -> None:
        self.set_intx(self.core.level)

    def read(self, offset: int, _size: int) -> int:
        return self.core.read(offset >> 2)

    def write(self, offset: int, _size: int, value: int) -> None:
        self.core.write(offset >> 2, value)
