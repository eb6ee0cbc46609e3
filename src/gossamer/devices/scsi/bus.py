"""A SCSI bus: who stands at which channel, number and logical unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gossamer.devices.scsi.disk import ScsiDisk


class ScsiBus:
    """The bus of an adapter that streams call `where`; `name` is the user's.

    `channels`, `numbers`, `luns`: the highest of each.
    """

    def __init__(self, where: str, name: str, channels: int, numbers: int, luns: int) -> None:
        self.where, self.name = where, name
        self.channels, self.numbers, self.luns = channels, numbers, luns
        self.devices: list[ScsiDisk] = []
        #: The one whose request a failure of the host has stopped.
        self.stalled: ScsiDisk | None = None

    def add(self, device: ScsiDisk) -> None:
        self.devices.append(device)

    def find(self, channel: int, number: int, lun: int) -> ScsiDisk | None:
        """The unit, or another one of the same target, which answers for it; None: no target."""
        there = [one for one in self.devices if (one.channel, one.number) == (channel, number)]
        return next((one for one in there if one.lun == lun), there[-1] if there else None)

    def at(self, channel: int, number: int, lun: int) -> ScsiDisk | None:
        """The unit at exactly this place."""
        found = self.find(channel, number, lun)
        return found if found is not None and found.lun == lun else None

    def units(self, device: ScsiDisk) -> list[int]:
        """The logical units of a device's target."""
        place = device.channel, device.number
        return [one.lun for one in self.devices if (one.channel, one.number) == place]
