"""virtio-net: a network card.  Source: VIRTIO 1.2, 5.1; numbers as QEMU 7.2's `virtio-net-pci`.

Without offloads: frames come and go whole, with a header that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from gossamer.core.clock import Clock
from gossamer.core.memory import RamBlock
from gossamer.devices.pci import ROM, PciBus
from gossamer.devices.virtio import net_control, wire
from gossamer.devices.virtio.age import NEWEST, Age
from gossamer.devices.virtio.core import VERSION_1
from gossamer.devices.virtio.pci import DRIVER_OK, VirtioPci
from gossamer.devices.virtio.ring import Order, Request, Ring, RingError, VirtQueue
from gossamer.state.codec import U8, U16, U32, U64, Buffer, Int
from gossamer.state.declare import buffer, derived, u8, u16, u32, wiring
from gossamer.state.layout import View

GUEST_OFFLOADS, MAC, GSO, MERGE, STATUS, CONTROL, CONTROL_RX, CONTROL_VLAN, RX_EXTRA = (
    1 << n for n in (2, 5, 6, 15, 16, 17, 18, 19, 20)
)
ANNOUNCE, CONTROL_MAC = 1 << 21, 1 << 23
FEATURES: Final = (
    GUEST_OFFLOADS | MAC | GSO | MERGE | STATUS | CONTROL | CONTROL_RX | CONTROL_VLAN
    | RX_EXTRA | ANNOUNCE | CONTROL_MAC
)  # fmt: skip
RX, TX, CTRL = 0, 1, 2
QUEUE_SIZE, CONTROL_SIZE = 256, 64
CONFIG_SIZE: Final = 8
LINK_UP: Final = 1
HEADER, OLD_HEADER = 12, 10
MOST_FRAME: Final = 68 << 10
"""Bytes of a frame that is sent on; longer ones are lost."""
MOST_MACS: Final = 64
VLANS: Final = 4096
VLAN_TAG: Final = b"\x81\x00"
ALL: Final = b"\xff" * 6
ROM_SIZE: Final = 0x4_0000


def _put_in_use(net: VirtioNet, count: int) -> None:
    if count > MOST_MACS:
        raise ValueError(f"{count} addresses, this card has room for {MOST_MACS}")
    net.macs = [bytes(6)] * count


def _put_macs(net: VirtioNet, data: bytearray) -> None:
    net.macs = [bytes(data[n : n + 6]) for n in range(0, len(data), 6)]


def _nothing(value: int, codec: Int, name: str) -> View:
    """What a card without offloads has there."""

    def put(net: VirtioNet, got: int) -> None:
        if got != value:
            raise ValueError(f"must be {value}: there are no offloads, got {got}")

    return View(name, codec, lambda net: value, put)


def _nowhere(frame: bytes) -> None:
    """No cable: what is sent is lost."""


MOST_AT_ONCE: Final = 256


class VirtioNet(VirtioPci):
    """The card.  `send` takes the frames; `receive` brings one from the network."""

    vmsd = "virtio-net"
    version = minimum = 11

    #: The address as the driver may have set it.
    station: bytearray = buffer(6, wire="mac")
    tx_waiting: int = u32()
    mergeable: int = u32(wire="mergeable_rx_bufs")
    net_status: int = u16(LINK_UP, wire="status")
    promisc: int = u8(1)
    allmulti: int = u8()
    vlans: bytearray = buffer(VLANS // 8, b"\xff" * (VLANS // 8))
    multi_overflow: int = u8()
    uni_overflow: int = u8()
    alluni: int = u8()
    nomulti: int = u8()
    nouni: int = u8()
    nobcast: int = u8()
    layouts = wire.body(
        *("station", "tx_waiting", "mergeable"),
        View(
            "status", U16, lambda net: net.net_status, lambda net, v: setattr(net, "net_status", v)
        ),
        *("promisc", "allmulti"),
        View("mac_table.in_use", U32, lambda net: len(net.macs), _put_in_use),
        View(
            "mac_table.macs",
            Buffer(0),
            lambda net: b"".join(net.macs),
            _put_macs,
            sized=lambda net: Buffer(6 * len(net.macs)),
        ),
        "vlans",
        _nothing(0, U32, "has_vnet_hdr"),
        *("multi_overflow", "uni_overflow", "alluni", "nomulti", "nouni", "nobcast"),
        _nothing(0, U8, "has_ufo"),
        View(
            "curr_guest_offloads",
            U64,
            lambda net: 0,
            lambda net, value: None,
            when=lambda net: net.has(GUEST_OFFLOADS),
        ),
    )

    macs: list[bytes] = derived()
    mac: bytes = wiring()
    send: Callable[[bytes], None] = wiring()

    def __init__(
        self,
        clock: Clock,
        bus: PciBus,
        devfn: int,
        *,
        rom: RamBlock | None = None,
        mac: bytes = b"\x52\x54\x00\x12\x34\x56",
        send: Callable[[bytes], None] = _nowhere,
        translated: bool = False,
        is_little: Callable[[], bool] = lambda: False,
        age: Age = NEWEST,
        vectors: int = 4,
    ) -> None:
        self.mac, self.send, self.macs = mac, send, []
        super().__init__(
            clock,
            bus,
            devfn,
            kind=1,
            device=0x1000,
            class_code=0x02_00_00,
            config_size=CONFIG_SIZE,
            features=FEATURES,
            queues=(
                (QUEUE_SIZE, self._refilled),
                (QUEUE_SIZE, self._transmit),
                (CONTROL_SIZE, self._control),
            ),
            vectors=vectors,
            translated=translated,
            is_little=is_little,
            age=age,
        )
        if rom is not None:
            self.add_bar(ROM, rom, "rom")
        self.reset()

    def reset(self) -> None:
        link = self.net_status & LINK_UP if hasattr(self, "net_status") else LINK_UP
        super().reset()
        self.net_status = link

    def device_reset(self) -> None:
        self.station[:] = self.mac
        self.tx_waiting = self.mergeable = 0
        self.promisc, self.macs = 1, []
        self.allmulti = self.alluni = self.nomulti = self.nouni = self.nobcast = 0
        self.multi_overflow = self.uni_overflow = 0
        self.net_status &= LINK_UP
        self.vlans[:] = b"\xff" * len(self.vlans)

    def features_set(self) -> None:
        self.mergeable = int(self.has(MERGE))
        self.vlans[:] = (b"\0" if self.has(CONTROL_VLAN) else b"\xff") * len(self.vlans)

    # --- configuration ----------------------------------------------------------------------------

    def fill_config(self, order: Order) -> bytes:
        return bytes(self.station) + self.net_status.to_bytes(2, order)

    def config_was_set(self) -> None:
        if not self.has(CONTROL_MAC) and not self.has(VERSION_1):
            self.station[:] = self.config_space[:6]

    def connect(self, send: Callable[[bytes], None]) -> None:
        """Where frames go from now on."""
        self.send = send

    def plug(self, up: bool) -> None:
        """The cable is in, or out: the driver is notified."""
        if bool(self.net_status & LINK_UP) != up:
            self.net_status ^= LINK_UP
            self.config_changed()

    # --- queues -----------------------------------------------------------------------------------

    @property
    def header(self) -> int:
        """Bytes before each frame."""
        return HEADER if self.mergeable or self.has(VERSION_1) else OLD_HEADER

    def _refilled(self, queue: VirtQueue) -> None:
        """What has waited for room comes when the network is looked at next."""
        ring = self.ring(queue)
        ring.wake()

    def _transmit(self, queue: VirtQueue) -> None:
        self.tx_waiting = 0
        self.work_off(queue, self._one_out)

    def _one_out(self, request: Request) -> int:
        if not request.out or request.into:
            raise RingError("virtio-net header not in first element")
        length = request.out_length - self.header
        if length < 0:
            raise RingError("virtio-net header incorrect")
        if length > MOST_FRAME:
            self.note("a frame of more than 68 KiB is lost")
        elif length and self.net_status & LINK_UP:
            self.send(request.read(self.header, length))
        return 0

    def retry(self) -> None:
        """Send what another machine had been notified of, and had not sent."""
        if self.tx_waiting:
            self.serve(self.queues[TX])

    def _control(self, queue: VirtQueue) -> None:
        self.work_off(queue, lambda request: net_control.command(self, request))

    # --- frames for the guest ---------------------------------------------------------------------

    @property
    def listens(self) -> bool:
        """Whether a driver is there that takes frames."""
        running = self.status & DRIVER_OK and self.queues[RX].desc
        return bool(running) and not self.core.broken and not self.core.disabled

    def room(self, length: int) -> bool:
        """Whether a frame of that length could be taken now."""
        if not self.listens:
            return False
        try:
            return self._chains(self.ring(self.queues[RX]), length + self.header) is not None
        except RingError as fault:
            self.fail(str(fault))
            return False

    def _chains(self, ring: Ring, length: int) -> list[Request] | None:
        """The next chains that hold so many bytes, none taken yet; None: too few are offered.

        A driver without MERGE gets a frame in one chain: none fits when that is too short.
        """
        queue, found = ring.queue, list[Request]()
        last = queue.last
        try:
            while length > 0:
                request = ring.take() if len(found) < queue.size else None
                if request is None:
                    return None
                if not request.into:
                    raise RingError("virtio-net receive queue contains no in buffers")
                if not found and request.in_length < self.header:
                    raise RingError("virtio-net receive buffer without room for a header")
                found.append(request)
                length -= request.in_length
                if not self.mergeable:
                    break
        finally:
            queue.last = last
        return found

    def receive(self, frame: bytes) -> bool:
        """A frame from the network; false when there is no room for it now."""
        if not self.listens:
            return False
        if not self.net_status & LINK_UP or not self.wants(frame):
            return True
        try:
            return self._receive(self.ring(self.queues[RX]), frame)
        except RingError as fault:
            self.fail(str(fault))
            return False

    def _receive(self, ring: Ring, frame: bytes) -> bool:
        size = self.header
        chains = self._chains(ring, size + len(frame))
        if chains is None:
            ring.wake()
            return False
        if sum(one.in_length for one in chains) < size + len(frame):
            self.note("a frame is longer than the driver's buffer: lost")
            return True
        head = bytes(OLD_HEADER)
        if size == HEADER:
            head += len(chains).to_bytes(2, self.order)
        data, done = head + frame, 0
        for request in chains:
            done_here = request.write(0, data[done : done + request.in_length])
            ring.queue.last = (ring.queue.last + 1) & 0xFFFF
            ring.give(request.head, done_here)
            done += done_here
        self.finish(ring)
        return True

    @property
    def burst(self) -> int:
        """How many frames should be given at once, now: the queue's room is all that counts."""
        return MOST_AT_ONCE

    def receive_all(self, frames: Sequence[bytes]) -> int:
        """Frames from the network, as `room` and `receive` take them one by one; how many."""
        for count, frame in enumerate(frames):
            if not self.room(len(frame)) or not self.receive(frame):
                return count
        return len(frames)

    def wants(self, frame: bytes) -> bool:
        """Whether the filters let a frame pass."""
        if self.promisc:
            return True
        if frame[12:14] == VLAN_TAG:
            n = int.from_bytes(frame[14:16], "big") & VLANS - 1
            if not self.vlans[n >> 3] >> (n & 7) & 1:
                return False
        to = frame[:6]
        if to[:1] and to[0] & 1:
            if to == ALL:
                return not self.nobcast
            if self.nomulti:
                return False
            return bool(self.allmulti or self.multi_overflow) or to in self.macs
        if self.nouni:
            return False
        if self.alluni or self.uni_overflow or to == self.station:
            return True
        return to in self.macs
