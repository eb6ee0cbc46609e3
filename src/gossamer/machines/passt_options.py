"""-netdev passt: QEMU's properties made into the words of passt(1).  Source: QEMU 10.1's qapi."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gossamer.base.errors import ConfigError
from gossamer.machines.values import on_off

#: Properties with a value, and passt's options of another name.
_VALUES: Final = {
    "mtu": "mtu", "address": "address", "netmask": "netmask", "mac": "mac-addr",
    "gateway": "gateway", "interface": "interface", "outbound": "outbound",
    "outbound-if4": "outbound-if4", "outbound-if6": "outbound-if6", "dns": "dns",
    "search": "search", "fqdn": "fqdn", "hostname": "hostname", "dns-forward": "dns-forward",
    "dns-host": "dns-host", "map-host-loopback": "map-host-loopback",
    "map-guest-addr": "map-guest-addr", "tcp-ports": "tcp-ports", "udp-ports": "udp-ports",
}  # fmt: skip
#: Switches, and the word that passt gets when they are on, or off.
_SWITCHES: Final = {
    "quiet": ("--quiet", ""), "freebind": ("--freebind", ""),
    "ipv4": ("", "--ipv6-only"), "ipv6": ("", "--ipv4-only"),
    **{name: ("", f"--no-{name}") for name in (
        "tcp", "udp", "icmp", "dhcp", "ndp", "dhcpv6", "ra", "dhcp-dns", "dhcp-search")},
}  # fmt: skip
PASST: Final = (*_VALUES, *_SWITCHES, "path", "vhost-user")


def passt(where: str, given: Mapping[str, str], parameters: Sequence[str]) -> dict[str, Any]:
    """The program and its words; `parameters` go to it as they are."""
    if on_off(f"{where}: vhost-user", given.get("vhost-user", "off")):
        raise ConfigError(f"{where}: vhost-user=on: there is no virtio card")
    words = []
    for name, value in {"quiet": "on", **given}.items():
        if name in _VALUES:
            words += [f"--{_VALUES[name]}", value]
        elif name in _SWITCHES:
            word = _SWITCHES[name][not on_off(f"{where}: {name}", value)]
            words += [word] if word else []
    return {"path": given.get("path", "passt"), "words": [*words, *parameters]}
