"""The control queue of virtio-net: filters, addresses, VLANs.  Source: VIRTIO 1.2, 5.1.6.5."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gossamer.devices.virtio.ring import Request, RingError

if TYPE_CHECKING:
    from gossamer.devices.virtio.net import VirtioNet

RX_MODE, MAC, VLAN, ANNOUNCE, OFFLOADS = 0, 1, 2, 3, 5
MODES: Final = ("promisc", "allmulti", "alluni", "nomulti", "nouni", "nobcast")
TABLE, ADDRESS = 0, 1
ADD, DELETE = 0, 1
OK, ERROR = 0, 1
ANNOUNCE_BIT: Final = 2
MOST_MACS: Final = 64
MOST_COMMAND: Final = 64 << 10
"""Bytes of a command that are looked at: two tables of thousands of addresses."""
VLANS: Final = 4096


def command(net: VirtioNet, request: Request) -> int:
    """Carry out a command; the bytes written."""
    if request.out_length < 2 or not request.in_length:
        raise RingError("virtio-net missing ctrl headers")
    data = request.read(0, MOST_COMMAND)
    done = _carry_out(net, data[0], data[1], data[2:])
    request.write(0, bytes([OK if done else ERROR]))
    return 1


def _carry_out(net: VirtioNet, kind: int, number: int, data: bytes) -> bool:
    if kind == RX_MODE:
        if number >= len(MODES) or not data:
            return False
        setattr(net, MODES[number], data[0])
        return True
    if kind == MAC:
        return _set_mac(net, data) if number == ADDRESS else number == TABLE and _table(net, data)
    if kind == VLAN:
        return len(data) >= 2 and _vlan(net, number, int.from_bytes(data[:2], net.order))
    if kind == ANNOUNCE and number == 0 and net.net_status & ANNOUNCE_BIT:
        net.net_status &= ~ANNOUNCE_BIT
        return True
    # Offloads: there is none that could be switched on.
    return kind == OFFLOADS and number == 0 and len(data) == 8 and not any(data)


def _set_mac(net: VirtioNet, data: bytes) -> bool:
    if len(data) != len(net.station):
        return False
    net.station[:] = data
    return True


def _table(net: VirtioNet, data: bytes) -> bool:
    """A list of addresses of stations, then one of groups; what has no room passes unfiltered."""
    found: list[bytes] = []
    overflows = []
    for _ in range(2):
        if len(data) < 4:
            return False
        count = int.from_bytes(data[:4], net.order)
        if len(data) < 4 + 6 * count:
            return False
        fits = len(found) + count <= MOST_MACS
        overflows.append(int(not fits))
        if fits:
            found += (data[n : n + 6] for n in range(4, 4 + 6 * count, 6))
        data = data[4 + 6 * count :]
    if data:
        return False
    net.macs = found
    net.uni_overflow, net.multi_overflow = overflows
    return True


def _vlan(net: VirtioNet, number: int, vlan: int) -> bool:
    if vlan >= VLANS or number not in (ADD, DELETE):
        return False
    bit = 1 << (vlan & 7)
    net.vlans[vlan >> 3] = net.vlans[vlan >> 3] & ~bit | (bit if number == ADD else 0)
    return True
