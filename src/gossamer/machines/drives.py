"""The option -drive and its short forms, and -device ide-hd and ide-cd: drives and their places."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from gossamer.base.data import Data, replace
from gossamer.base.errors import ConfigError
from gossamer.machines.config import (
    FIRST_SCSI,
    FIRST_SCSI_DEVICE,
    FIRST_VIRTIO,
    ON_OFF,
    Added,
    Drive,
    interface_of,
    unknown,
)
from gossamer.machines.values import choice, identifier, number, on_off, pairs

FORMATS: Final = ("raw", "qcow2")
MEDIA: Final = ("disk", "cdrom")
#: How the host's cache is used; the guest cannot see it, so these change nothing here.
_WITHOUT_EFFECT: Final = {
    "cache": ("none", "writeback", "writethrough", "directsync", "unsafe"),
    "cache.writeback": ON_OFF,
    "cache.direct": ON_OFF,
    "cache.no-flush": ON_OFF,
    "aio": ("threads", "native", "io_uring"),
    "discard": ("ignore", "off", "unmap", "on"),
    "detect-zeroes": ("off", "on", "unmap"),
}
_KNOWN: Final = (
    "file", "if", "index", "bus", "unit", "media", "format", "readonly", "snapshot", "rerror",
    "werror",
)  # fmt: skip
_REFUSED: Final = {
    "serial": "give it to the device: -device ide-hd,drive=ID,serial=…",
    "addr": "give it to the device: -device virtio-blk-pci,drive=ID,addr=…",
    "cyls": "the geometry follows from the size",
    "heads": "the geometry follows from the size",
    "secs": "the geometry follows from the size",
    "trans": "the geometry follows from the size",
    "force-share": "an image belongs to one machine",
}
#: Other interfaces that QEMU knows.
_INTERFACES: Final = ("sd", "mtd", "floppy", "pflash")
VIRTIO_DISK: Final = "virtio-blk-pci"
VIRTIO_NIC: Final = "virtio-net-pci"
VIRTIO_SCSI: Final = "virtio-scsi-pci"
VIRTIO_DEVICES: Final = (VIRTIO_DISK, VIRTIO_NIC, VIRTIO_SCSI)
VIO_NIC: Final = "spapr-vlan"
VIO_SCSI: Final = "spapr-vscsi"
VIO_DEVICES: Final = (VIO_NIC, VIO_SCSI)
SCSI_DEVICES: Final = ("scsi-hd", "scsi-cd")
#: Places of if=scsi on one adapter, and adapters.
SCSI_UNITS, SCSI_BUSES = 7, 4
RERROR: Final = ("report", "ignore", "stop")
WERROR: Final = (*RERROR, "enospc")
#: Where a drive goes that names no bus: QEMU 7.2 takes the second channel of these machines.
USUAL_BUS: Final = 1


#: Protocols of QEMU's before an image's name; the files of the host are what there is here.
_PROTOCOLS: Final = (
    "nbd", "http", "https", "ftp", "ftps", "ssh", "fat", "rbd", "iscsi", "nfs", "gluster", "json",
    "blkdebug", "blkverify", "null-co", "null-aio", "host_device", "host_cdrom",
)  # fmt: skip


def host_path(option: str, text: str) -> Path:
    """The file of an image, with or without ``file:`` before its name."""
    protocol, colon, rest = text.partition(":")
    if colon and protocol == "file":
        return Path(rest)
    if colon and protocol in _PROTOCOLS:
        raise ConfigError(f"{option}: {protocol}: images are files of this host, got {text!r}")
    return Path(text)


def usual_name(index: int, media: str) -> str:
    """What QEMU calls the drive at a place."""
    kind = "hd" if media == "disk" else "cd"
    if index >= FIRST_SCSI_DEVICE:
        return f"scsi-{kind}{index - FIRST_SCSI_DEVICE}"
    if index >= FIRST_SCSI:
        bus, unit = divmod(index - FIRST_SCSI, SCSI_UNITS)
        return f"scsi{bus}-{kind}{unit}"
    if index >= FIRST_VIRTIO:
        return f"virtio{index - FIRST_VIRTIO}"
    return f"ide{index // 2}-{kind}{index % 2}"


def virtio_disks(drives: Sequence[DriveOptions]) -> tuple[list[DriveOptions], list[str]]:
    """The drives, each of if=virtio with a name, and those names: a device for each follows."""
    named: list[DriveOptions] = []
    names: list[str] = []
    for one in drives:
        if one.interface == "virtio":
            one = replace(one, name=one.name or f"virtio{len(names)}")
            names.append(one.name)
        named.append(one)
    return named, names


class DriveOptions(Data):
    """A drive as it was asked for; `index` None: the first free place.

    `interface` "none": it waits for a -device that names it; empty: the machine's usual one.
    `place`: index, or bus and unit, as they were spelled.
    """

    option: str
    file: Path | None = None
    index: int | None = None
    media: str = "disk"
    format: str | None = None
    readonly: bool = False
    snapshot: bool = False
    name: str = ""
    rerror: str = "report"
    werror: str = "enospc"
    interface: str = ""
    place: tuple[tuple[str, str], ...] = ()
    device: Added | None = None

    def made(self, index: int, snapshot: bool, usual: Mapping[str, object]) -> Drive:
        """The drive at its place; `snapshot` as by -snapshot, `usual` as by -global."""
        if self.file is None and self.media == "disk":
            raise ConfigError(f"{self.option}: a disk needs file=")
        if self.readonly and self.media == "disk":
            raise ConfigError(
                f"{self.option}: {self.file}: a hard disk cannot be read-only; snapshot=on leaves "
                "the file as it is, media=cdrom makes a CD of it"
            )
        says = usual if self.device is None else self.device.values
        wwn = says.get("wwn", 0)
        bootindex = says.get("bootindex", -1)
        assert isinstance(wwn, int)
        assert isinstance(bootindex, int)
        return Drive(
            interface=interface_of(index),
            index=index,
            media=self.media,
            file=self.file,
            format=self.format,
            readonly=self.readonly or self.media == "cdrom",
            snapshot=self.snapshot or snapshot,
            name=self.name or usual_name(index, self.media),
            rerror=self.rerror,
            werror=self.werror,
            serial=str(says.get("serial", "")),
            model=str(says.get("model", "")),
            firmware=str(says.get("ver", "")),
            wwn=wwn,
            bootindex=bootindex,
            device=self.device.id if self.device else "",
        )


def parse_drive(text: str) -> DriveOptions:
    """The value of -drive."""
    given = pairs("-drive", text)
    for key, value in given.items():
        if key in _REFUSED:
            raise ConfigError(f"-drive: {key}: {_REFUSED[key]}")
        if key == "copy-on-read":
            if on_off("-drive: copy-on-read", value):
                raise ConfigError("-drive: copy-on-read=on: what is read is not copied; leave it")
        elif key.startswith(("throttling", "iops", "bps")):
            raise ConfigError(f"-drive: {key}: the speed of a disk is the emulated drive's")
        elif key in _WITHOUT_EFFECT:
            choice(f"-drive: {key}", value, _WITHOUT_EFFECT[key])
        elif key not in (*_KNOWN, "id"):
            raise unknown("part of -drive", key, _KNOWN)
    interface = given.get("if", "")
    if interface in _INTERFACES:
        raise ConfigError(
            f"-drive: if={interface}: the machines here have if=ide, scsi or virtio (or none)"
        )
    if interface:
        choice("-drive: if", interface, ("ide", "scsi", "virtio", "none"))
    if interface == "virtio" and {"index", "bus", "unit"} & given.keys():
        raise ConfigError("-drive: if=virtio: these disks stand in the order they are given")
    if interface == "none" and not given.get("id"):
        raise ConfigError("-drive: if=none needs id=, which a -device names")
    media = given.get("media", "disk")
    kind = given.get("format")
    return DriveOptions(
        option="-drive",
        file=host_path("-drive", given["file"]) if given.get("file") else None,
        place=tuple((key, given[key]) for key in ("index", "bus", "unit") if key in given),
        media=choice("-drive: media", media, MEDIA),
        format=choice("-drive: format", kind, FORMATS) if kind is not None else None,
        readonly=on_off("-drive: readonly", given.get("readonly", "off")),
        snapshot=on_off("-drive: snapshot", given.get("snapshot", "off")),
        name=identifier("-drive: id", given["id"]) if "id" in given else "",
        rerror=choice("-drive: rerror", given.get("rerror", "report"), RERROR),
        werror=choice("-drive: werror", given.get("werror", "enospc"), WERROR),
        interface=interface,
    )


def settled(drive: DriveOptions, usual: str) -> DriveOptions:
    """The drive with its interface, `usual` unless it has one, and the place that it asks for."""
    given, interface = dict(drive.place), drive.interface or usual
    buses, units = (SCSI_BUSES, SCSI_UNITS) if interface == "scsi" else (2, 2)
    index = drive.index
    if "index" in given:
        if "bus" in given or "unit" in given:
            raise ConfigError("-drive: give index, or bus and unit, not both")
        index = number("-drive: index", given["index"], 0, buses * units - 1)
    elif given:
        bus = number("-drive: bus", given.get("bus", "0"), 0, buses - 1)
        index = units * bus + number("-drive: unit", given.get("unit", "0"), 0, units - 1)
    # QEMU puts a CD-ROM at the second channel's first place, by -cdrom only.
    if index is not None and interface == "scsi" and index < FIRST_SCSI:
        index += FIRST_SCSI
    return replace(drive, interface=interface, index=index, place=())


# --- places -------------------------------------------------------------------------------------


def place_all(
    drives: Sequence[DriveOptions],
    devices: Iterable[Added],
    defaults: Mapping[str, Mapping[str, object]],
    snapshot: bool,
    nodes: Callable[[str], DriveOptions | None] = lambda name: None,
    path: Callable[[Path], Path] = lambda path: path,
    usual: str = "ide",
) -> tuple[Drive, ...]:
    """The drives, each at its place; those without an index get the first free one.

    `devices`: ide-hd, ide-cd, virtio-blk-pci, scsi-hd and scsi-cd, which take the drives of
    if=none, and `nodes`, by name, of -blockdev.  `path` says where a file really is; `usual` is the
    interface of a drive that names none.
    """
    drives = [settled(one, usual) for one in drives]
    named = [d.name for d in drives if d.name]
    for name in named:
        if named.count(name) > 1:
            raise ConfigError(f"-drive: id={name} is given twice")
    waiting = {d.name: d for d in drives if d.interface not in ("ide", "scsi")}
    used: set[str] = set()
    own = [d for d in drives if d.interface in ("ide", "scsi")]
    taken = {d.index for d in own if d.index is not None}
    placed = []
    for given in own:
        index = given.index
        if index is None:
            first = FIRST_SCSI if given.interface == "scsi" else 0
            index = next(n for n in range(first, first + len(own) + 4) if n not in taken)
            taken.add(index)
        placed.append((given, index))
    for device in devices:
        if device.driver == VIRTIO_DISK:
            index = next(n for n in range(FIRST_VIRTIO, FIRST_SCSI) if n not in taken)
        elif device.driver in SCSI_DEVICES:
            index = FIRST_SCSI_DEVICE + sum(n >= FIRST_SCSI_DEVICE for n in taken)
        else:
            index = _device_place(device, taken)
        taken.add(index)
        placed.append((_with_drive(device, waiting, used, nodes), index))
    if waiting:
        raise ConfigError(f"-drive: no -device has drive={next(iter(waiting))}")
    made = [
        given.made(index, snapshot, defaults.get(_driver(index, given.media), {}))
        for given, index in placed
    ]
    made = [d if d.file is None else replace(d, file=path(d.file)) for d in made]
    return tuple(sorted(made, key=lambda d: d.index))


def _driver(index: int, media: str) -> str:
    return f"{interface_of(index)}-{'hd' if media == 'disk' else 'cd'}"


def _device_place(device: Added, taken: set[int]) -> int:
    """The place of an ide-hd or ide-cd: its unit, or the first one free of its bus."""
    bus = USUAL_BUS
    if device.bus:
        buses = ("ide.0", "ide.1")
        if device.bus not in buses:
            raise unknown(f"bus for {device.where}", device.bus, buses)
        bus = buses.index(device.bus)
    unit = device.optional("unit")
    free = [n for n in (0, 1) if 2 * bus + n not in taken]
    if unit is not None and unit not in free:
        raise ConfigError(f"{device.where}: unit {unit} of ide.{bus} is taken")
    if not free:
        raise ConfigError(f"{device.where}: ide.{bus} is full; bus=ide.{1 - bus} is the other one")
    return 2 * bus + (free[0] if unit is None else unit)


def _with_drive(
    device: Added,
    waiting: dict[str, DriveOptions],
    used: set[str],
    nodes: Callable[[str], DriveOptions | None],
) -> DriveOptions:
    """The device with its drive, which no other device can have then."""
    name, media = device.text("drive"), "cdrom" if device.driver.endswith("-cd") else "disk"
    if name:
        if name in used:
            raise ConfigError(f"{device.where}: drive={name} is another device's already")
        node = nodes(name)
        if name not in waiting and node is None:
            raise unknown(f"drive of if=none for {device.where}", name, waiting)
        drive = waiting.pop(name) if node is None else node
        used.add(name)
    elif media == "disk":
        raise ConfigError(f"{device.where}: needs drive=, the id of a -drive if=none")
    else:
        drive = DriveOptions(option=device.where)
    rerror, werror = device.text("rerror"), device.text("werror")
    return replace(
        drive,
        option=device.where,
        media=media,
        device=device,
        rerror=drive.rerror if rerror == "auto" else rerror,
        werror=drive.werror if werror == "auto" else werror,
    )
