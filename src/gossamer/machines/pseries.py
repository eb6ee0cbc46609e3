"""The paravirtual server machine as QEMU 7.2's `pseries` builds it, started without a firmware.

Sources: LoPAR; addresses, numbers, order of sections and the state at power on as measured with
QEMU 7.2 (`-machine x-vof=on`, no devices but a terminal and an NVRAM).
"""

from __future__ import annotations

import hashlib
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.base.units import NS_PER_S, MiB
from gossamer.core import host
from gossamer.core.htab import HashTable
from gossamer.core.irq import IrqLine
from gossamer.cpu.model import find as find_cpu
from gossamer.devices.pci import PciBus
from gossamer.devices.spapr import services
from gossamer.devices.spapr.calls import (
    PARAMETER,
    SUCCESS,
    GuestRam,
    Hypercalls,
    Registers,
    results,
)
from gossamer.devices.spapr.llan import llan_calls
from gossamer.devices.spapr.pci_services import add_pci
from gossamer.devices.spapr.pft import PageTableCalls
from gossamer.devices.spapr.processor_calls import ProcessorCalls
from gossamer.devices.spapr.rtas import H_RTAS, Rtas
from gossamer.devices.spapr.spapr import EarlySpaprCpu, PageTable, Rtc, Spapr, SpaprCpu
from gossamer.devices.spapr.tce import tce_calls
from gossamer.devices.spapr.vcpus import Vcpu, Vcpus
from gossamer.devices.spapr.vio import Nvram, Terminal, terminal_calls
from gossamer.devices.spapr.vio_bus import VioBus
from gossamer.devices.spapr.vof import H_VOF_CLIENT, Firmware
from gossamer.devices.spapr.xics import H_XIRR_X, EarlyIcs, Icp, Ics, xics_calls
from gossamer.devices.vga.card import Vga
from gossamer.isa.compat import NAMED
from gossamer.isa.interrupts import Irq
from gossamer.machines import firmware, pseries_pci, pseries_start, pseries_tree, scsi_attach
from gossamer.machines.config import FIRST_SCSI, ON_OFF, Hardware, mebibytes
from gossamer.machines.device_options import built_in
from gossamer.machines.devices_attach import (
    PCI_BUS,
    add_display,
    add_network,
    add_server_usb,
    video_room,
)
from gossamer.machines.drives import VIO_NIC, VIO_SCSI
from gossamer.machines.kind import PROPERTIES, MachineKind
from gossamer.machines.machine import Machine
from gossamer.machines.pseries_cpus import CPUS
from gossamer.machines.pseries_versions import FIRST_IRQ, FIXED, USUAL, VERSIONS, Era, era
from gossamer.machines.pseries_vio import VioSlots

#: What the time base counts at, whatever the CPU.
TB_HZ: Final = 512_000_000
GRAIN: Final = 256 * MiB
H_CAS, H_UPDATE_DT = 0xF002, 0xF003


def pseries(hardware: Hardware) -> Machine:
    """Compose the machine and put its kernel into memory."""
    check(hardware)
    roms = video_room(hardware) + pseries_pci.roms(hardware)
    m = Machine(hardware, KIND, other_memory=MiB + roms)
    age = era(hardware.version)
    m.name = f"{KIND.name}-{age.name}"
    clock, model = m.clock, m.cpu.model
    m.memory.open_bus = 0
    m.ram(KIND.ram_block, hardware.ram_size, at=0)
    table = HashTable(pseries_start.htab_shift(hardware.ram_size))
    m.hash_table = m.memory.hash_table = table
    table.changed = lambda: m.engine.flush()
    table.gone = lambda n, v: m.engine.forget_entry(n, v)
    ram = GuestRam(m.memory, hardware.ram_size)
    prom = Firmware(ram, m.trace)
    modern = model.architecture.both_orders
    spapr = Spapr(clock, prom, TB_HZ, seconds(hardware) * NS_PER_S, modern=modern)
    numbers = age.numbers

    ics = m.add("ics", (EarlyIcs if numbers.in_order else Ics)(clock, FIRST_IRQ))
    vcpus = _vcpus(m, ics, age)
    rtc = m.add("rtc", Rtc(clock, spapr.utc))
    terminal = Terminal(
        clock, pseries_tree.TERMINAL, numbers.terminal, IrqLine(ics, numbers.terminal)
    )
    m.add("vty", terminal)
    m.serials.append(terminal)
    nvram = m.add("nvram", Nvram(clock, pseries_tree.NVRAM, numbers.nvram))
    phb = pseries_pci.add_bridge(m, ics, spapr, ram, age)
    windows = {window.liobn: window for window in phb.windows}
    vio = VioBus(windows)
    m.vio = VioSlots(m, ics, ram, numbers, vio, nvram)
    vio.add(terminal)
    spapr.epow = lambda: ics.pulse(numbers.epow)
    m.power_button = lambda: spapr.power_button(rtc.now)

    for number in (numbers.epow, numbers.hot_plug, terminal.source, nvram.source):
        if number:
            ics.claim(number)
    _usual_devices(m)
    m.add("spapr", spapr)
    m.add("htab", PageTable(clock, table))

    calls = Hypercalls(m.trace)
    bases = CPUS[model.name].bases(age.page_shift)
    large = [size for _, _, sizes in bases for size in sizes if size[0] > 12]
    calls.add(PageTableCalls(table, hardware.ram_size, large).handlers())
    character = age.character(modern)
    processors = ProcessorCalls(
        ram, vcpus, modern=modern, character=character, set_order=lambda big: _set_order(m, big)
    )
    calls.add(processors.handlers())
    calls.add(xics_calls(ics, lambda: vcpus.caller.icp))
    calls.add(terminal_calls([terminal]))
    calls.add(tce_calls(windows, ram))
    calls.add(vio.calls())
    calls.add(llan_calls(vio))

    def xirr_x(regs: Registers) -> int:
        results(regs, vcpus.caller.icp.accept(), m.cpus[m.turn].timebase)
        return 0

    rtas = _services(m, ram, vcpus, terminal, rtc, ics, nvram, spapr)
    add_pci(rtas, phb, age.dma_page_shift, extended=age.extended)
    vio.add_services(rtas)
    # What only the firmware SLOF calls, with trees and buffers of its own.
    calls.add({H_CAS: lambda regs: PARAMETER})
    calls.add({H_UPDATE_DT: lambda regs: PARAMETER if age.tree else SUCCESS})
    calls.add({H_XIRR_X: xirr_x, H_RTAS: rtas.call, H_VOF_CLIENT: prom.call})
    for one, engine in zip(m.cpus, m.engines, strict=True):
        one.hypercall = lambda: calls(m.cpus[m.turn].block)
        engine.answer_calls(hardware.ram_size)
        engine.answer_terminal(terminal.reg, lambda data: terminal.transmit(data))

    def fell_silent(silent: bool) -> None:
        for engine in m.engines:
            engine.terminal_silent(silent)

    terminal.fell_silent = fell_silent
    prom.write = lambda data: terminal.transmit(data)
    prom.leave = lambda: m.power_off()
    prom.negotiate = pseries_start.Negotiation(m, prom, spapr, ram)
    seed = random_seed(hardware)

    def complete() -> None:
        pseries_start.start(m, prom, seed)
        spapr.dtb_initial_size = len(prom.blob)

    m.complete = complete
    m.at_reset.append(lambda: pseries_start.start(m, prom, seed))
    return m


def _set_order(m: Machine, big: bool) -> None:
    """Displays' pixels are in this byte order, as QEMU's hypervisor has it with H_SET_MODE."""
    for part in m.parts:
        if isinstance(part.device, Vga):
            part.device.set_order(big=big)


def _vcpus(m: Machine, ics: Ics, age: Era) -> Vcpus:
    """What each CPU has of its own; the sections in the order of QEMU's streams."""
    members, order = [], ["timer", "ics"]
    for n, cpu in enumerate(m.cpus):
        last = str(n) if n else ""
        line = IrqLine(cpu, Irq.EXTERNAL)
        icp = m.add(f"icp{last}", Icp(m.clock, n * age.spacing, line, ics), instance=n)
        registered = (SpaprCpu if age.areas else EarlySpaprCpu)(m.clock)
        own = m.add(f"cpu{last}/spapr", registered, instance=n)
        members.append(Vcpu(cpu.block, icp, own))
        order += [f"cpu_common{last}", f"cpu{last}", f"icp{last}", f"cpu{last}/spapr"]
    m.parts.sort(key=lambda part: order.index(part.path) if part.path in order else len(order))
    return Vcpus(members, lambda: m.turn, m.pass_turn, age.spacing)


def _usual_devices(m: Machine) -> None:
    """In the machine's own place: network cards, adapters for drives of if=scsi, display, USB."""
    bus = m.part(PCI_BUS)
    assert isinstance(bus, PciBus)
    assert m.vio is not None
    add_network(m, bus)
    for n in range(scsi_attach.legacy_buses(m)):
        adapter = m.vio.add_scsi(built_in(m.hardware, VIO_SCSI))
        scsi_attach.add_legacy(m, adapter.bus, n)
    add_display(m, bus)
    if m.kind.has_usb(m.hardware):
        xhci = era(m.hardware.version).xhci
        add_server_usb(m, bus, xhci=xhci, with_input=m.hardware.vga != "none")


def check(hardware: Hardware) -> None:
    """ConfigError for what this machine cannot be."""
    if hardware.ram_size % GRAIN:
        raise ConfigError(
            f"-m: {KIND.name} takes multiples of {mebibytes(GRAIN)}, "
            f"got {mebibytes(hardware.ram_size)}"
        )
    if hardware.bios not in (None, firmware.SAVED):
        raise ConfigError(f"-bios: {KIND.name} runs no firmware, got {hardware.bios}")
    properties = hardware.properties
    if properties.get("x-vof", "on") == "off":
        raise ConfigError("-M x-vof=off: the firmware SLOF cannot be run yet")
    if (
        "max-cpu-compat" in properties
        and "2.07" not in find_cpu(KIND.find_cpu(hardware.cpu)).features
    ):
        level = properties["max-cpu-compat"]
        raise ConfigError(
            f"-M max-cpu-compat={level}: {KIND.find_cpu(hardware.cpu)} has no such level"
        )
    modern = "2.07" in find_cpu(KIND.find_cpu(hardware.cpu)).features
    for name in ("cap-vsx", "cap-dfp", "cap-htm", "cap-nested-hv"):
        has = modern and name in ("cap-vsx", "cap-dfp")
        if properties.get(name, ON_OFF[not has]) != ON_OFF[not has]:
            said = "cannot be taken from the CPU" if has else "the CPU has no such thing"
            expected = f"expected {name}={ON_OFF[not has]}"
            raise ConfigError(f"-M {name}={properties[name]}: {said}, {expected}")


def seconds(hardware: Hardware) -> int:
    """The real-time clock at power on, since 1970."""
    base = hardware.rtc_base
    if isinstance(base, int):
        return base
    now = host.utc_ns() // NS_PER_S
    return now + host.utc_offset() if base == "localtime" else now


def random_seed(hardware: Hardware) -> bytes:
    """What the guest's random numbers begin with: the same in a machine that shall be repeatable.

    That is one whose real-time clock is not the host's.
    """
    if isinstance(hardware.rtc_base, int):
        return hashlib.sha256(f"{hardware.uuid} {hardware.rtc_base}".encode()).digest()
    return host.random_bytes(32)


def _services(
    m: Machine,
    ram: GuestRam,
    vcpus: Vcpus,
    terminal: Terminal,
    rtc: Rtc,
    ics: Ics,
    nvram: Nvram,
    spapr: Spapr,
) -> Rtas:
    rtas = Rtas(ram, m.trace)
    services.add_console(rtas, terminal)
    services.add_clock(rtas, rtc)
    services.add_power(
        rtas,
        lambda: m.power_off(),
        lambda: m.system_reset(),
        lambda: m.power_off(),
    )
    services.add_cpus(rtas, vcpus)
    services.add_interrupts(rtas, ics)
    services.add_nvram(rtas, nvram, ram)
    services.add_events(rtas, spapr, ram, nmi=era(m.hardware.version).nmi)
    megabytes = m.hardware.ram_size // MiB
    cpus = m.hardware.cpus
    shared = f"MaxEntCap={cpus},DesMem={megabytes},DesProcs={cpus},MaxPlatProcs={cpus}"
    uuid = bytes.fromhex(m.hardware.uuid.replace("-", "")) if m.hardware.uuid else b""
    services.add_parameters(
        rtas,
        ram,
        {
            services.SPLPAR_CHARACTERISTICS: shared.encode() + b"\0",
            services.DIAGNOSTICS_RUN_MODE: b"\0",
            services.UUID: uuid,
        },
    )
    return rtas


KIND: Final = MachineKind(
    name="pseries",
    title="paravirtual server (LoPAR), 64 bits",
    compose=pseries,
    versions=VERSIONS,
    names_version=True,
    usual=USUAL,
    cpus=tuple(CPUS),
    refused={
        name: f"a {name.upper()} has radix page tables and XIVE interrupts, which are not here; "
        "power8 is the newest CPU"
        for name in ("power9", "power10")
    },
    foreign=dict.fromkeys(
        ("xive-source", "spapr-xive", "xive-tctx"),
        "the sender has XIVE interrupts, as with a POWER9 or POWER10, which are not here",
    ),
    tb_hz=TB_HZ,
    ram_block="ppc_spapr.ram",
    ram_default=512 * MiB,
    ram_least=256 * MiB,
    ram_most=2048 * MiB,
    cpu_most=8,
    serials=1,
    vga=("std", "none"),
    screened=True,
    usb=False,
    properties={
        **PROPERTIES,
        "graphics": ON_OFF,
        "usb": ON_OFF,
        "x-vof": ON_OFF,
        "ic-mode": ("xics",),
        "max-cpu-compat": tuple(one.name for one in NAMED),
        "cap-vsx": ON_OFF,
        "cap-dfp": ON_OFF,
        "cap-htm": ON_OFF,
        "cap-nested-hv": ON_OFF,
    },
    irq_names={
        FIXED.epow: "EPOW",
        FIXED.hot_plug: "hot plug",
        FIXED.terminal: "terminal",
        FIXED.nvram: "NVRAM",
    },
    pics=("ics",),
    virtio=True,
    vio=True,
    interface="scsi",
    cd_place=FIRST_SCSI + 2,
    nic=VIO_NIC,
)
