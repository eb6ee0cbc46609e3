"""The CPU as a stateful object: its registers on the wire, its interrupt inputs, its decrementer.

The registers live in the register block that native code works on; here are their wire forms
(`cpu`, `cpu_common` as QEMU 7.2 writes them, facts section 7) and what our own streams add: time
base, decrementer and pending exceptions exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from itertools import chain
from struct import Struct
from typing import Any, ClassVar, Final

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.base.units import tick_time, ticks_at
from gossamer.base.wire import WireReader, WireWriter
from gossamer.core.clock import Alarm, Clock
from gossamer.core.device import Device
from gossamer.cpu.block import RegisterBlock
from gossamer.cpu.model import CpuModel
from gossamer.cpu.msr import ASYNCHRONOUS, MSR_BE, MSR_EE, MSR_IP, MSR_POW, MSR_SE
from gossamer.cpu.sprs import get_sprs, put_sprs
from gossamer.isa.interrupts import Irq, Irq405
from gossamer.isa.registers import registers
from gossamer.isa.spec.parts import ALTIVEC, SOFTWARE_SEARCH, has
from gossamer.state.codec import I32, U8, U32, U64, Array, Codec, Equal, Int, Unused
from gossamer.state.declare import compat, derived, wiring
from gossamer.state.layout import NOTHING, Constant, Loss, Nested, View, subsection

_FPR: Final = Int("fpr", 8)
_VSCR: Final = Int("cpu/altivec/vscr", 4)
ENTRIES: Final = registers(32)["tlb_upper"][1] // 2
"""Entries of a TLB that software loads: those of the data TLB come first."""
_LOW: Final = (1 << 64) - 1
VSCR_NJ: Final = 0x0001_0000
"""Non-Java mode: set by reset (MPC7400UM 2.1)."""


def one(name: str, register: str, codec: Codec, **kw: Any) -> View:  # noqa: ANN401
    """A register as a wire field."""
    return View(
        name,
        codec,
        lambda cpu: cpu.block.get(register),
        lambda cpu, value: cpu.block.set(register, value),
        **kw,
    )


def register_file(name: str, register: str, codec: Codec) -> View:
    """A register file as a wire array."""
    count = registers(64)[register][1]  # as many on every model

    def put(cpu: Cpu, values: list[int]) -> None:
        cpu.block.put(register, values)

    return View(name, Array(codec, count), lambda cpu: cpu.block.all(register), put)


def put_crf(cpu: Cpu, values: list[int]) -> None:
    if (most := max(values)) > 15:
        raise ValueError(f"a CR field must be 0..15, got {most}")
    cpu.block.put("crf", values)


def _put_segments(cpu: Cpu, values: list[int]) -> None:
    cpu.block.put("sr", values[:16])


def _reserve_get(cpu: Cpu) -> int:
    return cpu.block.get("reserve_ea") if cpu.block.get("reserved") else 0xFFFF_FFFF


def _reserve_put(cpu: Cpu, value: int) -> None:
    cpu.block.set("reserved", int(value != 0xFFFF_FFFF))
    cpu.block.set("reserve_ea", 0 if value == 0xFFFF_FFFF else value)


class Avr(Data):
    """A vector register as a little-endian host's QEMU sends it: low doubleword first."""

    kind: str = "avr"
    size: int = 16

    def put(self, w: WireWriter, value: int) -> None:
        w.uint(value & _LOW, 8)
        w.uint(value >> 64, 8)

    def get(self, r: WireReader) -> int:
        low = r.uint(8)
        return r.uint(8) << 64 | low

    def zero(self) -> int:
        return 0


class Avrs(Array):
    """Many of them, in one step: vector registers are what takes longest of a CPU."""

    __slots__ = ()

    def put(self, w: WireWriter, value: list[int]) -> None:
        assert len(value) == self.count, (len(value), self.count)
        halves = chain.from_iterable((one & _LOW, one >> 64) for one in value)
        w.raw(Struct(f">{2 * self.count}Q").pack(*halves))

    def get(self, r: WireReader) -> list[int]:
        return [high << 64 | low for low, high in Struct(">QQ").iter_unpack(r.take(self.size))]


def _vector_file() -> View:
    """The vector registers; a CPU without them takes none."""

    def put(cpu: Cpu, values: list[int]) -> None:
        if not cpu.has_vectors:
            raise ValueError(f"the {cpu.model.name} has no vector registers")
        cpu.block.put("vr", values)

    return View("env.vsr", Avrs(Avr(), 32), lambda cpu: cpu.block.all("vr"), put)


def _element(name: str, register: str, n: int) -> View:
    """One element of a TLB's register file as a wire field; other parts take none."""

    def put(cpu: Cpu, value: int) -> None:
        if not cpu.searches_by_software:
            raise ValueError(f"the {cpu.model.name} has no TLB that software loads")
        cpu.block.set(register, value, n)

    return View(name, U32, lambda cpu: cpu.block.get(register, n), put)


def _tlb(name: str, first: int) -> list[Nested]:
    """One TLB as QEMU sends it: its entries from number `first` on."""
    return [
        Nested(
            f"{name}[{n}]",
            lambda cpu: cpu,
            vmsd="cpu/tlb6xx_entry",
            version=1,
            layout=[
                _element("pte0", "tlb_upper", first + n),
                _element("pte1", "tlb_lower", first + n),
                _element("EPN", "tlb_page", first + n),
            ],
            joined=True,
        )
        for n in range(ENTRIES)
    ]


def _put_ways(cpu: Cpu, values: list[int]) -> None:
    for n, value in enumerate(values):
        if value > 1:
            raise ValueError(f"the way loaded last must be 0 or 1, got {value}")
        cpu.block.set("tlb_way", value, n)


def _put_rate(cpu: Cpu, hz: int) -> None:
    if not 1_000_000 <= hz <= 1_000_000_000:
        raise ValueError(f"a time base of {hz} Hz, expected 1 MHz to 1 GHz")
    cpu.tb_hz = hz


class Cpu(Device):
    """A PowerPC of the 60x, 7xx and 74xx families.

    `tb_hz` is the rate of TB and DEC.  `changed` is called when an input rose, so that a running
    engine stops at the next boundary.
    """

    HAS_DECREMENTER: ClassVar[bool] = True
    #: Bits of MSR that have instructions traced; one of those that let an interrupt end a sleep.
    TRACING_MSR: ClassVar[int] = MSR_SE | MSR_BE
    WAKING_MSR: ClassVar[int] = MSR_EE
    #: Whether the engine may take external interrupts and the decrementer's by itself.
    ENGINE_INTERRUPTS: ClassVar[bool] = True
    #: Names of the elements of `irq`.
    SOURCES: ClassVar[type[IntEnum]] = Irq

    vmsd = "cpu"
    version = 5
    minimum = 5
    layouts = {
        "": [
            Constant("unused", Unused(4)),
            register_file("env.gpr", "gpr", U32),
            View("env.gprh", Array(U32, 32), lambda cpu: [0] * 32, lambda cpu, values: None),
            View("env.crf", Array(U32, 8), lambda cpu: cpu.block.all("crf"), put_crf),
            one("env.nip", "nia", U32),
            View("env.spr", Array(U32, 1024), get_sprs, put_sprs),
            View("env.spe_acc", U64, lambda cpu: 0, lambda cpu, value: None),
            View("env.reserve_addr", U32, _reserve_get, _reserve_put),
            one("env.msr", "msr", U32),
            View("env.hflags_compat_nmsr", U32, lambda cpu: 0, lambda cpu, value: None),
        ]
    }

    fpu = subsection(
        "cpu/fpu", layout=[register_file("env.vsr", "fpr", _FPR), one("env.fpscr", "fpscr", U32)]
    )
    altivec = subsection("cpu/altivec", layout=[_vector_file(), one("vscr", "vscr", _VSCR)])
    segments = subsection(
        "cpu/sr",
        layout=[
            View(
                "env.sr",
                Array(U32, 32),
                lambda cpu: cpu.block.all("sr") + [0] * 16,
                _put_segments,
            )
        ],
    )
    #: Versions of machines from before there was a part with software's TLBs have it off.
    has_loaded_tlbs: bool = compat(True)
    #: QEMU sends the data TLB alone: what is in the instruction TLB only gossamer sends.
    data_tlb = subsection(
        "cpu/tlb6xx",
        layout=[
            Constant("env.nb_tlb", Equal(I32, ENTRIES)),
            *_tlb("env.tlb.tlb6", 0),
            register_file("env.tgpr", "tgpr", U32),
        ],
        compat="has_loaded_tlbs",
    )
    fetch_tlb = subsection(
        "cpu/itlb/gossamer",
        ours=True,
        layout=[
            *_tlb("itlb", ENTRIES),
            View("tlb_way", Array(U8, 64), lambda cpu: cpu.block.all("tlb_way"), _put_ways),
        ],
        compat="has_loaded_tlbs",
    )
    exact = subsection(
        "cpu/gossamer",
        ours=True,
        lost=NOTHING,  # said in QEMU's way, or judged against the receiver (`control.losses`)
        layout=[
            one("dec_zero", "dec_zero", U64),
            one("tb_offset", "tb_offset", U64),
            register_file("irq", "irq", U8),
            one("reserved", "reserved", U8),
            one("reserve_ea", "reserve_ea", U32),
            one("l2cr", "l2cr", U32),
            one("hid1", "hid1", U32),
        ],
    )

    #: Machines whose peers have another time base than their own say which it is.
    sends_rate: bool = compat(False)
    rate = subsection(
        "cpu/rate/gossamer",
        ours=True,
        lost=NOTHING,  # a receiver with another rate is refused
        layout=[View("tb_hz", U64, lambda cpu: cpu.tb_hz, _put_rate)],
        compat="sends_rate",
    )

    block: RegisterBlock = wiring()
    model: CpuModel = wiring()
    tb_hz: int = wiring()
    own_hz: int = wiring()
    changed: Callable[[], None] = wiring()
    decrement: Alarm = derived()

    def __init__(self, clock: Clock, block: RegisterBlock, model: CpuModel, tb_hz: int) -> None:
        super().__init__(clock)
        self.idstr = "cpu"
        self.block, self.model, self.tb_hz, self.own_hz = block, model, tb_hz, tb_hz
        self.connect()
        self.reset()

    def connect(self) -> None:
        """What is made once."""
        self.changed = self.hypercall = _nothing
        self.decrement = self.clock.alarm(self._expired)
        self.decrement.private = True

    #: The hypervisor answers `sc 1`, with the CPU's registers behind it.
    hypercall: Callable[[], None] = wiring()

    def clear(self) -> None:
        """Every register is zero, but for what the model and the machine say."""
        for name, (_, count) in self.block.layout.registers.items():
            for n in range(count):
                self.block.set(name, 0, n)
        self.block.set("pvr", self.model.pvr)
        self.block.set("hid1", self.model.hid1)
        self.block.set("tb_hz", self.tb_hz)

    def reset(self) -> None:
        """Hard reset: MPC750UM table 4-8 (MSR[IP] set, execution at 0xfff00100)."""
        self.clear()
        self.block.set("msr", MSR_IP)
        if self.has_vectors:
            self.block.set("vscr", VSCR_NJ)
        self.block.set("nia", 0xFFF0_0100)
        self.block.set("dec_zero", self.ticks + 0xFFFF_FFFF)
        self.rearm()

    @property
    def has_vectors(self) -> bool:
        return has(self.model.features, ALTIVEC)

    @altivec.needed
    def altivec_needed(self) -> bool:
        return self.has_vectors

    @property
    def searches_by_software(self) -> bool:
        """Whether the part's TLBs are filled by software."""
        return has(self.model.features, SOFTWARE_SEARCH)

    @data_tlb.needed
    def data_tlb_needed(self) -> bool:
        return self.searches_by_software

    @fetch_tlb.losing
    def fetch_tlb_lost(self) -> Iterator[Loss]:
        from gossamer.isa.spec.software_search import VALID  # noqa: PLC0415 - a start needs none

        if any(upper & VALID for upper in self.block.all("tlb_upper")[ENTRIES:]):
            yield Loss("the instruction TLB's entries, which the guest will load again")
        if any(self.block.all("tlb_way")):
            yield Loss("which ways of the TLBs are loaded next")

    @fetch_tlb.needed
    def fetch_tlb_needed(self) -> bool:
        return self.searches_by_software

    @rate.needed
    def rate_needed(self) -> bool:
        return self.tb_hz != self.own_hz

    def set_rate(self, hz: int) -> None:
        """Let TB and DEC count at `hz` from virtual time 0 on, as the sender of a stream has it.

        ConfigError where the machine's version knows its own rate only.
        """
        if hz != self.own_hz and not self.sends_rate:
            raise ConfigError(
                f"the sender's time base runs at {hz:,} Hz, this version of the machine knows "
                f"{self.own_hz:,} Hz only; the newest version knows both"
            )
        left, self.tb_hz = self.decrementer, hz
        self.block.set("tb_hz", hz)
        self.set_decrementer(left)

    # --- time -------------------------------------------------------------------------------------

    @property
    def ticks(self) -> int:
        """Ticks of TB and DEC since virtual time 0."""
        return ticks_at(self.clock.now, self.tb_hz)

    @property
    def timebase(self) -> int:
        return (self.ticks + self.block.get("tb_offset")) & (1 << 64) - 1

    @property
    def decrementer(self) -> int:
        return (self.block.get("dec_zero") - self.ticks) & 0xFFFF_FFFF

    def set_decrementer(self, value: int) -> None:
        """Set DEC with no exception from the change itself (load of a QEMU stream)."""
        self.block.set("dec_zero", self.ticks + value)
        self.rearm()

    def rearm(self) -> None:
        """Arm the alarm for the tick at which bit 0 of DEC next goes from 0 to 1."""
        ticks = self.ticks
        left = (self.block.get("dec_zero") - ticks) & 0xFFFF_FFFF
        self.decrement.set(tick_time(ticks + left + 1, self.tb_hz))

    def registers_written(self) -> None:
        """Registers were set from outside: what follows from them follows at once."""
        self.rearm()

    def _expired(self) -> None:
        self.block.set("irq", 1, Irq.DECREMENTER)
        self.changed()
        self.rearm()

    # --- interrupt inputs ---------------------------------------------------------------------

    def input_changed(self, pin: int, level: bool) -> None:
        """Input `pin` (an `Irq`) moved."""
        self.block.set("irq", int(level), pin)
        # One that is held back is looked at when MSR[EE] is set.
        if level and (pin != Irq.EXTERNAL or self.block.get("msr") & MSR_EE):
            self.changed()

    def input_assigned(self, pin: int, level: bool) -> None:
        """After a load: the level of an input as its driver computes it."""
        self.block.set("irq", int(level), pin)

    def pending(self) -> tuple[Irq | Irq405, int, bool] | None:
        """The interrupt to take now: (source, vector, whether it is an edge), or None."""
        if not self.block.any("irq"):
            return None
        irq, msr = self.block.all("irq"), self.block.get("msr")
        for source, vector, enabled_by, edge in ASYNCHRONOUS:
            if irq[source] and msr & enabled_by == enabled_by:
                return source, int(vector), edge
        return None

    def access_dcr(self, argument: int) -> None:
        raise AssertionError("the part has no device control registers")

    def acknowledge(self, source: Irq | Irq405) -> None:
        """An edge source has been taken."""
        self.block.set("irq", 0, source)

    @property
    def waiting(self) -> bool:
        """In a power-saving mode: MSR[POW], with a mode chosen in HID0 where the part has any."""
        if not self.block.get("msr") & MSR_POW:
            return False
        doze = self.model.doze
        return not doze or bool(self.block.get("hid0") & doze)

    def post_load(self, version: int) -> None:
        self.block.set("pvr", self.model.pvr)
        self.block.set("tb_hz", self.tb_hz)

    def resume(self) -> None:
        self.rearm()


def _nothing() -> None:
    """No listener is connected."""
