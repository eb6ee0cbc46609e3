"""The state of an xHCI, and what all of its parts use: ports, memory, events, time.

Source: eXtensible Host Controller Interface for USB 1.1; names as QEMU 7.2 has them on the wire;
docs page xhci.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final, Protocol

from gossamer.base.data import Data
from gossamer.core.clock import Alarm, Clock
from gossamer.devices.usb.device import UsbFunction
from gossamer.devices.usb.xhci_interrupters import BUSY, ENABLED, INTERRUPTERS, PENDING, Interrupter
from gossamer.devices.usb.xhci_ports import PORT_STATUS, Port
from gossamer.devices.usb.xhci_rings import Event
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
ENDPOINTS: Final = 32
"""Places of a slot's endpoints; the first is none."""
MICROFRAME_NS: Final = 125_000
MOST_BEHIND: Final = 8000
"""Microframes that are caught up with one by one: a second."""
WRAP: Final = 0x4000
"""Microframes that MFINDEX counts."""

# USBCMD.
RUN, INTERRUPTS_ON, WRAP_EVENTS = 1, 4, 0x400
# USBSTS.
HALTED, EVENT_INTERRUPT, PORT_CHANGE, CONTROLLER_ERROR = 1, 8, 0x10, 0x1000
WRAP_EVENT, SUCCESS = 39, 1
BUDGET: Final = 256
"""Accesses to memory after which a look at the rings ends, to go on in the next frame."""


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


class CommandRing(Stateful):
    """Where the next command is."""

    vmsd = "xhci-ring"
    version = 1
    minimum = 1

    dequeue: int = u64()
    ccs: bool = boolean()


def _interrupter(n: int) -> Item:
    return Nested(f"intr[{n}]", lambda core: core.intr[n])


class Shape(Data):
    """What a controller has: `high` ports of USB 2, `super_` of USB 3, which come first.

    `firmware`: it answers NEC's vendor commands; `streams`: its endpoints may have streams.
    """

    high: int
    super_: int
    firmware: bool
    streams: bool


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

    layouts: ClassVar[dict[str, Layout]] = {
        "": [
            *("ports", "slots"),
            *(_interrupter(n) for n in range(INTERRUPTERS)),
            *("usbcmd", "usbsts", "dnctrl", "crcr_low", "crcr_high", "dcbaap_low"),
            *("dcbaap_high", "config", "mfindex_start", "mfwrap_timer", "cmd_ring"),
        ]
    }

    def __init__(self, clock: Clock, controller: Controller, shape: Shape) -> None:
        super().__init__()
        self.clock, self.controller = clock, controller
        self.super_, self.firmware, self.streams = shape.super_, shape.firmware, shape.streams
        self.ports = [Port(n >= shape.super_) for n in range(shape.super_ + shape.high)]
        self.devices = [None] * shape.high
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
        self.note(why)
        self.usbsts |= CONTROLLER_ERROR

    def note(self, text: str) -> None:
        self.controller.note(text)

    def send(self, n: int, event: Event) -> None:
        """Put an event on the ring of interrupter `n`, and interrupt."""
        if n >= INTERRUPTERS:
            self.note(f"an event for interrupter {n}")
        elif self.intr[n].put(event, self):
            self.interrupt(n)

    def interrupt(self, n: int) -> None:
        """There is something on the ring of interrupter `n`."""
        one = self.intr[n]
        was = one.erdp_low & BUSY
        one.erdp_low |= BUSY
        one.iman |= PENDING
        self.usbsts |= EVENT_INTERRUPT
        asks = not was and one.iman & ENABLED and self.usbcmd & INTERRUPTS_ON
        if asks and self.controller.interrupt(n):
            one.iman &= ~PENDING  # a message has said it

    # --- time ---------------------------------------------------------------------------------

    @property
    def microframes(self) -> int:
        """Those that have begun since reset."""
        return max(int(self.clock.now) - self.mfindex_start, 0) // MICROFRAME_NS

    def arm_wrap(self) -> None:
        """Say when MFINDEX wraps, if the driver wants to know."""
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
        raise NotImplementedError
