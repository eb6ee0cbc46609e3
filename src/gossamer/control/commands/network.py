"""Commands about what cables lead to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gossamer.base.errors import ConfigError
from gossamer.control.announcing import Announcement, announcing
from gossamer.control.commands.table import UnknownDeviceError, command
from gossamer.control.commands.texts import HumanReadableText
from gossamer.control.session import Session
from gossamer.control.shapes import Json

MOST_ANNOUNCED = 100_000
"""ms, or rounds."""

if TYPE_CHECKING:
    from gossamer.net.user import User


@command("announce-self")
def announce_self(
    session: Session,
    initial: int,
    max: int,
    rounds: int,
    step: int,
    interfaces: tuple[str, ...] | None = None,
    id: str | None = None,
) -> None:
    """Let every network card say where it is (RARP): rounds, and ms between them."""
    del id  # QEMU's name of a series that is still under way
    for word, value in (("initial", initial), ("max", max), ("rounds", rounds), ("step", step)):
        if not 0 <= value <= MOST_ANNOUNCED:
            raise ConfigError(f"{word}: expected 0 to {MOST_ANNOUNCED}, got {value}")
    if session.network is not None:
        how = Announcement(initial, max, rounds, step)
        session.spawn(announcing(session.network, how, interfaces))


@command("netdev_add")
def netdev_add(session: Session, type_: str, id_: str, properties_: Mapping[str, Json]) -> None:
    """Make a network backend, with properties as -netdev has them."""
    from gossamer.machines.net_options import from_tree  # noqa: PLC0415 - most runs need none

    netdev = from_tree("netdev_add", {**properties_, "type": type_, "id": id_})
    session.network_there().add(netdev)


@command("netdev_del")
def netdev_del(session: Session, id_: str) -> None:
    """Take a network backend away; the cable of its card leads nowhere then."""
    if session.network is None or id_ not in session.network.backends:
        raise UnknownDeviceError(f"Device '{id_}' not found")
    session.network.remove(id_)


@command("x-query-usernet", held=True)
def query_usernet(session: Session) -> HumanReadableText:
    """The connections of user networks."""
    backends = session.network.backends.values() if session.network is not None else ()
    users = [session.network.user(b.name) for b in backends if b.kind == "user"]  # type: ignore[union-attr]
    return HumanReadableText("".join(f"{one.name}:\n{one.connections()}" for one in users))


@command("x-hostfwd-add")
def hostfwd_add(session: Session, rule: str, netdev: str | None = None) -> None:
    """Forward connections of the host to the guest."""
    from gossamer.machines.net_options import forward  # noqa: PLC0415 - most runs need none

    network = _user_network(session, netdev)
    network.add_forward(forward("hostfwd_add", rule, network.options))


@command("x-hostfwd-remove")
def hostfwd_remove(session: Session, rule: str, netdev: str | None = None) -> bool:
    """End that; whether it was there."""
    from gossamer.machines.net_options import forwarded  # noqa: PLC0415

    return _user_network(session, netdev).remove_forward(forwarded("hostfwd_remove", rule))


def _user_network(session: Session, name: str | None) -> User:
    if session.network is None:
        raise ConfigError("there is no user network: -netdev user makes one")
    return session.network.user(name)
