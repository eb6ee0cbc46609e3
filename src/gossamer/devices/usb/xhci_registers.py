"""Registers of an xHCI: capabilities, operation, ports, interrupters, doorbells.

What commands do is in xhci_commands.py, transfers in xhci_transfers.py.  Source: eXtensible Host
Controller Interface for USB 1.1, chapter 5; what QEMU 7.2 shows of it: docs page xhci.md.
"""

from __future__ import annotations

from typing import Final

from gossamer.core.clock import Clock
from gossamer.devices.usb.device import UsbFunction
from gossamer.devices.usb.xhci_commands import Commands
from gossamer.devices.usb.xhci_core import (
    ENDPOINTS,
    EVENT_INTERRUPT,
    HALTED,
    MICROFRAME_NS,
    PORT_CHANGE,
    RUN,
    SLOTS,
    WRAP,
    Controller,
    Shape,
    XhciCore,
)
from gossamer.devices.usb.xhci_interrupters import BUSY, ENABLED, INTERRUPTERS
from gossamer.devices.usb.xhci_rings import Event
from gossamer.devices.usb.xhci_transfers import Transfers
from gossamer.state.declare import wiring

# Places of the registers.
OPERATIONAL, PORTS, RUNTIME, INTERRUPTER, DOORBELLS = 0x40, 0x440, 0x1000, 0x1020, 0x2000
PLAIN: Final = {
    0x40: "usbcmd", 0x44: "usbsts", 0x54: "dnctrl", 0x58: "crcr_low", 0x5C: "crcr_high",
    0x70: "dcbaap_low", 0x74: "dcbaap_high", 0x78: "config",
}  # fmt: skip
"""Operational registers and the fields that they show."""
# USBCMD, besides what the core knows.
HOST_RESET, SAVE, RESTORE, COMMAND_KEPT = 2, 0x100, 0x200, 0xC0F
# USBSTS, besides what the core knows.
SYSTEM_ERROR, RESTORE_ERROR = 4, 0x400
STATUS_CLEARED: Final = SYSTEM_ERROR | EVENT_INTERRUPT | PORT_CHANGE | RESTORE_ERROR
# CRCR.
STOP, ABORT, RING_RUNNING = 2, 4, 8
CRCR_KEPT: Final = 0xFFFF_FFC7
COMMAND_RING_EVENT, RING_STOPPED = 33, 24

USB: Final = 0x2042_5355
"""The name string of a supported protocol."""
FRAME: Final = 8
"""Microframes of a frame."""
COMMAND_PLACE: Final = 0
"""In `waiting`: the command ring."""


class XhciRegisters(XhciCore):
    """The controller as its driver sees it."""

    commands: Commands = wiring()
    transfers: Transfers = wiring()

    def __init__(self, clock: Clock, controller: Controller, shape: Shape) -> None:
        super().__init__(clock, controller, shape)
        self.transfers = Transfers(self)
        self.commands = Commands(self, self.transfers)

    def take_over(self) -> None:
        """After a load: endpoints that may have been waiting at the sender are asked."""
        if self.running and not self.knows:
            self.knows = True
            for n in range(len(self.ports)):
                if self.device_in(n + 1) is not None:
                    self.transfers.awake(n + 1)

    # --- what is plugged in, what waits -------------------------------------------------------

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
        return self.intr[n].read(register) if 0 <= n < INTERRUPTERS else 0

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
                self.note(f"write to unknown or read-only register {at:#x}")

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
        self.arm_wrap()
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
                one.acknowledge(value)
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
                one.begin(self)
            case 0x18:
                one.take(value)
                if value & BUSY and one.has_more:
                    self.interrupt(n)  # once more
            case 0x1C:
                one.erdp_high = value

    def _ring(self, slot: int, value: int) -> None:
        """A doorbell."""
        if not self.running:
            self.note("a doorbell while the controller is halted")
            return
        self.spent = 0
        if not slot:
            if value == 0:
                self.crcr_low |= RING_RUNNING
                self.commands.work_off()
        elif slot <= SLOTS:
            self.transfers.kick(slot, value & 0xFF, value >> 16)
