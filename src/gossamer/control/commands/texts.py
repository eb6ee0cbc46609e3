"""Queries whose answer is a text, as QEMU's x-query-* commands give it."""

from __future__ import annotations

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.control import look, outside
from gossamer.control.commands.table import command
from gossamer.control.session import Session
from gossamer.devices.usb.device import HIGH, UsbFunction
from gossamer.machines.usb_attach import buses, port_of


class HumanReadableText(Data):
    """Text for a person."""

    human_readable_text: str


@command("x-query-jit", held=True)
def query_jit(session: Session) -> HumanReadableText:
    """Translated code: how much there is, what it cost, how often it had to go."""
    if session.vm.config.accel.stands:
        raise ConfigError("JIT information is only available with accel=tcg")
    regions = session.vm.machine.regions
    text = "tier 0 alone: no code is translated" if regions is None else regions.report()
    return HumanReadableText(text)


@command("x-query-usb", held=True)
def query_usb(session: Session) -> HumanReadableText:
    """USB devices by their ports; Device is the bus and the address that the guest gave."""
    lines = []
    places = [one.idstr.partition("/")[0] for one in buses(session.vm.machine).values()]
    if not places:
        raise ConfigError("USB support not enabled")
    for part in session.vm.machine.parts:
        device = part.device
        if isinstance(device, UsbFunction):
            name = part.known_as.partition(", id ")[2].strip('"')
            shown = f", ID: {name}" if name else ""
            place = places.index(part.idstr.partition("/")[0])
            speed = 480 if device.speed == HIGH else 12
            lines.append(
                f"  Device {place}.{device.dev.addr}, Port {port_of(part)}, Speed {speed} Mb/s, "
                f"Product {device.product}{shown}"
            )
    return HumanReadableText("\n".join(lines) or "no USB devices")


@command("x-query-roms", held=True)
def query_roms(session: Session) -> HumanReadableText:
    """Read-only memory, and what -device loader and -kernel have put into RAM."""
    machine = session.vm.machine
    lines = [
        f'addr={one.start:016x} size=0x{one.end - one.start + 1:06x} mem=rom name="{one.name}"'
        for one in look.memory_map(machine)
        if one.kind == "rom"
    ]
    lines += [
        f'addr={start:016x} size=0x{end - start:06x} mem=ram name="{name}"'
        for start, end, name in machine.loaded
    ]
    return HumanReadableText("\n".join(lines))


@command("x-query-ramblock", held=True)
def query_ramblock(session: Session) -> HumanReadableText:
    """Blocks of memory: page size, offset, bytes."""
    lines = [f"{'Block Name':>24} {'PSize':>8} {'Offset':>19} {'Used':>18} {'Total':>18}"]
    lines += [
        f"{b.name:>24} {'4 KiB':>8}  0x{b.offset:016x} 0x{b.size:016x} 0x{b.size:016x}"
        for b in session.vm.machine.arena.blocks
    ]
    return HumanReadableText("\n".join(lines))


class NetworkCard(Data):
    """A card; `link`: whether its cable is in; `netdev`: what it leads to, `peer` in words."""

    name: str
    model: str
    macaddr: str
    link: bool = False
    netdev: str | None = None
    peer: str | None = None


@command("x-query-network", held=True)
def query_network(session: Session) -> tuple[NetworkCard, ...]:
    """The network cards."""
    links, network = session.vm.outside.links, session.network
    found = []
    for name, model, chip in outside.cards(session.vm.machine):
        mac = chip.mac
        cable = network.cables.get(name) if network is not None else None
        peer = None
        if network is not None and cable in network.backends:
            backend = network.backends[cable]
            peer = f"type={backend.kind},{backend.info}"
        link = links.get(name, False)
        found.append(NetworkCard(name, model, bytes(mac).hex(":"), link, cable, peer))
    return tuple(found)


class NetdevInfo(Data):
    """A network backend, and the card whose cable leads to it."""

    id: str
    type: str
    info: str
    card: str | None = None


@command("x-query-netdevs", held=True)
def query_netdevs(session: Session) -> tuple[NetdevInfo, ...]:
    """The network backends."""
    network = session.network
    if network is None:
        return ()
    cards = {netdev: card for card, netdev in network.cables.items()}
    return tuple(
        NetdevInfo(name, one.kind, one.info, cards.get(name))
        for name, one in network.backends.items()
    )


@command("x-query-objects", held=True)
def query_objects(session: Session) -> HumanReadableText:
    """Objects of -object and object-add, by id."""
    lines = [f"{name}: {kind}" for name, kind in session.objects.kinds().items()]
    return HumanReadableText("\n".join(lines))
