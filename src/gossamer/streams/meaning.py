"""What a value of a stream means: bits by name, times from now, registers by name."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Final

from gossamer.base.data import Data
from gossamer.base.units import NS_PER_S
from gossamer.migrate.inspect import StreamFile
from gossamer.migrate.releases import SERVER, SERVER_HZ, number_of, release
from gossamer.migrate.value_tree import NOT_ARMED, Leaf, Struct
from gossamer.streams import chips
from gossamer.streams.page import ns_text

HOST_ONLY: Final = {("timer", "cpu_ticks_offset")}
"""Fields that belong to the host that saved, not to the guest."""
UNNAMED: Final = f"{SERVER}2.3"
"""Versions of a pseries up to this one name no machine in their streams, those before have no
description."""
_UNNAMED: Final = number_of(UNNAMED.removeprefix(SERVER))


class Context(Data):
    """What times are measured against: the clock at the save (ns) and the machine's timebase."""

    machine: str
    clock: int | None
    timebase: int | None

    @property
    def is_mac(self) -> bool:
        return self.timebase is not None and not self.is_server

    @property
    def is_server(self) -> bool:
        """Whether it is a pseries."""
        return self.machine.startswith(SERVER)

    @property
    def is_unnamed(self) -> bool:
        """Whether QEMU's streams of it have neither a configuration nor footers."""
        return self.is_server and self._version <= _UNNAMED

    @property
    def is_described(self) -> bool:
        """Whether QEMU's streams of it end with a description."""
        return not self.is_server or self._version >= _UNNAMED

    @property
    def _version(self) -> tuple[int, ...]:
        return number_of(self.machine.removeprefix(SERVER))


def context_of(stream: StreamFile, default: str | None = None) -> Context:
    """Machine and clock of a stream; `default` is the machine where the stream names none."""
    machine = stream.configuration.machine if stream.configuration else default or ""
    if not machine and stream.find("spapr") is not None:
        machine = UNNAMED
    section = stream.find("timer")
    tree = stream.values(section) if section else None
    clock = number(tree, "cpu_clock_offset")
    return Context(machine, clock, _timebase(stream, machine))


def _timebase(stream: StreamFile, machine: str) -> int | None:
    """Hz of the sender's time base: of QEMU before 9.0, since 9.0, or as gossamer says it."""
    if machine.startswith(SERVER):
        return SERVER_HZ
    state, cpu = (stream.find(name) for name in ("globalstate", "cpu"))
    tree = stream.values(cpu) if cpu else None
    for sub in tree.subsections if tree else ():
        if sub.vmsd == "cpu/rate/gossamer":
            return number(sub, "tb_hz")
    modern = number(stream.values(state) if state else None, "has_vm_was_suspended") is not None
    return release("qemu-10.0" if modern else "qemu-7.2").timebase.get(machine)


def leaf_of(tree: Struct | None, name: str) -> Leaf | None:
    """A direct member that is a leaf."""
    for member in tree.members if tree else ():
        if isinstance(member, Leaf) and member.name == name:
            return member
    return None


def number(tree: Struct | None, name: str) -> int | None:
    """The integer value of a direct member."""
    leaf = leaf_of(tree, name)
    return leaf.value if leaf and isinstance(leaf.value, int) else None


def element_name(vmsd: str, field: str, index: int) -> str:
    """`SRR0` for element 26 of the CPU's spr, else the index."""
    if (vmsd, field) == ("cpu", "env.spr"):
        return chips.SPR.get(index, str(index))
    if (vmsd, field) == ("dbdma_channel", "regs"):
        return chips.DBDMA_REGS.get(index, str(index))
    if (vmsd, field) == ("vga", "vbe_regs"):
        return chips.VBE.get(index, str(index))
    return str(index)


def meaning(context: Context, vmsd: str, leaf: Leaf, value: int | bytes, index: int = 0) -> str:
    """A few words on one value; empty when there is nothing to say."""
    field = leaf.name
    if isinstance(value, bytes):
        return _of_bytes(vmsd, leaf, value)
    if leaf.type == "timer":
        return _when(context, value)
    if (vmsd, field) in chips.CLOCK_FIELDS:
        return _when(context, value) if value else "never"
    if (vmsd, field) == ("cpu", "env.spr"):
        return _of_spr(context, index, value)
    bits = chips.FIELD_BITS.get((vmsd, field))
    if bits is not None and (context.is_mac or vmsd not in ("cpu",)):
        if field == "ivpr":
            return chips.bit_names(value & sum(bits), bits) + _of_ivpr(value)
        return chips.bit_names(value, bits)
    special = _SPECIAL.get((vmsd, field))
    return special(context, value) if special else ""


def _when(context: Context, value: int) -> str:
    if value == NOT_ARMED:
        return "not armed"
    if context.clock is None:
        return f"at {ns_text(value)}"
    away = value - context.clock
    return f"in {ns_text(away)}" if away >= 0 else f"{ns_text(-away)} ago"


def _of_ivpr(value: int) -> str:
    return f" priority {value >> 16 & 15} vector {value & 0xFF}"


def _of_spr(context: Context, index: int, value: int) -> str:
    if not (context.is_mac or context.is_server):
        return ""
    if index == 22 and context.timebase:
        if not value:
            return "not carried"
        signed = value - (1 << 32) if value >> 31 else value
        return f"fires in {ns_text(signed * NS_PER_S // context.timebase)}"
    if index == 1:
        return chips.bit_names(value & 0xE0000000, chips.XER)
    if index == 27:
        return chips.bit_names(value & 0x2FFFF, chips.MSR)
    if index == 287:
        model = chips.PVR.get(value >> 16, "unknown")
        return f"{model} revision {value >> 8 & 15}.{value & 0xFF}"
    return ""


def _clock(context: Context, value: int) -> str:
    text = ns_text(value)
    if context.timebase:
        text += f", {value * context.timebase // NS_PER_S:,} ticks of {context.timebase:,} Hz"
    return text


def _mac_time(context: Context, value: int) -> str:
    """The guest's clock: seconds since 1904 at clock 0."""
    if context.clock is None:
        return ""
    seconds = value + context.clock // NS_PER_S - chips.MAC_EPOCH
    try:
        when = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return ""
    return f"the guest's clock shows {when:%Y-%m-%d %H:%M:%S}"


def _ohci_ctl(_context: Context, value: int) -> str:
    return chips.OHCI_STATE[value >> 6 & 3]


_SPECIAL: Final[dict[tuple[str, str], Callable[[Context, int], str]]] = {
    ("timer", "cpu_clock_offset"): _clock,
    ("timer", "cpu_ticks_offset"): lambda c, v: "of the host",
    ("cuda", "tick_offset"): _mac_time,
    ("pmu", "tick_offset"): _mac_time,
    ("ohci-core", "ctl"): _ohci_ctl,
    ("adb_bus", "autopoll_rate_ms"): lambda c, v: f"{v} ms",
    ("cpu_common", "halted"): lambda c, v: "asleep" if v else "",
}


def heathrow_sources(pic: int, value: int) -> str:
    """Names of the sources in a word of pics[`pic`]: 0 has sources 32 to 63, 1 has 0 to 31."""
    if value == 0xFFFF_FFFF:
        return "all"
    first = 0 if pic else 32
    names = []
    for i in range(32):
        if value >> i & 1:
            names.append(chips.HEATHROW.get(first + i, f"source {first + i}"))
    return ", ".join(names) or "-"


def _of_bytes(vmsd: str, leaf: Leaf, value: bytes) -> str:
    if leaf.type == "pci config" and len(value) >= 64:
        vendor, device = (int.from_bytes(value[i : i + 2], "little") for i in (0, 2))
        ids = f"{vendor:04x}:{device:04x}"
        command = int.from_bytes(value[4:6], "little")
        name = chips.PCI_IDS.get(ids, "")
        on = chips.bit_names(command, chips.PCI_COMMAND)
        return f"{ids}{' ' + name if name else ''}, {on}"
    if (vmsd, leaf.name) == ("globalstate", "runstate"):
        return repr(value.split(b"\0")[0].decode("ascii", "replace"))
    if leaf.name in ("conf.macaddr", "phys") and len(value) == 6:
        return ":".join(f"{b:02x}" for b in value)
    return ""
