"""How a pseries begins: its kernel in memory, its tree, and what the kernel then agrees on with it.

As QEMU 7.2's firmware VOF starts a kernel; the tree after ibm,client-architecture-support as QEMU
makes it anew (tried, by version and level).
"""

from __future__ import annotations

from typing import Final

from gossamer.base.bits import align_up
from gossamer.base.errors import ConfigError
from gossamer.devices.spapr import cas, stub
from gossamer.devices.spapr.calls import SUCCESS, GuestRam
from gossamer.devices.spapr.fdt import Node
from gossamer.devices.spapr.spapr import Spapr
from gossamer.devices.spapr.vof import Firmware
from gossamer.isa.compat import LEVELS, Level, level_of
from gossamer.machines import firmware, pseries_pci, pseries_tree
from gossamer.machines.config import Hardware
from gossamer.machines.elf64 import load_kernel
from gossamer.machines.machine import Machine
from gossamer.machines.pseries_cpus import CPUS
from gossamer.machines.pseries_tree import Facts
from gossamer.machines.pseries_versions import era

KERNEL_BASE: Final = 0x40_0000
KERNEL_ALIGNMENT: Final = 0x1_0000
#: log2 of RAM's size to that of the page table's.
HTAB_SHIFT: Final = 7

Area = tuple[int, int]


def htab_shift(ram_size: int) -> int:
    """log2 of the page table's bytes: a 128th of RAM, whose size is taken up to a power of two."""
    return (ram_size - 1).bit_length() - HTAB_SHIFT


def limit(hardware: Hardware) -> Level | None:
    """The highest level that the guest may agree to; None: any, and the CPU as it is."""
    name = hardware.properties.get("max-cpu-compat", "")
    return next((one for one in LEVELS if one.name == name), None)


def start(m: Machine, prom: Firmware, seed: bytes) -> None:
    """Kernel, initial RAM disk and the firmware's stub in memory; the CPU at the kernel's entry."""
    hardware, block = m.hardware, m.cpu.block
    m.memory.write(0, stub.IMAGE)
    entry, kernel, initrd = stub.NO_KERNEL, None, None
    if hardware.kernel is not None:
        orders = m.cpu.model.architecture.both_orders
        image = load_kernel(hardware.kernel, KERNEL_BASE, both_orders=orders)
        firmware.check_fits(image, hardware.ram_size)
        for s in image.segments:
            m.memory.write(s.ra, s.data)
        entry, kernel = image.entry, (image.start, image.end - image.start)
        if hardware.initrd is not None:
            data = firmware.read_file(hardware.initrd, what="initial RAM disk")
            at = align_up(image.end + KERNEL_ALIGNMENT, KERNEL_ALIGNMENT)
            if at + len(data) > hardware.ram_size:
                end = at + len(data)
                raise ConfigError(f"-initrd ends at {end:#x}, RAM at {hardware.ram_size:#x}")
            m.memory.write(at, data)
            initrd = at, len(data)
    _set_level(m, limit(hardware))
    root = _tree(m, 0, seed=seed, bootargs=hardware.append, kernel=kernel, initrd=initrd)
    reserved = [one for one in (kernel, initrd) if one is not None]
    taken = [(start, start + size) for start, size in reserved]
    taken += [(0, stub.END), (stub.STACK_BASE, stub.STACK_END)]
    prom.begin(root, reserved, taken)
    at, size = initrd or (0, 0)
    for register, value in ((1, stub.STACK), (3, at), (4, size), (5, stub.CLIENT_ENTRY)):
        block.set("gpr", value, register)
    block.set("nia", entry)
    block.set("msr", 0)
    for other in m.cpus[1:]:
        other.block.set("halted", 1)


def _set_level(m: Machine, level: Level | None) -> None:
    for cpu in m.cpus:
        cpu.compat_pvr = level.pvr if level else 0  # type: ignore[attr-defined]


def _tree(
    m: Machine, options: int, *, seed: bytes, bootargs: str, kernel: Area | None,
    initrd: Area | None,
) -> Node:  # fmt: skip
    hardware = m.hardware
    facts = Facts(
        era=era(hardware.version),
        cpu=CPUS[m.cpu.model.name],
        cpus=hardware.cpus,
        tb_hz=m.cpu.tb_hz,
        ram_size=hardware.ram_size,
        htab_shift=htab_shift(hardware.ram_size),
        uuid=hardware.uuid or "00000000-0000-0000-0000-000000000000",
        seed=seed,
        bootargs=bootargs,
        kernel=kernel,
        initrd=initrd,
        graphic=hardware.resolution,
        says_console=hardware.vga == "none" or not hardware.graphic,
        level=level_of(m.cpu.compat_pvr),  # type: ignore[attr-defined]
        limit=limit(hardware),
        options=options,
    )
    assert m.vio is not None
    return pseries_tree.tree(facts, pseries_pci.functions(m), m.vio.devices)


class Negotiation:
    """Answers ibm,client-architecture-support for a machine."""

    def __init__(self, m: Machine, prom: Firmware, spapr: Spapr, ram: GuestRam) -> None:
        self.m, self.prom, self.spapr, self.ram = m, prom, spapr, ram
        model, age = m.cpu.model, era(m.hardware.version)
        self.platform = cas.Platform(
            pvr=model.pvr,
            levels=LEVELS if "2.07" in model.features else (),
            limit=limit(m.hardware),
            options=age.offered,
        )

    def __call__(self, at: int) -> tuple[int, Node]:
        """The return code, and the tree: made anew where something was agreed on."""
        found = self.platform.negotiate(self.ram, at)
        if found.why:
            self.m.trace.event("cas", found.why)
        if found.known:
            _set_level(self.m, found.level)
        if found.code != SUCCESS:
            return found.code, self.prom.root
        self.spapr.ov5 = found.options
        return SUCCESS, self._renewed()

    def _renewed(self) -> Node:
        """With what the tree until now says that is not the machine's own."""
        chosen = self.prom.root.child("chosen") or Node("chosen")

        def address(name: str) -> int | None:
            data = chosen.properties.get(name)
            return int.from_bytes(data, "big") if data is not None and len(data) in (4, 8) else None

        start, end = address("linux,initrd-start"), address("linux,initrd-end")
        kernel = chosen.properties.get("qemu,boot-kernel", b"")
        root = _tree(
            self.m,
            self.spapr.ov5,
            seed=chosen.properties.get("rng-seed", b""),
            bootargs="",
            kernel=_area(kernel),
            initrd=None if start is None or end is None else (start, end - start),
        )
        line = chosen.properties.get("bootargs")
        for renewed in root.children:
            if renewed.name == "chosen" and line is not None:
                renewed.set("bootargs", line)
        return root


def _area(data: bytes) -> Area | None:
    """Address and size of 64 bits each."""
    if len(data) != 16:
        return None
    return int.from_bytes(data[:8], "big"), int.from_bytes(data[8:], "big")
