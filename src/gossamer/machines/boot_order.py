"""What bootindex= says: the firmware configuration's file "bootorder", as QEMU 7.2 writes it.

A line for each device that was given an index, in their order: its path in Open Firmware's terms.
OpenBIOS does not read it (it goes by -boot); a guest may.
"""

from __future__ import annotations

from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.devices.fwcfg import FwCfg
from gossamer.devices.pci import PciDevice
from gossamer.machines.config import Drive
from gossamer.machines.machine import Machine

FILE: Final = "bootorder"
#: The node of the host bridge whose bus has the devices.
BRIDGES: Final = {"g3beige": "pci@80000000", "mac99": "pci@f2000000"}


def set_boot_order(m: Machine) -> None:
    """Fill the file, where there is a firmware; ConfigError when two devices have one index."""
    if m.name not in BRIDGES:
        return
    found: dict[int, str] = {}
    for index, path in (*_drives(m), *_cards(m)):
        if index in found:
            raise ConfigError(f"-device: bootindex={index} is given twice")
        found[index] = path
    if not found:
        return
    fw_cfg = m.part("fw_cfg")
    assert isinstance(fw_cfg, FwCfg)
    lines = "\n".join(found[index] for index in sorted(found))
    fw_cfg.add_file(FILE, lines.encode("ascii") + b"\0")


def _drives(m: Machine) -> list[tuple[int, str]]:
    chosen = [drive for drive in m.hardware.drives if drive.bootindex >= 0]
    return [(drive.bootindex, _drive_path(m, drive)) for drive in chosen]


def _drive_path(m: Machine, drive: Drive) -> str:
    macio = m.part("macio")
    assert isinstance(macio, PciDevice)
    kind = "disk" if drive.media == "disk" else "cdrom"
    cell = f"ata-3@2{drive.index // 2}000"
    return f"/{BRIDGES[m.name]}/mac-io@{_unit(macio)}/{cell}/{kind}"


def _cards(m: Machine) -> list[tuple[int, str]]:
    return [
        (index, f"/{BRIDGES[m.name]}/ethernet@{_unit(card)}")
        for card, index in m.boot_indices
        if isinstance(card, PciDevice)
    ]


def _unit(device: PciDevice) -> str:
    """Slot, and function where it is not 0."""
    slot, function = device.devfn >> 3, device.devfn & 7
    return f"{slot:x},{function:x}" if function else f"{slot:x}"
