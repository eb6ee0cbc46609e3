"""What queries say, in the form of QEMU 7.2's ``info``."""

from __future__ import annotations

from collections.abc import Sequence

from gossamer.base.data import fields
from gossamer.base.errors import ConfigError
from gossamer.control.commands.block_jobs import BlockJobInfo, JobInfo
from gossamer.control.commands.chardevs import ChardevInfo, FdsetInfo
from gossamer.control.commands.drives import BlockDeviceInfo, BlockStats
from gossamer.control.commands.inspect import HashInfo
from gossamer.control.commands.machines import (
    CpuInfoFast,
    DisplayOptions,
    MachineInfo,
    MemoryInfo,
    MouseInfo,
    ReplayInfo,
)
from gossamer.control.commands.memory import DumpQueryResult
from gossamer.control.commands.misc import KvmInfo, TargetInfo
from gossamer.control.commands.pci import PciDeviceInfo, PciInfo, PciRegion
from gossamer.control.commands.power import UuidInfo
from gossamer.control.commands.qom import objects
from gossamer.control.commands.texts import NetdevInfo, NetworkCard
from gossamer.control.commands.vnc import VncServersInfo
from gossamer.control.commands.web import WebInfo
from gossamer.control.session import Session


def none(found: Sequence[object]) -> str:
    """For lists that are empty here, as QEMU shows them."""
    del found
    return ""


def uuid(info: UuidInfo) -> str:
    return info.uuid


def kvm(info: KvmInfo) -> str:
    return "kvm support: " + ("enabled" if info.enabled else "not compiled")


def cpus(found: Sequence[CpuInfoFast], looked_at: int = 0) -> str:
    marks = {looked_at: "*"}
    return "\n".join(
        f"{marks.get(one.cpu_index, ' ')} CPU #{one.cpu_index}: thread_id={one.thread_id}"
        for one in found
    )


def chardevs(found: Sequence[ChardevInfo]) -> str:
    return "\n".join(f"{one.label}: filename={one.filename}" for one in found)


def block_stats(found: Sequence[BlockStats]) -> str:
    lines = []
    for one in found:
        shown = (
            f"{f.name}={getattr(one.stats, f.name)}"
            for f in fields(one.stats)
            if isinstance(getattr(one.stats, f.name), int)
        )
        lines.append(f"{one.device or one.qdev}: {' '.join(shown)}")
    return "\n".join(lines)


def block_jobs(found: Sequence[BlockJobInfo]) -> str:
    return (
        "\n".join(
            f"Type {one.type}, device {one.device}: Completed {one.offset} of {one.len} bytes, "
            f"speed limit {one.speed} bytes/s"
            for one in found
        )
        or "No active jobs"
    )


def state_hash(found: HashInfo) -> str:
    return f"{found.hash} after {found.instructions} instructions, {found.clock_ns} ns"


def jobs(found: Sequence[JobInfo]) -> str:
    return "\n".join(
        f"{one.id}: {one.type}, {one.status}" + (f" ({one.error})" if one.error else "")
        for one in found
    )


def mice(found: Sequence[MouseInfo]) -> str:
    return "\n".join(
        f"{'*' if one.current else ' '} Mouse #{one.index}: {one.name}"
        + (" (absolute)" if one.absolute else "")
        for one in found
    )


def pci(buses: Sequence[PciInfo]) -> str:
    return "\n".join(line for bus in buses for one in bus.devices for line in _function(one))


def _function(one: PciDeviceInfo) -> list[str]:
    kind = one.class_info.desc or f"Class {one.class_info.class_:04d}"
    lines = [
        f"  Bus {one.bus:2}, device {one.slot:3}, function {one.function}:",
        f"    {kind}: PCI device {one.id.vendor:04x}:{one.id.device:04x}",
    ]
    if one.id.subsystem_vendor or one.id.subsystem:
        lines.append(f"      PCI subsystem {one.id.subsystem_vendor:04x}:{one.id.subsystem:04x}")
    if one.irq is not None:
        lines.append(f"      IRQ {one.irq}, pin {chr(ord('A') + one.irq_pin - 1)}")
    return [*lines, *map(_region, one.regions), f'      id "{one.qdev_id}"']


def _region(one: PciRegion) -> str:
    at = one.address & (1 << 64) - 1
    last = (one.address if one.address >= 0 else -1) + one.size - 1
    last &= (1 << 64) - 1 if one.address >= 0 else (1 << 32) - 1
    if one.type == "io":
        return f"      BAR{one.bar}: I/O at 0x{at:04x} [0x{last:04x}]."
    prefetch = " prefetchable" if one.prefetch else ""
    bits = 64 if one.mem_type_64 else 32
    return f"      BAR{one.bar}: {bits} bit{prefetch} memory at 0x{at:08x} [0x{last:08x}]."


def vnc(found: Sequence[VncServersInfo]) -> str:
    return "\n".join(line for one in found for line in _vnc_server(one)) or "None"


def web(one: WebInfo) -> str:
    return f"{one.address}\n  Connections: {one.connections}" if one.enabled else "None"


def _vnc_server(one: VncServersInfo) -> list[str]:
    sub = one.vencrypt or "none"
    lines = [f"{one.id}:"]
    for place in one.server:
        web = " (Websocket)" if place.websocket else ""
        lines += [
            f"  Server: {place.host}:{place.service} ({place.family}){web}",
            f"    Auth: {place.auth} (Sub: {place.vencrypt or 'none'})",
        ]
    for client in one.clients:
        web = " (Websocket)" if client.websocket else ""
        lines += [
            f"  Client: {client.host}:{client.service} ({client.family}){web}",
            f"    x509_dname: {client.x509_dname or 'none'}",
        ]
    if not one.clients:
        lines.append("  Client: none")
    return [*lines, f"  Auth: {one.auth} (Sub: {sub})"]


def memory_size(info: MemoryInfo) -> str:
    return f"base memory: {info.base_memory}\nplugged memory: {info.plugged_memory or 0}"


def replay(info: ReplayInfo) -> str:
    if info.mode == "none":
        return "Record/replay is not active"
    return f"{info.mode}: instruction {info.icount}"


def dump(info: DumpQueryResult) -> str:
    lines = [f"Status: {info.status}"]
    if info.total:
        lines.append(f"Finished: {100 * info.completed / info.total:.2f} %")
    return "\n".join(lines)


def network(found: Sequence[NetworkCard], backends: Sequence[NetdevInfo]) -> str:
    lines = [
        f"{one.name}: index=0,type=nic,model={one.model},macaddr={one.macaddr}"
        + (f"\n \\ {one.netdev}: index=0,{one.peer}" if one.peer else "")
        + ("" if one.link else "\n  no cable" if not one.netdev else "\n  link down")
        for one in found
    ]
    loose = [one for one in backends if one.card is None]
    return "\n".join([*lines, *(f"{one.id}: index=0,type={one.type},{one.info}" for one in loose)])


def fd_sets(found: Sequence[FdsetInfo]) -> str:
    return "\n".join(
        f"set {one.fdset_id}: "
        + ", ".join(f"{fd.fd} ({fd.opaque})" if fd.opaque else str(fd.fd) for fd in one.fds)
        for one in found
    )


def machines(found: Sequence[MachineInfo]) -> str:
    return "\n".join(one.name for one in found)


def names(found: Sequence[object]) -> str:
    return "\n".join(str(getattr(one, "name", one)) for one in found)


def display(info: DisplayOptions) -> str:
    return info.type


def target(info: TargetInfo) -> str:
    return info.arch


def nodes(found: Sequence[BlockDeviceInfo]) -> str:
    return "\n".join(f"{one.node_name}: {one.file} ({one.drv})" for one in found)


def qom_tree(session: Session, top: str) -> str:
    """The objects below a path, each under the one that holds it."""
    tree = objects(session)
    top = top.rstrip("/") or "/machine"
    if top not in tree:
        raise ConfigError(f"Path '{top}' could not be resolved.")
    lines: list[str] = []

    def show(path: str, depth: int) -> None:
        name = path if not depth else f"/{path.rpartition('/')[2]}"
        lines.append(f"{'  ' * depth}{name} ({tree[path].type})")
        for other in tree:
            if other.rpartition("/")[0] == path:
                show(other, depth + 1)

    show(top, 0)
    return "\n".join(lines)
