"""Virtual I/O: what every device of /vdevice has, the terminal and the NVRAM.

Sources: LoPAR 17.2 (VIO), 16.5 (virtual terminal), 8.3 (NVRAM services); state as QEMU 7.2's
stream has it.  The bus with its hypercalls is `devices.spapr.vio_bus`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.core.irq import IrqLine
from gossamer.devices.spapr.calls import PARAMETER, SUCCESS, Handler, Registers, arguments, results
from gossamer.state.codec import U32, U64, Equal, Int
from gossamer.state.declare import buffer, u32, u64, wiring
from gossamer.state.layout import Constant, Item, Nested, View

H_GET_TERM_CHAR, H_PUT_TERM_CHAR = 0x54, 0x58
#: Bytes that the terminal keeps for the guest, and that one call takes at the most.
ROOM: Final = 16
NVRAM_SIZE: Final = 0x1_0000

_EQUAL: Final = Int("uint32 equal", 4)
_MASK32: Final = 0xFFFF_FFFF


def _fixed(name: str, get: Callable[[VioDevice], int]) -> View:
    """A number that both sides must have alike."""

    def put(device: VioDevice, value: int) -> None:
        if value != get(device):
            raise ValueError(f"must be {get(device):#x}, got {value:#x}")

    return View(name, _EQUAL, get, put)


def _kept(name: str, attribute: str, codec: Int) -> View:
    def put(device: VioDevice, value: int) -> None:
        setattr(device, attribute, value)

    return View(name, codec, lambda device: getattr(device, attribute), put)


def head(name: str) -> Item:
    """What a VIO device's section begins with."""
    return Nested(
        name,
        lambda device: device,
        vmsd="spapr_vio",
        version=1,
        layout=[
            _fixed("reg", lambda device: device.reg),
            _fixed("irq", lambda device: device.source),
            _kept("signal_state", "signal_state", U64),
            _kept("crq.qladdr", "crq_address", U64),
            _kept("crq.qsize", "crq_size", U32),
            _kept("crq.qnext", "crq_next", U32),
        ],
    )


class VioDevice(Device):
    """A device at unit address `reg`, with interrupt source `source` (an edge) on `irq`."""

    signal_state: int = u64()
    crq_address: int = u64()
    crq_size: int = u32()
    crq_next: int = u32()

    #: Bits of `signal_state` that the guest may set: whether there are interrupts to switch on.
    SIGNALS = 0

    reg: int = wiring()
    source: int = wiring()
    irq: IrqLine = wiring()

    def __init__(self, clock: Clock, reg: int, source: int, irq: IrqLine) -> None:
        super().__init__(clock)
        self.reg, self.source, self.irq = reg, source, irq

    def request(self) -> None:
        """An interrupt."""
        self.irq.set(True)
        self.irq.set(False)


class Terminal(VioDevice):
    """The console: `transmit` takes the bytes that the guest sends."""

    vmsd = "spapr_vty"
    version = 1
    minimum = 1

    received: int = u32(wire="in")
    taken: int = u32(wire="out")
    buf: bytearray = buffer(ROOM)
    layouts = {"": [head("sdev"), "received", "taken", "buf"]}

    transmit: Callable[[bytes], None] = wiring()
    #: Called with whether there is nothing for the guest, when that may have changed.
    fell_silent: Callable[[bool], None] = wiring()

    def __init__(self, clock: Clock, reg: int, source: int, irq: IrqLine) -> None:
        super().__init__(clock, reg, source, irq)
        self.idstr = f"vty@{reg:x}/spapr_vty"
        self.transmit = self.fell_silent = _nothing
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.fell_silent(True)

    def post_load(self, version: int) -> None:
        if self.waiting > ROOM:
            raise ValueError(f"{self.waiting} bytes wait, there is room for {ROOM}")
        self.fell_silent(not self.waiting)

    @property
    def waiting(self) -> int:
        """Bytes that the guest has not taken yet."""
        return (self.received - self.taken) & _MASK32

    def room(self) -> int:
        """Bytes that `receive` takes now."""
        return ROOM - self.waiting

    def receive(self, byte: int) -> None:
        """A byte typed by the user."""
        if not self.room():
            return
        first = not self.waiting
        self.buf[self.received % ROOM] = byte
        self.received = (self.received + 1) & _MASK32
        if first:
            self.fell_silent(False)
            self.request()

    def take(self) -> bytes:
        """All that waits."""
        out = bytes(self.buf[(self.taken + n) % ROOM] for n in range(self.waiting))
        self.taken = self.received
        self.fell_silent(True)
        return out


class Nvram(Device):
    """64 KiB that keep their content, read and written by run-time services."""

    vmsd = "spapr_nvram"
    version = 1
    minimum = 1

    buf: bytearray = buffer(NVRAM_SIZE)
    layouts = {"": [Constant("size", Equal(U32, NVRAM_SIZE)), "buf"]}

    reg: int = wiring()
    source: int = wiring()

    def __init__(self, clock: Clock, reg: int, source: int) -> None:
        super().__init__(clock)
        self.idstr = f"nvram@{reg:x}/spapr_nvram"
        self.reg, self.source = reg, source
        super().reset()

    def reset(self) -> None:
        """It keeps its content."""


def terminal_calls(terminals: Iterable[Terminal]) -> dict[int, Handler]:
    """The hypercalls of terminals; unit address 0 is the first one."""
    units = {one.reg: one for one in terminals}
    if not units:
        raise ConfigError("a machine without a terminal")
    units[0] = next(iter(units.values()))

    def get(regs: Registers) -> int:
        terminal = units.get(regs.get("gpr", 4))
        if terminal is None:
            return PARAMETER
        data = terminal.take()
        padded = data.ljust(ROOM, b"\0")
        words = (int.from_bytes(padded[n : n + 8], "big") for n in (0, 8))
        results(regs, len(data), *words)
        return SUCCESS

    def put(regs: Registers) -> int:
        unit, length, *words = arguments(regs, 4)
        terminal = units.get(unit)
        if terminal is None or length > ROOM:
            return PARAMETER
        terminal.transmit(b"".join(word.to_bytes(8, "big") for word in words)[:length])
        return SUCCESS

    return {H_GET_TERM_CHAR: get, H_PUT_TERM_CHAR: put}


def _nothing(of: object) -> None:
    """No listener is connected."""
