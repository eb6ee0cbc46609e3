"""A machine: its clock, memory, CPU and chips, put together in one place.

A composition calls `ram`, `rom`, `map`, `add` in order; the order of `add` is the order of the
sections in a stream.  `check` refuses what is not whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.base.late import np
from gossamer.base.units import MiB
from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.core.htab import HashTable
from gossamer.core.memory import AddressMap, Arena, RamBlock
from gossamer.core.region import Region
from gossamer.core.trace import Trace
from gossamer.cpu import families
from gossamer.cpu.common import CpuCommon
from gossamer.cpu.cpu import Cpu
from gossamer.cpu.model import find as find_cpu
from gossamer.devices.vga.shown import Shown
from gossamer.engine.processor import Processor
from gossamer.engine.regions.soon import Soon
from gossamer.engine.tier0 import Tier0
from gossamer.engine.turns import Turns
from gossamer.machines.config import Added, Hardware
from gossamer.machines.kind import MachineKind
from gossamer.machines.timer import Timer
from gossamer.machines.turn import Turn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossamer.devices.scsi.bus import ScsiBus
    from gossamer.devices.spapr.llan import LogicalLan
    from gossamer.devices.spapr.vio import Nvram, VioDevice
    from gossamer.devices.spapr.vscsi import VirtualScsi
    from gossamer.engine.regions.regions import Regions

D = TypeVar("D", bound=Device)


class SerialPort(Protocol):
    """A serial port as consoles see it; `transmit` takes the bytes that the guest sends."""

    transmit: Callable[[bytes], None]

    def room(self) -> int:
        """Bytes that can be received now."""

    def receive(self, byte: int) -> None: ...


class Keyboard(Protocol):
    """A keyboard: keys by ADB code."""

    def key(self, code: int, down: bool) -> None: ...

    @property
    def down(self) -> tuple[int, ...]:
        """Codes of the keys that are down."""


@runtime_checkable
class Mouse(Protocol):
    """A mouse: movement in counts, buttons as bits (1 left, 2 middle, 4 right), notches up."""

    def move(self, dx: int, dy: int, buttons: int, wheel: int = 0) -> None: ...

    @property
    def pressed(self) -> bool:
        """Whether a button is down."""


@runtime_checkable
class Tablet(Protocol):
    """A pointer that has a place: (x, y), each 0 to 0x7fff, buttons as a mouse's."""

    def point(self, x: int, y: int, buttons: int) -> None: ...


class Display(Protocol):
    """A screen: its picture, or what the picture is made of (`devices.vga.render`)."""

    vram: RamBlock

    def render(self) -> tuple[int, int, bytes]:
        """Width, height and RGB rows."""

    def shown(self) -> Shown:
        """The registers that decide about the picture."""

    def pixels(self) -> NDArray[np.uint8]:
        """The video memory."""


class VirtualIo(Protocol):
    """Where devices of virtual I/O are put."""

    @property
    def devices(self) -> Sequence[VioDevice | Nvram]:
        """All that the tree has nodes of."""

    def add_lan(self, added: Added, mac: bytes) -> LogicalLan: ...
    def add_scsi(self, added: Added) -> VirtualScsi: ...


class Part(Data):
    """A chip in its place; `idstr` empty: no section of its own.

    `known_as`: QEMU's name and the user's id, where QEMU's options can name it.
    """

    path: str
    device: Device
    idstr: str
    instance: int
    known_as: str = ""

    @property
    def title(self) -> str:
        return f"{self.idstr}/{self.instance}" if self.instance else self.idstr


class Plugged(Data):
    """A device that can be taken out again.

    `added` names the port that it got; `origin` is the record of `Hardware.devices` that it comes
    from, which a hub that makes room shares with what is plugged into it.
    """

    device: Device
    added: Added
    origin: Added


class Machine:
    """Everything of one emulated computer.

    `other_memory` is room for video memory and ROMs, bytes; `tb_hz` is the kind's unless given.
    """

    def __init__(
        self,
        hardware: Hardware,
        kind: MachineKind[Machine],
        *,
        other_memory: int = 32 * MiB,
        tb_hz: int = 0,
    ) -> None:
        self.hardware, self.kind = hardware, kind
        self.version = kind.version(hardware.version)
        self.name = kind.name
        self.trace = Trace()
        self.clock = Clock()
        self.arena = Arena(hardware.ram_size + other_memory)
        self.memory = AddressMap(self.arena, self.trace)
        self.parts: list[Part] = []
        self.serials: list[SerialPort] = []
        self.keyboard: Keyboard | None = None
        self.mouse: Mouse | None = None
        #: Presses the power button; None: it is a key of the keyboard, where there is one.
        self.power_button: Callable[[], None] | None = None
        self.display: Display | None = None
        #: SCSI buses, in the order of their adapters; the bus of virtual I/O, where there is one.
        self.scsi: list[ScsiBus] = []
        self.vio: VirtualIo | None = None
        #: What -device or a command has plugged in, as the parts are in order.
        self.plugged: list[Plugged] = []
        #: Devices that -device gave a bootindex.
        self.boot_indices: list[tuple[Device, int]] = []
        #: What puts a kernel back into memory when the machine is reset.
        self.at_reset: list[Callable[[], object]] = []
        #: Called when all devices are there: the last step of building it.
        self.complete: Callable[[], None] = lambda: None
        #: Says that what -boot once= asks for is over.
        self.booted: Callable[[], None] = lambda: None
        #: Lets the firmware find another boot device, by its letters of -boot; None: it has none.
        self.boot_from: Callable[[str], None] | None = None
        #: The page table that a hypervisor keeps for the guest, outside its memory.
        self.hash_table: HashTable | None = None
        #: Where files of -device loader lie: start, end, name.
        self.loaded: list[tuple[int, int, str]] = []
        #: Called when the guest switches the power off, or asks for a system reset.
        self.power_off: Callable[[], None] = lambda: None
        self.system_reset: Callable[[], None] = lambda: None
        self._alarms_named = 0
        model = find_cpu(kind.find_cpu(hardware.cpu))
        engines = [Tier0(self.memory, model.architecture)]
        for _ in range(1, hardware.cpus):
            engines.append(Tier0(self.memory, model.architecture, beside=engines[0]))
        self.engines = engines
        #: What translates hot code, where that was asked for (`translate`).
        self.translator: Soon | None = None
        self.timer = self.add("timer", Timer(self.clock), idstr="timer")
        self.cpus: list[Cpu] = []
        self._turns: Turns | None = None
        for n, one in enumerate(engines):
            cpu = families.make(self.clock, one.block, model, tb_hz or kind.tb_hz)
            self.cpus.append(cpu)
            last = str(n) if n else ""
            self.add(f"cpu_common{last}", CpuCommon(cpu), idstr="cpu_common", instance=n)
            self.add(f"cpu{last}", cpu, idstr="cpu", instance=n)
        self.processor = self._processor()
        self.timer.processor = self.processor

    def _processor(self) -> Processor:
        if len(self.cpus) == 1:
            return Processor(self.cpu, self.engine, self.clock)
        turns = Turns(list(zip(self.cpus, self.engines, strict=True)), self.clock)
        self.add("turn", Turn(self.clock, turns))
        self._turns = turns
        return turns

    @property
    def turn(self) -> int:
        """The number of the CPU whose turn it is: the one that executes."""
        return self._turns.turn if self._turns else 0

    def pass_turn(self) -> None:
        """Let the next CPU go on, if there is one, when the instruction that calls is over."""
        if self._turns is not None:
            self._turns.pass_turn()

    @property
    def cpu(self) -> Cpu:
        """The CPU; where there are several, the first one."""
        return self.cpus[0]

    @property
    def word(self) -> int:
        """Bits of a register and of an effective address: 32 or 64."""
        return self.cpu.model.architecture.word

    @property
    def engine(self) -> Tier0:
        """The engine; where there are several CPUs, that of the one whose turn it is."""
        return self.engines[self.turn]

    @property
    def regions(self) -> Regions | None:
        """What translates hot code, loaded if it was not yet; None: tier 0 is alone."""
        return None if self.translator is None else self.translator.regions()

    # --- composition --------------------------------------------------------------------------

    def add(
        self,
        path: str,
        device: D,
        *,
        idstr: str | None = None,
        instance: int = 0,
        known_as: str = "",
    ) -> D:
        """Put a chip in its place; its section follows those already added."""
        if any(p.path == path for p in self.parts):
            raise ConfigError(f"{path}: there already")
        if not self.has(path):
            raise ConfigError(f"{path}: {self.hardware.full_name} has no such part")
        name = device.idstr if idstr is None else idstr
        if name and any((p.idstr, p.instance) == (name, instance) for p in self.parts):
            raise ConfigError(f"{path}: section {name}/{instance} is taken")
        device.path, device.trace = path, self.trace
        device.idstr, device.instance = name, instance
        for n, alarm in enumerate(self.clock.alarms[self._alarms_named :]):
            alarm.key = (path, f"{n:02}")
        self._alarms_named = len(self.clock.alarms)
        self.parts.append(Part(path, device, name, instance, known_as))
        return device

    def remove(self, part: Part) -> None:
        """Take a chip out again: one that is pluggable, and has no alarm."""
        self.parts.remove(part)

    def has(self, path: str) -> bool:
        """Whether the machine's version has the part at `path`: the composition asks."""
        return path not in self.version.without

    def ram(self, name: str, size: int, *, at: int | None = None) -> RamBlock:
        """A block of RAM, mapped at real address `at` when given."""
        block = self.arena.add(name, size)
        if at is not None:
            self.memory.map(block, at)
        return block

    def rom(
        self, name: str, size: int, content: bytes, *, at: int | None = None, start: int = 0
    ) -> RamBlock:
        """A read-only block with its content, from offset `start` on."""
        block = self.arena.add(name, size, read_only=True)
        if start + len(content) > size:
            raise ConfigError(f"{name}: content of {len(content)} bytes, room for {size - start}")
        # Its memory is new: what is zero stays untouched, and costs the host no page.
        body = content.rstrip(b"\0")
        skipped = len(body) - len(body.lstrip(b"\0"))
        self.memory.write_arena(block.offset + start + skipped, body[skipped:])
        if at is not None:
            self.memory.map(block, at)
        return block

    def map(self, region: Region, *, at: int) -> None:
        self.memory.map(region, at)

    # --- use ----------------------------------------------------------------------------------

    @property
    def sections(self) -> list[Part]:
        """The parts that have a section of their own, in stream order."""
        return [p for p in self.parts if p.idstr]

    def part(self, path: str) -> Device:
        """The chip at `path`; KeyError when there is none."""
        for p in self.parts:
            if p.path == path:
                return p.device
        raise KeyError(path)

    def block(self, name: str) -> RamBlock:
        """The RAM block called `name`; KeyError when there is none."""
        for b in self.arena.blocks:
            if b.name == name:
                return b
        raise KeyError(name)

    def reset(self) -> None:
        """System reset: every chip, then the CPU; a kernel given from outside is loaded anew."""
        for p in self.parts:
            if p.device not in (*self.cpus, self.timer):
                p.device.reset()
        for cpu in self.cpus:
            cpu.reset()
        for action in self.at_reset:
            action()
        self.processor.breakpoints_changed()
        self.engine.flush()

    def resume(self) -> None:
        """Second phase of a load: lines take the levels that state gives."""
        for p in self.parts:
            p.device.resume()
        self.processor.breakpoints_changed()
        self.engine.flush()

    def close(self) -> None:
        """Give the memory back to the host now; the machine can run no more."""
        self.stop_translating(ends=True)
        for engine in self.engines:
            engine.close()
        self.memory.close()
        self.arena.close()
        if self.hash_table is not None:
            self.hash_table.close()

    def rest(self) -> None:
        """The guest has nothing to do for a while: what was put by for such times is done."""
        if self.translator is not None:
            self.translator.rest()

    def stop_translating(self, *, ends: bool = False) -> None:
        """Leave all to tier 0 from here on, and give back what translated code takes.

        `ends`: the machine runs no more.
        """
        if self.translator is not None:
            self.translator.leave(ends=ends)
            self.translator = None
