"""A virtio device on PCI: the registers of both interfaces, features, status, interrupts.

BAR 0 has the legacy interface (ports), BAR 1 MSI-X, BAR 4 the modern one: common registers, ISR,
the device's configuration, notifications, a page each.  A notified queue is worked off within the
store that notifies: at each instruction boundary nothing is under way.  Source: VIRTIO 1.2, 4.1;
numbers and places as QEMU 7.2's `virtio-*-pci` (transitional).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.core.clock import Clock
from gossamer.core.region import Region
from gossamer.devices.msix import MsiX
from gossamer.devices.pci import COMMAND, COMMAND_MASTER, Dma, PciBus, PciDevice
from gossamer.devices.virtio.age import NEWEST, Age
from gossamer.devices.virtio.common import CommonRegisters
from gossamer.devices.virtio.core import BIG, LITTLE, VERSION_1, Core
from gossamer.devices.virtio.legacy import LegacyRegisters
from gossamer.devices.virtio.ring import (
    NO_VECTOR,
    Direct,
    Order,
    Request,
    Ring,
    RingError,
    VirtQueue,
)
from gossamer.state.declare import child, derived, u8, u16, wiring

VENDOR: Final = 0x1AF4
# Status.
ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET = 1, 2, 4, 8, 0x40
# Features of every device.
NOTIFY_ON_EMPTY, ANY_LAYOUT = 1 << 24, 1 << 27
RING_INDIRECT, EVENT_INDEX, BAD = 1 << 28, 1 << 29, 1 << 30
ACCESS_PLATFORM, RING_RESET = 1 << 33, 1 << 40
COMMON_FEATURES: Final = (
    NOTIFY_ON_EMPTY | ANY_LAYOUT | RING_INDIRECT | EVENT_INDEX | BAD | VERSION_1
)
LEGACY_FEATURES: Final = (1 << 32) - 1
# Bits of the ISR.
QUEUE_INTERRUPT, CONFIG_INTERRUPT = 1, 2
#: The modern interface's pages in BAR 4, and the capabilities that say so.
COMMON, ISR, DEVICE, NOTIFY, MODERN_SIZE = 0x0000, 0x1000, 0x2000, 0x3000, 0x4000
PAGE: Final = 0x1000
#: Where there is a page of notifications for each queue: bytes of all of them, and of the BAR.
NOTIFY_PAGES, WIDE_SIZE = 0x40_0000, 0x80_0000
CAPABILITIES: Final = ((0x40, 1, COMMON), (0x50, 3, ISR), (0x60, 4, DEVICE), (0x70, 2, NOTIFY))
VENDOR_CAPABILITY, CONFIG_ACCESS, MSIX_AT = 0x09, 0x84, 0x98
#: The same without the modern interface.
MSIX_ALONE_AT: Final = 0x40
NOTIFY_STEP: Final = 4
MODERN_BAR: Final = 4


class VirtioPci(PciDevice):
    """A device; its queues are `sizes` long, with a handler each.

    `kind` is its number (VIRTIO 1.2, 5); `features` what it offers beside those of all.
    """

    version = minimum = 1

    config_vector: int = u16(NO_VECTOR)
    status: int = u8()
    isr: int = u8()
    queue_sel: int = u16()
    core: Core = child(Core)

    queues: list[VirtQueue] = derived()
    config_space: bytearray = derived()
    msix: MsiX = wiring()
    kind: int = wiring()
    host_features: int = wiring()
    memory: Dma = wiring()
    common: CommonRegisters = wiring()
    legacy: LegacyRegisters = wiring()
    modern_region: Region = wiring()
    age: Age = wiring()
    #: Whether the CPU that runs is in little-endian mode.
    is_little: Callable[[], bool] = wiring()

    def __init__(
        self,
        clock: Clock,
        bus: PciBus,
        devfn: int,
        *,
        kind: int,
        device: int,
        class_code: int,
        config_size: int,
        features: int,
        queues: tuple[tuple[int, Callable[[VirtQueue], None]], ...],
        vectors: int,
        translated: bool = False,
        is_little: Callable[[], bool] = lambda: False,
        age: Age = NEWEST,
    ) -> None:
        self.age = age
        self.queues = [VirtQueue(n, size, handle) for n, (size, handle) in enumerate(queues)]
        self.config_space, self.kind, self.is_little = bytearray(config_size), kind, is_little
        self.host_features = features | COMMON_FEATURES
        self.host_features |= ACCESS_PLATFORM if translated else 0
        self.host_features |= RING_RESET if age.resets_queues else 0
        if not age.modern:
            self.host_features &= LEGACY_FEATURES
        if kind in age.without_layouts:
            self.host_features &= ~ANY_LAYOUT
        super().__init__(
            clock,
            bus,
            devfn,
            vendor=VENDOR,
            device=device,
            class_code=class_code,
            subsystem=(VENDOR, kind),
            pin=1,
        )
        assert bus.memory is not None
        self.memory = bus.dma if translated and bus.dma is not None else Direct(bus.memory.map)
        self._make_capabilities(vectors)
        self.common, self.legacy = CommonRegisters(self), LegacyRegisters(self)
        ports = 1 << (24 + config_size - 1).bit_length()
        legacy = Region("virtio-pci", ports, self.legacy.read, self.legacy.write, little=True)
        size = WIDE_SIZE if age.page_for_each else MODERN_SIZE
        self.modern_region = Region(
            "virtio-pci-modern", size, self._read_modern, self._write_modern, little=True
        )
        self.add_bar(0, legacy, "io")
        self.add_bar(1, self.msix.region)
        if age.modern:
            self.add_bar(MODERN_BAR, self.modern_region, "wide")
        self.core = self.make_core()
        self.reset()

    def _make_capabilities(self, vectors: int) -> None:
        if self.age.modern:
            self._make_modern()
            self.msix = MsiX(self, vectors, MSIX_AT, 1, CONFIG_ACCESS)
        else:
            self.msix = MsiX(self, vectors, MSIX_ALONE_AT, 1, 0)
        self.define(0x34, 1, self.msix.at, compared=0xFF)
        self.define(0x06, 2, 0x10, compared=0x10)

    def _make_modern(self) -> None:
        following = 0
        for at, kind, offset in CAPABILITIES:
            length = 0x14 if kind == 2 else 0x10
            size = NOTIFY_PAGES if kind == 2 and self.age.page_for_each else PAGE
            self._capability(at, following, length, kind, MODERN_BAR, offset, size)
            following = at
        self.define(0x80, 4, self.notify_step, compared=0xFFFF_FFFF)
        self._capability(CONFIG_ACCESS, following, 0x14, 5, 0, 0, 0)
        for at, size in ((4, 1), (8, 8), (16, 4)):
            self.writable[CONFIG_ACCESS + at : CONFIG_ACCESS + at + size] = b"\xff" * size

    @property
    def notify_step(self) -> int:
        """Bytes between the notifications of two queues."""
        return PAGE if self.age.page_for_each else NOTIFY_STEP

    def _capability(
        self, at: int, following: int, length: int, kind: int, bar: int, start: int, size: int
    ) -> None:
        first = kind << 24 | length << 16 | following << 8 | VENDOR_CAPABILITY
        compared = 0 if at == CONFIG_ACCESS else 0xFFFF_FFFF
        for n, value in enumerate((first, bar, start, size)):
            self.define(at + 4 * n, 4, value, compared=compared if n else 0xFFFF_FFFF)
        self.writable[at : at + length] = bytes(length)

    # --- reset, features, status ------------------------------------------------------------------

    def reset(self) -> None:
        super().reset()
        self.config_space[:] = bytes(len(self.config_space))
        self.msix.reset()
        self._forget()
        self.update_irq()

    def _forget(self) -> None:
        for q in self.queues:
            q.reset()
        self.status = self.isr = self.queue_sel = self.core.guest_features = 0
        self.config_vector, self.core.broken, self.core.started = NO_VECTOR, False, False
        self.device_reset()

    def driver_reset(self) -> None:
        """The driver wants the device as it was."""
        self.core.disabled = False
        self.core.device_endian = LITTLE if self.is_little() else BIG
        self._forget()
        self.update_irq()

    def make_core(self) -> Core:
        """What is kept besides the registers; a kind of device may have more."""
        return Core(self.queues, self.host_features, self.age)

    def device_reset(self) -> None:
        """What a kind of device does at a reset."""

    def has(self, feature: int) -> bool:
        """Whether the driver has accepted a feature."""
        return bool(self.core.guest_features & feature)

    @property
    def is_big(self) -> bool:
        """Byte order of rings and registers in memory, as the driver wants it."""
        return not self.has(VERSION_1) and self.core.device_endian == BIG

    @property
    def order(self) -> Order:
        return "big" if self.is_big else "little"

    def set_features(self, value: int) -> None:
        """What the driver accepts; too late once it has said that it is done."""
        if self.status & FEATURES_OK:
            self.note("features were written after FEATURES_OK")
            return
        self.core.guest_features = value & self.host_features
        self.features_set()

    def features_set(self) -> None:
        """What a kind of device does when features were written."""

    def set_status(self, value: int) -> None:
        """A write to the status register."""
        if self.has(VERSION_1) and value & FEATURES_OK and not self.status & FEATURES_OK:
            missing = self.host_features & ~self.core.guest_features & ACCESS_PLATFORM
            if missing:
                self.note("the driver leaves out ACCESS_PLATFORM")
                return
        if (self.status ^ value) & DRIVER_OK:
            self.core.started = bool(value & DRIVER_OK) and self.age.starts
        self.status_written(value)
        self.status = value
        if not value:
            self.driver_reset()

    def status_written(self, value: int) -> None:
        """What a kind of device does when its status changes to `value`."""

    def config_written(self, at: int, size: int) -> None:
        if at < COMMAND + 2 and at + size > COMMAND:
            if self.command & COMMAND_MASTER:
                self.core.disabled = False
            else:
                self.core.disabled = self.age.stops
                self.set_status(self.status & ~DRIVER_OK)
        if at < self.msix.at + 4 and at + size > self.msix.at:
            self.msix.release()
            self.update_irq()
        if self._is_window(at, size):
            found = self._window()
            if found is not None:
                value = super().read_config(CONFIG_ACCESS + 16, found[1])
                self._write_modern(found[0], found[1], value)

    def _is_window(self, at: int, size: int) -> bool:
        """Whether an access is one to the data of the configuration access capability."""
        inside = at < CONFIG_ACCESS + 20 and at + size > CONFIG_ACCESS + 16
        return inside and self.age.modern

    def read_config(self, at: int, size: int) -> int:
        if self._is_window(at, size):
            found = self._window()
            if found is not None:
                value = self._read_modern(found[0], found[1])
                start = CONFIG_ACCESS + 16
                self.config[start : start + found[1]] = value.to_bytes(found[1], "little")
        return super().read_config(at, size)

    def _window(self) -> tuple[int, int] | None:
        """Offset in BAR 4 and size that the configuration access capability names."""
        cells = self.config[CONFIG_ACCESS + 4 : CONFIG_ACCESS + 16]
        start, size = (int.from_bytes(cells[n : n + 4], "little") for n in (4, 8))
        inside = (
            cells[0] == MODERN_BAR and size in (1, 2, 4) and start + size <= self.modern_region.size
        )
        return (start, size) if inside and start % size == 0 else None

    # --- interrupts -------------------------------------------------------------------------------

    def update_irq(self) -> None:
        self.set_intx(bool(self.isr & QUEUE_INTERRUPT) and not self.msix.enabled)

    def _interrupt(self, vector: int, bits: int) -> None:
        self.isr |= bits
        if self.msix.enabled:
            if vector != NO_VECTOR:
                self.msix.notify(vector)
        else:
            self.update_irq()

    def config_changed(self) -> None:
        """Notify the driver that the device's configuration has changed."""
        if self.status & DRIVER_OK:
            self.core.generation = (self.core.generation + 1) & 0xFF
            self._interrupt(self.config_vector, QUEUE_INTERRUPT | CONFIG_INTERRUPT)

    def read_isr(self) -> int:
        value, self.isr = self.isr, 0
        self.update_irq()
        return value

    # --- queues -----------------------------------------------------------------------------------

    def selected(self) -> VirtQueue | None:
        """The queue that queue_sel names."""
        return self.queues[self.queue_sel] if self.queue_sel < len(self.queues) else None

    def notify(self, number: int) -> None:
        """The driver says that queue `number` has something new."""
        if number < len(self.queues):
            self.serve(self.queues[number])
        else:
            self.note("notification of a queue that there is none of")

    def serve(self, queue: VirtQueue) -> None:
        """Work a queue off."""
        if queue.desc and not self.core.broken and not self.core.disabled:
            try:
                queue.handle(queue)
            except RingError as fault:
                self.fail(str(fault))

    def ring(self, queue: VirtQueue) -> Ring:
        return Ring(queue, self.memory, self.order, events=self.has(EVENT_INDEX))

    def finish(self, ring: Ring) -> None:
        """A look at a ring is over: be notified of what comes, say what has been handed back."""
        ring.wake()
        empty = self.has(NOTIFY_ON_EMPTY) and ring.used_index != ring.before and not ring.offered
        if empty or ring.wants_interrupt():
            self._interrupt(ring.queue.vector, QUEUE_INTERRUPT)

    def work_off(self, queue: VirtQueue, each: Callable[[Request], int | None]) -> None:
        """Let `each` do every request; it gives the bytes written, None to leave the rest."""
        ring = self.ring(queue)
        try:
            for _ in range(queue.size):  # rings that overlap could go on for ever
                request = ring.peek()
                if request is None:
                    break
                written = each(request)
                if written is None:
                    break
                queue.last = (queue.last + 1) & 0xFFFF
                ring.give(request.head, written)
        finally:
            self.finish(ring)

    def fail(self, text: str) -> None:
        """The driver broke a rule: nothing more is done until it resets the device."""
        self.note(text)
        self.core.broken = True
        if self.has(VERSION_1):
            self.status |= NEEDS_RESET
            self.config_changed()

    # --- the modern interface ---------------------------------------------------------------------

    def _read_modern(self, offset: int, size: int) -> int:
        page, at = offset & -PAGE, offset & PAGE - 1
        if page == COMMON:
            return self.common.read(at)
        if page == ISR:
            return self.read_isr()
        if page == DEVICE:
            return self.read_device(at, size, "little")
        return 0

    def _write_modern(self, offset: int, size: int, value: int) -> None:
        page, at = offset & -PAGE, offset & PAGE - 1
        if page == COMMON:
            self.common.write(at, value)
        elif page == DEVICE:
            self.write_device(at, size, value, "little")
        elif NOTIFY <= offset < NOTIFY + (NOTIFY_PAGES if self.age.page_for_each else PAGE):
            self.notify((offset - NOTIFY) // self.notify_step)

    # --- the device's configuration ---------------------------------------------------------------

    def fill_config(self, order: Order) -> bytes:
        """The configuration as it is now."""
        return bytes(len(self.config_space))

    def config_was_set(self) -> None:
        """The driver has written to `config_space`."""

    def read_device(self, offset: int, size: int, order: Order) -> int:
        if offset + size > len(self.config_space):
            return (1 << 8 * size) - 1
        self.config_space[:] = self.fill_config(self.order)
        data = self.config_space[offset : offset + size]
        return int.from_bytes(data, order)

    def write_device(self, offset: int, size: int, value: int, order: Order) -> None:
        if offset + size > len(self.config_space):
            return
        data = (value & (1 << 8 * size) - 1).to_bytes(size, order)
        self.config_space[offset : offset + size] = data
        self.config_was_set()
