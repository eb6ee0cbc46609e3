"""Commands that send the machine to another emulator, or take one over."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from enum import StrEnum
from typing import Any, Final

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError, GossamerError
from gossamer.base.units import PAGE_SIZE
from gossamer.control.commands.migration_channels import MigrationChannel, uri_of
from gossamer.control.commands.table import command
from gossamer.control.events import SocketAddress, socket_address
from gossamer.control.session import Session
from gossamer.control.shapes import Json, Size
from gossamer.control.standstill import Sent
from gossamer.control.steps import Steps, Waiting
from gossamer.control.tls_objects import AUTHZ, X509
from gossamer.control.transfer import Transfer
from gossamer.machines.option_objects import MEMORY, SECRET
from gossamer.machines.values import flattened
from gossamer.migrate.precopy import Figures


@command("migrate", held=True)
def migrate(
    session: Session,
    uri: str | None = None,
    channels: tuple[MigrationChannel, ...] | None = None,
    detach: bool = True,
    resume: bool = False,
    blk: bool = False,
    inc: bool = False,
) -> None:
    """Begin to send the machine to another emulator."""
    del detach  # QEMU's own word, which makes no difference there either
    if resume:
        session.spawn(session.vm.transfers.resuming(session.place(uri_of(uri, channels))))
        return
    if blk or inc:
        raise ConfigError("blk, inc: disks do not travel with a migration")
    session.spawn(_quietly(_sending(session, uri_of(uri, channels))))


@command("x-migrate", held=True, wire=False)
def migrate_and_wait(
    session: Session, uri: str, detach: bool = False, resume: bool = False
) -> Generator[Waiting, Any, Sent | None]:
    """Send the machine to another emulator; with -d others are served meanwhile.

    With -r memory that has not gone yet, over another connection.
    """
    if resume:
        session.spawn(session.vm.transfers.resuming(session.place(uri)))
        return None
    steps = _sending(session, uri)
    if detach:
        session.spawn(_quietly(steps))
        return None
    return (yield from steps)


def _sending(session: Session, uri: str) -> Steps[Sent]:
    if session.vm.run_state == "inmigrate":
        raise ConfigError("Guest is waiting for an incoming migration")
    return session.vm.transfers.send(session.place(uri))


def _quietly(steps: Steps[Any]) -> Steps[None]:
    """The same steps; how they end is found in query-migrate."""
    try:
        yield from steps
    except (GossamerError, OSError):
        return


@command("migrate_cancel", held=True)
def migrate_cancel(session: Session) -> None:
    """Stop sending the machine."""
    session.vm.transfers.cancel()


@command("migrate-incoming", held=True)
def migrate_incoming(
    session: Session,
    uri: str | None = None,
    channels: tuple[MigrationChannel, ...] | None = None,
    exit_on_error: bool = True,
) -> None:
    """Wait at URI for a machine; after -incoming defer."""
    if session.vm.run_state != "inmigrate":
        raise ConfigError("'-incoming' was not specified on the command line")
    place = session.place(uri_of(uri, channels))
    session.take_in(place, exit_on_error=exit_on_error)


@command("migrate-continue", held=True)
def migrate_continue(session: Session, state: str) -> None:
    """Let a transfer that waits before the switch-over go on."""
    if state != "pre-switchover":
        raise ConfigError(f"Migration not in expected state: {state}")
    session.vm.transfers.may_switch()


@command("migrate-start-postcopy", held=True)
def migrate_start_postcopy(session: Session) -> None:
    """Let the machine that is being sent run at the receiver, and its memory follow."""
    session.vm.transfers.start_postcopy()


@command("migrate-pause", held=True)
def migrate_pause(session: Session) -> None:
    """Break the connection of a transfer whose memory follows; it waits for another."""
    session.vm.transfers.pause()


@command("migrate-recover", held=True)
def migrate_recover(session: Session, uri: str) -> None:
    """Wait at URI for the sender of the memory that has not come."""
    session.vm.transfers.recover(session.place(uri))


# --- what is agreed on before ---------------------------------------------------------------------

#: Capabilities of QEMU's that mean something here, and how.
CAPABILITIES: Final = {
    "auto-converge": "the guest is held back when it writes faster than is sent",
    "mapped-ram": "memory at fixed places of a file, as QEMU 9.0 and later have it; file: only",
    "multifd": "pages over multifd-channels more connections, tcp: or unix:",
    "events": "always on: MIGRATION events",
    "late-block-activate": "under -S: disks are opened when the machine runs, not when it is there",
    "pause-before-switchover": "the stopped machine waits for migrate-continue",
    "postcopy-ram": "the machine may run at the receiver before its memory is there",
    "release-ram": "nothing to do: memory is given back with the machine",
    "return-path": "always on where the channel can carry it",
    "switchover-ack": "accepted: no device here asks for it",
    "xbzrle": "received; never sent (docs/decisions/0017)",
}


class CapabilityStatus(Data):
    """A capability and whether it is on."""

    capability: str
    state: bool


@command("migrate-set-capabilities", held=True)
def migrate_set_capabilities(session: Session, capabilities: tuple[CapabilityStatus, ...]) -> None:
    """Switch capabilities of transfers on or off."""
    transfers = session.vm.transfers
    arriving = transfers.arriving
    if arriving is None or transfers.under_way is not arriving or arriving.status != "setup":
        session.check_idle()
    for one in capabilities:
        if one.capability not in CAPABILITIES and one.state:
            known = ", ".join(CAPABILITIES)
            raise ConfigError(f"capability {one.capability!r}: not spoken here (known: {known})")
    for one in capabilities:
        change = transfers.capabilities.add if one.state else transfers.capabilities.discard
        change(one.capability)
    late = "late-block-activate" in transfers.capabilities
    session.vm.disks.late = late and not session.autostart


@command("query-migrate-capabilities", held=True)
def query_migrate_capabilities(session: Session) -> tuple[CapabilityStatus, ...]:
    """Which capabilities of transfers are on."""
    on = session.vm.transfers.capabilities
    return tuple(CapabilityStatus(name, name in on) for name in CAPABILITIES)


class ObjectKind(StrEnum):
    """Kinds of objects."""

    CREDENTIALS = X509
    AUTHORIZATION = AUTHZ
    SECRET = SECRET
    MEMORY = MEMORY


@command("object-add", held=True)
def object_add(
    session: Session,
    qom_type: ObjectKind,
    id: str,
    properties_: Mapping[str, Json],
) -> None:
    """Make credentials or an authorization for transfers, a secret, or memory for the machine."""
    session.objects.add(qom_type, id, flattened("object-add", dict(properties_)))


@command("object-del", held=True)
def object_del(session: Session, id: str) -> None:
    """Remove an object."""
    session.objects.remove(id)


class Compression(StrEnum):
    """How pages on further connections are packed."""

    NONE = "none"
    ZLIB = "zlib"
    ZSTD = "zstd"


class MigrateParameters(Data):
    """Bandwidth in bytes a second (0: no limit), downtime in ms, the rest in percent.

    `tls_creds` names the credentials (empty: no TLS), `tls_hostname` the receiver, `tls_authz` the
    peers that may send.
    """

    max_bandwidth: Size | None = None
    downtime_limit: int | None = None
    throttle_trigger_threshold: int | None = None
    cpu_throttle_initial: int | None = None
    cpu_throttle_increment: int | None = None
    max_cpu_throttle: int | None = None
    multifd_channels: int | None = None
    multifd_compression: Compression | None = None
    multifd_zlib_level: int | None = None
    multifd_zstd_level: int | None = None
    tls_creds: str | None = None
    tls_hostname: str | None = None
    tls_authz: str | None = None
    announce_initial: int | None = None
    announce_max: int | None = None
    announce_rounds: int | None = None
    announce_step: int | None = None
    max_postcopy_bandwidth: Size | None = None


_RANGES: Final = {
    "downtime_limit": (0, 2_000_000),
    "throttle_trigger_threshold": (1, 100),
    "cpu_throttle_initial": (1, 99),
    "cpu_throttle_increment": (1, 99),
    "max_cpu_throttle": (1, 99),
    "multifd_channels": (1, 255),
    "multifd_zlib_level": (0, 9),
    "multifd_zstd_level": (0, 20),
    "announce_initial": (0, 100_000),
    "announce_max": (0, 100_000),
    "announce_rounds": (0, 1000),
    "announce_step": (0, 10_000),
}


@command("migrate-set-parameters", held=True)
def migrate_set_parameters(
    session: Session,
    max_bandwidth: Size | None = None,
    downtime_limit: int | None = None,
    throttle_trigger_threshold: int | None = None,
    cpu_throttle_initial: int | None = None,
    cpu_throttle_increment: int | None = None,
    max_cpu_throttle: int | None = None,
    multifd_channels: int | None = None,
    multifd_compression: Compression | None = None,
    multifd_zlib_level: int | None = None,
    multifd_zstd_level: int | None = None,
    tls_creds: str | None = None,
    tls_hostname: str | None = None,
    tls_authz: str | None = None,
    announce_initial: int | None = None,
    announce_max: int | None = None,
    announce_rounds: int | None = None,
    announce_step: int | None = None,
    max_postcopy_bandwidth: Size | None = None,
) -> None:
    """Change parameters of transfers; one that is under way goes by them at once."""
    given = {
        "max_bandwidth": max_bandwidth,
        "downtime_limit": downtime_limit,
        "throttle_trigger_threshold": throttle_trigger_threshold,
        "cpu_throttle_initial": cpu_throttle_initial,
        "cpu_throttle_increment": cpu_throttle_increment,
        "max_cpu_throttle": max_cpu_throttle,
        "multifd_channels": multifd_channels,
        "multifd_zlib_level": multifd_zlib_level,
        "multifd_zstd_level": multifd_zstd_level,
        "announce_initial": announce_initial,
        "announce_max": announce_max,
        "announce_rounds": announce_rounds,
        "announce_step": announce_step,
        "max_postcopy_bandwidth": max_postcopy_bandwidth,
    }
    for name, (least, most) in _RANGES.items():
        value = given[name]
        if value is not None and not least <= value <= most:
            text = f"{name.replace('_', '-')}: expected {least} to {most}, got {value}"
            raise ConfigError(text)
    for name, value in given.items():
        if value is not None:
            setattr(session.vm.transfers.parameters, name, int(value))
    if multifd_compression is not None:
        session.vm.transfers.parameters.multifd_compression = multifd_compression
    tls = session.vm.transfers.tls
    chosen = {"creds": tls_creds, "hostname": tls_hostname, "authz": tls_authz}
    for key, word in chosen.items():
        if word is not None:
            setattr(tls, key, word)


@command("query-migrate-parameters", held=True)
def query_migrate_parameters(session: Session) -> MigrateParameters:
    """The parameters of transfers."""
    p = session.vm.transfers.parameters
    return MigrateParameters(
        Size(p.max_bandwidth),
        p.downtime_limit,
        p.throttle_trigger_threshold,
        p.cpu_throttle_initial,
        p.cpu_throttle_increment,
        p.max_cpu_throttle,
        p.multifd_channels,
        Compression(p.multifd_compression),
        p.multifd_zlib_level,
        p.multifd_zstd_level,
        session.vm.transfers.tls.creds,
        session.vm.transfers.tls.hostname,
        session.vm.transfers.tls.authz,
        p.announce_initial,
        p.announce_max,
        p.announce_rounds,
        p.announce_step,
        Size(p.max_postcopy_bandwidth),
    )


class MigrationStats(Data):
    """Bytes and pages of a transfer's memory, as QEMU counts them."""

    transferred: int
    remaining: int
    total: int
    duplicate: int
    normal: int
    normal_bytes: int
    dirty_pages_rate: int
    mbps: float
    dirty_sync_count: int
    page_size: int
    skipped: int = 0
    postcopy_requests: int = 0
    multifd_bytes: int = 0
    pages_per_second: int = 0


class MigrationInfo(Data):
    """The transfer under way, or the last ones: what was lost or repaired in lines of text.

    Times in ms.  `expected_losses`: what the receiver will not know, said before the machine stops.
    `socket_address`: where a sender is waited for, with the port that the host chose.
    """

    status: str | None = None
    ram: MigrationStats | None = None
    total_time: int | None = None
    setup_time: int | None = None
    expected_downtime: int | None = None
    downtime: int | None = None
    cpu_throttle_percentage: int | None = None
    error_desc: str | None = None
    sent: str | None = None
    received: str | None = None
    expected_losses: tuple[str, ...] | None = None
    socket_address: tuple[SocketAddress, ...] | None = None


def _stats(f: Figures) -> MigrationStats:
    speed = f.bytes_per_second
    return MigrationStats(
        transferred=f.transferred, remaining=f.remaining, total=f.total, duplicate=f.duplicate,
        normal=f.normal, normal_bytes=f.normal * PAGE_SIZE, dirty_pages_rate=f.dirty_pages_rate,
        mbps=speed * 8 / 1e6, dirty_sync_count=f.dirty_sync_count, page_size=PAGE_SIZE,
        pages_per_second=speed // PAGE_SIZE, postcopy_requests=f.postcopy_requests,
    )  # fmt: skip


def _listening(transfer: Transfer) -> tuple[SocketAddress, ...] | None:
    at = transfer.listens_at
    return None if transfer.over or not at.startswith(("tcp:", "unix:")) else (socket_address(at),)


@command("query-migrate", held=True)
def query_migrate(session: Session) -> MigrationInfo:
    """The migration under way, or the last one."""
    transfers = session.vm.transfers
    shown = transfers.outgoing or transfers.arriving
    if shown is None:
        return MigrationInfo()
    sent, received = transfers.last_sent, transfers.last_received
    if shown is not transfers.outgoing or shown.figures.total == 0:
        return MigrationInfo(
            shown.status,
            error_desc=shown.error or None,
            sent=None if sent is None else sent.text,
            received=None if received is None else received.text,
            socket_address=_listening(shown),
        )
    figures = shown.figures
    over = shown.status == "completed"
    return MigrationInfo(
        shown.status,
        _stats(figures),
        figures.total_time,
        figures.setup_time,
        None if over else figures.expected_downtime,
        figures.downtime if over else None,
        figures.throttle or None,
        shown.error or None,
        None if sent is None or not over else sent.text,
        None if received is None else received.text,
        None if over else shown.expected_losses or None,
    )
