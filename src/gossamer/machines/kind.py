"""What a machine is, as data: one `MachineKind` stands in the file of each machine.

Everything that another file must know of a machine is here: the limits of its configuration, where
its drives stand, the numbers of its sections, what its interrupt inputs are called, its versions.
`registry` finds a machine by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

from gossamer.base.data import Data, field
from gossamer.base.errors import ConfigError
from gossamer.base.units import KiB
from gossamer.machines.config import (
    DEVICE_VGA,
    ON_OFF,
    Hardware,
    interface_of,
    mebibytes,
    unknown,
)

M_co = TypeVar("M_co", covariant=True)

#: QEMU's other names of the same parts.
CPU_ALIASES: Final = {
    "power8": "power8_v2.0",
    "405": "405d4",
    "405cr": "405crc",
    "405gp": "405gpd",
    "405gpe": "405crc",
    "603e_v4.1": "603e",
    "stretch": "603e",
    "604e_v2.4": "604e",
    "sirocco": "604e",
    "750_v3.1": "750",
    "typhoon": "750",
    "g3": "750",
    "750fx_v2.3": "750fx",
    "7400_v2.9": "7400",
    "g4": "7400",
    "7447a_v1.2": "7447a",
    "7455_v3.2": "7455",
    "apollo6": "7455",
}
#: As QEMU, every machine takes every part with the 60x bus; a machine's own comes first.
CPUS: Final = ("750", "7400", "603e", "604e", "750fx", "7447a", "7455")
#: Properties of ``-M name,property=value`` that every machine has, and their values.
PROPERTIES: Final = {"suppress-vmdesc": ON_OFF, "accel": ("tcg",)}
#: The same for the Power Macs.
MAC_PROPERTIES: Final = {"graphics": ON_OFF, "usb": ON_OFF, **PROPERTIES}


class Frame(Data):
    """What QEMU's streams of a machine have around and beside its sections.

    `names_machine`: a configuration section; `footers` behind each section; `described`: their
    own description at the end.  `says_state`: globalstate is always there; else only of a machine
    that neither runs nor was paused.
    """

    names_machine: bool = True
    footers: bool = True
    described: bool = True
    says_state: bool = True


WHOLE_FRAME: Final = Frame()


class Version(Data):
    """A version of a machine, as what it has not that the newest one has.

    `switches`: compat switches, (description of the chip, name), and their values there.
    `defaults`: by driver and property, what its devices have unless something else is asked for.
    `without`: paths of parts that came later.  `released`: its schema may not change any more.
    `frame`: of its streams for QEMU; ours have all.
    """

    name: str
    switches: Mapping[tuple[str, str], object] = field(default_factory=dict)
    defaults: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    released: bool = True
    frame: Frame = WHOLE_FRAME


class SectionNumbers(Data):
    """The numbers of the sections in a stream, as QEMU 7.2 gives them on a machine.

    They count up from `first`, except those in `fixed`.  Where the machine has a network card, the
    section `network` of the host's network (which only QEMU has) takes the number `first`.
    """

    ram: int = 2
    first: int = 4
    fixed: Mapping[str, int] = field(default_factory=lambda: {"timer": 0})
    network: str = "slirp"


class MachineKind(Data, Generic[M_co]):
    """A machine that can be chosen.

    `compose` makes it; `versions`: newest last; `cpus`: its own first.  `ram_block`: what a stream
    calls its RAM.  `firmware`: whether it begins in a firmware; `boot`: the letters of -boot that
    mean something to it.  `ide`: paths of its IDE cells, two drives each; `cd_place`: where a CD
    drive stands that was not asked for.  `nic`: its network card, empty for none; `usb`: whether it
    has USB by default, None for never.  `pics`: paths of its interrupt controllers; `irq_names`:
    what is at their inputs.  `runs`: whether its CPU executes anything; `cpu_most`: CPUs that
    -smp can give it; `virtio`: whether what can be added are virtio devices;
    `screened`: a display, one of -device too, is its console and brings USB, keyboard and mouse;
    `interface`: where a drive goes that says nothing of it, "ide" or "scsi"; `vio`: whether it has
    virtual I/O; `names_version`: whether a stream says the machine's version, so that no other one
    loads it; `usual`: the version that it has without one, empty: the newest; `refused`: CPUs that
    QEMU's machine has and this one has not, and why; `foreign`: sections of QEMU's machine that
    mean that it is another one, and why.
    """

    name: str
    title: str
    compose: Callable[[Hardware], M_co]
    versions: tuple[Version, ...]
    cpus: tuple[str, ...]
    tb_hz: int
    ram_block: str
    ram_default: int
    ram_least: int
    ram_most: int
    serials: int
    firmware: bool = False
    boot: str = ""
    ide: tuple[str, ...] = ()
    cd_place: int | None = None
    vga: tuple[str, ...] = ("none",)
    nic: str = ""
    usb: bool | None = None
    properties: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: PROPERTIES)
    sections: SectionNumbers = SectionNumbers()
    pics: tuple[str, ...] = ()
    irq_names: Mapping[int, str] = field(default_factory=dict)
    runs: bool = True
    cpu_most: int = 1
    virtio: bool = False
    vio: bool = False
    interface: str = "ide"
    names_version: bool = False
    usual: str = ""
    screened: bool = False
    refused: Mapping[str, str] = field(default_factory=dict)
    foreign: Mapping[str, str] = field(default_factory=dict)

    @property
    def drives(self) -> int:
        """Places for drives: 0, 1 on the first IDE channel, 2, 3 on the second."""
        return 2 * len(self.ide)

    @property
    def newest(self) -> str:
        """The version that the machine has without one: the newest, but for `usual`."""
        return self.usual or self.versions[-1].name

    def version(self, name: str) -> Version:
        """The version called `name`; ConfigError lists what there is."""
        for version in self.versions:
            if version.name == name:
                return version
        raise unknown(f"version of {self.name}", name, (v.name for v in self.versions))

    def has_usb(self, hardware: Hardware) -> bool:
        """Whether the machine has its USB controller."""
        usual = self.usb or (self.screened and hardware.vga != "none")
        return bool(usual if hardware.usb is None else hardware.usb)

    def has_nic(self, hardware: Hardware) -> bool:
        """Whether there is a network card in the machine's own place."""
        return bool(self.nic) and (hardware.nic or bool(hardware.nics))

    def find_cpu(self, name: str) -> str:
        """The CPU called `name`, in QEMU's names too; the machine's own for an empty name."""
        if not name:
            return self.cpus[0]
        found = CPU_ALIASES.get(name.lower(), name.lower())
        if why := self.refused.get(found.partition("_")[0]):
            raise ConfigError(f"-cpu {name}: {why}")
        if found not in self.cpus:
            raise unknown(f"CPU for {self.name}", name, self.cpus)
        return found

    def check_ram(self, size: int) -> None:
        """ConfigError when the machine cannot have `size` bytes of RAM."""
        if size < self.ram_least:
            least = f"at least {mebibytes(self.ram_least)}"
            raise ConfigError(f"-m: {self.name} needs {least} of RAM, got {mebibytes(size)}")
        if size > self.ram_most:
            most = f"at most {mebibytes(self.ram_most)}"
            raise ConfigError(f"-m: {self.name} takes {most} of RAM, got {mebibytes(size)}")
        if size % (64 * KiB):
            raise ConfigError(f"-m: RAM must be a multiple of 64 KiB, got {size} bytes")

    def check(self, hardware: Hardware) -> None:
        """ConfigError when the parts of `hardware` do not fit the machine."""
        self.version(hardware.version)
        self.check_ram(hardware.ram_size)
        if not 1 <= hardware.cpus <= self.cpu_most:
            most = "has one CPU" if self.cpu_most == 1 else f"takes 1 to {self.cpu_most} CPUs"
            raise ConfigError(f"-smp: {self.name} {most}, got {hardware.cpus}")
        if hardware.vga not in (*self.vga, *[DEVICE_VGA] * self.screened):
            raise unknown(f"display adapter for {self.name}", hardware.vga, self.vga)
        if hardware.boot and not set(hardware.boot) & set(self.boot):
            letters = ", ".join(self.boot) or "nothing"
            raise ConfigError(f"-boot: {self.name} starts from {letters}, got {hardware.boot!r}")
        self._check_drives(hardware)

    def _check_drives(self, hardware: Hardware) -> None:
        taken: dict[int, object] = {}
        for drive in hardware.drives:
            interface = interface_of(drive.index)
            if interface != "ide" and not self.virtio:
                raise ConfigError(
                    f"-drive: if={interface}: {self.name} has no {interface}; pseries has"
                )
            if interface == "ide" and self.drives <= drive.index:
                raise ConfigError(
                    f"-drive: {self.name} has {self.drives} IDE places, got index {drive.index}"
                )
            if drive.index in taken:
                raise ConfigError(f"-drive: index {drive.index} is taken by {taken[drive.index]}")
            taken[drive.index] = drive.file
