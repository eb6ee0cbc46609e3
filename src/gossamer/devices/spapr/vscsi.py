"""Virtual SCSI (v-scsi): a host adapter that takes SRP by messages.

A message is done within H_SEND_CRQ: at each instruction boundary nothing is under way.  Sources:
LoPAR 17.2.2, SRP (T10/1415-D); answers and state as QEMU 7.2's `spapr-vscsi`.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack, unpack
from typing import Final

from gossamer.core.clock import Clock
from gossamer.core.irq import IrqLine
from gossamer.devices.scsi import sense
from gossamer.devices.scsi.bus import ScsiBus
from gossamer.devices.scsi.cdb import INQUIRY
from gossamer.devices.scsi.disk import ScsiDisk
from gossamer.devices.scsi.faults import PortError, StalledError
from gossamer.devices.scsi.replies import padded
from gossamer.devices.scsi.sense import CHECK_CONDITION, GOOD
from gossamer.devices.spapr import srp
from gossamer.devices.spapr.calls import SUCCESS, GuestRam
from gossamer.devices.spapr.srp import Unit
from gossamer.devices.spapr.tce import TceWindow
from gossamer.devices.spapr.vio import head
from gossamer.devices.spapr.vio_bus import MESSAGE, CrqDevice
from gossamer.state.codec import Buffer
from gossamer.state.declare import derived, wiring
from gossamer.state.layout import Loss, View, subsection

# The first byte of a message.
PAYLOAD, INIT, EVENT = 0x80, 0xC0, 0xFF
INITIALIZE, COMPLETE = 1, 2
# Formats of payloads.
SRP, MAD = 1, 2
DONE, ADAPTER_FAILED = 0x00, 0x10
# Kinds of management datagrams, and how they ended.
EMPTY, ERROR_LOG, ADAPTER_INFO, HOST_CONFIG, CAPABILITIES = 1, 2, 3, 4, 5
MAD_DONE, MAD_NOT_SUPPORTED, MAD_FAILED = 0x00, 0xF1, 0xF7
#: Of a bus: channels, numbers, units from 0 on.
CHANNELS, NUMBERS, UNITS = 7, 63, 31
#: Bytes that one command should move at the most, as the guest learns.
MOST_TRANSFER: Final = 4096 << 9
NOTHING_THERE: Final = (5, 0x24, 0)
BROKEN: Final = (4, 0, 0)


def _put_waiting(adapter: VirtualScsi, data: bytearray) -> None:
    adapter.waiting = [bytes(data[n : n + MESSAGE]) for n in range(0, len(data), MESSAGE)]
    while adapter.waiting and not any(adapter.waiting[-1]):
        adapter.waiting.pop()


class VirtualScsi(CrqDevice):
    """The adapter; `bus` has its disks and drives."""

    vmsd = "spapr_vscsi"
    version = minimum = 1
    layouts = {"": [head("vdev")]}

    own = subsection(
        "spapr_vscsi/gossamer",
        ours=True,
        layout=[
            View(
                "waiting",
                Buffer(MESSAGE * srp.LIMIT),
                lambda adapter: b"".join(adapter.waiting).ljust(MESSAGE * srp.LIMIT, b"\0"),
                _put_waiting,
            )
        ],
    )
    #: Messages that wait since a failure of the host stopped the first of them.
    waiting: list[bytes] = derived()

    bus: ScsiBus = wiring()

    def __init__(
        self,
        clock: Clock,
        reg: int,
        source: int,
        irq: IrqLine,
        window: TceWindow,
        ram: GuestRam,
        *,
        name: str = "scsi.0",
    ) -> None:
        super().__init__(clock, reg, source, irq, window, ram)
        self.idstr = f"v-scsi@{reg:x}/spapr_vscsi"
        self.bus = ScsiBus(f"v-scsi@{reg:x}", name, CHANNELS, NUMBERS, UNITS)
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.waiting, self.bus.stalled = [], None

    @property
    def stalled(self) -> bool:
        """Whether a failure of the host has stopped a request."""
        return bool(self.waiting)

    @own.needed
    def own_needed(self) -> bool:
        return bool(self.waiting)

    @own.losing
    def own_lost(self) -> Iterator[Loss]:
        if self.waiting:
            yield Loss(f"{len(self.waiting)} requests that an error of the host stopped")

    def retry(self) -> None:
        """The machine goes on after an error: do again what failed, and what came since."""
        todo, self.waiting, self.bus.stalled = self.waiting, [], None
        for data in todo:
            self.message(data)

    # --- messages ---------------------------------------------------------------------------------

    def message(self, data: bytes) -> int:
        if data[0] == INIT and data[1] == INITIALIZE:
            self.send(bytes((INIT, COMPLETE)).ljust(MESSAGE, b"\0"))
        elif data[0] == PAYLOAD and data[1] in (SRP, MAD):
            self._take(data)
        elif data[0] not in (INIT, EVENT):
            self.note(f"message {data[0]:#04x} {data[1]:#04x}")
        return SUCCESS

    def _take(self, data: bytes) -> None:
        if self.waiting:
            if len(self.waiting) < srp.LIMIT:
                self.waiting.append(data)
            else:
                self.note("more requests than there may be: one is lost")
            return
        length, at = unpack(">HQ", data[6:])
        found = self.memory.read(at, length) if length <= srp.MOST else None
        if found is None:
            self.note("no information unit where the message says")
            return
        unit = Unit(found.ljust(srp.MOST, b"\0"))
        try:
            if data[1] == MAD:
                self._manage(data, unit)
            else:
                self._request(data, unit)
        except StalledError:
            self.waiting.append(data)

    def _answer(self, data: bytes, tag: bytes, reply: bytes) -> None:
        """Put an answer where the question was, and say so; `data` is the question's message."""
        at = int.from_bytes(data[8:], "big")
        status = DONE if self.memory.write(at, reply) else ADAPTER_FAILED
        self.send(pack(">BBBBHH", PAYLOAD, data[1], 0, status, 0, len(reply)) + tag)

    # --- management -------------------------------------------------------------------------------

    def _manage(self, data: bytes, unit: Unit) -> None:
        kind = int.from_bytes(unit.data[:4], "big")
        length = int.from_bytes(unit.data[6:8], "big")
        buffer = int.from_bytes(unit.data[16:24], "big")
        status, size = MAD_DONE, 16
        match kind:
            case 1 | 2:
                status, size = MAD_NOT_SUPPORTED, 32 if kind == EMPTY else 24
            case 3:
                status, size = self._put_info(buffer), 24
            case 4:
                status, size = MAD_NOT_SUPPORTED, 24
            case 5:
                status, size, length = self._put_capabilities(buffer, length)
            case _:
                size = 0
                self.note(f"management datagram of kind {kind}")
        reply = unit.data[:4] + pack(">HH", status, length) + unit.data[8:]
        self._answer(data, unit.tag, reply[:size])

    def _put_info(self, buffer: int) -> int:
        name = b"16.a".ljust(8, b"\0") + b"qemu".ljust(96, b"\0")
        info = name + pack(">III", 0, 1, 2) + pack(">8I", MOST_TRANSFER, *[0] * 7)
        return MAD_DONE if self.memory.write(buffer, info) else MAD_FAILED

    def _put_capabilities(self, buffer: int, length: int) -> tuple[int, int, int]:
        """None of what a guest may ask for: neither migration nor reservations."""
        asked = self.memory.read(buffer, min(length, 92))
        if asked is None:
            return MAD_FAILED, 24, length
        found = bytearray(asked.ljust(92, b"\0"))
        for start, end in ((0, 4), (74, 80), (86, 92)):
            found[start:end] = bytes(end - start)
        if not self.memory.write(buffer, bytes(found[: min(length, len(found))])):
            return MAD_FAILED, 24, length
        return MAD_DONE, 24, length

    # --- requests ---------------------------------------------------------------------------------

    def _request(self, data: bytes, unit: Unit) -> None:
        if unit.kind == srp.LOGIN:
            self._answer(data, unit.tag, srp.login_response(unit.tag))
        elif unit.kind == srp.TASK:
            outcome = bytes((0, 0, 0, self._task(unit)))
            self._answer(data, unit.tag, srp.response(unit, GOOD, data=outcome))
        elif unit.kind == srp.COMMAND:
            self._answer(data, unit.tag, self._command(unit))
        else:
            self.note(f"information unit of kind {unit.kind:#04x}")

    def _disk(self, unit: Unit) -> tuple[ScsiDisk | None, int]:
        place = srp.place_of(unit.lun)
        return (None, 0) if place is None else (self.bus.find(*place), place[2])

    def _command(self, unit: Unit) -> bytes:
        disk, lun = self._disk(unit)
        port = srp.Buffers(self.memory, unit)
        try:
            if disk is None:
                return self._no_target(unit, port)
            done = disk.execute(unit.cdb, lun, port)
        except PortError:
            self.note("a command's buffers are not in memory")
            return srp.response(unit, CHECK_CONDITION, _made_up(BROKEN))
        left = done.length - done.moved
        into, out = (0, left) if done.out else (left, 0)
        return srp.response(unit, done.status, done.sense, into=into, out=out)

    def _no_target(self, unit: Unit, port: srp.Buffers) -> bytes:
        """No target is there: INQUIRY says so, everything else fails."""
        cdb = unit.cdb
        if cdb[0] != INQUIRY or cdb[1] & 1 or cdb[2]:
            return srp.response(unit, CHECK_CONDITION, _made_up(NOTHING_THERE))
        data = bytes((0x7F, 0, 6, 2, 31, 0, 0, 0x10)) + padded("QEMU", 8) + padded("QEMU EMPTY", 16)
        done = port.give(data.ljust(36, b"\0")[: int.from_bytes(cdb[3:5], "big")])
        return srp.response(unit, GOOD, into=36 - done)

    def _task(self, unit: Unit) -> int:
        disk, lun = self._disk(unit)
        function = unit.data[30]
        if disk is None or disk.lun != lun:
            return srp.FIELDS_INVALID
        if function == srp.LUN_RESET:
            disk.reset()
        elif function == srp.CLEAR_ACA:
            return srp.NOT_SUPPORTED
        elif function not in (srp.ABORT_TASK, srp.ABORT_TASK_SET, srp.CLEAR_TASK_SET):
            return srp.FIELDS_INVALID
        return srp.COMPLETE


def _made_up(why: sense.Sense) -> bytes:
    """Sense of the adapter's own, which says that its information is valid."""
    return b"\xf0" + sense.fixed(why)[1:]
