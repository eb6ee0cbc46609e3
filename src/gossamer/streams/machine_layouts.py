"""Layouts of sections by the machine that a stream is of, for streams without a description.

A body is loaded into a chip of such a machine, which never runs: how far that reads is how long
the body is, and the chip then describes it.  Which devices and which CPU the sender had the stream
does not say: chips are found by their sections' names, CPUs are tried.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from tempfile import NamedTemporaryFile
from typing import Final, TypeAlias

from gossamer.base.data import replace
from gossamer.base.errors import ConfigError, StreamError
from gossamer.base.units import PAGE_SIZE
from gossamer.base.wire import WireReader
from gossamer.control.globalstate import GlobalState
from gossamer.control.profiles import READING, profile_of
from gossamer.machines import registry
from gossamer.machines.build import build
from gossamer.machines.machine import Machine
from gossamer.machines.options import parse
from gossamer.migrate import releases, vmdesc
from gossamer.migrate.framing import Kind, Section
from gossamer.migrate.source import Source
from gossamer.migrate.vmdesc import StructDesc
from gossamer.state.declare import Stateful
from gossamer.state.describe import describe
from gossamer.state.transfer import OURS, Profile, load
from gossamer.streams import slirp

Chips: TypeAlias = dict[tuple[str, int], Stateful]
"""By name and number of their sections."""
_FIRST, _MOST = 1 << 16, 1 << 26
"""Bytes that are looked at first, and at the most."""
DRIVE, DISK_SIZE = ",drive=disk", 1 << 20
_BEHIND: Final = 512
"""Bytes behind a body that are looked at, too: a subsection may begin there."""
DEVICES: Final = (
    "virtio-net-pci", "virtio-scsi-pci", "spapr-vlan", "nec-usb-xhci", "usb-tablet", "usb-hub",
    f"virtio-blk-pci{DRIVE}", f"scsi-hd{DRIVE}",
)  # fmt: skip
"""What a sender may have had besides what its machine has by itself."""
#: How a chip's body may have been written.
_AS_SENT: Final = (profile_of(releases.release("qemu-7.2")), OURS)


class MachineLayouts:
    """Measures bodies of streams of the machine called `name` (pseries-2.1)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kind, version = registry.find_version(name)
        self.frame = self.kind.version(version).frame
        self._made: dict[tuple[str, ...], Chips] = {}

    def layout(self, section: Section, source: Source) -> StructDesc | None:
        if section.idstr == slirp.IDSTR and (found := slirp.layout(section, source)) is not None:
            return found
        fault: StreamError | None = None
        for chip in self._chips(section):
            try:
                return _measured(chip, section, source)
            except StreamError as why:
                fault = fault or why
        if self.frame.footers:
            return None  # the footer says where it ends
        if fault is not None:
            text = f"it is not laid out as {self.name}'s: {fault.message}"
            raise StreamError(text, fault.path, fault.offset)
        raise source.error(f"its layout is unknown: no {self.name} here has such a section")

    def _chips(self, section: Section) -> Iterator[Stateful]:
        """What may have written the section, the likeliest first."""
        yield from _alike(self._machine(), section)
        if section.idstr == "cpu":
            for model in self.kind.cpus:
                yield from _alike(self._machine("-cpu", model), section)
        else:
            for device in DEVICES:
                yield from _alike(self._machine("-usb", "-device", device), section)

    def _machine(self, *options: str) -> Chips:
        """Chips of the machine with these options; none where they do not go with it."""
        if options not in self._made:
            chips: Chips = {("globalstate", 0): GlobalState()}
            with suppress(ConfigError):
                made = _built("-M", self.name, *options)
                chips |= {(part.idstr, part.instance): part.device for part in made.sections}
            self._made[options] = chips
        return self._made[options]


def _built(*options: str) -> Machine:
    """A machine that never runs, with a disk where the options speak of one."""
    if not options[-1].endswith(DRIVE):
        return build(parse(options), arrives=True)
    with NamedTemporaryFile() as disk:
        disk.truncate(DISK_SIZE)
        name = disk.name.replace(",", ",,")
        drive = f"if=none,id=disk,format=raw,file={name}"
        return build(parse([*options, "-drive", drive]), arrives=True)


def _alike(chips: Chips, section: Section) -> Iterator[Stateful]:
    """Chips with the section's name and number, its name, or its name elsewhere."""
    if section.key in chips:
        yield chips[section.key]
        return
    tail = section.idstr.rpartition("/")[2]
    alike = [one for (name, _), one in chips.items() if name == section.idstr]
    alike += [one for (name, _), one in chips.items() if name.rpartition("/")[2] == tail]
    yield from alike[:1]


def _measured(chip: Stateful, section: Section, source: Source) -> StructDesc:
    """The layout of the body that comes next, after it has been loaded into `chip`."""
    seen: list[str] = []

    def saw(owner: Stateful, name: str) -> None:
        if owner is chip:
            seen.append(name)

    profile = replace(READING, saw=saw)
    if section.version_id < chip.version:
        profile = replace(profile, versions={chip.vmsd: section.version_id})
    have = source.fill(_FIRST)
    while True:
        reader = WireReader(source.window, source.offset)
        reader.parts = list(source.parts)
        fault: StreamError | None = None
        seen.clear()
        try:
            load(chip, reader, section.version_id, profile)
        except StreamError as why:
            fault = why
        length = reader.offset - source.offset
        if (fault is None and reader.left >= _BEHIND) or have > _MOST:
            break
        more = source.fill(have * 4)
        if more == have:
            break
        have = more
    if fault is not None:
        raise fault
    if not _begins_element(source.window[length : length + 1]):
        raise source.error(f"more than the {length} bytes that are known here")
    for sent in _AS_SENT:
        found = _described(chip, replace(sent, versions=profile.versions), seen)
        if found.length == length:
            return found
    raise source.error(f"{length} bytes, which its chip does not describe")


def _begins_element(after: memoryview) -> bool:
    """Whether something of a stream may come there: a footer, a section, the end."""
    return not after or after[0] in set(Kind) - {Kind.SUBSECTION}


def _described(chip: Stateful, profile: Profile, seen: list[str]) -> StructDesc:
    """What a chip says of itself, with the subsections that it has just read."""
    described = describe(chip, profile)
    known = describe(chip, profile, every=True).get("subsections", [])
    subs = {one["vmsd_name"]: one for one in (*known, *described.get("subsections", []))}
    described["subsections"] = [subs[name] for name in seen if name in subs]
    device = {"name": "section", "instance_id": 0, **described}
    return vmdesc.parse(json.dumps({"page_size": PAGE_SIZE, "devices": [device]})).devices[0].state
