"""What stands where in a machine, as far as the sections of a stream do not say.

The section of an IDE channel has both its drives, whatever they are, and that of a USB mouse is a
tablet's too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.devices.ide.drive import CDROM, DISK
from gossamer.devices.usb.device import UsbFunction
from gossamer.machines import drives_attach
from gossamer.machines.config import interface_of
from gossamer.machines.machine import Machine

_DRIVERS: Final = {DISK: "ide-hd", CDROM: "ide-cd"}
_NOTHING: Final = "nothing"


def fitted(machine: Machine) -> tuple[str, ...]:
    """``place: kind`` of each drive and USB device."""
    kinds = drives_attach.drive_kinds(machine)
    found = [
        f"ide.{n // 2} unit {n % 2}: {_DRIVERS[kinds[n]]}"
        for n in sorted(kinds)
        if interface_of(n) == "ide"
    ]
    for disk in drives_attach.scsi_disks(machine):
        where = f"{disk.channel}:{disk.number}:{disk.lun}"
        found.append(f"{disk.bus.where}/{where}: scsi-{'cd' if disk.is_cd else 'hd'}")
    first = ""
    for part in machine.parts:
        if isinstance(part.device, UsbFunction):
            controller, port, _ = part.device.idstr.split("/")
            first = first or controller
            where = port if controller == first else f"{controller}/{port}"
            found.append(f"USB port {where}: {part.known_as.partition(',')[0]}")
    return tuple(found)


def check_fitted(path: str, saved: Iterable[str], machine: Machine) -> None:
    """ConfigError where a save's list differs from `machine`'s, with both kinds."""
    got, mine = (dict(one.rpartition(": ")[::2] for one in lst) for lst in (saved, fitted(machine)))
    for place in sorted(got.keys() | mine.keys()):
        theirs, ours = got.get(place, _NOTHING), mine.get(place, _NOTHING)
        if theirs != ours:
            raise ConfigError(f"{path}: {place}: expected {ours}, got {theirs}")
