"""-netdev and the networks of -nic: text made into checked records.  Source: QEMU 7.2's manual."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from typing import Any, Final

from gossamer.base.errors import ConfigError
from gossamer.machines.config import Netdev, unknown
from gossamer.machines.passt_options import PASST, passt
from gossamer.machines.values import flattened, identifier, keyval, number, on_off

#: Backends of QEMU's that are not here, and why.
REFUSED: Final = {
    "bridge": "its helper needs rights; tap,fd= takes an open tap",
    "l2tpv3": "give stream, dgram, user or tap,fd=",
    "vde": "give stream, dgram, user or tap,fd=",
    "netmap": "give stream, dgram, user or tap,fd=",
    "vhost-user": "there is no virtio card",
    "vhost-vdpa": "there is no virtio card",
    "hubport": "a card has one cable",
}
_USER: Final = (
    "ipv4", "ipv6", "net", "host", "restrict", "hostname", "dhcpstart", "dns", "dnssearch",
    "domainname", "hostfwd", "ipv6-net", "ipv6-prefix", "ipv6-prefixlen", "ipv6-host", "ipv6-dns",
)  # fmt: skip
_USER_REFUSED: Final = {
    "tftp": "the network's process opens no file",
    "tftp-server-name": "the network's process opens no file",
    "bootfile": "the network's process opens no file",
    "smb": "the network's process starts no program",
    "smbserver": "the network's process starts no program",
}
KINDS: Final = {
    "user": _USER,
    "stream": ("server", "reconnect", "reconnect-ms", *(f"addr.{n}" for n in (
        "type", "host", "port", "path", "str", "ipv4", "ipv6", "to"))),
    "dgram": tuple(f"{end}.{n}" for end in ("local", "remote") for n in (
        "type", "host", "port", "path", "str")),
    "socket": ("fd", "listen", "connect", "mcast", "udp", "localaddr"),
    "passt": PASST,
    "tap": ("fd", "ifname", "script", "downscript", "vhost", "vnet_hdr", "queues", "sndbuf", "br"),
}  # fmt: skip
#: Properties that may be given several times, and of what.
SEVERAL: Final = {"hostfwd": "user", "guestfwd": "user", "param": "passt"}
_MOST_FORWARDS: Final = 64
_LOOPBACK: Final = "127.0.0.1"
Several = Mapping[str, list[str]]


def parse_netdev(text: str, option: str = "-netdev") -> Netdev:
    """The value of -netdev, key=value or JSON."""
    if text.lstrip().startswith("{"):
        try:
            tree = json.loads(text)
        except (ValueError, RecursionError):
            raise ConfigError(f"{option}: no JSON: {text[:60]!r}") from None
        return from_tree(option, tree)
    plain, several = _apart(_parts(text))
    return _of(option, keyval(option, ",".join(plain), first="type"), several)


def from_tree(option: str, tree: Any) -> Netdev:  # noqa: ANN401 - JSON
    """A backend as QMP's netdev_add has it; of those of SEVERAL lists, of texts or {"str": …}."""
    if not isinstance(tree, dict):
        raise ConfigError(f"{option}: expected an object, got {tree!r:.60}")
    tree, several = dict(tree), dict[str, list[str]]()
    for key in SEVERAL:
        given = tree.pop(key, [])
        found: list[Any] = [
            one.get("str") if isinstance(one, dict) else one for one in _listed(given)
        ]
        if not all(isinstance(one, str) for one in found):
            raise ConfigError(f"{option}: {key}: expected a list of texts, got {given!r:.60}")
        several[key] = found
    return _of(option, flattened(option, tree), several)


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _of(option: str, given: dict[str, str], several: Several) -> Netdev:
    kind = given.pop("type", "")
    if "id" not in given:
        raise ConfigError(f"{option}: needs id=")
    name = identifier(f"{option}: id", given.pop("id"))
    return made(option, kind, name, given, several)


def _parts(text: str) -> list[str]:
    """The parts between commas that are not doubled."""
    return [p.replace("\0", ",,") for p in text.replace(",,", "\0").split(",")]


def _apart(parts: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """What may be given once, and by key what may be given several times."""
    plain, several = [], dict[str, list[str]]()
    for part in parts:
        key, equals, value = part.partition("=")
        if equals and key in SEVERAL:
            several.setdefault(key, []).append(value.replace(",,", ","))
        else:
            plain.append(part)
    return plain, several


def made(option: str, kind: str, name: str, given: Mapping[str, str], several: Several) -> Netdev:
    """A backend of these properties."""
    if kind in REFUSED:
        raise ConfigError(f"{option}: {kind}: {REFUSED[kind]}")
    if kind not in KINDS:
        raise unknown(f"value for {option}", kind, KINDS)
    for key in given:
        if kind == "user" and key in _USER_REFUSED:
            raise ConfigError(f"{option}: user: {key}: {_USER_REFUSED[key]}")
        if key not in KINDS[kind]:
            raise unknown(f"property of {option} {kind}", key, KINDS[kind])
    for key, texts in several.items():
        if texts and kind != SEVERAL[key]:
            raise ConfigError(f"{option}: {kind}: {key} is {SEVERAL[key]}'s")
    reader = {"user": _user, "stream": _stream, "dgram": _dgram, "socket": _socket, "tap": _tap}
    where = f"{option}: {kind}"
    if kind == "passt":
        return Netdev(name, kind, passt(where, given, several.get("param", [])))
    values = reader[kind](where, given)
    if kind == "user":
        for key, read in (("hostfwd", forward), ("guestfwd", guest_forward)):
            rules = several.get(key, [])
            if len(rules) > _MOST_FORWARDS:
                raise ConfigError(f"{option}: user: at most {_MOST_FORWARDS} {key}=")
            values[key] = [read(f"{option}: {key}", rule, values) for rule in rules]
    return Netdev(name, kind, values)


# --- user -----------------------------------------------------------------------------------------


def _user(where: str, given: Mapping[str, str]) -> dict[str, Any]:
    net = _network(f"{where}: net", given.get("net", "10.0.2.0/24"))
    places = {"host": 2, "dns": 3, "dhcpstart": 15}
    found: dict[str, Any] = {
        "net": str(net.network_address),
        "mask": str(net.netmask),
        "restrict": on_off(f"{where}: restrict", given.get("restrict", "off")),
        "ipv4": on_off(f"{where}: ipv4", given.get("ipv4", "on")),
        "ipv6": on_off(f"{where}: ipv6", given.get("ipv6", "on")),
        "hostname": given.get("hostname", ""),
        "domainname": given.get("domainname", ""),
        "dnssearch": [given["dnssearch"]] if "dnssearch" in given else [],
    }
    if not (found["ipv4"] or found["ipv6"]):
        raise ConfigError(f"{where}: ipv4=off,ipv6=off leaves nothing")
    for key, last in places.items():
        address = _address(f"{where}: {key}", given[key]) if key in given else net[last]
        if address not in net:
            raise ConfigError(f"{where}: {key}: {address} is not in {net}")
        found[key] = str(address)
    if len({found["host"], found["dns"], found["dhcpstart"]}) < 3:
        raise ConfigError(f"{where}: host, dns and dhcpstart need addresses of their own")
    prefix = given.get("ipv6-net") or (
        f"{given.get('ipv6-prefix', 'fec0::')}/{given.get('ipv6-prefixlen', '64')}"
    )
    try:
        six = ipaddress.IPv6Network(prefix)
        ends = [
            ipaddress.IPv6Address(given[key]) if key in given else six[n]
            for key, n in (("ipv6-host", 2), ("ipv6-dns", 3))
        ]
    except ValueError as fault:
        raise ConfigError(f"{where}: ipv6: {fault}") from None
    found |= {"prefix6": str(six.network_address), "length6": six.prefixlen}
    return found | {"host6": str(ends[0]), "dns6": str(ends[1])}


def _network(where: str, text: str) -> ipaddress.IPv4Network:
    try:
        net = ipaddress.IPv4Network(text if "/" in text else f"{text}/24", strict=False)
    except ValueError:
        raise ConfigError(f"{where} must be as 10.0.2.0/24, got {text!r}") from None
    if net.prefixlen > 27:
        raise ConfigError(f"{where}: {net} has no room for a router, a name server and guests")
    return net


def _address(where: str, text: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        raise ConfigError(f"{where} must be as 10.0.2.15, got {text!r}") from None


def forward(where: str, text: str, user: Mapping[str, Any]) -> dict[str, Any]:
    """A rule ``[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport``.

    Without a host address only this host reaches it (QEMU: all do).
    """
    here, dash, there = text.partition("-")
    protocol, _, place = here.partition(":")
    host, colon, port = place.rpartition(":")
    guest, colon2, guest_port = there.rpartition(":")
    if protocol not in ("", "tcp", "udp") or not (dash and colon and colon2):
        shape = "[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport"
        raise ConfigError(f"{where}: expected {shape}, got {text!r}")
    return {
        "udp": protocol == "udp",
        "host": str(_address(where, host or _LOOPBACK)),
        "port": number(f"{where}: host port", port, 0, 65535),
        "guest": str(_address(where, guest or str(user["dhcpstart"]))),
        "guest_port": number(f"{where}: guest port", guest_port, 1, 65535),
    }


def guest_forward(where: str, text: str, user: Mapping[str, Any]) -> dict[str, Any]:
    """A rule ``[tcp]:[server]:port-tcp:host:port`` or ``…-unix:path``.

    Connections of the guest to `server` (as QEMU, the fourth of its network) come to the host's.
    """
    there, _, here = text.partition("-")
    protocol, _, place = there.partition(":")
    server, colon, port = place.rpartition(":")
    kind, _, rest = here.partition(":")
    if kind == "cmd":
        raise ConfigError(f"{where}: cmd: the network's process starts no program")
    if protocol not in ("", "tcp") or not colon or kind not in ("tcp", "unix") or not rest:
        shape = "[tcp]:[server]:port-tcp:host:port or -unix:path"
        raise ConfigError(f"{where}: expected {shape}, got {text!r}")
    net = ipaddress.IPv4Network(f"{user['net']}/{user['mask']}")
    address = _address(where, server) if server else net[4]
    if address not in net or str(address) in (user["host"], user["dns"]):
        raise ConfigError(f"{where}: {address} is no free address of {net}")
    to: str | tuple[str, int] = rest
    if kind == "tcp":
        host, port_ = _place(where, rest)
        to = (str(_address(where, host)), port_)
    return {"guest": str(address), "port": number(f"{where}: port", port, 1, 65535), "to": to}


def forwarded(where: str, text: str) -> dict[str, Any]:
    """What hostfwd_remove names: ``[tcp|udp]:[hostaddr]:hostport``."""
    return forward(where, f"{text}-:1", {"dhcpstart": "10.0.2.15"})


# --- sockets and taps -----------------------------------------------------------------------------


def _fd(where: str, text: str) -> int:
    return number(f"{where}: fd", text, 0, 1 << 20)


def _end(where: str, given: Mapping[str, str], end: str) -> Any:  # noqa: ANN401
    """An address by its ``type``: (host, port), a path, {"fd": N}, or None."""
    kind = given.get(f"{end}.type")
    if kind is None:
        return None
    if kind == "inet":
        for key in ("host", "port"):
            if f"{end}.{key}" not in given:
                raise ConfigError(f"{where}: {end}.{key} is needed")
        port = number(f"{where}: {end}.port", given[f"{end}.port"], 0, 65535)
        return (given[f"{end}.host"] or _LOOPBACK, port)
    if kind == "unix":
        path = given.get(f"{end}.path", "")
        if not path or len(path.encode()) > 107:
            raise ConfigError(f"{where}: {end}.path has 1 to 107 bytes")
        return path
    if kind == "fd":
        return {"fd": _fd(where, given.get(f"{end}.str", ""))}
    raise unknown(f"{where}: {end}.type", kind, ("inet", "unix", "fd"))


def _stream(where: str, given: Mapping[str, str]) -> dict[str, Any]:
    address = _end(where, given, "addr")
    if address is None:
        raise ConfigError(f"{where}: needs addr.type=inet, unix or fd")
    server = on_off(f"{where}: server", given.get("server", "on"))
    retry = number(f"{where}: reconnect-ms", given.get("reconnect-ms", "0"), 0, 1 << 30)
    retry = retry or 1000 * number(f"{where}: reconnect", given.get("reconnect", "0"), 0, 1 << 20)
    if server and retry:
        raise ConfigError(f"{where}: reconnect: a server does not connect; server=off does")
    return {"server": server, "address": address, "retry_ms": retry}


def _dgram(where: str, given: Mapping[str, str]) -> dict[str, Any]:
    local, remote = _end(where, given, "local"), _end(where, given, "remote")
    if local is None and remote is None:
        raise ConfigError(f"{where}: needs local.type= and remote.type=")
    if isinstance(local, dict):
        return {"local": None, "remote": None, "fd": local["fd"]}
    if remote is None or isinstance(remote, dict):
        raise ConfigError(f"{where}: needs remote.type=inet or unix")
    group = isinstance(remote, tuple) and ipaddress.ip_address(_numeric(remote[0])).is_multicast
    if local is None and not group:
        raise ConfigError(f"{where}: needs local.type=, where the peer's frames come in")
    if local is not None and type(local) is not type(remote):
        raise ConfigError(f"{where}: local and remote are of one type")
    return {"local": local, "remote": remote, "fd": None}


def _numeric(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return _LOOPBACK  # a name


def _socket(where: str, given: Mapping[str, str]) -> dict[str, Any]:
    ways = [key for key in ("fd", "listen", "connect", "mcast", "udp") if key in given]
    if len(ways) != 1:
        raise ConfigError(f"{where}: needs one of fd=, listen=, connect=, mcast=, udp=")
    way = ways[0]
    if way == "fd":
        return {"way": "stream", "server": False, "address": {"fd": _fd(where, given["fd"])}}
    place = _place(f"{where}: {way}", given[way])
    if way in ("listen", "connect"):
        return {"way": "stream", "server": way == "listen", "address": place}
    local = _place(f"{where}: localaddr", given["localaddr"]) if "localaddr" in given else None
    if way == "udp" and local is None:
        raise ConfigError(f"{where}: udp: needs localaddr=")
    return {"way": "dgram", "local": local, "remote": place, "fd": None}


def _place(where: str, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon and not where.endswith("localaddr"):
        raise ConfigError(f"{where}: expected HOST:PORT, got {text!r}")
    if not colon:
        return text, 0
    return host.strip("[]") or _LOOPBACK, number(f"{where}: port", port, 0, 65535)


def _tap(where: str, given: Mapping[str, str]) -> dict[str, Any]:
    if "fd" not in given:
        raise ConfigError(f"{where}: needs fd=, a tap that the launcher has opened")
    for key in ("vhost", "vnet_hdr"):
        if key in given and on_off(f"{where}: {key}", given[key]):
            raise ConfigError(f"{where}: {key}=on: the cards here have no use for it")
    others = set(given) - {"fd", "vhost", "vnet_hdr"}
    if others:
        raise ConfigError(f"{where}: {min(others)}: fd= brings an open tap")
    return {"fd": _fd(where, given["fd"])}


# --- -nic -----------------------------------------------------------------------------------------


def nic_parts(text: str, taken: int) -> tuple[Netdev, str]:
    """``-nic KIND,…`` apart: the network, and what -nic says of the card (with its netdev=)."""
    parts = _parts(text)
    kind, card, network, name = parts[0], [], [], f"nic{taken}"
    for part in parts[1:]:
        key, _, value = part.partition("=")
        if key in ("mac", "model", "addr", "macaddr"):
            card.append(part)
        elif key == "id":
            name = identifier("-nic: id", value)
        else:
            network.append(part)
    plain, several = _apart(network)
    given = keyval("-nic", ",".join(plain)) if plain else {}
    return made("-nic", kind, name, given, several), ",".join([*card, f"netdev={name}"])
