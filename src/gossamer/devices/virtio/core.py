"""What every virtio device has besides its registers, as QEMU 7.2's description `virtio`."""

from __future__ import annotations

from typing import Final

from gossamer.devices.virtio import wire
from gossamer.devices.virtio.age import NEWEST, Age
from gossamer.devices.virtio.ring import VirtQueue
from gossamer.state.declare import Stateful, boolean, child, u8, u32, u64, wiring
from gossamer.state.layout import NOTHING, subsection

VERSION_1: Final = 1 << 32
# device_endian of a stream.
LITTLE, BIG = 1, 2


class Modern(Stateful):
    """What the modern interface has been written, besides the queues themselves."""

    vmsd = "virtio_pci"
    version = 1
    minimum = 1
    layouts = {"": []}

    state = subsection(
        "virtio_pci/modern_state",
        layout=["dfselect", "gfselect", "features_low", "features_high", wire.SETUP],
    )
    dfselect: int = u32(within=state)
    gfselect: int = u32(within=state)
    features_low: int = u32(within=state, wire="guest_features[0]")
    features_high: int = u32(within=state, wire="guest_features[1]")
    queues: list[VirtQueue] = wiring()
    age: Age = wiring()

    @state.needed
    def state_needed(self) -> bool:
        return self.age.modern


class Core(Stateful):
    """A device's general state; all of it is in subsections.

    `endian`: byte order of the driver that reset the device last.  `broken`: the driver broke a
    rule, and nothing is done until it resets the device; `disabled`: it is no bus master.
    """

    vmsd = "virtio"
    version = 1
    minimum = 1
    layouts = {"": []}

    order = subsection("virtio/device_endian")
    device_endian: int = u8(BIG, within=order)
    wide = subsection("virtio/64bit_features")
    guest_features: int = u64(within=wide)
    rings = subsection("virtio/virtqueues", layout=wire.RINGS)
    sizes = subsection("virtio/ringsize", layout=wire.SIZES)
    faulty = subsection("virtio/broken")
    broken: bool = boolean(within=faulty)
    extra = subsection("virtio/extra_state")
    modern: Modern = child(Modern, wire="extra_state", within=extra)
    begun = subsection("virtio/started")
    started: bool = boolean(within=begun)
    off = subsection("virtio/disabled")
    disabled: bool = boolean(within=off)
    own = subsection("virtio/gossamer", ours=True, lost=NOTHING)
    generation: int = u8(within=own)

    queues: list[VirtQueue] = wiring()
    host_features: int = wiring()
    age: Age = wiring()

    def __init__(self, queues: list[VirtQueue], host_features: int, age: Age = NEWEST) -> None:
        super().__init__()
        self.queues, self.host_features, self.age = queues, host_features, age
        self.modern = Modern()
        self.modern.queues, self.modern.age = queues, age

    @order.needed
    def order_needed(self) -> bool:
        return self.device_endian != self._usual_endian

    @property
    def _usual_endian(self) -> int:
        return LITTLE if self.guest_features & VERSION_1 else BIG

    @wide.needed
    def wide_needed(self) -> bool:
        return bool(self.host_features >> 32)

    @rings.needed
    def rings_needed(self) -> bool:
        return self.age.modern

    @extra.needed
    def extra_needed(self) -> bool:
        return self.age.sends_extra

    @sizes.needed
    def sizes_needed(self) -> bool:
        return any(q.size != q.usual for q in self.queues)

    @faulty.needed
    def faulty_needed(self) -> bool:
        return self.broken

    @begun.needed
    def begun_needed(self) -> bool:
        return self.started

    @off.needed
    def off_needed(self) -> bool:
        return self.disabled

    @own.needed
    def own_needed(self) -> bool:
        return self.generation != 0

    def expect(self) -> None:
        """A load begins: what a subsection does not say is as usual, by what others say."""
        self.device_endian = 0

    def post_load(self, version: int) -> None:
        if not self.device_endian:
            self.device_endian = self._usual_endian
        if self.device_endian not in (LITTLE, BIG):
            raise ValueError(f"device_endian must be 1 or 2, got {self.device_endian}")
        if self.guest_features & ~self.host_features:
            raise ValueError(
                f"features {self.guest_features:#x}, this device has {self.host_features:#x}"
            )
