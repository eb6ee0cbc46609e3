"""A hostile guest of a pseries without its CPU: hypercalls, services, rings, display, USB.

Each step is a call or a few accesses that a guest could do at any time: arguments at the edges of
memory and of types, blocks that are cut off, registers of PCI functions, rings that loop, messages
and lists of buffers that lead anywhere (`hostile.vio`), a display and USB as no driver uses them
(`hostile.usual`).
Sources: LoPAR 14.5, 7.3; VIRTIO 1.2.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Final

from gossamer.devices.pci import ROM_BAR
from gossamer.devices.spapr.llan import LogicalLan
from gossamer.devices.spapr.phb import BUID, MEM64_BASE, WINDOW
from gossamer.devices.spapr.rtas import H_RTAS, TOKENS
from gossamer.devices.spapr.vof import H_VOF_CLIENT
from gossamer.devices.virtio.common import (
    AVAIL,
    DESC,
    DRIVER_FEATURE,
    DRIVER_SELECT,
    ENABLE,
    SELECT,
    SIZE,
    STATUS,
    USED,
)
from gossamer.devices.virtio.net import VirtioNet
from gossamer.devices.virtio.pci import COMMON, NOTIFY
from gossamer.machines.machine import Machine
from gossamer.verify.hostile import usual, vio
from gossamer.verify.hostile.bridge import Live, ServerLayout

CALLS: Final = (
    *(0x04, 0x08, 0x0C, 0x10, 0x14, 0x18, 0x1C, 0x20, 0x28, 0x2C, 0x3C, 0x40, 0x44, 0x48, 0x4C),
    *(0x50, 0x54, 0x58, 0x64, 0x68, 0x6C, 0x70, 0x74, 0xDC, 0xE0, 0xE8, 0x104, 0x124, 0x134),
    *(0x138, 0x13C, 0x1C8, 0x298, 0x2FC, 0x31C, 0xF001, 0xF002, 0xF003),
    *(0xFC, 0x100, 0x108, 0x114, 0x118, 0x11C, 0x120, 0x130, 0x14C, 0x1D4),
)
CLIENT: Final = (
    *("finddevice", "getprop", "getproplen", "nextprop", "setprop", "peer", "child", "parent"),
    *("open", "close", "instance-to-package", "package-to-path", "instance-to-path", "canon"),
    *("write", "read", "claim", "release", "test", "call-method", "exit"),
)
TEXTS: Final = (
    *(b"/", b"/cpus", b"/chosen", b"/rtas", b"/memory@0", b"/vdevice/vty@71000000", b"name"),
    *(b"reg", b"instantiate-rtas", b"ibm,client-architecture-support", b"\xff\xfe", b""),
)
SOURCES: Final = (0x1000, 0x1001, 0x1100, 0x1101, 0x1200, 0x1203, 0x1300, 0x1301, 0x0FFF, 0x2000)
NAMES_AT, BLOCKS_AT, RINGS_AT = 0x70_0000, 0x50_0000, 0x80_0000
ROOM: Final = 0x10_0000
#: Bytes of a ring's parts, and how many devices have rings at the most.
PART, RINGS = 0x4000, 3
_LOW: Final = 0xFFFF_FFFF


class ServerGuest:
    """Does one step after the other; `answers` counts hypercalls and services by what came back."""

    def __init__(self, machine: Machine, seed: int) -> None:
        self.machine, self.rng, self.seed = machine, random.Random(seed), seed  # noqa: S311
        self.answers = Counter[tuple[str, int]]()
        self.layout = ServerLayout(machine)
        self.live = Live(self, self.layout)
        self.live.map_pages()
        self.usual = usual.Drivers(self.live)

    def step(self) -> None:
        """Something that a guest can do."""
        match self.rng.randrange(24):
            case 11 | 12:
                self.sensible()
            case 10:
                self.entry()
            case 13 | 14 | 15:
                vio.step(self)
            case n if n > 15:
                self.usual.step()
            case 0 | 1 | 2:
                self.call(self.rng.choice(CALLS), *(self.value() for _ in range(8)))
            case 3 | 4:
                name = self.rng.choice(list(TOKENS))
                self.service(name, [self.cell() for _ in range(self.rng.randrange(10))])
            case 5:
                self.client()
            case 6:
                self.configure()
            case 7:
                self.page()
            case _:
                self.ring()

    # --- values -----------------------------------------------------------------------------------

    def value(self) -> int:
        """64 bits at the edges of something."""
        r, ram = self.rng, self.machine.hardware.ram_size
        edges = (0, 1, 8, 512, 0x1000, ram - 8, ram, 1 << 31, 1 << 32, 1 << 45, 1 << 63, 1 << 64)
        match r.randrange(7):
            case 0 | 1:
                return (r.choice(edges) + r.randrange(-9, 10)) % (1 << 64)
            case 2:
                return r.randrange(ram) & ~r.choice((0, 7, 0xFFF))
            case 3:
                return r.getrandbits(r.randrange(1, 65))
            case 4:
                return r.choice((WINDOW, WINDOW + 1, *vio.UNITS, BUID, MEM64_BASE, *SOURCES))
            case _:
                return r.randrange(20)

    def cell(self) -> int:
        r = self.rng
        known = (BUID >> 32, BUID & _LOW, *SOURCES, r.randrange(4) << 11 | 4 * r.randrange(64))
        return r.choice((self.value() & _LOW, r.randrange(10), r.choice(known)))

    # --- calls ------------------------------------------------------------------------------------

    def call(self, number: int, *arguments: int, name: str = "") -> int:
        """A hypercall of the CPU whose turn it is; the return code.

        H_CONFER is none of `CALLS`: it ends a turn, which is done by who executes.
        """
        m = self.machine
        for cpu in m.cpus:
            cpu.block.set("msr", 0)
        cpu = m.cpus[m.turn]
        cpu.block.set("gpr", number, 3)
        for n, value in enumerate(arguments):
            cpu.block.set("gpr", value, 4 + n)
        cpu.hypercall()
        code = cpu.block.get("gpr", 3)
        code -= code >> 63 << 64
        self.answers[name or hex(number), code] += 1
        return code

    def sensible(self) -> None:
        """A call or a service as a driver makes it: so that there is state to be lost."""
        r, m = self.rng, self.machine
        cpu, source = r.randrange(len(m.cpus)), r.choice(SOURCES[:8])
        area = RINGS_AT + r.randrange(16) * 0x1000
        priority, text = r.choice((0, 4, 5, 0xFF)), r.getrandbits(64)
        calls = (
            (0x6C, cpu, priority),
            (0x68, priority),
            (0x74,),
            (0x64, r.randrange(256) << 24 | source),
            (0x70, cpu),
            (0xE0,),
            (0xE8, cpu),
            (0xDC, 1 << 45, cpu, area),
            (0xDC, r.choice((2, 3)) << 45, cpu, area + 0x800),
            (0xDC, r.choice((5, 6, 7)) << 45, cpu, 0),
            (0x24, text),
            (0x28, text),
            (0x31C, r.choice((0, 0, 2, 3)), r.choice((3, 4)), 0, 0),
            (0x58, 0x7100_0000, r.randrange(17), text, text),
            (0x54, 0x7100_0000),
        )
        services: tuple[tuple[str, list[int], int], ...] = (
            ("set-time-of-day", [2001 + r.randrange(30), 1 + r.randrange(12), 5, 6, 7, 8, 9], 1),
            ("ibm,set-xive", [source, cpu, priority], 1),
            ("ibm,int-off", [source], 1),
            ("ibm,int-on", [source], 1),
            ("nvram-store", [r.randrange(0x1_0000), area, r.randrange(64)], 2),
            ("nvram-fetch", [r.randrange(0x1_0000), area, r.randrange(64)], 2),
            ("start-cpu", [cpu, area, text & _LOW], 1),
            ("event-scan", [_LOW, 0, area, 0x800], 1),
            ("check-exception", [0x500, 0, _LOW, 0, area, 0x800], 1),
            ("ibm,nmi-register", [area, area], 1),
            ("ibm,nmi-interlock", [], 1),
        )
        if r.random() < 0.5:
            self.call(*r.choice(calls))
        else:
            self.service(*r.choice(services))

    def outside(self) -> None:
        """What comes from outside: a typed byte, the power button, a frame."""
        r, m = self.rng, self.machine
        match r.randrange(6):
            case 0 if m.serials[0].room():
                m.serials[0].receive(r.randrange(256))
            case 1 if m.power_button is not None:
                m.power_button()
            case 3 | 4:
                self.usual.outside()
            case _:
                head = r.choice((b"\xff" * 6, b"\x52\x54\0\x12\x34\x02", b"\x01\0\x5e\0\0\1"))
                for part in m.parts:
                    if isinstance(part.device, VirtioNet | LogicalLan):
                        part.device.receive(head + r.randbytes(r.choice((54, 500))))

    def entry(self) -> None:
        """An entry of the page table that could be one, or one that goes."""
        r, ram = self.rng, self.machine.hardware.ram_size
        number, v = r.randrange(64), 0x400E_A1B2_1700_0001 | r.randrange(4) << 7
        real = r.randrange(ram) & ~0xFFF if r.random() < 0.8 else self.value()
        match r.randrange(4):
            case 0 | 1:
                self.call(0x08, r.choice((0, 1 << 39)), number, v, real | r.choice((0x12, 0x2A)))
            case 2:
                self.call(0x04, r.choice((0, 1 << 31, 1 << 30)), number, v & ~0x7F)
            case _:
                self.call(0x18, r.choice((0, 1 << 31)) | r.randrange(8), number, v & ~0x7F)

    def service(self, name: str, arguments: Sequence[int], results: int = -1) -> None:
        r, ram = self.rng, self.machine.hardware.ram_size
        wanted = r.randrange(10) if results < 0 else results
        cells = [TOKENS[name], len(arguments), wanted, *arguments]
        if results < 0 and r.random() < 0.02:
            cells[r.randrange(3)] = self.value() & _LOW
        at = BLOCKS_AT + 4 * r.randrange(0x1000) if r.random() < 0.95 else ram - 4 * r.randrange(16)
        data = b"".join(cell.to_bytes(4, "big") for cell in cells)[: ram - at]
        self.machine.memory.write(at, data)
        if self.call(H_RTAS, at, name="H_RTAS") or not wanted:
            return
        status = int.from_bytes(self.machine.memory.read(at + 12 + 4 * len(arguments), 4), "big")
        self.answers[name, status - (status >> 31 << 32)] += 1

    def client(self) -> None:
        r, memory = self.rng, self.machine.memory
        memory.write(NAMES_AT, r.choice(CLIENT).encode() + b"\0")
        memory.write(NAMES_AT + 64, r.choice(TEXTS) + b"\0")
        count, wanted = r.randrange(8), r.randrange(4)
        near = (NAMES_AT + 64, 0x1112 + r.randrange(40), r.randrange(6))
        cells = [r.choice((self.value() & _LOW, *near)) for _ in range(count)]
        block = [NAMES_AT, count, wanted, *cells]
        memory.write(BLOCKS_AT, b"".join(cell.to_bytes(4, "big") for cell in block))
        self.call(H_VOF_CLIENT, BLOCKS_AT)

    # --- PCI --------------------------------------------------------------------------------------

    def config(self, devfn: int, at: int, value: int, size: int = 4) -> None:
        address = [devfn << 8 | at, BUID >> 32, BUID & _LOW, size, value]
        self.service("ibm,write-pci-config", address, 1)

    def configure(self) -> None:
        """Registers of functions at random; then BARs and commands that let them be reached."""
        r, known = self.rng, self.layout.functions
        for _ in range(r.randrange(4)):
            devfn = r.choice(known) if r.random() < 0.95 else r.randrange(256)
            self.config(devfn, r.randrange(256), self.cell(), r.choice((1, 2, 4)))
        if r.random() < 0.3:
            self.messages(r.choice(known))
        for devfn, at, value in self.layout.bars:
            self.config(devfn, at, value | r.randrange(2) if at == ROM_BAR else value)
        for devfn in known:
            self.config(devfn, 4, r.choice((7, 7, 7, 6, 0)), 2)

    def messages(self, devfn: int) -> None:
        """Give a function messages, by either kind or both, or take them away."""
        r = self.rng
        function, count = r.choice(((1, 0), (1, 1), (3, 4), (4, 3), (4, 16))), r.randrange(3)
        wanted = [devfn << 8, BUID >> 32, BUID & _LOW, *function, count]
        self.service("ibm,change-msi", wanted, 4)

    def page(self) -> None:
        """An entry of a DMA window, somewhere or where a ring is."""
        r = self.rng
        page = RINGS_AT + r.randrange(RINGS * 4 * PART)
        target = r.choice((page, self.value())) & ~0xFFF | r.randrange(4)
        self.call(0x20, WINDOW, r.choice((page, self.value())) & ~0xFFF, target)

    def translate(self, bus: int, entry: int) -> None:
        """A page of the DMA window as a driver has it."""
        self.call(0x20, WINDOW, bus, entry)

    def sleep(self, ns: int) -> None:
        """Nothing happens here for so long; what is due meanwhile comes at its time."""
        machine = self.machine
        end = machine.clock.now + ns
        while machine.clock.now < end:
            to = max(min(end, machine.clock.deadline), machine.clock.now)
            machine.processor.set_clock(to)
            machine.clock.advance(to)

    def register(self, slot: int, at: int, value: int, size: int) -> None:
        swapped = int.from_bytes(value.to_bytes(size, "little"), "big")
        self.machine.memory.store(self.layout.modern[slot] + at, swapped, size)

    def ring(self) -> None:
        """A queue of a function: set up, filled with chains that may loop, notified."""
        if not self.layout.modern:
            return
        r, slot = self.rng, self.rng.randrange(len(self.layout.modern))
        queue, base = r.randrange(3), RINGS_AT + slot * 4 * PART
        if r.random() < 0.3:
            self.register(slot, COMMON + STATUS, r.choice((0, 0, 0xFF, 4)), 1)
            for n, bits in enumerate((r.getrandbits(32) | 1 << 16, 3)):
                self.register(slot, COMMON + DRIVER_SELECT, n, 4)
                self.register(slot, COMMON + DRIVER_FEATURE, bits, 4)
            self.register(slot, COMMON + STATUS, 11, 1)
        self.register(slot, COMMON + SELECT, queue, 2)
        if r.random() < 0.5:
            self.register(slot, COMMON + SIZE, r.choice((256, 64, 8, 1, 0, 3, 0x8000)), 2)
            for at, part in ((DESC, base), (AVAIL, base + PART), (USED, base + 2 * PART)):
                place = part if r.random() < 0.9 else self.value()
                self.register(slot, COMMON + at, place & _LOW, 4)
                self.register(slot, COMMON + at + 4, place >> 32, 4)
            self.register(slot, COMMON + ENABLE, 1, 2)
            self.register(slot, COMMON + STATUS, 15, 1)
        self._fill(base)
        self.register(slot, NOTIFY + 4 * r.randrange(3), queue, 2)

    def _fill(self, base: int) -> None:
        r, memory = self.rng, self.machine.memory
        for n in range(8):
            address = base + 3 * PART + r.randrange(PART) if r.random() < 0.8 else self.value()
            length = r.choice((0, 1, 12, 16, 512, 0x1000, _LOW))
            flags = r.choice((0, 1, 1, 2, 3, 4, 6))
            words = (
                (address, 8),
                (length, 4),
                (flags, 2),
                (r.choice((n + 1, r.randrange(300))), 2),
            )
            memory.write(base + 16 * n, b"".join(v.to_bytes(k, "little") for v, k in words))
        memory.write(base + 3 * PART, bytes((r.randrange(14), 0, 0, 0)) + r.randbytes(8) + bytes(4))
        heads = [r.randrange(8) if r.random() < 0.95 else 0xFFFF for _ in range(64)]
        offered = r.choice((1, 2, 5, 64, 0xFFFF))
        ring = b"".join(n.to_bytes(2, "little") for n in (r.randrange(2), offered, *heads))
        memory.write(base + PART, ring)
