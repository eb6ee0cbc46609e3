"""Receivers of a stream: what each release of QEMU writes and reads of these machines.  Data only.

One table for transfers, snapshots, `stream convert`, `stream doctor` and the tests.  `EVIDENCE`
says for every column where it is known from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gossamer.base.data import Data, field
from gossamer.base.errors import ConfigError

OURS: Final = "gossamer-1"
#: Layouts that a class may have beside its own (`Stateful.layouts`), by name.
SUSPENDED: Final = "suspended"
#: The machine whose versions are QEMU's: the name in a stream is this and the version.
SERVER: Final = "pseries-"
SERVER_HZ: Final = 512_000_000


def number_of(version: str) -> tuple[int, ...]:
    """A version's numbers, to compare: "2.12-sxxm" is 2.12."""
    plain = version.partition("-")[0].split(".")
    return tuple(int(part) if part.isdecimal() else 0 for part in plain)


class Release(Data):
    """A program that reads and writes streams.

    `ours`: it knows gossamer's subsections, so nothing is lost.  The columns behind it are true of
    QEMU from the release on that is named in `EVIDENCE`.
    """

    name: str
    title: str
    ours: bool = False
    switchover: bool = False
    """Sends SWITCHOVER_START before the devices, and knows it."""
    suspended: bool = False
    """`globalstate` says whether the machine was suspended."""
    described: bool = False
    """The JSON at the end describes the configuration, too."""
    reads_decrementer: bool = False
    """Loads DEC from spr[22]."""
    stale_decrementer: bool = False
    """Keeps the decrementer that its own power-on armed, for tick 2**32 - 1."""
    compress: bool = False
    """Reads COMPRESS_PAGE where its capability is on."""
    any_fill: bool = False
    """Takes a ZERO record with another byte than 0."""
    flush: bool = False
    """Knows MULTIFD_FLUSH."""
    versions: Mapping[str, int] = field(default_factory=dict)
    """Sections and subsections whose version is not ours."""
    known: frozenset[str] = frozenset()
    """Sections and subsections that it has, by the names of their descriptions."""
    timebase: Mapping[str, int] = field(default_factory=dict)
    """Ticks of TB and DEC a second, by machine."""
    without: frozenset[str] = frozenset()
    """Machines that it no longer has."""
    oldest: str = "2.1"
    """The oldest version of pseries that it has."""
    newest: str = ""
    """The newest."""
    needs_msix: bool = False
    """Ends when it loads an xHCI without MSI-X."""
    sleeps: bool = False
    """On a pseries it loads DEC, and yet a guest that waits for it is not woken."""

    @property
    def forms(self) -> frozenset[str]:
        """Layouts that its streams have."""
        return frozenset({SUSPENDED} if self.suspended else ())

    def has_server(self, machine: str) -> bool:
        """Whether it has this version of pseries."""
        version = number_of(machine.removeprefix(SERVER))
        return number_of(self.oldest) <= version <= number_of(self.newest)

    def knows(self, subsection: str) -> bool:
        """Whether a subsection of QEMU's loads there."""
        return subsection in self.known


EVIDENCE: Final = {
    "switchover": "10.0 sends command 11 by default; 7.2 ends with 'MIG_CMD 0xb unknown' (tried)",
    "suspended": "9.0; seen in streams of 10.0.13, and 7.2 loads them (tried)",
    "described": "8.2; seen in streams of 10.0.13, not in 7.2.22's",
    "reads_decrementer": "8.2; read in the sources of 10.0",
    "stale_decrementer": "7.2.22: no interrupt before tick 2**32 of the clock (tried)",
    "compress": "5.2 and 7.2; the flag is gone in the sources of 10.0",
    "any_fill": "7.2.22 fills a page with 0x60 (tried); refused in the sources of 10.0",
    "flush": "8.1; read in the sources of 10.2, refused by 7.2",
    "versions": "5.2: mos6522 0 without last_irq_levels, timer/icount/shift 1 (its sources); "
    "10.0, 11.1: cpu/slb 2 in their streams, 7.2 refuses it, and they load 1 (tried)",
    "known": "captures, dumps of 7.2 and 10.0; reservation: 8.2, rtas_stopped: 10.1 (sources)",
    "timebase": "mac99: 100 MHz up to 8.2, 25 MHz from 9.0 on (device trees of 7.2.22, 10.0.13)",
    "oldest": "7.2.22, 10.0.13: -M help; 11.1: by QEMU's rule, gone after 18 releases",
    "newest": "7.2.22, 10.0.13: -M help; the others: a release has the version of its own number",
    "sleeps": "11.1.3: 8 of 8 of its own saves, 2 of 2 of 10.0's; 10.0.13: none of 14 (tried)",
    "needs_msix": "7.2.22: 'msix_vector_unuse: Assertion failed' at its own streams too (tried)",
    "without": "ref405ep: deprecated in 9.1, gone in 10.0 (its notes on removed features)",
}
"""Where each column is known from."""

_OLD_TIMEBASE: Final = {"g3beige": 16_600_000, "mac99": 100_000_000}
_NEW_TIMEBASE: Final = {"g3beige": 16_600_000, "mac99": 25_000_000}
_REMOVED: Final = frozenset({"ref405ep"})
#: What all four releases have on these machines: captures of 7.2.22, dumps of 7.2.22 and 10.0.13.
KNOWN: Final = frozenset({
    "PCIBUS", "PCIHost", "adb_bus", "adb_kbd", "adb_mouse", "cpu", "cpu_common", "cuda", "dbdma",
    "escc", "fw_cfg", "globalstate", "heathrow_pic", "ide", "macio-newworld", "macio-oldworld",
    "macio_gpio", "macio_nvram", "mos6522", "ne2000", "ohci", "openpic", "pmu", "slirp", "sungem",
    "timer", "usb-hub", "usb-kbd", "usb-ptr", "vga", "xhci", "cpu/altivec", "cpu/fpu", "cpu/sr",
    "cpu/tlb6xx", "cpu_common/crash_occurred", "cpu_common/exception_index", "fw_cfg/acpi_mr",
    "fw_cfg/dma", "ide_bus/error", "ide_drive/atapi/gesn_state", "ide_drive/pio_state",
    "ide_drive/tray_state", "ohci-core/eof-timer", "pmu/adb", "timer/icount",
    "timer/icount/shift", "timer/icount/timers", "timer/icount/warp_timer", "usb-hub/port-timer",
    "vga.endian", "i2c_bus", "m48t59", "ppc-uic", "serial", "serial/fifo_timeout_timer",
    "serial/poll", "serial/recv_fifo", "serial/thr_ipending", "serial/timeout_ipending",
    "serial/tsr", "serial/xmit_fifo",
    "cpu/slb", "cpu/vsx", "cpu/compat", "ics", "icp/server", "spapr", "spapr/htab", "spapr/rtc",
    "spapr_cpu", "spapr_iommu", "spapr_llan", "spapr_llan/rx_pools", "spapr_vscsi", "scsi-disk",
    "virtio-scsi",
    "spapr_nvram", "spapr_pci", "spapr_vty", "spapr/cap/hpt_maxpagesize", "spapr_cpu/vpa",
    "spapr_cpu/vpa/dtl", "spapr/cap/htm", "spapr_cpu/vpa/slb_shadow", "spapr_dtb", "spapr_fwnmi",
    "spapr_iommu_ex", "spapr_irq_map", "spapr_option_vector_ov5_cas", "spapr_pending_events",
    "virtio-blk", "virtio-net", "virtio/64bit_features", "virtio/broken", "virtio/device_endian",
    "virtio/disabled", "virtio/extra_state", "virtio/ringsize", "virtio/started",
    "virtio/virtqueues", "virtio_pci/modern_state",
})  # fmt: skip
RTAS, RESERVATION, SHIFT = "cpu/rtas_stopped", "cpu/reservation", "timer/icount/shift"
SLB: Final = "cpu/slb"

RELEASES: Final = {
    r.name: r
    for r in (
        Release(OURS, "gossamer", ours=True),
        Release(
            "qemu-5.2", "QEMU 5.2", stale_decrementer=True, compress=True, any_fill=True,
            versions={"mos6522": 0, SHIFT: 1}, known=KNOWN,
            timebase=_OLD_TIMEBASE, newest="5.2",
        ),
        Release(
            "qemu-7.2", "QEMU 7.2", stale_decrementer=True, compress=True, any_fill=True,
            needs_msix=True, known=KNOWN, timebase=_OLD_TIMEBASE, newest="7.2",
        ),
        Release(
            "qemu-10.0", "QEMU 10.0", switchover=True, suspended=True, described=True,
            reads_decrementer=True, flush=True, known=KNOWN | {RESERVATION}, timebase=_NEW_TIMEBASE,
            without=_REMOVED, versions={SLB: 2}, oldest="3.0", newest="10.0",
        ),
        Release(
            "qemu-11.1", "QEMU 11.1", switchover=True, suspended=True, described=True,
            reads_decrementer=True, flush=True, known=KNOWN | {RESERVATION, RTAS},
            timebase=_NEW_TIMEBASE, without=_REMOVED, versions={SLB: 2}, oldest="5.2",
            newest="11.1", sleeps=True,
        ),
    )
}  # fmt: skip
ALIASES: Final = {"gossamer": OURS, "qemu-10": "qemu-10.0", "qemu-11": "qemu-11.1"}
QEMU: Final = {name: r for name, r in RELEASES.items() if not r.ours}
NAMES: Final = (*RELEASES, *ALIASES)


def release(name: str) -> Release:
    """The release called `name`, by any of its names; ConfigError lists what exists."""
    found = RELEASES.get(ALIASES.get(name, name))
    if found is None:
        raise ConfigError(f"unknown profile {name!r} (there is: {', '.join(RELEASES)})")
    return found
