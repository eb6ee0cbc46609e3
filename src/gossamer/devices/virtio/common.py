"""The common registers of the modern interface.  Source: VIRTIO 1.2, 4.1.4.3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gossamer.devices.virtio.ring import MOST_SIZE, NO_VECTOR, VirtQueue

if TYPE_CHECKING:
    from gossamer.devices.virtio.pci import VirtioPci

FEATURE_SELECT, FEATURE, DRIVER_SELECT, DRIVER_FEATURE = 0, 4, 8, 12
CONFIG_VECTOR, QUEUES, STATUS, GENERATION, SELECT = 16, 18, 20, 21, 22
SIZE, VECTOR, ENABLE, NOTIFY_OFFSET = 24, 26, 28, 30
DESC, AVAIL, USED, RESET = 32, 40, 48, 58
_LOW: Final = 0xFFFF_FFFF
_ADDRESSES: Final = {DESC: "setup_desc", AVAIL: "setup_avail", USED: "setup_used"}
#: Features that only the legacy interface shows.
LEGACY_ONLY: Final = 1 << 24 | 1 << 27 | 1 << 30


class CommonRegisters:
    """Registers by their offset; a value has the size of its register, whatever the access's."""

    __slots__ = ("device",)

    def __init__(self, device: VirtioPci) -> None:
        self.device = device

    def read(self, at: int) -> int:
        d = self.device
        match at:
            case 0:
                return d.core.modern.dfselect
            case 4:
                shown = d.host_features & ~LEGACY_ONLY
                return (
                    shown >> 32 * d.core.modern.dfselect & _LOW if d.core.modern.dfselect < 2 else 0
                )
            case 8:
                return d.core.modern.gfselect
            case 12:
                words = (d.core.modern.features_low, d.core.modern.features_high)
                return words[d.core.modern.gfselect] if d.core.modern.gfselect < 2 else 0
            case 16:
                return d.config_vector
            case 18:
                return len(d.queues)
            case 20:
                return d.status
            case 21:
                return d.core.generation
            case 22:
                return d.queue_sel
        q = d.selected()
        return 0 if q is None else self._read_queue(q, at)

    def _read_queue(self, q: VirtQueue, at: int) -> int:
        simple = {SIZE: q.size, VECTOR: q.vector, ENABLE: q.enabled, NOTIFY_OFFSET: q.number}
        if at in simple:
            return int(simple[at])
        name = _ADDRESSES.get(at & -8)
        if name is None or at & 3:
            return 0
        return int(getattr(q, name)) >> 8 * (at & 4) & _LOW

    def write(self, at: int, value: int) -> None:
        d = self.device
        match at:
            case 0:
                d.core.modern.dfselect = value
            case 8:
                d.core.modern.gfselect = value
            case 12:
                self._write_features(value)
            case 16:
                d.config_vector = self.vector(value)
            case 20:
                d.set_status(value & 0xFF)
            case 22:
                if value < MOST_SIZE:
                    d.queue_sel = value
            case _:
                q = d.selected()
                if q is not None:
                    self._write_queue(q, at, value)

    def _write_features(self, value: int) -> None:
        d = self.device
        if d.core.modern.gfselect == 0:
            d.core.modern.features_low = value
        elif d.core.modern.gfselect == 1:
            d.core.modern.features_high = value
        else:
            return
        d.set_features(d.core.modern.features_high << 32 | d.core.modern.features_low)

    def vector(self, value: int) -> int:
        """A message that there is; NO_VECTOR for any other number."""
        value &= 0xFFFF
        return value if value < self.device.msix.count else NO_VECTOR

    def _write_queue(self, q: VirtQueue, at: int, value: int) -> None:
        match at:
            case 24:
                q.setup_size = value & 0xFFFF
                q.set_size(q.setup_size)
            case 26:
                q.vector = self.vector(value)
            case 28:
                if value != 1:
                    self.device.fail(f"wrong value for queue_enable {value:#x}")
                    return
                q.set_size(q.setup_size)
                q.desc, q.avail, q.used = q.setup_desc, q.setup_avail, q.setup_used
                q.enabled = True
            case 58:
                if value == 1:
                    q.reset()
            case _:
                name = _ADDRESSES.get(at & -8)
                if name is not None and not at & 3:
                    shift = 8 * (at & 4)
                    kept = int(getattr(q, name)) & ~(_LOW << shift)
                    setattr(q, name, kept | (value & _LOW) << shift)
