"""The device tree of a pseries at power on, as QEMU 7.2 makes it.

Sources: LoPAR appendix B (what each property means); QEMU's own tree of a machine with a terminal
and an NVRAM (values and order).  What differs: lists of connectors (`ibm,drc-*`) are in ascending
order, and neither resizing of the page table nor watchdogs are offered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gossamer.base.data import Data
from gossamer.devices.pci import PciDevice
from gossamer.devices.spapr import cas, phb, rtas
from gossamer.devices.spapr.fdt import Node, encoded
from gossamer.devices.spapr.vio import Nvram, VioDevice
from gossamer.isa.compat import Level
from gossamer.machines.pseries_functions import add_functions
from gossamer.machines.pseries_versions import Era
from gossamer.machines.pseries_vio import add_nodes

INTERRUPT_CONTROLLER: Final = 0x1111
FIRST_PHANDLE: Final = 0x1112
TERMINAL, NVRAM = 0x7100_0000, 0x7100_0001
CLOCK_HZ: Final = 1_000_000_000
#: A hot-plug connector's index has its kind above its number.
CPU_CONNECTOR, PHB_CONNECTOR, PCI_CONNECTOR = 0x1000_0000, 0x2000_0000, 0x4000_0000
NO_DOMAIN: Final = 0xFFFF_FFFF
#: A node's distance to itself.
HERE: Final = 10

HYPERCALLS: Final = (
    *("hcall-pft", "hcall-term", "hcall-dabr", "hcall-interrupt", "hcall-tce", "hcall-vio"),
    *("hcall-splpar", "hcall-join", "hcall-bulk", "hcall-set-mode", "hcall-sprg0", "hcall-copy"),
    *("hcall-debug", "hcall-vphn", "hcall-multi-tce"),
)


Base = tuple[int, int, tuple[tuple[int, int], ...]]


class CpuFacts(Data):
    """What the tree says of a CPU: its node's name, caches in bytes, sizes of pages and segments.

    `pages`: for each size of a segment's pages its log2, L || LP of the segment, and the pages that
    may lie there: log2 of each, and what an entry of the page table says.  `features`:
    ibm,pa-features, none: empty.  `segments`: cells of ibm,processor-segment-sizes, none: empty.
    `accounts`: it has PURR and SPURR; `decimal`: decimal floating point.
    """

    name: str
    version: int
    slb: int
    icache: int
    dcache: int
    pages: tuple[Base, ...]
    vmx: int = 1
    features: bytes = b""
    segments: tuple[int, ...] = ()
    accounts: bool = False
    decimal: bool = False

    def bases(self, limit: int) -> list[Base]:
        """The same, with pages of up to 2**`limit` bytes."""
        return [
            (base, encoding, tuple(size for size in sizes if size[0] <= limit))
            for base, encoding, sizes in self.pages
            if base <= limit
        ]


class Facts(Data):
    """What the tree says of a machine; addresses and sizes in bytes.

    `kernel`, `initrd`: address and size, None where there is none.  `says_console`: the terminal is
    what the guest shall write to, not a display.  `htab_shift` is log2 of the page table's size.
    `level`, `options`: what was agreed on (`devices.spapr.cas`), None and 0 before; `limit`: the
    highest level allowed, None: any.
    """

    era: Era
    cpu: CpuFacts
    cpus: int
    tb_hz: int
    ram_size: int
    htab_shift: int
    uuid: str
    seed: bytes
    bootargs: str
    kernel: tuple[int, int] | None
    initrd: tuple[int, int] | None
    graphic: tuple[int, int, int]
    says_console: bool = True
    level: Level | None = None
    limit: Level | None = None
    options: int = 0

    @property
    def distances(self) -> bool:
        """Whether the guest knows associativity of form 2."""
        return bool(self.options & cas.ASSOCIATIVITY_2)


def wide(value: int) -> list[int]:
    """A 64-bit number as two cells."""
    return [value >> 32, value & 0xFFFF_FFFF]


def tree(
    f: Facts,
    functions: Sequence[tuple[PciDevice, str]] = (),
    devices: Sequence[VioDevice | Nvram] = (),
) -> Node:
    """The whole tree, every node with a handle.

    `functions`: those behind the PCI bridge, with QEMU's names of their kinds; `devices`: those of
    virtual I/O.
    """
    root = Node("")
    if f.era.memory_plugs:
        for name, value in connectors("PHB", PHB_CONNECTOR, f.era.bridges, "PHB ").items():
            root.set(name, value)
    root.set("#size-cells", 2)
    root.set("#address-cells", 2)
    root.set("vm,uuid", f.uuid)
    root.set("compatible", "qemu,pseries")
    root.set("model", "IBM pSeries (emulated by qemu)")
    root.set("device_type", "chrp")
    if f.era.persistent_memory:
        memory = root.add("ibm,persistent-memory")
        memory.set("device_type", "ibm,persistent-memory")
        memory.set("#size-cells", 0)
        memory.set("#address-cells", 1)
    _chosen(root.add("chosen"), f)
    _rtas(root.add("rtas"), f)
    _events(root.add("event-sources"), f.era)
    _cpus(root.add("cpus"), f)
    bridge = root.add(f"pci@{phb.BUID:x}")
    _phb(bridge, f.era)
    connector = PCI_CONNECTOR if f.era.slots else 0
    add_functions(bridge, functions, connector, extended=f.era.extended)
    _vdevice(root.add("vdevice"), devices)
    ram = root.add("memory@0")
    ram.set("ibm,associativity", [1, 0] if f.distances else [4, 0, 0, 0, 0])
    ram.set("reg", [0, 0, *wide(f.ram_size)])
    ram.set("device_type", "memory")
    controller = root.add("interrupt-controller")
    controller.set("phandle", INTERRUPT_CONTROLLER)
    controller.set("linux,phandle", INTERRUPT_CONTROLLER)
    controller.set("#interrupt-cells", 2)
    controller.set("ibm,interrupt-server-ranges", [0, f.era.spacing * f.cpus])
    controller.set("interrupt-controller")
    controller.set("compatible", "IBM,ppc-xicp")
    controller.set("device_type", "PowerPC-External-Interrupt-Presentation")
    handle = FIRST_PHANDLE
    for node in root.walk():
        if not node.phandle:
            node.put_first("phandle", handle)
            handle += 1
    return root


def connectors(kind: str, first: int, count: int, prefix: str, step: int = 1) -> dict[str, bytes]:
    """The lists that say where something can be plugged in."""
    numbers = range(0, step * count, step)
    return {
        "ibm,drc-types": encoded([count]) + encoded([kind] * count),
        "ibm,drc-names": encoded([count]) + encoded([f"{prefix}{n}" for n in numbers]),
        "ibm,drc-power-domains": encoded([count, *[NO_DOMAIN] * count]),
        "ibm,drc-indexes": encoded([count, *(first + n for n in numbers)]),
    }


def _chosen(node: Node, f: Facts) -> None:
    node.set("ibm,architecture-vec-5", cas.as_property(f.options))
    node.set("rng-seed", f.seed)
    node.set("ibm,arch-vec-5-platform-support", bytes.fromhex("1700180019001a40"))
    if f.era.probe_only:
        node.set("linux,pci-probe-only", 0)
    if f.says_console:
        terminal = f"/vdevice/vty@{TERMINAL:x}"
        node.set("stdout-path", terminal)
        node.set("linux,stdout-path", terminal)
    width, height, depth = f.graphic
    node.set("qemu,graphic-depth", depth)
    node.set("qemu,graphic-height", height)
    node.set("qemu,graphic-width", width)
    if f.kernel is not None:
        node.set("qemu,boot-kernel", [*wide(f.kernel[0]), *wide(f.kernel[1])])
    if f.initrd is not None:
        node.set("linux,initrd-end", sum(f.initrd))
        node.set("linux,initrd-start", f.initrd[0])
    if f.bootargs:
        node.set("bootargs", f.bootargs)


def _rtas(node: Node, f: Facts) -> None:
    for name, token in reversed(rtas.TOKENS.items()):
        node.set(name, token)
    node.set("ibm,lrdr-capacity", [0, 0, *wide(0x1000_0000), f.cpus])  # no memory can be added
    node.set("ibm,extended-os-term")
    node.set("ibm,change-msix-capable")
    node.set("rtas-event-scan-rate", 1)
    node.set("rtas-error-log-max", 2048)
    node.set("rtas-size", rtas.SIZE + f.cpus * rtas.SIZE_OF_CPU)
    if f.distances:
        node.set("ibm,numa-distance-table", bytes([0, 0, 0, 1, HERE]))
        node.set("ibm,numa-lookup-index-table", [1, 0])
        node.set("ibm,max-associativity-domains", [1, 1])
        node.set("ibm,associativity-reference-points", 1)
    else:
        node.set("ibm,max-associativity-domains", [4, 0, 0, 0, 1])
        node.set("ibm,associativity-reference-points", [4, 4, 2] if f.era.nodes_apart else [4, 4])
    node.set("qemu,hypertas-functions", "hcall-memop1")
    node.set("ibm,hypertas-functions", list(HYPERCALLS))


def _events(node: Node, era: Era) -> None:
    epow, hot_plug = era.numbers.epow, era.numbers.hot_plug
    ranges = [cell for number in (epow, hot_plug) if number for cell in (number, 1)]
    node.set("interrupt-ranges", ranges)
    node.set("#interrupt-cells", 2)
    node.set("interrupt-controller")
    if hot_plug:
        node.add("hot-plug-events").set("interrupts", [hot_plug, 0])
    node.add("epow-events").set("interrupts", [epow, 0])


def _cpus(node: Node, f: Facts) -> None:
    spacing = f.era.spacing
    if f.era.cpus_plug:
        for name, value in connectors("CPU", CPU_CONNECTOR, f.cpus, "CPU ", spacing).items():
            node.set(name, value)
    node.set("#size-cells", 0)
    node.set("#address-cells", 1)
    for number in range(0, spacing * f.cpus, spacing):
        _cpu(node.add(f"{f.cpu.name}@{number:x}"), number, f)


def _cpu(cpu: Node, number: int, f: Facts) -> None:
    facts = f.cpu
    cpu.set("ibm,ppc-interrupt-gserver#s", [number, 0])
    cpu.set("ibm,ppc-interrupt-server#s", number)
    cpu.set("ibm,pft-size", [0, f.htab_shift])
    cpu.set("ibm,chip-id", number // f.era.spacing if f.era.sockets else 0)
    level = f.level
    features = facts.features if level is None or level.features is None else level.features
    if features:
        cpu.set("ibm,pa-features", features)
    bases = facts.bases(f.era.page_shift)
    rows = (
        [base, encoding, len(sizes), *(cell for size in sizes for cell in size)]
        for base, encoding, sizes in bases
    )
    cpu.set("ibm,segment-page-sizes", [cell for row in rows for cell in row])
    reduced = f.limit is not None and not f.limit.modern
    if facts.decimal and not reduced:
        cpu.set("ibm,dfp", 1)
    cpu.set("ibm,vmx", 1 if reduced else facts.vmx)
    if facts.segments:
        cpu.set("ibm,processor-segment-sizes", list(facts.segments))
    if facts.accounts:
        cpu.set("ibm,spurr", 1)
        cpu.set("ibm,purr", 1)
    cpu.set("64-bit")
    cpu.set("status", "okay")
    cpu.set("ibm,slb-size", facts.slb)
    cpu.set("slb-size", facts.slb)
    cpu.set("clock-frequency", CLOCK_HZ)
    cpu.set("timebase-frequency", f.tb_hz)
    cpu.set("i-cache-size", facts.icache)
    cpu.set("d-cache-size", facts.dcache)
    for kind in ("i", "d"):
        cpu.set(f"{kind}-cache-line-size", 128)
        cpu.set(f"{kind}-cache-block-size", 128)
    cpu.set("cpu-version", facts.version if level is None else level.pvr)
    cpu.set("device_type", "cpu")
    cpu.set("reg", number)
    if f.era.cpus_plug:
        cpu.set("ibm,my-drc-index", CPU_CONNECTOR + number)


def _phb(node: Node, era: Era) -> None:
    for name, value in connectors("28", PCI_CONNECTOR, era.slots, "C").items():
        node.set(name, value)
    node.set("#size-cells", 2)
    node.set("#address-cells", 3)
    node.set("qemu,phb-enumerated", 1)
    if era.bridges:
        node.set("ibm,my-drc-index", PHB_CONNECTOR)
    node.set("ibm,dma-window", [phb.WINDOW, 0, 0, *wide(phb.WINDOW_BYTES)])
    node.set("ibm,#dma-size-cells", 2)
    node.set("ibm,#dma-address-cells", 2)
    rows = (
        [slot << 11, 0, 0, pin + 1, INTERRUPT_CONTROLLER, era.numbers.lsi + (slot + pin) % 4, 1]
        for slot in range(32)
        for pin in range(4)
    )
    node.set("interrupt-map", [cell for row in rows for cell in row])
    node.set("interrupt-map-mask", [0xF800, 0, 0, 0xFFFF_FFFF])
    windows = ("ibm,query-pe-dma-window", "ibm,create-pe-dma-window", "ibm,remove-pe-dma-window")
    if era.dma_page_shift:
        node.set("ibm,ddw-extensions", [2, rtas.TOKENS["ibm,reset-pe-dma-window"], 1])
        node.set("ibm,ddw-applicable", [rtas.TOKENS[name] for name in windows])
    node.set("ibm,pe-total-#msi", era.numbers.msis)
    node.set("ibm,pci-config-space-type", 1)
    node.set("reg", [*wide(phb.BUID), 0, 0])
    at = era.places
    ranges = [0x0100_0000, 0, 0, *wide(at.io), *wide(phb.IO_SIZE)]
    ranges += [0x0200_0000, *wide(phb.MEM_BUS), *wide(at.memory), *wide(at.memory_size)]
    if at.memory64_size:
        ranges += [0x0300_0000, *wide(at.bus64), *wide(at.memory64), *wide(at.memory64_size)]
    node.set("ranges", ranges)
    node.set("bus-range", [0, 0xFF])
    node.set("used-by-rtas")
    node.set("#interrupt-cells", 1)
    node.set("compatible", "IBM,Logical_PHB")
    node.set("device_type", "pci")


def _vdevice(node: Node, devices: Sequence[VioDevice | Nvram]) -> None:
    node.set("interrupt-controller")
    node.set("#interrupt-cells", 2)
    node.set("#size-cells", 0)
    node.set("#address-cells", 1)
    node.set("compatible", "IBM,vdevice")
    node.set("device_type", "vdevice")
    add_nodes(node, devices)
