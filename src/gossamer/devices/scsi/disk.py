"""A SCSI disk or CD-ROM drive as a target: its state, and the way of a command through it.

A command is done within `execute`: at each instruction boundary nothing is under way.  Sources:
SAM-3 (unit attentions, sense), SPC-3; order of checks and state as QEMU 7.2's `scsi-disk`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from gossamer.base.data import Data
from gossamer.base.errors import GossamerError
from gossamer.core.clock import Clock
from gossamer.core.device import Device
from gossamer.devices.ide.media import (
    CD_SECTOR,
    IGNORE,
    SECTOR,
    STOP,
    BlockBackend,
    ErrorPolicy,
    report,
)
from gossamer.devices.scsi import cdb as op
from gossamer.devices.scsi import commands, replies, sense, target
from gossamer.devices.scsi.cdb import Cdb
from gossamer.devices.scsi.faults import CommandError, StalledError
from gossamer.devices.scsi.sense import CHECK_CONDITION, GOOD, UNIT_ATTENTION, Sense
from gossamer.state.codec import U8, Equal
from gossamer.state.declare import boolean, buffer, u8, u32, wiring
from gossamer.state.layout import Constant, Loss, Nested, subsection

if TYPE_CHECKING:
    from gossamer.devices.scsi.bus import ScsiBus

DISK, CDROM = "disk", "cdrom"
#: Bytes of sense data that a stream has room for.
SENSE_ROOM: Final = 96
#: Sense that a reset leaves: the next command hears of it.
CHANGING: Final = (op.INQUIRY, op.REPORT_LUNS, op.GET_CONFIGURATION, op.GET_EVENT)
T = TypeVar("T")


class Port(Protocol):
    """The adapter's end of a command: where its data goes, where it comes from, in order."""

    #: Whether the adapter has tagged queues, which INQUIRY data says.
    queues: bool

    def give(self, data: bytes) -> int:
        """Bytes for the initiator; how many it had room for.  PortError: no memory."""

    def take(self, length: int) -> bytes:
        """Bytes of the initiator's; less where it has no more.  PortError: no memory."""


class Outcome(Data):
    """How a command ended.  `sense`: with CHECK CONDITION why, as data.

    `length`: bytes that were to move, `moved`: that did; `out`: from the initiator.
    """

    status: int
    sense: bytes = b""
    length: int = 0
    moved: int = 0
    out: bool = False


class ScsiDisk(Device):
    """A disk (`DISK`) or a drive (`CDROM`) at `channel`, `number` and `lun` of a bus.

    `where`: the name of the adapter in streams.  `media` is the image, `serial` and `model` what it
    says of itself, `name` what its identification is, `wwn` its World Wide Name or 0.
    """

    vmsd = "scsi-disk"
    version = minimum = 1

    attention_key: int = u8(wire="unit_attention.key")
    attention_asc: int = u8(wire="unit_attention.asc")
    attention_ascq: int = u8(wire="unit_attention.ascq")
    sense_is_ua: bool = boolean()
    sense: bytearray = buffer(SENSE_ROOM)
    sense_len: int = u32()
    media_changed: bool = boolean()
    media_event: bool = boolean()
    eject_request: bool = boolean()
    tray_open: bool = boolean()
    tray_locked: bool = boolean()
    layouts = {
        "": [
            Nested(
                "qdev",
                lambda disk: disk,
                vmsd="SCSIDevice",
                version=1,
                layout=[
                    *("attention_key", "attention_asc", "attention_ascq", "sense_is_ua"),
                    *("sense", "sense_len"),
                    Constant("requests", Equal(U8, 0)),
                ],
            ),
            *("media_changed", "media_event", "eject_request", "tray_open", "tray_locked"),
        ]
    }
    own = subsection("scsi-disk/gossamer", ours=True)
    #: Writes wait in a cache, which the guest can flush; off: each that is done is durable.
    cached: bool = boolean(True, within=own)

    media: BlockBackend | None = wiring()
    policy: ErrorPolicy = wiring()
    ahead: Callable[[], Callable[[], bool]] | None = wiring()
    #: Called when the guest should look at the drive again, with the sense that it would find.
    changed: Callable[[Sense], None] = wiring()
    kind: str = wiring()
    serial: str = wiring()
    model: str = wiring()
    firmware: str = wiring()
    name: str = wiring()
    wwn: int = wiring()
    channel: int = wiring()
    number: int = wiring()
    lun: int = wiring()
    #: The place of the drive in the machine (`machines.config.Drive`).
    place: int = wiring()
    bus: ScsiBus = wiring()

    def __init__(
        self,
        clock: Clock,
        bus: ScsiBus,
        kind: str,
        *,
        number: int,
        channel: int = 0,
        lun: int = 0,
        serial: str = "",
        model: str = "",
        firmware: str = "",
        name: str = "",
        wwn: int = 0,
        place: int = 0,
    ) -> None:
        super().__init__(clock)
        self.idstr = f"{bus.where}/{channel}:{number}:{lun}/scsi-disk"
        self.bus, self.kind, self.place = bus, kind, place
        self.channel, self.number, self.lun = channel, number, lun
        self.media, self.policy, self.ahead, self.changed = None, report, None, lambda why: None
        self.model = model or ("QEMU CD-ROM" if self.is_cd else "QEMU HARDDISK")
        self.serial, self.firmware = serial, firmware or "2.5+"
        self.name, self.wwn = name or serial[:20], wwn
        bus.add(self)
        self.reset()

    def reset(self) -> None:
        """Power on, or the machine's reset: the next command hears of it."""
        tray = (self.tray_open, self.media_changed) if hasattr(self, "tray_open") else None
        super().reset()
        self.unit_attention = sense.RESET
        if tray is not None:
            self.media_changed = tray[1]

    @property
    def is_cd(self) -> bool:
        return self.kind == CDROM

    @property
    def type(self) -> int:
        """The device type of INQUIRY data."""
        return replies.CD_TYPE if self.is_cd else replies.DISK_TYPE

    @property
    def block(self) -> int:
        """Bytes of a block."""
        return CD_SECTOR if self.is_cd else SECTOR

    @property
    def total(self) -> int:
        """Sectors of 512 bytes."""
        return 0 if self.media is None else self.media.size // SECTOR

    @property
    def blocks(self) -> int:
        return 0 if self.media is None else self.media.size // self.block

    @property
    def ready(self) -> bool:
        """Whether there is a medium, and the tray closed."""
        return self.media is not None and not self.tray_open

    @property
    def stalled(self) -> bool:
        """Whether a failure of the host has stopped a request; its adapter keeps it."""
        return self.bus.stalled is self

    def post_load(self, version: int) -> None:
        if self.sense_len > SENSE_ROOM:
            raise ValueError(f"sense_len must be 0..{SENSE_ROOM}, got {self.sense_len}")

    @own.needed
    def own_needed(self) -> bool:
        return not self.cached

    @own.losing
    def own_lost(self) -> Iterator[Loss]:
        if not self.cached:
            yield Loss("that the guest switched the write cache off")

    # --- unit attentions --------------------------------------------------------------------------

    @property
    def unit_attention(self) -> Sense:
        return self.attention_key, self.attention_asc, self.attention_ascq

    @unit_attention.setter
    def unit_attention(self, why: Sense) -> None:
        self.attention_key, self.attention_asc, self.attention_ascq = why

    def attend(self, why: Sense) -> None:
        """Something that the guest is to hear of, unless something matters more."""
        if _weight(why) < _weight(self.unit_attention):
            self.unit_attention = why

    def _reported(self) -> None:
        """The guest has heard of the last one: the next step of a change of disc follows."""
        if self.media_changed:
            self.media_changed = False
            self.attend(sense.MEDIUM_CHANGED)

    def change_media(self, media: BlockBackend | None) -> None:
        """Put another disc in, or none; the tray ends up closed."""
        self.media = media
        self._moved(is_open=False)

    def open_tray(self) -> None:
        """The tray comes out, whatever the guest says."""
        self._moved(is_open=True)

    def _moved(self, *, is_open: bool) -> None:
        self.media_changed, self.tray_open = not is_open, is_open
        self.attend((UNIT_ATTENTION, *sense.NO_MEDIUM[1:]))
        self.media_event, self.eject_request = True, False
        self.changed(self.unit_attention)

    def request_eject(self) -> bool:
        """The user presses the button: whether the tray may open; locked, the guest is asked."""
        if not self.tray_locked:
            return True
        self.eject_request = True
        self.attend(sense.EJECT_REQUESTED)
        self.changed(sense.EJECT_REQUESTED)
        return False

    # --- a command --------------------------------------------------------------------------------

    def execute(self, data: bytes, lun: int, port: Port) -> Outcome:
        """Do a command for logical unit `lun`.  PortError, StalledError: nothing is to undo."""
        command = op.parse(data, self.block)
        if command is None:
            return self._fail(data[0], sense.INVALID_OPCODE, Outcome(CHECK_CONDITION))
        attention = self._attention(command)
        if attention is not None:
            return self._fail(command.op, attention, Outcome(CHECK_CONDITION), is_ua=True)
        tally = Tally(port)
        elsewhere = lun != self.lun or command.op == op.REPORT_LUNS
        answer = commands.answer
        if elsewhere or (command.op == op.REQUEST_SENSE and self.sense_len):
            answer = target.answer
        try:
            answer(self, command, lun, tally)
        except CommandError as failed:
            return self._fail(command.op, failed.sense, tally.outcome(CHECK_CONDITION))
        self.sense_len, self.sense_is_ua = 0, False
        self._attended(command.op)
        return tally.outcome(GOOD)

    def _attention(self, command: Cdb) -> Sense | None:
        if self.attention_key != UNIT_ATTENTION or command.op in CHANGING:
            return None
        if command.op == op.REQUEST_SENSE and self.sense_is_ua:
            return None
        return self.unit_attention

    def _attended(self, code: int) -> None:
        if self.attention_key == UNIT_ATTENTION and code not in CHANGING:
            self.unit_attention = sense.NO_SENSE

    def _fail(self, code: int, why: Sense, outcome: Outcome, *, is_ua: bool = False) -> Outcome:
        """What the adapter reports with the status; the guest has heard of it then."""
        data = sense.fixed(why)
        self.sense[: len(data)] = data
        self.sense_len, self.sense_is_ua = len(data), False
        self._attended(code)
        if is_ua:
            self.sense_len = 0
            self._reported()
        return Outcome(outcome.status, data, outcome.length, outcome.moved, outcome.out)

    def attempt(self, write: bool, action: Callable[[], T], instead: T) -> T:
        """What the action gives, `instead` where a failure of the host is to be ignored."""
        try:
            return action()
        except GossamerError as fault:
            self.note(f"host error: {fault}")
            decided = self.policy(write, fault)
        if decided == STOP:
            self.bus.stalled = self
            raise StalledError
        if decided != IGNORE:
            raise CommandError(sense.WRITE_ERROR if write else sense.READ_ERROR)
        return instead


class Tally:
    """Counts what moves through a port."""

    def __init__(self, port: Port) -> None:
        self.port, self.length, self.moved, self.out = port, 0, 0, False

    @property
    def queues(self) -> bool:
        return self.port.queues

    def outcome(self, status: int) -> Outcome:
        return Outcome(status, b"", self.length, self.moved, self.out)

    def reply(self, data: bytes, most: int) -> None:
        """All of an answer, of which the command allows `most` bytes."""
        self.length = min(len(data), most)
        if self.length:
            self.give(data[: self.length])

    def give(self, data: bytes) -> bool:
        """Whether the initiator had room for all of it."""
        done = self.port.give(data)
        self.moved += done
        return done == len(data)

    def take(self, length: int) -> bytes:
        data = self.port.take(length)
        self.moved += len(data)
        return data

    def bring(self, length: int) -> bytes:
        """All that a command brings; zeros where the initiator has less."""
        self.length, self.out = length, True
        return self.take(length).ljust(length, b"\0") if length else b""


def _weight(why: Sense) -> int:
    """Which unit attention matters more: the smaller number (SAM-3, 5.9.7)."""
    key, asc, ascq = why
    if key != UNIT_ATTENTION:
        return 1 << 30
    if (asc, ascq) in ((0x29, 0x04), (0x3F, 0x01)):
        return 1 if asc == 0x29 else 2
    if asc == 0x29 and ascq <= 7 and ascq not in (5, 6):
        return ascq
    return 8 if (asc, ascq) == (0x2F, 0x01) else asc << 8 | ascq
