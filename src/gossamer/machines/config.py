"""What a machine is made from: the choices of a user, checked, with the defaults filled in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from gossamer.base.data import Data, field
from gossamer.base.errors import ConfigError, there_is
from gossamer.base.units import MiB

ON_OFF: Final = ("on", "off")
#: What the clock does while a machine is kept in a snapshot.
CLOCK_POLICIES: Final = ("freeze", "continue", "step")


#: Place of the first virtio disk; of the first drive of if=scsi; of the first scsi-hd or scsi-cd.
FIRST_VIRTIO: Final = 16
FIRST_SCSI: Final = 64
FIRST_SCSI_DEVICE: Final = 96
MOST_PLACES: Final = 256
DEFAULT_MACHINE: Final = "g3beige"
#: Of `Hardware.vga`: a display of -device is in the place of the machine's own.
DEVICE_VGA: Final = "device"


class Added(Data):
    """A device with its properties, each with its value: given, by -global, or the default.

    `where` names it in errors; `id` and `bus` are empty where the user gave none; `hot`: plugged in
    while the machine ran.
    """

    driver: str
    values: Mapping[str, object]
    id: str = ""
    bus: str = ""
    where: str = ""
    hot: bool = False

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


class Drive(Data):
    """A disk or CD-ROM.

    `index` is its place: 0, 1 first IDE channel, 2, 3 second; virtio disks from `FIRST_VIRTIO` on,
    in the order of their devices, drives of if=scsi from `FIRST_SCSI` on, as many as seven to an
    adapter, those of -device scsi-hd and scsi-cd from `FIRST_SCSI_DEVICE` on, in their order.

    `rerror`, `werror`: what an error of the host does, in QEMU's words.  `serial`, `model` and
    `firmware` are what the drive says of itself, empty for the usual; `wwn` 0: none; `bootindex`
    -1: none.  `device` is the id that -device gave it.
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
    bootindex: int = -1
    device: str = ""


class Hardware(Data):
    """What a machine is built from: what a save identifies, and what is put into it at power on.

    `ram_size` bytes; an empty `cpu` is the machine's own; `graphic` False for ``-nographic``;
    `rtc_base` "utc", "localtime" or seconds since 1970.  `kernel` None on ``bare``: the built-in
    program.  `nics` are the network cards in the place of the machine's own, which it has when
    `nic` is set and there are none; `usb` None: as the machine usually has it; `devices` what
    -device or device_add added, `unplugged` what was there at first; `defaults` by driver and
    property what -global set.
    `boot_once`: the -boot letters until the first reset; `fw_cfg`: name and text or file of each
    entry that the firmware gets besides its own.  `arrives`: the machine will be loaded, so that
    what lies in its RAM at power on need not be put there (`machines.build` alone sets it).
    """

    machine: str = DEFAULT_MACHINE
    version: str = "1.0"
    ram_size: int = 128 * MiB
    cpu: str = ""
    cpus: int = 1
    properties: Mapping[str, str] = field(default_factory=dict)
    bios: str | None = None
    firmware_folders: tuple[Path, ...] = ()
    prom_env: tuple[str, ...] = ()
    kernel: Path | None = None
    initrd: Path | None = None
    append: str = ""
    boot: str = ""
    boot_once: str = ""
    fw_cfg: tuple[tuple[str, str | None, Path | None], ...] = ()
    drives: tuple[Drive, ...] = ()
    cd_drive: bool = True
    graphic: bool = True
    resolution: tuple[int, int, int] = (800, 600, 32)
    vga: str = "std"
    nic: bool = True
    nics: tuple[Added, ...] = ()
    usb: bool | None = None
    devices: tuple[Added, ...] = ()
    unplugged: tuple[Added, ...] = ()
    defaults: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    rtc_base: str | int = "utc"
    uuid: str = ""
    arrives: bool = False

    @property
    def full_name(self) -> str:
        """The machine with its version, as ``g3beige-1.0``."""
        return f"{self.machine}-{self.version}"

    @property
    def vmdesc(self) -> bool:
        """Whether streams end with their own description."""
        return self.properties.get("suppress-vmdesc") != "on"

    def drive(self, index: int) -> Drive | None:
        """The drive at a place; None when it is empty."""
        return next((d for d in self.drives if d.index == index), None)


class Accel(Data):
    """How guest code is executed; nothing that a guest can see depends on it.

    `tier` 0: interpreted; 1: blocks are copied; 2: hot code is compiled.  `thread` "multi":
    translated beside the machine, "single": while it waits.  `tb_size` bytes of translated code at
    the most.  `stands`: no guest code is executed; a qtest client moves the clock.
    """

    tier: int = 2
    thread: str = "multi"
    tb_size: int = 64 * MiB
    stands: bool = False


class Logging(Data):
    """What is recorded of the chips' trace events: `patterns` of paths; no file: stderr."""

    file: Path | None = None
    patterns: tuple[str, ...] = ()


class VncPlace(Data):
    """Where viewers connect: a Unix socket (`path`), or the first free TCP port of a range."""

    host: str = ""
    port: int = 0
    last: int = 0
    path: str = ""


class Vnc(Data):
    """A VNC server.  `web`: where browsers connect; `secret`, `tls` and `authz` ids of objects.

    `password`: viewers must give the one that is set; `connections` that may be under way before
    they are let in; `power`: viewers may reset the machine and press its power key.
    """

    id: str
    place: VncPlace
    web: VncPlace | None = None
    password: bool = False
    secret: str = ""
    tls: str = ""
    authz: str = ""
    share: str = "allow-exclusive"
    connections: int = 32
    view_only: bool = False
    power: bool = False


class Web(Data):
    """The page for browsers: the first free TCP port of a range.

    `token` what its address has to hold, empty: one of chance; `files` the folder whose discs it
    offers; `opens`: a browser is started; `words` the options of the whole machine; `leash`: a
    descriptor at whose end the machine ends (a fork has one of its parent's).
    """

    host: str
    port: int
    last: int
    token: str = ""
    files: Path | None = None
    view_only: bool = False
    opens: bool = False
    leash: int | None = None
    words: tuple[str, ...] = ()


class Netdev(Data):
    """What a card's cable leads to: `kind` and `values` as `machines.net_options` has them."""

    id: str
    kind: str
    values: Mapping[str, Any]


class Config(Hardware):
    """A machine, and what one run of it chose.

    `icount` the shift of ``-icount`` (2**shift ns an instruction), None for real time; `serials`
    and `monitors` are character devices in QEMU's spelling, "none" for no device; `start` False
    for ``-S``, `repair` False for ``-no-repair``; `escape` the code of the key that -echr chose;
    `sandbox` the groups of system calls that -sandbox denies, None without it;
    `nodes_below` are nodes of -blockdev that are the backing files of others, `file_nodes` those
    of files;
    `inherited_fds` the descriptors that options name; `fd_sets` set, descriptor and word of each
    -add-fd; `objects` kind, id and properties of each -object; `chardev_ids` the ids of -chardev by
    ``serial0``, ``monitor0`` and so on; `vncs` the VNC servers; `web` the page; `netdevs` what
    cables lead to; `gdb` and `qtest` the devices of those servers.
    """

    snapshot: bool = False
    serials: tuple[str, ...] = ("mon:stdio",)
    monitors: tuple[str, ...] = ()
    icount: int | None = None
    icount_sleep: bool = True
    accel: Accel = Accel()
    restore_clock: str = "freeze"
    start: bool = True
    reboot: bool = True
    shutdown: bool = True
    loadvm: str | None = None
    incoming: str | None = None
    repair: bool = True
    dump_vmstate: Path | None = None
    name: str = ""
    pidfile: Path | None = None
    daemonize: bool = False
    log: Logging = Logging()
    escape: int = 1
    inherited_fds: tuple[int, ...] = ()
    sandbox: tuple[str, ...] | None = None
    fd_sets: tuple[tuple[int, int, str | None], ...] = ()
    objects: tuple[tuple[str, str, Mapping[str, str]], ...] = ()
    nodes_below: tuple[tuple[str, Path], ...] = ()
    file_nodes: tuple[tuple[str, Path], ...] = ()
    chardev_ids: Mapping[str, str] = field(default_factory=dict)
    vncs: tuple[Vnc, ...] = ()
    web: Web | None = None
    netdevs: tuple[Netdev, ...] = ()
    gdb: str | None = None
    qtest: str | None = None
    qtest_log: Path | None = None


def interface_of(index: int) -> str:
    """What kind of place `index` is: "ide", "virtio" or "scsi"."""
    return "scsi" if index >= FIRST_SCSI else "virtio" if index >= FIRST_VIRTIO else "ide"


def unknown(what: str, got: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that does not exist: what exists, and what was perhaps meant."""
    import difflib  # noqa: PLC0415 - only for what is wrong

    names = sorted(known)
    near = difflib.get_close_matches(got, names, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return ConfigError(f"unknown {what} {got!r}{hint} ({there_is(names)})")


def mebibytes(size: int) -> str:
    """A size for a message."""
    whole, rest = divmod(size, MiB)
    return f"{size} bytes" if rest else f"{whole} MiB"
