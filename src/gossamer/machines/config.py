"""What a machine is made from: the choices of a user, checked, with the defaults filled in."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.base.units import KiB, MiB

ON_OFF: Final = ("on", "off")
#: What the clock does while a machine is kept in a snapshot.
CLOCK_POLICIES: Final = ("freeze", "continue", "step")


@dataclass(frozen=True, slots=True)
class Model:
    """A machine that can be chosen: what it has by default, and its limits.

    `versions`: newest last.  `properties` of ``-M name,property=value`` and their values.
    """

    name: str
    title: str
    versions: tuple[str, ...]
    cpus: tuple[str, ...]
    ram_default: int
    ram_least: int
    ram_most: int
    serials: int
    drives: int
    vga: tuple[str, ...] = ("std", "none")
    #: The network card that it has by default; empty: it can have none.
    nic: str = ""
    #: Whether it has USB by default; None: never.
    usb: bool | None = None
    properties: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


#: QEMU's other names of the same parts.
CPU_ALIASES: Final = {
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

MODELS: Final = {
    m.name: m
    for m in (
        Model(
            name="g3beige",
            title="Power Macintosh G3 (Beige), Heathrow",
            versions=("1.0", "1.1"),
            cpus=CPUS,
            ram_default=128 * MiB,
            # OpenBIOS 1.1 was seen to reach its prompt with 4 MiB.
            ram_least=4 * MiB,
            # As QEMU 7.2.
            ram_most=2047 * MiB,
            serials=2,
            drives=4,
            nic="ne2k_pci",
            usb=False,
            properties={
                "graphics": ON_OFF,
                "usb": ON_OFF,
                "suppress-vmdesc": ON_OFF,
                "accel": ("tcg",),
            },
        ),
        Model(
            name="mac99",
            title="Power Macintosh (Core99, as QEMU's mac99), KeyLargo and UniNorth",
            versions=("1.0", "1.1"),
            cpus=("7400", *(c for c in CPUS if c != "7400")),
            ram_default=128 * MiB,
            ram_least=4 * MiB,
            # As QEMU 7.2: PCI memory begins at 2 GiB.
            ram_most=2048 * MiB,
            serials=2,
            drives=4,
            nic="sungem",
            usb=True,
            properties={
                "via": ("cuda", "pmu", "pmu-adb"),
                "graphics": ON_OFF,
                "usb": ON_OFF,
                "suppress-vmdesc": ON_OFF,
                "accel": ("tcg",),
            },
        ),
        Model(
            name="bare",
            title="a CPU, RAM and a serial port, for programs without an operating system",
            versions=("1.0",),
            cpus=CPUS,
            ram_default=16 * MiB,
            ram_least=MiB,
            ram_most=2047 * MiB,
            serials=1,
            drives=0,
            vga=("none",),
            properties={"suppress-vmdesc": ON_OFF, "accel": ("tcg",)},
        ),
    )
}
DEFAULT_MACHINE: Final = "g3beige"


@dataclass(frozen=True, slots=True)
class Added:
    """A device with its properties, each with its value: given, by -global, or the default.

    `where` names it in errors; `id` and `bus` are empty where the user gave none.
    """

    driver: str
    values: Mapping[str, object]
    id: str = ""
    bus: str = ""
    where: str = ""

    def text(self, name: str) -> str:
        value = self.values[name]
        assert isinstance(value, str), (name, value)
        return value

    def number(self, name: str) -> int:
        value = self.values[name]
        assert isinstance(value, int), (name, value)
        return value

    def optional(self, name: str) -> int | None:
        """A number, or None where none was given."""
        return None if self.values[name] is None else self.number(name)

    @property
    def title(self) -> str:
        """As QEMU's ``info qtree`` names it."""
        return f'{self.driver}, id "{self.id}"'


@dataclass(frozen=True, slots=True)
class Drive:
    """A disk or CD-ROM.  `index` is its place: 0, 1 first IDE channel, 2, 3 second.

    `rerror`, `werror`: what an error of the host does, in QEMU's words.  `serial`, `model` and
    `firmware` are what the drive says of itself, empty for the usual; `wwn` 0: none.  `device` is
    the id that -device gave it.
    """

    interface: str
    index: int
    media: str
    file: Path | None
    format: str | None = None
    readonly: bool = False
    snapshot: bool = False
    name: str = ""
    rerror: str = "report"
    werror: str = "enospc"
    serial: str = ""
    model: str = ""
    firmware: str = ""
    wwn: int = 0
    device: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that decides what machine is built and how it is started.

    `ram_size` bytes; an empty `cpu` becomes the machine's own; `icount` the shift of ``-icount``
    (2**shift ns an instruction), None for real time; `rtc_base` "utc", "localtime" or seconds
    since 1970; `graphic` False for ``-nographic``; `serials` and `monitors` are character devices
    in QEMU's spelling, "none" for no device; `start` False for ``-S``, `repair` False for
    ``-no-repair``.  `kernel` None on ``bare``: the built-in program.  `nics` are the network
    cards in the place of the machine's own, which it has when `nic` is set and there are none;
    `devices` what -device added; `defaults` by driver and property what -global set.
    """

    machine: str = DEFAULT_MACHINE
    version: str = "1.0"
    ram_size: int = 128 * MiB
    cpu: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    bios: str | None = None
    firmware_folders: tuple[Path, ...] = ()
    prom_env: tuple[str, ...] = ()
    kernel: Path | None = None
    initrd: Path | None = None
    append: str = ""
    boot: str = ""
    drives: tuple[Drive, ...] = ()
    cd_drive: bool = True
    snapshot: bool = False
    graphic: bool = True
    resolution: tuple[int, int, int] = (800, 600, 32)
    vga: str = "std"
    nic: bool = True
    nics: tuple[Added, ...] = ()
    usb: bool | None = None
    devices: tuple[Added, ...] = ()
    defaults: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    serials: tuple[str, ...] = ("mon:stdio",)
    monitors: tuple[str, ...] = ()
    icount: int | None = None
    icount_sleep: bool = True
    rtc_base: str | int = "utc"
    restore_clock: str = "freeze"
    start: bool = True
    reboot: bool = True
    shutdown: bool = True
    loadvm: str | None = None
    incoming: str | None = None
    repair: bool = True
    dump_vmstate: Path | None = None
    name: str = ""
    uuid: str = ""
    pidfile: Path | None = None
    arguments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.cpu and self.machine in MODELS:
            object.__setattr__(self, "cpu", self.model.cpus[0])

    @property
    def model(self) -> Model:
        return MODELS[self.machine]

    @property
    def full_name(self) -> str:
        """The machine with its version, as ``g3beige-1.0``."""
        return f"{self.machine}-{self.version}"

    @property
    def has_usb(self) -> bool:
        """Whether the machine has its USB controller."""
        return bool(self.model.usb if self.usb is None else self.usb)

    @property
    def has_nic(self) -> bool:
        """Whether there is a network card in the machine's own place."""
        return bool(self.model.nic) and (self.nic or bool(self.nics))

    @property
    def vmdesc(self) -> bool:
        """Whether streams end with their own description."""
        return self.properties.get("suppress-vmdesc") != "on"

    def drive(self, index: int) -> Drive | None:
        """The drive at a place; None when it is empty."""
        return next((d for d in self.drives if d.index == index), None)


def unknown(what: str, got: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that does not exist: what exists, and what was perhaps meant."""
    names = sorted(known)
    near = difflib.get_close_matches(got, names, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    listed = ", ".join(names) or "none"
    return ConfigError(f"unknown {what} {got!r}{hint} (there is: {listed})")


def find_machine(name: str) -> tuple[str, str]:
    """Name and version of a machine: ``g3beige`` is the newest, ``g3beige-1.0`` that one."""
    if name in MODELS:
        return name, MODELS[name].versions[-1]
    machine, _, version = name.rpartition("-")
    if machine in MODELS and version[:1].isdigit():
        if version not in MODELS[machine].versions:
            raise unknown(f"version of {machine}", version, MODELS[machine].versions)
        return machine, version
    raise unknown("machine", name, MODELS)


def find_cpu(name: str, model: Model) -> str:
    found = CPU_ALIASES.get(name.lower(), name.lower())
    if found not in model.cpus:
        raise unknown(f"CPU for {model.name}", name, model.cpus)
    return found


def check_ram(size: int, model: Model) -> int:
    """`size` bytes if the machine can have that much RAM; ConfigError otherwise."""
    if size < model.ram_least:
        least = f"at least {mebibytes(model.ram_least)}"
        raise ConfigError(f"-m: {model.name} needs {least} of RAM, got {mebibytes(size)}")
    if size > model.ram_most:
        most = f"at most {mebibytes(model.ram_most)}"
        raise ConfigError(f"-m: {model.name} takes {most} of RAM, got {mebibytes(size)}")
    if size % (64 * KiB):
        raise ConfigError(f"-m: RAM must be a multiple of 64 KiB, got {size} bytes")
    return size


def mebibytes(size: int) -> str:
    """A size for a message."""
    whole, rest = divmod(size, MiB)
    return f"{size} bytes" if rest else f"{whole} MiB"


def check(config: Config) -> Config:
    """`config` if its parts fit together; ConfigError otherwise."""
    model = config.model
    check_ram(config.ram_size, model)
    if config.kernel is None:
        for given, option in ((config.append, "-append"), (config.initrd, "-initrd")):
            if given:
                raise ConfigError(f"{option} needs -kernel")
    if len(config.serials) > model.serials:
        count = f"{model.serials} serial port" + "s" * (model.serials > 1)
        raise ConfigError(f"-serial: {model.name} has {count}, got {len(config.serials)}")
    if config.vga not in model.vga:
        raise unknown(f"display adapter for {model.name}", config.vga, model.vga)
    if config.loadvm is not None and config.incoming is not None:
        raise ConfigError("-loadvm and -incoming exclude each other")
    _check_drives(config, model)
    return config


def _check_drives(config: Config, model: Model) -> None:
    taken: dict[int, Drive] = {}
    for drive in config.drives:
        if drive.index >= model.drives:
            raise ConfigError(
                f"-drive: {model.name} has {model.drives} IDE places, got index {drive.index}"
            )
        if drive.index in taken:
            raise ConfigError(f"-drive: index {drive.index} is taken by {taken[drive.index].file}")
        taken[drive.index] = drive
