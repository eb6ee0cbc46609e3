"""SCSI disks and drives in their places: those of -drive if=scsi and of -device scsi-hd, scsi-cd.

Places and names are QEMU 7.2's (``info qtree``, names of sections).
"""

from __future__ import annotations

from gossamer.base.errors import ConfigError, there_is
from gossamer.devices.scsi.bus import ScsiBus
from gossamer.devices.scsi.disk import CDROM, DISK, ScsiDisk
from gossamer.devices.virtio.scsi import VirtioScsi
from gossamer.machines.config import FIRST_SCSI, FIRST_SCSI_DEVICE, Added, Drive
from gossamer.machines.drives import SCSI_UNITS, usual_name
from gossamer.machines.machine import Machine


def legacy_buses(m: Machine) -> int:
    """Adapters that drives of if=scsi need: one for seven."""
    places = [d.index for d in m.hardware.drives if FIRST_SCSI <= d.index < FIRST_SCSI_DEVICE]
    if m.hardware.cd_drive and m.kind.cd_place is not None:
        places.append(m.kind.cd_place)
    return max(((n - FIRST_SCSI) // SCSI_UNITS + 1 for n in places), default=0)


def add_legacy(m: Machine, bus: ScsiBus, n: int) -> None:
    """The drives of if=scsi on the machine's adapter number `n`."""
    first = FIRST_SCSI + SCSI_UNITS * n
    for unit in range(SCSI_UNITS):
        drive = m.hardware.drive(first + unit)
        if drive is None and not (m.hardware.cd_drive and first + unit == m.kind.cd_place):
            continue
        kind = CDROM if drive is None or drive.media == "cdrom" else DISK
        _add(m, bus, kind, (0, unit, 0), first + unit, drive, None)


def add_device(m: Machine, added: Added) -> None:
    """A disk or drive of -device."""
    bus = _bus(m, added)
    place = FIRST_SCSI_DEVICE + sum(
        isinstance(p.device, ScsiDisk) and p.device.place >= FIRST_SCSI_DEVICE for p in m.parts
    )
    kind = CDROM if added.driver == "scsi-cd" else DISK
    drive = m.hardware.drive(place)
    _add(m, bus, kind, _address(bus, added), place, drive, added)


def _add(
    m: Machine,
    bus: ScsiBus,
    kind: str,
    address: tuple[int, int, int],
    place: int,
    drive: Drive | None,
    added: Added | None,
) -> None:
    channel, number, lun = address
    name = drive.name if drive else usual_name(place, "cdrom" if kind == CDROM else "disk")
    identity = added.text("device_id") if added else ""
    serial = drive.serial if drive else ""
    disk = ScsiDisk(
        m.clock,
        bus,
        kind,
        channel=channel,
        number=number,
        lun=lun,
        serial=serial,
        model=added.text("product") if added else "",
        firmware=drive.firmware if drive else "",
        name=identity or serial[:20] or ("" if name.startswith("#") else name),
        wwn=drive.wwn if drive else 0,
        place=place,
    )
    driver = "scsi-cd" if kind == CDROM else "scsi-hd"
    title = added.title if added else f'{driver}, id ""'
    m.add(f"scsi/{bus.where}/{channel}:{number}:{lun}", disk, known_as=title)
    for part in m.parts:
        if isinstance(part.device, VirtioScsi) and part.device.scsi is bus:
            part.device.attach(disk)


def _bus(m: Machine, added: Added) -> ScsiBus:
    names = [bus.name for bus in m.scsi]
    if not names:
        raise ConfigError(f"{added.where}: {m.name} has no SCSI adapter before it")
    if not added.bus:
        for bus in m.scsi:
            if len(bus.devices) <= bus.numbers:
                return bus
        raise ConfigError(f"{added.where}: every SCSI bus is full")
    for bus in m.scsi:
        if added.bus == bus.name:
            return bus
    raise ConfigError(f"{added.where}: no bus {added.bus!r} ({there_is(names)})")


def _address(bus: ScsiBus, added: Added) -> tuple[int, int, int]:
    """Channel, number and unit; the first free one of what is not given."""
    channel = added.number("channel")
    number, lun = added.optional("scsi-id"), added.optional("lun")
    for what, got, most in (
        ("channel", channel, bus.channels),
        ("scsi-id", number, bus.numbers),
        ("lun", lun, bus.luns),
    ):
        if got is not None and got > most:
            raise ConfigError(f"{added.where}: {what} must be 0..{most} on {bus.name}, got {got}")
    numbers = range(bus.numbers + 1) if number is None else (number,)
    luns = range(bus.luns + 1) if lun is None and number is not None else (lun or 0,)
    for n in numbers:
        for unit in luns:
            if bus.at(channel, n, unit) is None:
                return channel, n, unit
    taken = f"scsi-id={number}" if number is not None else "every scsi-id"
    raise ConfigError(f"{added.where}: {taken} of {bus.name} is taken")
