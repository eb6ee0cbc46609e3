"""The bus of virtual I/O: who stands at which unit address, DMA windows, queues of messages.

Sources: LoPAR 16.2 (signals), 16.3 (TCEs), 17.2.1 (command/response queues); codes and order of
checks as QEMU 7.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.devices.spapr.calls import (
    HARDWARE,
    NOT_FOUND,
    PARAMETER,
    RESOURCE,
    SUCCESS,
    GuestRam,
    Handler,
    Registers,
    arguments,
)
from gossamer.devices.spapr.rtas import OK, PARAMETER_ERROR, Results, Rtas
from gossamer.devices.spapr.tce import TceWindow, TranslatedRam
from gossamer.devices.spapr.vio import VioDevice
from gossamer.state.declare import wiring

H_REG_CRQ, H_FREE_CRQ, H_VIO_SIGNAL, H_SEND_CRQ = 0xFC, 0x100, 0x104, 0x108
#: A device's DMA window: 256 MiB in pages of 4 KiB.
WINDOW_BYTES: Final = 0x1000_0000
WINDOW_ENTRIES: Final = WINDOW_BYTES >> 12
#: Bytes of a queue that a guest may register; of a message.
LEAST_QUEUE, MOST_QUEUE = 0x1000, 0x1000_0000
MESSAGE: Final = 16


class VioMemory:
    """Guest memory as a device of the bus sees it: through its window, or as it is (bypass)."""

    def __init__(self, window: TceWindow, ram: GuestRam) -> None:
        self.window, self.ram = window, ram
        self.translated = TranslatedRam([window], ram)

    def read(self, address: int, length: int) -> bytes | None:
        if self.window.bypass:
            return self.ram.read(address, length) if self.ram.has(address, length) else None
        return self.translated.read(address, length)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> bool:
        if not self.window.bypass:
            return self.translated.write(address, data)
        if not self.ram.has(address, len(data)):
            return False
        self.ram.write(address, bytes(data))
        return True

    def may(self, address: int, length: int) -> bool:
        """Whether all of it may be read and written."""
        if self.window.bypass:
            return self.ram.has(address, length)
        return self.translated.may(address, length)

    def word(self, address: int, size: int = 8) -> int:
        """A big-endian number; 0 where there is none."""
        data = self.read(address, size)
        return 0 if data is None else int.from_bytes(data, "big")

    def put(self, address: int, value: int, size: int = 8) -> bool:
        return self.write(address, value.to_bytes(size, "big"))


class DmaDevice(VioDevice):
    """A device with a DMA window and interrupts that the guest switches on."""

    SIGNALS = 1

    window: TceWindow = wiring()
    memory: VioMemory = wiring()

    def __init__(
        self, clock: Clock, reg: int, source: int, irq: IrqLine, window: TceWindow, ram: GuestRam
    ) -> None:
        self.window, self.memory = window, VioMemory(window, ram)
        super().__init__(clock, reg, source, irq)

    def signal(self) -> None:
        """An interrupt, where the guest wants them."""
        if self.signal_state & 1:
            self.request()


class CrqDevice(DmaDevice):
    """One that exchanges messages of 16 bytes with the guest."""

    def free_queue(self) -> None:
        self.crq_address = self.crq_size = self.crq_next = 0

    def message(self, data: bytes) -> int:
        """The guest has sent a message; H_SEND_CRQ's return code."""
        raise NotImplementedError

    def send(self, data: bytes) -> bool:
        """Put a message into the guest's queue; false where it is full, or nowhere."""
        if not self.crq_size:
            return False
        at = self.crq_address + self.crq_next
        first = self.memory.read(at, 1)
        if first is None or first[0]:
            self.note("no room in the guest's queue: a message is lost")
            return False
        if not self.memory.write(at, data):
            return False
        self.crq_next = (self.crq_next + MESSAGE) % self.crq_size
        self.signal()
        return True


class VioBus:
    """The devices by unit address.  `windows` are those of all devices, by number."""

    def __init__(self, windows: dict[int, TceWindow]) -> None:
        self.devices: dict[int, VioDevice] = {}
        self.windows = windows

    def add(self, device: VioDevice) -> None:
        self.devices[device.reg] = device
        if isinstance(device, DmaDevice):
            self.windows[device.window.liobn] = device.window

    def quiesce(self) -> None:
        """Nothing may reach memory any more."""
        for device in self.devices.values():
            if isinstance(device, DmaDevice):
                device.window.set_size(device.window.count)
            if isinstance(device, CrqDevice):
                device.free_queue()

    def calls(self) -> dict[int, Handler]:
        """The hypercalls that every device answers, or refuses."""

        def at_unit(action: Callable[[VioDevice, Registers], int]) -> Handler:
            def handler(regs: Registers) -> int:
                device = self.devices.get(regs.get("gpr", 4))
                return PARAMETER if device is None else action(device, regs)

            return handler

        def signal(device: VioDevice, regs: Registers) -> int:
            mode = regs.get("gpr", 5)
            if mode & ~device.SIGNALS:
                return PARAMETER
            device.signal_state = mode
            return SUCCESS

        return {
            H_VIO_SIGNAL: at_unit(signal),
            H_REG_CRQ: at_unit(_register),
            H_FREE_CRQ: at_unit(_free),
            H_SEND_CRQ: at_unit(_send),
        }

    def add_services(self, rtas: Rtas) -> None:
        def bypass(a: list[int]) -> Results:
            device = self.devices.get(a[0])
            if not isinstance(device, DmaDevice):
                return PARAMETER_ERROR
            device.window.bypass = a[1] != 0
            return OK

        def quiesce(a: list[int]) -> Results:
            self.quiesce()
            return OK

        rtas.add("ibm,set-tce-bypass", 2, 1, bypass)
        rtas.add("quiesce", 0, 1, quiesce)


def _register(device: VioDevice, regs: Registers) -> int:
    _, address, size = arguments(regs, 3)
    if not LEAST_QUEUE <= size <= MOST_QUEUE or address & 0xFFF:
        return PARAMETER
    if not isinstance(device, CrqDevice):
        return NOT_FOUND
    if device.crq_size:
        return RESOURCE
    device.crq_address, device.crq_size, device.crq_next = address, size, 0
    return SUCCESS


def _free(device: VioDevice, regs: Registers) -> int:
    device.crq_address = device.crq_size = device.crq_next = 0
    return SUCCESS


def _send(device: VioDevice, regs: Registers) -> int:
    _, high, low = arguments(regs, 3)
    if not isinstance(device, CrqDevice):
        return HARDWARE
    return device.message(high.to_bytes(8, "big") + low.to_bytes(8, "big"))
