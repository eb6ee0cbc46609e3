"""Registers of an xHCI: capabilities, operation, ports, interrupters with their event rings.

What commands do is in xhci_commands.py, transfers in xhci_transfers.py.  Source: eXtensible Host
Controller Interface for USB 1.1, chapter 5; what QEMU 7.2 shows of it: docs page xhci.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final, Protocol

from gossamer.core.clock import Alarm, Clock
from gossamer.devices.usb.device import UsbFunction
from gossamer.devices.usb.xhci_commands import Commands
from gossamer.devices.usb.xhci_ports import PORT_STATUS, Port
from gossamer.devices.usb.xhci_rings import TRB, Event
from gossamer.devices.usb.xhci_transfers import Transfers
from gossamer.state.declare import (
    Stateful,
    alarm,
    bitmap,
    boolean,
    child,
    children,
    derived,
    u32,
    u64,
    vtime,
    wiring,
)
from gossamer.state.layout import Item, Layout, Loss, Nested, subsection

SLOTS: Final = 64
INTERRUPTERS: Final = 16
ENDPOINTS: Final = 32
"""Places of a slot's endpoints; the first is none."""
MICROFRAME_NS: Final = 125_000
MOST_BEHIND: Final = 8000
"""Microframes that are caught up with one by one: a second."""
WRAP: Final = 0x4000
"""Microframes that MFINDEX counts."""

# Places of the registers.
OPERATIONAL, PORTS, RUNTIME, INTERRUPTER, DOORBELLS = 0x40, 0x440, 0x1000, 0x1020, 0x2000
# USBCMD.
RUN, HOST_RESET, INTERRUPTS_ON, SAVE, RESTORE, WRAP_EVENTS = 1, 2, 4, 0x100, 0x200, 0x400
COMMAND_KEPT: Final = 0xC0F
# USBSTS.
HALTED, SYSTEM_ERROR, EVENT_INTERRUPT, PORT_CHANGE = 1, 4, 8, 0x10
RESTORE_ERROR, CONTROLLER_ERROR = 0x400, 0x1000
STATUS_CLEARED: Final = SYSTEM_ERROR | EVENT_INTERRUPT | PORT_CHANGE | RESTORE_ERROR
# CRCR.
STOP, ABORT, RING_RUNNING = 2, 4, 8
CRCR_KEPT: Final = 0xFFFF_FFC7
# IMAN, ERDP.
PENDING, ENABLED, BUSY = 1, 2, 8

USB: Final = 0x2042_5355
"""The name string of a supported protocol."""
COMMAND_RING_EVENT, WRAP_EVENT, HOST_EVENT = 33, 39, 37
RING_STOPPED, RING_FULL, SUCCESS = 24, 21, 1
SEGMENT_SIZES: Final = range(16, 4097)
"""TRBs of an event ring's segment."""
BUDGET: Final = 256
"""Accesses to memory after which a look at the rings ends, to go on in the next frame."""
FRAME: Final = 8
"""Microframes of a frame."""
COMMAND_PLACE: Final = 0
"""In `waiting`: the command ring."""


class Controller(Protocol):
    """The function that the registers belong to."""

    def fetch(self, at: int, length: int) -> bytes | None: ...
    def store(self, at: int, data: bytes) -> bool: ...
    def interrupt(self, n: int) -> bool: ...
    def update_irq(self) -> None: ...
    def note(self, text: str) -> None: ...
    @property
    def by_msix(self) -> bool: ...


class Slot(Stateful):
    """A device slot; what else there is of it is in the output context, in memory."""

    vmsd = "xhci-slot"
    version = 1
    minimum = 1

    enabled: bool = boolean()
    addressed: bool = boolean()


class Interrupter(Stateful):
    """An interrupter and its event ring of one segment: `er_start`, `er_size` TRBs."""

    vmsd = "xhci-intr"
    version = 1
    minimum = 1

    iman: int = u32()
    imod: int = u32()
    erstsz: int = u32()
    erstba_low: int = u32()
    erstba_high: int = u32()
    erdp_low: int = u32()
    erdp_high: int = u32()
    msix_used: bool = boolean()
    er_pcs: bool = boolean(True)
    er_start: int = u64()
    er_size: int = u32()
    er_ep_idx: int = u32()
    er_full_unused: bool = boolean()

    def post_load(self, version: int) -> None:
        if self.er_size and self.er_ep_idx >= self.er_size:
            raise ValueError(f"er_ep_idx must be below {self.er_size}, got {self.er_ep_idx}")

    @property
    def wants(self) -> bool:
        """Something is pending, and may be said."""
        return self.iman & (PENDING | ENABLED) == PENDING | ENABLED


class CommandRing(Stateful):
    """Where the next command is."""

    vmsd = "xhci-ring"
    version = 1
    minimum = 1

    dequeue: int = u64()
    ccs: bool = boolean()


def _interrupter(n: int) -> Item:
    return Nested(f"intr[{n}]", lambda core: core.intr[n])


class XhciCore(Stateful):
    """The controller behind the registers; its fields are named as QEMU names them on the wire.

    The output contexts, in guest memory, are the state of slots and endpoints.
    """

    vmsd = "xhci-core"
    version = 1
    minimum = 1

    extra = subsection("xhci-core/gossamer", ours=True)

    ports: list[Port] = children(Port, 8)
    slots: list[Slot] = children(Slot, SLOTS)
    intr: list[Interrupter] = children(Interrupter, INTERRUPTERS)
    usbcmd: int = u32()
    usbsts: int = u32(HALTED)
    dnctrl: int = u32()
    crcr_low: int = u32()
    crcr_high: int = u32()
    dcbaap_low: int = u32()
    dcbaap_high: int = u32()
    config: int = u32()
    mfindex_start: int = vtime()
    mfwrap_timer: Alarm = alarm("index_wraps")
    cmd_ring: CommandRing = child(CommandRing)
    #: Endpoints that are to be served when their time comes: bit 32 * slot + endpoint.
    waiting: int = bitmap(ENDPOINTS * (SLOTS + 1), within=extra)
    service: Alarm = alarm("serve", within=extra)
    #: Runs, and knows which endpoints wait: not so after a load of a stream of QEMU's.
    knows: bool = boolean(within=extra)

    #: Accesses to memory in this look at the rings.
    spent: int = derived()

    clock: Clock = wiring()
    controller: Controller = wiring()
    super_: int = wiring()
    firmware: bool = wiring()
    streams: bool = wiring()
    devices: list[UsbFunction | None] = wiring()
    commands: Commands = wiring()
    transfers: Transfers = wiring()

    layouts: ClassVar[dict[str, Layout]] = {
        "": [
            *("ports", "slots"),
            *(_interrupter(n) for n in range(INTERRUPTERS)),
            *("usbcmd", "usbsts", "dnctrl", "crcr_low", "crcr_high", "dcbaap_low"),
            *("dcbaap_high", "config", "mfindex_start", "mfwrap_timer", "cmd_ring"),
        ]
    }

    def __init__(
        self,
        clock: Clock,
        controller: Controller,
        *,
        high: int,
        super_: int,
        firmware: bool,
        streams: bool,
    ) -> None:
        super().__init__()
        self.clock, self.controller = clock, controller
        self.super_, self.firmware, self.streams = super_, firmware, streams
        self.ports = [Port(n >= super_) for n in range(super_ + high)]
        self.devices = [None] * high
        self.commands, self.transfers = Commands(self), Transfers(self)
        self.spent = 0

    @extra.losing
    def extra_lost(self) -> Iterator[Loss]:
        if self.waiting & 1:
            yield Loss("the command ring is being worked off", passes=True)
        elif self.waiting:
            yield Loss("when endpoints are to be asked: it may be earlier", passes=True)

    @extra.needed
    def extra_needed(self) -> bool:
        return self.waiting != 0 or self.knows or self.service.armed

    def take_over(self) -> None:
        """After a load: endpoints that may have been waiting at the sender are asked."""
        if self.running and not self.knows:
            self.knows = True
            for n in range(len(self.ports)):
                if self.device_in(n + 1) is not None:
                    self.transfers.awake(n + 1)

    def reset(self) -> None:
        """Power on or HCRST: registers, slots; the ports see their devices anew."""
        super().reset()
        self.mfindex_start = int(self.clock.now)
        for n in range(len(self.ports)):
            self.show(n)
        self.controller.update_irq()

    # --- devices and ports --------------------------------------------------------------------

    def device_in(self, port: int) -> UsbFunction | None:
        """What is in a port (from 1 on, as registers count)."""
        n = port - 1 - self.super_
        return self.devices[n] if 0 <= n < len(self.devices) else None

    def show(self, n: int) -> None:
        """Say what is in port `n` (from 0 on)."""
        self.ports[n].show(self.device_in(n + 1))
        self.ports_changed(n)

    def ports_changed(self, n: int) -> None:
        """A change bit of port `n` was set: say so, if the controller runs."""
        self.usbsts |= 0 if not self.running else PORT_CHANGE
        if self.running:
            self.send(0, Event(PORT_STATUS, SUCCESS, (n + 1) << 24))

    def connect(self, port: int, device: UsbFunction, *, hot: bool = False) -> None:
        self.devices[port] = device
        device.attach()
        n = self.super_ + port
        device.wakeup = lambda: self.wake(n)
        device.ready = lambda: self.transfers.awake(n + 1)
        self.show(n)

    def disconnect(self, port: int) -> None:
        n = self.super_ + port
        self.devices[port] = None
        self.show(n)

    def wake(self, n: int) -> None:
        """A device asks for resume."""
        if self.ports[n].wake():
            self.ports_changed(n)

    # --- memory -------------------------------------------------------------------------------

    def fetch(self, at: int, length: int) -> bytes | None:
        """Guest memory; None where it cannot be read."""
        self.spent += 1
        return self.controller.fetch(at, length)

    def store(self, at: int, data: bytes) -> bool:
        """Write guest memory; whether that can be done."""
        self.spent += 1
        return self.controller.store(at, data)

    @property
    def may_go_on(self) -> bool:
        """Whether this look at the rings has not taken too long."""
        return self.spent < BUDGET

    # --- events -------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return bool(self.usbcmd & RUN)

    @property
    def level(self) -> bool:
        """The interrupt pin: what the first interrupter says."""
        return bool(self.usbcmd & INTERRUPTS_ON) and self.intr[0].wants

    def die(self, why: str) -> None:
        """The driver's structures cannot be followed: Host Controller Error."""
        self.controller.note(why)
        self.usbsts |= CONTROLLER_ERROR

    def send(self, n: int, event: Event) -> None:
        """Put an event on the ring of interrupter `n`, and interrupt."""
        if n >= INTERRUPTERS:
            self.controller.note(f"an event for interrupter {n}")
            return
        one = self.intr[n]
        dequeue = one.erdp_high << 32 | one.erdp_low & ~0xF
        place = dequeue - one.er_start >> 4
        if not 0 <= place < one.er_size:
            self.die("an event, and no ring for it")
            return
        if (one.er_ep_idx + 2) % one.er_size == place:
            self._put(one, Event(HOST_EVENT, RING_FULL))
        elif (one.er_ep_idx + 1) % one.er_size == place:
            self.controller.note("an event is lost: the ring is full")
        else:
            self._put(one, event)
        self._raise(n)

    def _put(self, one: Interrupter, event: Event) -> None:
        at = one.er_start + TRB * one.er_ep_idx
        if not self.store(at, event.pack(one.er_pcs)):
            self.die("an event ring that cannot be written")
        one.er_ep_idx += 1
        if one.er_ep_idx >= one.er_size:
            one.er_ep_idx, one.er_pcs = 0, not one.er_pcs

    def _raise(self, n: int) -> None:
        one = self.intr[n]
        was = one.erdp_low & BUSY
        one.erdp_low |= BUSY
        one.iman |= PENDING
        self.usbsts |= EVENT_INTERRUPT
        asks = not was and one.iman & ENABLED and self.usbcmd & INTERRUPTS_ON
        if asks and self.controller.interrupt(n):
            one.iman &= ~PENDING  # a message has said it

    def _new_ring(self, one: Interrupter) -> None:
        """ERSTBA was written: the ring is the segment that its table names."""
        base = one.erstba_high << 32 | one.erstba_low
        if not one.erstsz or not base:
            one.er_start = one.er_size = 0
            return
        if one.erstsz != 1:
            self.die(f"an event ring of {one.erstsz} segments")
            return
        entry = self.fetch(base, 16)
        if entry is None:
            self.die("a segment table that cannot be read")
            return
        size = int.from_bytes(entry[8:12], "little")
        if size not in SEGMENT_SIZES:
            self.die(f"a segment of {size} TRBs")
            return
        one.er_start = int.from_bytes(entry[:8], "little")
        one.er_size, one.er_ep_idx, one.er_pcs = size, 0, True

    # --- time ---------------------------------------------------------------------------------

    @property
    def microframes(self) -> int:
        """Those that have begun since reset."""
        return max(int(self.clock.now) - self.mfindex_start, 0) // MICROFRAME_NS

    def _arm_wrap(self) -> None:
        if self.usbcmd & (RUN | WRAP_EVENTS) == RUN | WRAP_EVENTS:
            after = (self.microframes // WRAP + 1) * WRAP
            self.mfwrap_timer.set(self.mfindex_start + after * MICROFRAME_NS)
        else:
            self.mfwrap_timer.cancel()

    def index_wraps(self) -> None:
        """The alarm's handler: MFINDEX begins again at 0."""
        self.send(0, Event(WRAP_EVENT, SUCCESS))
        self.mfwrap_timer.set(self.mfwrap_timer.due + WRAP * MICROFRAME_NS)

    def wait(self, place: int, interval: int = 1, now: int = -1) -> None:
        """Serve `place` (a bit of `waiting`) in its next microframe, one in `interval`.

        `now`: the microframe that is served, if that is not long ago.
        """
        self.waiting |= 1 << place
        current = self.microframes
        if now < 0 or current - now > MOST_BEHIND:
            now = current
        due = (now // interval + 1) * interval
        when = self.mfindex_start + due * MICROFRAME_NS
        if not self.service.armed or when < self.service.when:
            self.service.set(when)

    def serve(self) -> None:
        """The alarm's handler: what waits for this microframe has its turn."""
        waiting, self.waiting, self.spent = self.waiting, 0, 0
        if not self.running:
            return
        now = (self.service.due - self.mfindex_start) // MICROFRAME_NS
        while waiting:
            place = (waiting & -waiting).bit_length() - 1
            waiting &= waiting - 1
            if not self.may_go_on:
                self.wait(place, FRAME, now)
            elif place == COMMAND_PLACE:
                self.commands.work_off(now)
            else:
                self.transfers.turn(*divmod(place, ENDPOINTS), now)

    # --- registers ----------------------------------------------------------------------------

    def read(self, at: int) -> int:
        """The register at `at`, a word."""
        if at >= DOORBELLS:
            return 0
        if at >= RUNTIME:
            return self._read_runtime(at)
        if at >= PORTS:
            n, register = divmod(at - PORTS, 16)
            return self.ports[n].portsc if n < len(self.ports) and register == 0 else 0
        if at < OPERATIONAL:
            return self._capability(at)
        name = PLAIN.get(at)
        if name is not None:
            value: int = getattr(self, name)
            return value & ~0xE if name == "crcr_low" else value
        return 1 if at == 0x48 else 0

    def _capability(self, at: int) -> int:
        super_, high = self.super_, len(self.ports) - self.super_
        fixed = {
            0x00: 0x0100 << 16 | OPERATIONAL,
            0x04: len(self.ports) << 24 | INTERRUPTERS << 8 | SLOTS,
            0x08: 0xF,
            0x10: 0x8_0001 | (0x7000 if self.streams else 0),
            0x14: DOORBELLS,
            0x18: RUNTIME,
            0x20: 0x0200_0402,
            0x24: USB,
            0x28: high << 8 | super_ + 1,
            0x30: 0x0300_0002,
            0x34: USB,
            0x38: super_ << 8 | 1,
        }
        return fixed.get(at, 0)

    def _read_runtime(self, at: int) -> int:
        if at == RUNTIME:
            return self.microframes & WRAP - 1
        n, register = divmod(at - INTERRUPTER, 0x20)
        if n < 0 or n >= INTERRUPTERS:
            return 0
        name = INTERRUPTER_FIELDS.get(register)
        value: int = 0 if name is None else getattr(self.intr[n], name)
        return value

    def write(self, at: int, value: int) -> None:
        if at >= DOORBELLS:
            self._ring(at - DOORBELLS >> 2, value)
        elif at >= RUNTIME:
            n, register = divmod(at - INTERRUPTER, 0x20)
            if 0 <= n < INTERRUPTERS:
                self._write_interrupter(n, register, value)
        elif at >= PORTS:
            n, register = divmod(at - PORTS, 16)
            if n < len(self.ports) and register == 0:
                self._write_port(n, value)
        else:
            self._write_operational(at, value)

    def _write_operational(self, at: int, value: int) -> None:
        match at:
            case 0x40:
                self._command(value)
            case 0x44:
                self.usbsts &= ~(value & STATUS_CLEARED)
                self.controller.update_irq()
            case 0x54:
                self.dnctrl = value & 0xFFFF
            case 0x58:
                kept = self.crcr_low & RING_RUNNING
                self.crcr_low = value & CRCR_KEPT | kept
            case 0x5C:
                self._command_ring(value)
            case 0x70:
                self.dcbaap_low = value & 0xFFFF_FFC0
            case 0x74:
                self.dcbaap_high = value
            case 0x78:
                self.config = value & 0xFF
            case _:
                self.controller.note(f"write to unknown or read-only register {at:#x}")

    def _command(self, value: int) -> None:
        """USBCMD."""
        if value & RUN and not self.usbcmd & RUN:
            self.usbsts &= ~HALTED
            self.mfindex_start, self.knows = int(self.clock.now), True
        elif not value & RUN and self.usbcmd & RUN:
            self.usbsts |= HALTED
            self.knows = False
            self.crcr_low &= ~RING_RUNNING
        if value & SAVE:
            self.usbsts &= ~RESTORE_ERROR
        if value & RESTORE:  # nothing is kept: the driver begins anew
            self.usbsts |= RESTORE_ERROR
        self.usbcmd = value & COMMAND_KEPT
        self._arm_wrap()
        if value & HOST_RESET:
            self.reset()
        self.controller.update_irq()

    def _command_ring(self, high: int) -> None:
        """CRCR's upper half: stop the ring, or begin where the register says."""
        self.crcr_high = high
        if self.crcr_low & (STOP | ABORT) and self.crcr_low & RING_RUNNING:
            self.crcr_low &= ~RING_RUNNING
            self.send(0, Event(COMMAND_RING_EVENT, RING_STOPPED))
        else:
            base = high << 32 | self.crcr_low & ~0x3F
            self.cmd_ring.dequeue, self.cmd_ring.ccs = base, bool(self.crcr_low & 1)
        self.crcr_low &= ~(STOP | ABORT)

    def _write_port(self, n: int, value: int) -> None:
        if self.ports[n].write(value, self.device_in(n + 1)):
            self.ports_changed(n)

    def _write_interrupter(self, n: int, register: int, value: int) -> None:
        one = self.intr[n]
        match register:
            case 0x00:
                one.iman = (one.iman & ~(value & PENDING)) & ~ENABLED | value & ENABLED
                one.msix_used = self.controller.by_msix and bool(one.iman & ENABLED)
                if n == 0:
                    self.controller.update_irq()
            case 0x04:
                one.imod = value
            case 0x08:
                one.erstsz = value & 0xFFFF
            case 0x10:
                one.erstba_low = value & 0xFFFF_FFC0
            case 0x14:
                one.erstba_high = value
                self._new_ring(one)
            case 0x18:
                busy = one.erdp_low & ~value & BUSY
                one.erdp_low = value & ~BUSY | busy
                if value & BUSY:
                    self._look_again(n)
            case 0x1C:
                one.erdp_high = value

    def _look_again(self, n: int) -> None:
        """The driver has taken events: interrupt once more if there are others."""
        one = self.intr[n]
        place = (one.erdp_high << 32 | one.erdp_low & ~0xF) - one.er_start >> 4
        if 0 <= place < one.er_size and place != one.er_ep_idx:
            self._raise(n)

    def _ring(self, slot: int, value: int) -> None:
        """A doorbell."""
        if not self.running:
            self.controller.note("a doorbell while the controller is halted")
            return
        self.spent = 0
        if not slot:
            if value == 0:
                self.crcr_low |= RING_RUNNING
                self.commands.work_off()
        elif slot <= SLOTS:
            self.transfers.kick(slot, value & 0xFF, value >> 16)


PLAIN: Final = {
    0x40: "usbcmd", 0x44: "usbsts", 0x54: "dnctrl", 0x58: "crcr_low", 0x5C: "crcr_high",
    0x70: "dcbaap_low", 0x74: "dcbaap_high", 0x78: "config",
}  # fmt: skip
"""Operational registers and the fields that they show."""
INTERRUPTER_FIELDS: Final = {
    0x00: "iman", 0x04: "imod", 0x08: "erstsz", 0x10: "erstba_low", 0x14: "erstba_high",
    0x18: "erdp_low", 0x1C: "erdp_high",
}  # fmt: skip
