"""What a pseries is beside its devices: time, options agreed on, the firmware, its page table.

State as QEMU 7.2's stream has it (`spapr`, `spapr/rtc`, `spapr_cpu`, `spapr/htab`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from gossamer.base.bits import signed
from gossamer.base.units import ticks_at
from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.core.htab import HashTable
from gossamer.devices.spapr import events
from gossamer.devices.spapr.vof import MOST_CLAIMS, MOST_INSTANCES, Firmware
from gossamer.state.codec import I64, U8, U32, U64, Array, Buffer, Codec
from gossamer.state.declare import bitmap, boolean, compat, derived, i32, i64, u32, u64, wiring
from gossamer.state.layout import NOTHING, Layout, Loss, Nested, View, subsection

_WORD: Final = (1 << 64) - 1
#: Bits of an option vector on the wire.
OPTION_BITS: Final = 2048
#: MSIs that the interrupt map has bits for.
MSI_BITS: Final = 0xD00
#: cap-hpt-max-page-size: pages of 64 KiB.
MAX_PAGE_SHIFT: Final = 16


class Rtc(Device):
    """The clock that run-time services show: the host's as `utc` gives it, moved by the guest."""

    vmsd = "spapr/rtc"
    version = 1
    minimum = 1

    ns_offset: int = i64()
    utc: Callable[[], int] = wiring()

    def __init__(self, clock: Clock, utc: Callable[[], int]) -> None:
        super().__init__(clock)
        self.idstr = "spapr/rtc"
        self.utc = utc
        super().reset()

    def reset(self) -> None:
        """It goes on."""

    @property
    def now(self) -> int:
        """Nanoseconds since 1970."""
        return max(signed(self.utc() + self.ns_offset, 64), 0)

    def set(self, ns: int) -> None:
        """Show so many nanoseconds since 1970 from now on; beyond 2262 they wrap, as QEMU's do."""
        self.ns_offset = signed(ns - self.utc(), 64)


class SpaprCpu(Device):
    """What a CPU has registered: where its virtual processor area and its buffers lie."""

    vmsd = "spapr_cpu"
    version = 1
    minimum = 1
    layouts = {"": []}

    area = subsection("spapr_cpu/vpa")
    vpa: int = u64(within=area, wire="vpa_addr")
    shadow = subsection("spapr_cpu/vpa/slb_shadow")
    slb_shadow: int = u64(within=shadow, wire="slb_shadow_addr")
    slb_shadow_size: int = u64(within=shadow)
    log = subsection("spapr_cpu/vpa/dtl")
    dtl: int = u64(within=log, wire="dtl_addr")
    dtl_size: int = u64(within=log)
    #: H_PROD was called: the next H_CONFER to itself returns.
    own = subsection("spapr_cpu/gossamer", ours=True, lost=Loss("H_PROD was called", passes=True))
    prodded: bool = boolean(within=own)

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.idstr = "spapr_cpu"
        self.reset()

    @area.needed
    def area_needed(self) -> bool:
        return bool(self.vpa)

    @shadow.needed
    def shadow_needed(self) -> bool:
        return bool(self.vpa and self.slb_shadow)

    @own.needed
    def own_needed(self) -> bool:
        return self.prodded

    @log.needed
    def log_needed(self) -> bool:
        return bool(self.vpa and self.dtl)


class EarlySpaprCpu(SpaprCpu):
    """The same where QEMU has no section for it, so that it loses what was registered."""

    vmsd = "gossamer-spapr_cpu"
    lost = "where the guest's virtual processor areas lie"
    without = (
        *("spapr_cpu/vpa", "spapr_cpu/vpa/slb_shadow", "spapr_cpu/vpa/dtl"),
        "spapr_cpu/gossamer",
    )
    layouts = {
        "": ["vpa", "slb_shadow", "slb_shadow_size", "dtl", "dtl_size", "prodded"],
    }

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.idstr = "gossamer-spapr_cpu"


class PageTable(Device):
    """The hashed page table as state.

    A stream has it beside memory (`HashTable.chunks`), not as a section like others; what this
    body has is for hashes and checkpoints.
    """

    vmsd = "spapr/htab"
    version = 1
    minimum = 1
    lost = "the guest's page table"

    table: HashTable = wiring()

    def __init__(self, clock: Clock, table: HashTable) -> None:
        super().__init__(clock)
        self.idstr = "spapr/htab"
        self.table = table

    layouts = {
        "": [
            View(
                "entries",
                Buffer(0),
                lambda part: part.table.table.memory[:],
                lambda part, data: part.put(data),
                sized=lambda part: Buffer(part.table.size),
            )
        ]
    }

    def put(self, data: bytes) -> None:
        self.table.table.memory[:] = bytes(data)
        self.table.dirty.fill(0xFF)

    def reset(self) -> None:
        self.table.clear()


def _put_tb(spapr: Spapr, value: int) -> None:
    spapr.tb_ahead = (value - spapr.ticks) & _WORD


def _put_time(spapr: Spapr, value: int) -> None:
    spapr.epoch = value - spapr.clock.now


def _put_size(spapr: Spapr, size: int) -> None:
    if size > MOST_DTB:
        raise ValueError(f"a device tree of {size} bytes, expected {MOST_DTB} at the most")
    spapr.dtb_size = size


def _put_blob(spapr: Spapr, blob: bytearray) -> None:
    spapr.firmware.blob = bytes(blob)


def _put_page_shift(spapr: Spapr, shift: int) -> None:
    if shift != MAX_PAGE_SHIFT:
        raise ValueError(f"pages of 2**{shift} bytes at the most, this machine has 2**16")


def _blob(spapr: Spapr) -> Codec:
    return Buffer(spapr.dtb_size)


def _tree() -> Layout:
    return [
        View(
            "fdt_initial_size",
            U32,
            lambda spapr: spapr.dtb_initial_size,
            lambda spapr, size: setattr(spapr, "dtb_initial_size", size),
        ),
        View("fdt_size", U32, lambda spapr: spapr.dtb_size, _put_size),
        View("fdt_blob", Buffer(0), lambda s: s.firmware.blob, _put_blob, sized=_blob),
    ]


def _put_transactions(spapr: Spapr, value: int) -> None:
    if value:
        raise ValueError("transactional memory is on (cap-htm), this machine has none")


MOST_DTB: Final = 0x20_0000


def _claims(spapr: Spapr) -> list[int]:
    return [n for claim in spapr.firmware.claims for n in claim]


def _put_claims(spapr: Spapr, cells: list[int]) -> None:
    spapr.firmware.claims = sorted(zip(cells[::2], cells[1::2], strict=True))


def _instances(spapr: Spapr) -> list[int]:
    return [n for one in spapr.firmware.instances.items() for n in one]


def _put_instances(spapr: Spapr, cells: list[int]) -> None:
    spapr.firmware.instances = dict(zip(cells[::2], cells[1::2], strict=True))


def _put_last(spapr: Spapr, last: int) -> None:
    spapr.firmware.last_instance = last


def _claim_array(spapr: Spapr) -> Codec:
    return Array(U64, spapr.claim_cells)


def _instance_array(spapr: Spapr) -> Codec:
    return Array(U32, spapr.instance_cells)


def _put_count(name: str, most: int) -> Callable[[Spapr, int], None]:
    def put(spapr: Spapr, count: int) -> None:
        if count > most:
            raise ValueError(f"{count}, expected {most} at the most")
        setattr(spapr, name, count)

    return put


_OPTIONS: Final = Nested(
    "ov5_cas", lambda spapr: spapr, vmsd="spapr_option_vector", version=1, layout=["ov5"]
)


class Spapr(Device):
    """The machine's own state.

    `epoch`: UTC at virtual time 0, ns.  `tb_ahead`: what a host's time base was ahead of the
    guest's in the stream that the machine came from; nothing here depends on it.  `modern`: its
    CPUs are parts with Power ISA 2.07.
    """

    vmsd = "spapr"
    version = 3
    minimum = 1

    layouts = {
        "": [
            Nested(
                "tb",
                lambda spapr: spapr,
                vmsd="timebase",
                version=1,
                layout=[
                    View("guest_timebase", U64, lambda s: (s.ticks + s.tb_ahead) & _WORD, _put_tb),
                    View("time_of_the_day_ns", I64, lambda s: s.utc(), _put_time),
                ],
            )
        ]
    }
    says_options: bool = compat(True)
    keeps_options: bool = compat(False)
    options = subsection("spapr_option_vector_ov5_cas", layout=[_OPTIONS], compat="says_options")
    #: The same of a version that QEMU sends without it: only a new tree depends on it.
    own_options = subsection(
        "spapr/options/gossamer",
        ours=True,
        layout=[_OPTIONS],
        compat="keeps_options",
        lost=NOTHING,
    )
    ov5: int = bitmap(OPTION_BITS, within=options, wire="bitmap")
    #: Version 2.11 and earlier: a CPU that could have transactional memory says that it has none.
    has_transactions: bool = compat(False)
    says_page_size: bool = compat(True)
    has_irq_map: bool = compat(True)
    sends_tree: bool = compat(True)
    keeps_tree: bool = compat(False)
    has_fwnmi: bool = compat(True)
    pending = subsection(
        "spapr_pending_events",
        layout=[
            View(
                "pending_events",
                events.Queue(1),
                lambda spapr: spapr.events,
                lambda spapr, entries: setattr(spapr, "events", entries),
                sized=lambda spapr: events.queue_of(spapr.events),
            )
        ],
    )
    transactions = subsection(
        "spapr/cap/htm",
        layout=[View("mig.caps[0x00]", U8, lambda spapr: 0, _put_transactions)],
        compat="has_transactions",
    )
    page_size = subsection(
        "spapr/cap/hpt_maxpagesize",
        layout=[View("mig.caps[0x06]", U8, lambda spapr: MAX_PAGE_SHIFT, _put_page_shift)],
        compat="says_page_size",
    )
    interrupts = subsection("spapr_irq_map", compat="has_irq_map")
    irq_map: int = bitmap(MSI_BITS, within=interrupts)
    dtb = subsection("spapr_dtb", layout=_tree(), compat="sends_tree")
    #: The same of a version that QEMU sends without it: a guest that starts still asks for it.
    own_dtb = subsection(
        "spapr/dtb/gossamer", ours=True, layout=_tree(), compat="keeps_tree", lost=NOTHING
    )
    fwnmi = subsection("spapr_fwnmi", compat="has_fwnmi")
    fwnmi_reset: int = u64(within=fwnmi, wire="fwnmi_system_reset_addr")
    fwnmi_check: int = u64(within=fwnmi, wire="fwnmi_machine_check_addr")
    fwnmi_interlock: int = i32(-1, within=fwnmi, wire="fwnmi_machine_check_interlock")
    #: QEMU keeps nothing of its firmware: a guest that still calls it cannot go on there.
    services = subsection(
        "spapr/vof/gossamer",
        ours=True,
        layout=[
            "firmware_active",
            View("last_instance", U32, lambda s: s.firmware.last_instance, _put_last),
            View(
                "claims", U32, lambda s: s.claim_cells, _put_count("claim_cells", 2 * MOST_CLAIMS)
            ),
            View("claim", Array(U64, 0), _claims, _put_claims, sized=_claim_array),
            View(
                "instances",
                U32,
                lambda s: s.instance_cells,
                _put_count("instance_cells", 2 * MOST_INSTANCES),
            ),
            View("instance", Array(U32, 0), _instances, _put_instances, sized=_instance_array),
        ],
    )
    firmware_active: bool = boolean(within=services)
    logs = subsection(
        "spapr/events/gossamer", ours=True, lost=Loss("the number of its next event's log entry")
    )
    log_number: int = u32(within=logs)

    epoch: int = derived()
    tb_ahead: int = derived()
    dtb_size: int = derived()
    dtb_initial_size: int = derived()
    claim_cells: int = derived()
    instance_cells: int = derived()
    #: What the guest has not fetched yet, oldest first.
    events: list[events.Entry] = derived()
    #: Sends the interrupt that says that there is an event.
    epow: Callable[[], None] = wiring()
    firmware: Firmware = wiring()
    tb_hz: int = wiring()
    modern: bool = wiring()

    def __init__(
        self, clock: Clock, firmware: Firmware, tb_hz: int, epoch: int, *, modern: bool = False
    ) -> None:
        super().__init__(clock)
        self.idstr, self.modern = "spapr", modern
        self.firmware, self.tb_hz = firmware, tb_hz
        self.epoch, self.tb_ahead = epoch, 0
        self.dtb_size = self.dtb_initial_size = self.claim_cells = self.instance_cells = 0
        self.epow = lambda: None
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.events = []

    @property
    def ticks(self) -> int:
        """Ticks of the time base since virtual time 0."""
        return ticks_at(self.clock.now, self.tb_hz)

    def utc(self) -> int:
        """Nanoseconds since 1970, as the host's clock would show."""
        return self.epoch + self.clock.now

    # --- on the wire ------------------------------------------------------------------------------

    def pre_save(self) -> None:
        self.dtb_size = len(self.firmware.blob)
        self.firmware_active = self.firmware.active
        self.claim_cells = 2 * len(self.firmware.claims)
        self.instance_cells = 2 * len(self.firmware.instances)

    def post_load(self, version: int) -> None:
        self.firmware.active = self.firmware_active
        if not self.firmware_active:
            self.firmware.claims, self.firmware.instances = [], {}

    @transactions.needed
    def transactions_needed(self) -> bool:
        return self.modern

    @interrupts.needed
    def interrupts_needed(self) -> bool:
        return bool(self.irq_map)

    @fwnmi.needed
    def fwnmi_needed(self) -> bool:
        return bool(self.fwnmi_check or self.fwnmi_reset)

    @pending.needed
    def pending_needed(self) -> bool:
        return bool(self.events)

    @logs.needed
    def logs_needed(self) -> bool:
        return bool(self.log_number)

    @services.needed
    def services_needed(self) -> bool:
        return self.firmware.active

    @services.losing
    def services_lost(self) -> Iterator[Loss]:
        if self.firmware.active:
            yield Loss("the firmware's services, which a starting kernel still calls")

    # --- events -----------------------------------------------------------------------------------

    def power_button(self, now: int) -> None:
        """Pressed at `now` (ns since 1970): the guest shall switch itself off."""
        if len(self.events) == events.MOST:
            self.note("a power button's event is lost: the guest fetches none")
            return
        self.events.append(events.power_off(self.log_number, now))
        self.log_number = self.log_number + 1 & 0xFFFF_FFFF
        self.epow()

    def event(self, mask: int) -> bytes | None:
        """The oldest event of the classes in `mask`, as a log entry; it stays."""
        if not mask & events.CLASS_EPOW or not self.events:
            return None
        return events.as_bytes(self.events[0])

    def event_taken(self) -> None:
        """The guest has the oldest; the interrupt comes again for those that are left."""
        del self.events[0]
        self.remind()

    def remind(self) -> None:
        """Send the interrupt if there is an event."""
        if self.events:
            self.epow()
