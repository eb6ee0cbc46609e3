"""What can be added with -device, and the properties of each: the one table.

Parser, ``-device help``, ``-global`` and the documentation all read `DRIVERS`.  Names, defaults
and the values of properties are QEMU 7.2's (``-device NAME,help``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gossamer.base.data import Data, field
from gossamer.base.errors import ConfigError
from gossamer.base.units import MiB
from gossamer.machines.drives import RERROR, WERROR
from gossamer.machines.values import choice, identifier, mac_address, number, on_off, pci_address

Value = str | int | bool | bytes | None
Read = Callable[[str, str], Value]


class Property(Data):
    """A property: how its value is spelled (`kind`), read and checked, and its default."""

    kind: str
    read: Read
    default: Value
    text: str = ""

    @property
    def shown(self) -> str:
        """The default for a list; empty when there is none."""
        if self.default is None or self.default == "":
            return ""
        if isinstance(self.default, bool):
            return "on" if self.default else "off"
        return str(self.default)


class Driver(Data):
    """A device that can be added: the kind of bus it stands on, and its properties.

    `refused`: properties that QEMU has and gossamer has not, and why.  One that is not
    `pluggable` is part of the machine, for -global only.
    """

    group: str
    bus: str
    text: str
    properties: Mapping[str, Property]
    refused: Mapping[str, str] = field(default_factory=dict)
    pluggable: bool = True


def _whole(bits: int, default: int | None = 0, text: str = "") -> Property:
    most = (1 << bits) - 1
    return Property(
        f"uint{bits}", lambda where, value: number(where, value, 0, most), default, text
    )


def _range(least: int, most: int, default: int, text: str) -> Property:
    return Property("uint32", lambda where, value: number(where, value, least, most), default, text)


def _switch(default: bool, text: str = "") -> Property:
    return Property("bool", on_off, default, text)


def _text(most: int, text: str = "") -> Property:
    def read(where: str, value: str) -> str:
        if not value.isascii() or not value.isprintable() or len(value) > most:
            raise ConfigError(f"{where} must be at most {most} ASCII characters, got {value!r}")
        return value

    return Property("str", read, "", text)


def _path(text: str) -> Property:
    return Property("str", lambda where, value: value, "", text)


def _choice(kind: str, known: tuple[str, ...], default: str) -> Property:
    return Property(
        kind, lambda where, value: choice(where, value, known), default, "/".join(known)
    )


_SLOT: Final = Property(
    "int32", pci_address, None, "slot and optional function, as 06.0 or 06; default: the first free"
)


def _boot_index(where: str, value: str) -> int:
    return -1 if value == "-1" else number(where, value, 0, (1 << 31) - 1)


_BOOT_INDEX: Final = Property(
    "int32", _boot_index, -1, "place in the file bootorder; the firmware goes by -boot; -1: none"
)
_OPTION_ROM: Final = "the option ROM is the one that is found (-L)"
_PCI_REFUSED: Final = {
    "romfile": _OPTION_ROM,
    "romsize": _OPTION_ROM,
    "rombar": _OPTION_ROM,
    "multifunction": "each device here is function 0 of its slot, or where addr= puts it",
}


def _port(where: str, value: str) -> str:
    """Which ports there are is the controller's business."""
    if len(value) > 16 or not all(n.isdecimal() for n in value.split(".")):
        raise ConfigError(f"{where} must be the number of a port, as 3 or 3.1, got {value!r}")
    return value


def _usb(text: str) -> Driver:
    return Driver(
        "Input devices",
        "usb-bus",
        text,
        {
            "port": Property(
                "str", _port, "", "as 3, behind a hub as 3.1; default: the first free"
            ),
            "serial": _text(126, "serial number that a guest reads"),
            "usb_version": _range(1, 2, 2, "2: at high speed where the controller has that"),
        },
        {
            "display": "there is one display",
            "head": "there is one display",
            "pcap": "there is no record of the bus",
            "attached": "a device is attached from the start",
            "msos-desc": "there are no descriptors for one operating system",
        },
    )


def _nic(text: str) -> Driver:
    return Driver(
        "Network devices",
        "PCI",
        text,
        {
            "mac": Property("str", mac_address, None, "address; default: 52:54:00:12:34:56 and on"),
            "addr": _SLOT,
            "bootindex": _BOOT_INDEX,
            "netdev": _text(64, "id of a -netdev; without one it has no cable"),
        },
        _PCI_REFUSED,
    )


def _drive(text: str, model: str) -> Driver:
    return Driver(
        "Storage devices",
        "IDE",
        text,
        {
            "drive": _text(64, "id of a -drive if=none"),
            "unit": Property(
                "uint32", lambda where, value: number(where, value, 0, 1), None, "0 or 1"
            ),
            "serial": _text(20, "default: QM and the place"),
            "model": _text(40, f"default: {model}"),
            "ver": _text(8, "revision of its firmware; default: 2.5+"),
            "wwn": _whole(64, 0, "World Wide Name; 0: none"),
            "bootindex": _BOOT_INDEX,
            "logical_block_size": _range(512, 512, 512, "bytes"),
            "physical_block_size": _range(512, 512, 512, "bytes"),
            "rerror": _choice("BlockdevOnError", ("auto", *RERROR), "auto"),
            "werror": _choice("BlockdevOnError", ("auto", *WERROR), "auto"),
        },
        {
            "write-cache": "the drive has a cache, which the guest can flush",
            "cyls": "the geometry follows from the size",
            "heads": "the geometry follows from the size",
            "secs": "the geometry follows from the size",
            "share-rw": "an image belongs to one machine",
        },
    )


_VIRTIO: Final = {
    "addr": _SLOT,
    "iommu_platform": _switch(False, "its DMA goes through the bridge's translation"),
}
_VIRTIO_REFUSED: Final = {
    "disable-legacy": "both interfaces are there",
    "disable-modern": "both interfaces are there",
    "packed": "rings are split ones",
    "ats": "there is no cache of translations",
    "vectors": "there is one for each queue and one for the configuration",
    "ioeventfd": "requests are done where they are made",
    "iothread": "requests are done where they are made",
    **_PCI_REFUSED,
}


def _virtio_blk() -> Driver:
    return Driver(
        "Storage devices",
        "PCI",
        "virtio disk",
        {
            **_VIRTIO,
            "drive": _text(64, "id of a -drive if=none"),
            "serial": _text(20, "what a guest reads"),
            "rerror": _choice("BlockdevOnError", ("auto", *RERROR), "auto"),
            "werror": _choice("BlockdevOnError", ("auto", *WERROR), "auto"),
            "logical_block_size": _range(512, 512, 512, "bytes"),
            "physical_block_size": _range(512, 512, 512, "bytes"),
            "bootindex": _BOOT_INDEX,
        },
        {
            "num-queues": "there is one",
            "queue-size": "it is 256",
            "scsi": "there are no SCSI commands",
            "write-cache": "the drive has a cache, which the guest can flush",
            "share-rw": "an image belongs to one machine",
            **_VIRTIO_REFUSED,
        },
    )


def _virtio_net() -> Driver:
    usual = _nic("virtio network card")
    return Driver(
        usual.group,
        usual.bus,
        usual.text,
        {**usual.properties, **_VIRTIO},
        {
            "mq": "there is one pair of queues",
            "rx_queue_size": "it is 256",
            "tx_queue_size": "it is 256",
            "csum": "there are no offloads",
            "gso": "there are no offloads",
            **_VIRTIO_REFUSED,
        },
    )


_REG: Final = _whole(32, None, "unit address; default: 0x71000000 and on")


def _vio_nic() -> Driver:
    usual = _nic("logical LAN (l-lan)")
    properties = {name: p for name, p in usual.properties.items() if name != "addr"}
    return Driver(
        usual.group,
        "spapr-vio-bus",
        usual.text,
        {**properties, "reg": _REG},
        {"use-rx-buffer-pools": "there are pools"},
    )


def _scsi_disk(text: str, product: str, block: int) -> Driver:
    return Driver(
        "Storage devices",
        "SCSI",
        text,
        {
            "drive": _text(64, "id of a -drive if=none"),
            "channel": _range(0, 7, 0, "channel on the bus"),
            "scsi-id": Property(
                "uint32", lambda where, value: number(where, value, 0, 255), None, "target"
            ),
            "lun": Property(
                "uint32", lambda where, value: number(where, value, 0, 16383), None, "logical unit"
            ),
            "serial": _text(36, "what a guest reads"),
            "device_id": _text(247, "identification; default: the serial number or drive="),
            "product": _text(16, f"default: {product}"),
            "ver": _text(4, "revision of its firmware; default: 2.5+"),
            "wwn": _whole(64, 0, "World Wide Name; 0: none"),
            "bootindex": _BOOT_INDEX,
            "logical_block_size": _range(block, block, block, "bytes"),
            "physical_block_size": _range(block, block, block, "bytes"),
            "rerror": _choice("BlockdevOnError", ("auto", *RERROR), "auto"),
            "werror": _choice("BlockdevOnError", ("auto", *WERROR), "auto"),
        },
        {
            "vendor": "it is QEMU",
            "removable": "a disk is none, a CD-ROM drive is",
            "rotation_rate": "it is not said",
            "dpofua": "writes can be forced out without it being said",
            "scsi_version": "it is SPC-3",
            "port_wwn": "there are no ports",
            "port_index": "there are no ports",
            "write-cache": "the drive has a cache, which the guest can flush",
            "share-rw": "an image belongs to one machine",
        },
    )


def _virtio_scsi() -> Driver:
    return Driver(
        "Storage devices",
        "PCI",
        "virtio SCSI adapter",
        {
            **_VIRTIO,
            "num_queues": Property(
                "uint32",
                lambda where, value: number(where, value, 1, 8),
                None,
                "request queues; default: one for each CPU",
            ),
        },
        {
            "virtqueue_size": "it is 256",
            "cmd_per_lun": "it is 128",
            "max_sectors": "it is 65535",
            "hotplug": "it is on",
            "param_change": "it is on",
            **_VIRTIO_REFUSED,
        },
    )


def _xhci(text: str, more: dict[str, Property], refused: dict[str, str]) -> Driver:
    return Driver(
        "USB controllers",
        "PCI",
        text,
        {
            "addr": _SLOT,
            "p2": _range(1, 15, 4, "ports of USB 2"),
            "p3": _range(0, 15, 4, "ports of USB 3"),
            **more,
        },
        {
            "intrs": "there are 16, as in QEMU 7.2 whatever is said",
            "slots": "there are 64, as in QEMU 7.2 whatever is said",
            "streams": "no device here has streams",
            **refused,
            **_PCI_REFUSED,
        },
    )


def _own(group: str, text: str, rate: str) -> Driver:
    """A part of the machine itself."""
    properties = {"true-rate": _switch(False, f"{rate}, not the host's speed")}
    return Driver(group, "", text, properties, pluggable=False)


DRIVERS: Final[dict[str, Driver]] = {
    "usb-kbd": _usb("USB keyboard"),
    "usb-mouse": _usb("USB mouse"),
    "usb-tablet": _usb("USB tablet"),
    "usb-hub": _usb("USB hub with eight ports"),
    "VGA": Driver(
        "Display devices",
        "PCI",
        "standard VGA",
        {
            "vgamem_mb": _range(1, 256, 16, "video memory, MiB; rounded up to a power of two"),
            "edid": _switch(True, "the monitor says what it can"),
            "xres": _range(0, 4088, 0, "width that the monitor prefers; 0: 1280"),
            "yres": _range(0, 4088, 0, "height that the monitor prefers; 0: 800"),
            "qemu-extended-regs": _switch(True, "it has registers beyond a PC's"),
            "global-vmstate": _switch(False, "a stream calls its memory vga.vram, without a place"),
            "addr": _SLOT,
        },
        {
            "xmax": "the monitor's limits are fixed",
            "ymax": "the monitor's limits are fixed",
            "refresh_rate": "it is 60 Hz",
            "mmio": "BAR 2 is always there",
            "big-endian-framebuffer": "the guest chooses the order",
            **_PCI_REFUSED,
        },
    ),
    "ne2k_pci": _nic("NE2000 on PCI (RTL8029)"),
    "sungem": _nic("Sun GEM"),
    "pci-ohci": Driver(
        "USB controllers",
        "PCI",
        "USB controller with three ports",
        {"addr": _SLOT},
        {
            "masterbus": "the ports are its own",
            "num-ports": "there are three",
            "firstport": "the ports are its own",
            **_PCI_REFUSED,
        },
    ),
    "nec-usb-xhci": _xhci(
        "USB 3 controller (NEC)",
        {
            "msi": _choice("OnOffAuto", ("auto", "on", "off"), "auto"),
            "msix": _choice("OnOffAuto", ("auto", "on", "off"), "auto"),
        },
        {"superspeed-ports-first": "they come first", "force-pcie-endcap": "the bus is PCI"},
    ),
    "qemu-xhci": _xhci("USB 3 controller", {}, {}),
    "spapr-vlan": _vio_nic(),
    "spapr-vscsi": Driver(
        "Storage devices", "spapr-vio-bus", "virtual SCSI adapter", {"reg": _REG}
    ),
    "virtio-scsi-pci": _virtio_scsi(),
    "scsi-hd": _scsi_disk("virtual SCSI disk", "QEMU HARDDISK", 512),
    "scsi-cd": _scsi_disk("virtual SCSI CD-ROM", "QEMU CD-ROM", 2048),
    "virtio-blk-pci": _virtio_blk(),
    "virtio-net-pci": _virtio_net(),
    "ide-hd": _drive("virtual IDE disk", "QEMU HARDDISK"),
    "ide-cd": _drive("virtual IDE CD-ROM", "QEMU DVD-ROM"),
    "loader": Driver(
        "Misc devices",
        "",
        "puts a file or a number into memory, or sets the CPU's PC, at every reset",
        {
            "file": _path("ELF program, or raw bytes"),
            "addr": _whole(64, 0, "where raw bytes or data go; the PC"),
            "force-raw": _switch(False, "an ELF file goes to memory as it is"),
            "data": _whole(64, 0, "a number for memory"),
            "data-len": _range(0, 8, 0, "its size, bytes"),
            "data-be": _switch(False, "it is big-endian"),
            "cpu-num": _whole(32, None, "the CPU whose PC is set: 0"),
        },
    ),
}
DRIVERS["escc"] = _own("Input devices", "serial ports", "characters at the programmed baud rate")
DRIVERS["macio-ide"] = _own("Storage devices", "IDE channels", "16.6 MB/s and seeks of 1 to 2 ms")
#: Properties of every device.
COMMON: Final = {
    "id": Property("str", identifier, "", "name of the device"),
    "bus": _text(32, "bus that it stands on"),
}
VIDEO_DEFAULT: Final = 16 * MiB
