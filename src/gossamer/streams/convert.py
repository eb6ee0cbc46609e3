"""`gossamer stream convert`: a stream in the form of another release, or what stands against it.

Notes say what was changed; losses are what the other form cannot say: then nothing is written
unless the user accepts them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import numpy as np

from gossamer.base.data import Data, field, replace
from gossamer.base.errors import ConfigError, StreamError
from gossamer.base.units import NS_PER_S
from gossamer.isa.interrupts import Irq
from gossamer.migrate import live_state, ram, writer
from gossamer.migrate.framing import Cmd, Command, Configuration, Section
from gossamer.migrate.pages import inflate_page, mapped_pages
from gossamer.migrate.ram import Block, BlockList, Mark, Record, Run
from gossamer.migrate.releases import RESERVATION, RTAS, SHIFT, SLB, Release
from gossamer.migrate.rewrite import Edit, rewrite
from gossamer.migrate.value_tree import Leaf, Node, Struct, StructArray
from gossamer.streams.patient import Patient, integer, leaf, shift_clock
from gossamer.streams.show import RamSum

OURS: Final = "/gossamer"
POSTCOPY: Final = {
    Cmd.POSTCOPY_LISTEN, Cmd.POSTCOPY_RUN, Cmd.POSTCOPY_RAM_DISCARD, Cmd.POSTCOPY_RESUME,
    Cmd.RECV_BITMAP, Cmd.PACKAGED,
}  # fmt: skip
DROPPED: Final = {Cmd.POSTCOPY_ADVISE, Cmd.ENABLE_COLO}
"""Commands that say what a sender might have done; a receiver refuses them unless it is asked."""
RUNSTATE: Final = 32
STATE_LENGTH: Final = 100
VIA_INPUTS: Final = 0x1F
"""Flags of a 6522 that come from its pins and shift register, which last_irq_levels mirrors."""


class Conversion(Data, frozen=False):
    """One stream on its way to `profile`."""

    patient: Patient
    profile: Release
    counted: RamSum
    machine: str | None = None
    notes: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    versions: dict[tuple[str, int], int] = field(default_factory=dict)
    mapped: bool = False
    shared: bool = False

    def prepare(self) -> None:
        """Change the trees; fill `notes` and `losses`."""
        self._frame()
        self._memory()
        if self.patient.context.is_server:
            self._server()
            return
        if not self.patient.context.is_mac:
            name = self.patient.context.machine or "not named"
            self.notes.append(f"machine {name}: its sections are taken as they are")
            return
        self._ours()
        self._globalstate()
        self._vias()
        self._timer()
        self._rate()
        self._cpu()

    def write(self, out: BinaryIO) -> None:
        """The converted stream."""
        edit = Edit(
            section=self._section,
            records=self._records,
            command=self._command,
            configuration=self._configuration,
            description=self._description,
            before_devices=self._before_devices(),
            missing_configuration=self._named(),
            footers=self._is_framed,
        )
        rewrite(self.patient.stream, out, edit)

    # The frame.

    @property
    def _is_framed(self) -> bool:
        """Whether the receiver wants a configuration, and footers."""
        return self.profile.ours or not self.patient.context.is_unnamed

    def _named(self) -> Configuration | None:
        return Configuration(self.machine) if self.machine and self._is_framed else None

    def _frame(self) -> None:
        stream = self.patient.stream
        wrong = sorted({c.name for c in stream.commands if c.number in POSTCOPY})
        if (fault := self.counted.fault(stream)) and not wrong and not self._shared_only():
            raise StreamError(fault, stream.name)
        if wrong:
            raise ConfigError(
                f"{stream.name} is a capture of a postcopy migration ({', '.join(wrong)}): its RAM "
                "came on demand; it is not a stream that can be loaded again"
            )
        if stream.configuration is None and self.machine is None and self._is_framed:
            raise ConfigError(
                f"{stream.name} has no configuration section: name its machine with --machine"
            )
        if stream.configuration is None and self._is_framed:
            self.notes.append(f"a configuration section for machine {self.machine} is added")
        if stream.footers is False and self._is_framed:
            self.notes.append("section footers are added")
        names = stream.configuration.capabilities or () if stream.configuration else ()
        self.mapped, self.shared = "mapped-ram" in names, "x-ignore-shared" in names
        for name in sorted({c.name for c in stream.commands if c.number in DROPPED}):
            self.notes.append(f"command {name} is left out: every page is in the stream")
        if any(s.idstr == live_state.DISKS for s in stream.sections):
            self.losses.append(f"disks: {live_state.DISKS_REASON}")
        had = any(c.number == Cmd.SWITCHOVER_START for c in stream.commands)
        if had != self.profile.switchover:
            verb = "added" if self.profile.switchover else "left out"
            self.notes.append(f"command SWITCHOVER_START is {verb}")

    def _before_devices(self) -> bytes:
        had = any(c.number == Cmd.SWITCHOVER_START for c in self.patient.stream.commands)
        add = self.profile.switchover and not had
        return writer.command(Cmd.SWITCHOVER_START) if add else b""

    def _command(self, command: Command) -> Command | None:
        if command.number == Cmd.SWITCHOVER_START and not self.profile.switchover:
            return None
        if command.number in DROPPED:
            return None
        return command

    def _configuration(self, config: Configuration) -> Configuration | None:
        if not self._is_framed:
            return None
        left = tuple(
            c for c in config.capabilities or () if c not in ("mapped-ram", "x-ignore-shared")
        )
        order = tuple(o for o in config.order if left or not o.endswith("/capabilities"))
        return replace(config, capabilities=left or None, order=order)

    def _description(self, tree: dict[str, Any]) -> dict[str, Any] | None:
        if not (self.profile.ours or self.patient.context.is_described):
            return None
        tree.pop("configuration", None)
        if not self.profile.described:
            return tree
        config = self.patient.stream.configuration
        name = config.machine if config else self.machine or ""
        fields = [
            {"name": "len", "type": "uint32", "size": 4},
            {"name": "name", "type": "buffer", "size": len(name)},
        ]
        head = {"vmsd_name": "configuration", "version": 1, "fields": fields}
        return {"configuration": head, **tree}

    # Memory.

    def _memory(self) -> None:
        if "MULTIFD_FLUSH" in self.counted.flags and not self.profile.flush:
            self.notes.append("RAM: MULTIFD_FLUSH records are left out")
        if "COMPRESS_PAGE" in self.counted.flags:
            count = self.counted.flags["COMPRESS_PAGE"]
            self.notes.append(f"RAM: {count:,} compressed pages are sent plain")
        if self.mapped:
            self.notes.append("RAM: the pages of the mapped-ram file are sent as records")
        if self.shared:
            empty = [
                name
                for name, of in self.counted.blocks.items()
                if not of.data + of.zero + of.packed
            ]
            if empty:
                self.losses.append(
                    f"RAM: {', '.join(empty)} was left out (x-ignore-shared): its content is in a "
                    "file of the host, not in the stream"
                )
            else:
                self.notes.append("RAM: every block is there, x-ignore-shared is left out")

    def _shared_only(self) -> bool:
        """Whether what lacks are whole blocks, left out because they are shared."""
        config = self.patient.stream.configuration
        names = config.capabilities or () if config else ()
        lacking = self.counted.coverage.missing().values()
        return "x-ignore-shared" in names and all(few == all_ for few, all_ in lacking)

    def _records(self, record: Record) -> Iterator[Record]:
        if isinstance(record, BlockList):
            plain = tuple(Block(b.name, b.length, b.page_size) for b in record.blocks)
            yield BlockList(record.total, plain, record.offset)
            for block in record.blocks:
                if block.mapped is not None:
                    yield from self._mapped(block)
        elif isinstance(record, Mark):
            if record.kind != ram.MULTIFD_FLUSH or self.profile.flush:
                yield record
        elif record.kind == ram.COMPRESS_PAGE:
            yield self._plain(record)
        elif record.fills is not None and record.fills.any() and not self.profile.any_fill:
            yield from self._filled(record)
        else:
            yield record

    def _mapped(self, block: Block) -> Iterator[Run]:
        first = True
        for run in mapped_pages(self.patient.stream.file, block):
            assert run.pages is not None
            if first:
                yield replace(run, named=True, addresses=run.addresses[:1], pages=run.pages[:1])
                run = replace(run, addresses=run.addresses[1:], pages=run.pages[1:])
                first = False
            if len(run.addresses):
                yield run

    def _plain(self, run: Run) -> Run:
        assert run.payload is not None
        size = self.patient.stream.page_size
        page = inflate_page(run.payload, size, f"ram/{run.block.name}")
        pages = np.frombuffer(page, np.uint8).reshape(1, size)
        return replace(run, kind=ram.PAGE, payload=None, pages=pages)

    def _filled(self, run: Run) -> Iterator[Run]:
        """Pages of one byte that is not 0, as plain pages."""
        assert run.fills is not None
        size = self.patient.stream.page_size
        for i, fill in enumerate(run.fills.tolist()):
            one = replace(run, addresses=run.addresses[i : i + 1], fills=run.fills[i : i + 1])
            if fill:
                pages = np.full((1, size), fill, np.uint8)
                one = replace(one, kind=ram.PAGE, fills=None, pages=pages)
            yield one

    # Sections.

    def _section(self, section: Section, tree: Struct) -> tuple[Section, Struct] | None:
        if section.key not in self.patient.trees:
            return None
        version = self.versions.get(section.key, section.version_id)
        return replace(section, version_id=version), self.patient.trees.get(section.key, tree)

    def _ours(self) -> None:
        """What only gossamer knows: said in QEMU's way where there is one, else a loss."""
        self._our_time(0, "cpu" + OURS)
        for (idstr, instance), tree in list(self.patient.trees.items()):
            title = f"{idstr}/{instance}" if instance else idstr
            if tree.vmsd and tree.vmsd not in self.profile.known:
                self.losses.append(f"{title}: {self.profile.title} has no such section")
                del self.patient.trees[idstr, instance]
                continue
            for path, sub in _drop_unknown(tree, self.profile.known | {RTAS, RESERVATION}):
                where = f"{title}{'.' + path if path else ''}"
                if sub.vmsd in _HARMLESS:
                    self.notes.append(f"{where}: <{sub.vmsd}> is left out: {_HARMLESS[sub.vmsd]}")
                    continue
                fields = ", ".join(m.name for m in sub.members)
                self.losses.append(f"{where}: <{sub.vmsd}> only gossamer knows ({fields})")

    def _our_time(self, n: int, name: str) -> None:
        """TB and DEC: the clock is chosen so that TB goes on, DEC goes to spr[22]."""
        tree = self.patient.tree("cpu", n)
        ours = next((s for s in tree.subsections if s.vmsd == name), None) if tree else None
        context = self.patient.context
        values = [integer(ours, n) for n in ("dec_zero", "tb_offset")]
        if tree is None or ours is None or context.clock is None or context.timebase is None:
            return
        if any(v is None for v in values):
            return
        zero, offset = (v for v in values if v is not None)
        rate = context.timebase
        ticks = context.clock * rate // NS_PER_S
        _set_spr(tree, 22, (zero - ticks) % (1 << 32))
        base = (ticks + offset) % (1 << 64)
        clock = -(-base * NS_PER_S // rate)
        if clock >= 1 << 62:
            self.losses.append(f"cpu: no virtual clock can show a timebase of {base:#x}")
        elif clock != context.clock and n == 0:  # of several CPUs: they are in step
            shift_clock(self.patient, clock - context.clock)
            self.notes.append("the virtual clock is chosen so that the timebase goes on")
        self.notes.append("the decrementer goes to spr[22]")
        server = self.patient.context.is_server
        self._our_rest(ours, negative=server and bool((zero - ticks) >> 31 & 1))
        tree.subsections.remove(ours)

    def _our_rest(self, ours: Struct, *, negative: bool) -> None:
        """What else the CPU's own subsection holds; `negative`: DEC interrupts as long as it is."""
        pending = leaf(ours, "irq")
        if pending is not None and isinstance(pending.value, tuple) and negative:
            values = list(pending.value)
            values[Irq.DECREMENTER] = 0  # it follows from DEC
            pending.value = tuple(values)
        if pending is not None and _any(pending):
            self.losses.append(f"cpu: pending exceptions ({pending.value!r})")
        if integer(ours, "reserved"):
            self.notes.append("cpu: the reservation is left out: a stwcx. fails once, is repeated")
        for name in ("l2cr", "hid1"):
            if integer(ours, name):
                self.notes.append(f"cpu: {name.upper()} is left out: QEMU does not keep it")

    def _server(self) -> None:
        """A pseries: what is plugged into it is taken as it is."""
        machine = self.patient.context.machine
        if not self.profile.has_server(machine):
            self.losses.append(f"configuration: {self.profile.title} has no {machine}")
        for n in sorted(n for name, n in self.patient.trees if name == "cpu"):
            self._our_time(n, "cpu/64" + OURS)
        self._ours_of_a_server()
        self._globalstate()
        want = self.profile.versions.get(SLB, 1)
        for (name, n), tree in self.patient.trees.items():
            for sub in _all_subsections(tree):
                if sub.vmsd == SLB and sub.version != want:
                    sub.version = want
                    self.notes.append(f"{name}{f'/{n}' if n else ''}: <{SLB}> version {want}")
        self._cpu()

    def _ours_of_a_server(self) -> None:
        for (idstr, instance), tree in list(self.patient.trees.items()):
            title = f"{idstr}/{instance}" if instance else idstr
            if tree.vmsd.startswith("gossamer-"):
                if tree.vmsd in _HARMLESS:
                    self.notes.append(f"{title} is left out: {_HARMLESS[tree.vmsd]}")
                else:
                    self.losses.append(f"{title}: {self.profile.title} has no such section")
                del self.patient.trees[idstr, instance]
                continue
            names = {sub.vmsd for sub in _all_subsections(tree)}
            known = frozenset(name for name in names if not name.endswith(OURS))
            for path, sub in _drop_unknown(tree, known):
                where = f"{title}{'.' + path if path else ''}"
                fields = ", ".join(m.name for m in sub.members)
                if sub.vmsd in _HARMLESS:
                    self.notes.append(f"{where}: <{sub.vmsd}> is left out: {_HARMLESS[sub.vmsd]}")
                elif sub.vmsd != "spapr/vof" + OURS or integer(sub, "firmware_active"):
                    self.losses.append(f"{where}: <{sub.vmsd}> only gossamer knows ({fields})")

    def _globalstate(self) -> None:
        tree = self.patient.tree("globalstate")
        state = leaf(tree, "runstate")
        if tree is None or state is None or not isinstance(state.value, bytes):
            return
        new = integer(tree, "has_vm_was_suspended") is not None
        if new == self.profile.suspended:
            return
        size = tree.members[0]
        if new:
            if integer(tree, "vm_was_suspended"):
                self.losses.append("globalstate: the machine was suspended before it was stopped")
            text = state.value[:RUNSTATE].ljust(STATE_LENGTH, b"\0")
            tree.members = [size, Leaf("runstate", "buffer", 0, STATE_LENGTH, None, text)]
            return
        text = state.value.split(b"\0")[0][: RUNSTATE - 1].ljust(RUNSTATE, b"\0")
        tree.members = [
            size,
            Leaf("runstate", "buffer", 0, RUNSTATE, None, text),
            Leaf("has_vm_was_suspended", "uint8", 0, 1, None, 1),
            Leaf("vm_was_suspended", "uint8", 0, 1, None, 0),
            Leaf("unused", "unused_buffer", 0, 66, None, bytes(66)),
        ]

    def _vias(self) -> None:
        want = self.profile.versions.get("mos6522", 1)
        for path, via in self.patient.named("mos6522"):
            old = leaf(via, "last_irq_levels")
            if want == 0 and old is not None:
                via.members.remove(old)
                if path == "mos6522" and old.value != (integer(via, "ifr") or 0) & VIA_INPUTS:
                    self.notes.append(
                        f"mos6522: last_irq_levels {old.value!r} cannot be worked out again: "
                        "coming back, an edge of an input may be seen that was none"
                    )
            elif want == 1 and old is None:
                at = next(i for i, m in enumerate(via.members) if m.name == "ier") + 1
                levels = (integer(via, "ifr") or 0) & VIA_INPUTS
                via.members.insert(at, Leaf("last_irq_levels", "uint8", 0, 1, None, levels))
            via.version = want
        section = self.patient.stream.find("mos6522")
        if section is not None and section.version_id != want:
            verb = "gets" if want else "loses"
            self.notes.append(f"mos6522: version {want}, it {verb} last_irq_levels")
            self.versions["mos6522", 0] = want

    def _timer(self) -> None:
        tree = self.patient.tree("timer")
        for sub in _all_subsections(tree):
            want = self.profile.versions.get(SHIFT, 2)
            if sub.vmsd != SHIFT or sub.version == want:
                continue
            sub.version = want
            delta = leaf(sub, "last_delta")
            if delta is not None:
                sub.members.remove(delta)
                if delta.value:
                    self.notes.append("timer: the adaptive pace of -icount starts anew")
            else:
                sub.members.append(Leaf("last_delta", "int64", 0, 8, None, 0))
            self.notes.append(f"timer/icount/shift: version {sub.version}")

    def _rate(self) -> None:
        """The other release's machine may count at another rate than the guest knows."""
        context = self.patient.context
        mine, theirs = context.timebase, self.profile.timebase.get(context.machine)
        if mine and theirs and mine != theirs and not self.patient.never_ran:
            self.losses.append(
                f"cpu: the time base runs at {mine:,} Hz, {context.machine} of "
                f"{self.profile.title} has {theirs:,} Hz: the guest's clock would run "
                f"{max(mine, theirs) / min(mine, theirs):g} times too "
                f"{'slow' if theirs < mine else 'fast'}"
            )

    def _cpu(self) -> None:
        tree = self.patient.tree("cpu")
        if tree is None:
            return
        spr = leaf(tree, "env.spr")
        dec = spr.value[22] if spr and isinstance(spr.value, tuple) and len(spr.value) > 22 else 0
        if dec and not self.profile.reads_decrementer:
            self.notes.append(
                f"{self.profile.name} does not read the decrementer: see `doctor --for qemu-7.2`"
            )
        elif not dec and self.profile.reads_decrementer:
            self.notes.append("the decrementer is not known: its interrupt comes almost at once")
        for sub in list(tree.subsections):
            if sub.vmsd == RTAS and not self.profile.knows(RTAS):
                tree.subsections.remove(sub)
                if integer(sub, "env.quiesced") or _first(sub):
                    self.losses.append("cpu/rtas_stopped: the CPU was stopped by its firmware")
                else:
                    self.notes.append("cpu/rtas_stopped (false) is left out")
            elif sub.vmsd == RESERVATION and not self.profile.knows(RESERVATION):
                tree.subsections.remove(sub)
                self.notes.append(
                    "cpu/reservation is left out: a stwcx. under way fails once and is repeated"
                )


_HARMLESS: Final = {
    "cpu/rate/gossamer": "the release that is written for has that rate, or it is said above",
    "timer/gossamer": "the number of instructions matters to -icount alone",
    "PCIHost/gossamer": "QEMU keeps the bridge's own configuration as it powers on",
    "heathrow_pic/gossamer": "QEMU has no feature registers",
    "adb_bus/gossamer": "a poll may ask another device first",
    "spapr/events/gossamer": "event log entries count from 0 again",
    "gossamer-turn": "another CPU may go on first",
    "spapr/dtb/gossamer": "the guest has its tree",
}
"""What only gossamer keeps and no guest misses."""


def _any(found: Leaf) -> bool:
    items = found.value if isinstance(found.value, tuple) else (found.value,)
    return any(item.strip(b"\0") if isinstance(item, bytes) else item for item in items)


def _first(sub: Struct) -> int:
    value = sub.members[0].value if sub.members and isinstance(sub.members[0], Leaf) else 0
    return value if isinstance(value, int) else 0


def _drop_unknown(
    node: Node, known: frozenset[str], path: str = ""
) -> Iterator[tuple[str, Struct]]:
    """Take subsections that a release does not know out of a tree; those with their paths."""
    if isinstance(node, Leaf):
        return
    if isinstance(node, StructArray):
        for element in node.elements:
            yield from _drop_unknown(element, known, path + element.name)
        return
    for member in node.members:
        yield from _drop_unknown(member, known, f"{path}.{member.name}" if path else member.name)
    for sub in list(node.subsections):
        if sub.vmsd not in known:
            node.subsections.remove(sub)
            yield path, sub


def _all_subsections(tree: Struct | None) -> Iterator[Struct]:
    for sub in tree.subsections if tree else ():
        yield sub
        yield from _all_subsections(sub)


def _set_spr(tree: Struct, index: int, value: int) -> None:
    found = leaf(tree, "env.spr")
    if found is not None and isinstance(found.value, tuple):
        values = list(found.value)
        values[index] = value
        found.value = tuple(values)
