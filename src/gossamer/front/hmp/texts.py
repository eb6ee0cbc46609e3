"""Results as the monitor shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from gossamer.base.data import fields
from gossamer.base.units import NS_PER_S, KiB, MiB
from gossamer.control.commands.power import NameInfo, StatusInfo, VersionInfo
from gossamer.control.commands.snapshots import LastSave
from gossamer.control.commands.texts import HumanReadableText
from gossamer.control.commands.transfers import (
    CapabilityStatus,
    MigrateParameters,
    MigrationInfo,
)
from gossamer.control.drive_state import DriveState, Medium
from gossamer.control.look import (
    Chip,
    ChipState,
    EmbeddedRegisters,
    IrqLevel,
    MemoryRange,
    Registers,
    Tree,
)
from gossamer.control.snapshots import SnapshotEntry
from gossamer.control.standstill import Sent
from gossamer.front.hmp.words import table

#: MSR's bits that QEMU 7.2 has in `HF`, and the bit that it sets where there is no hypervisor.
MSR_PR, MSR_FP, MSR_IR, MSR_DR, HF_HYPERVISOR = 0x4000, 0x2000, 0x20, 0x10, 2


def nothing(result: object) -> str:
    """For commands that have nothing to say."""
    del result
    return ""


def human(result: HumanReadableText) -> str:
    return result.human_readable_text


def clock_text(ns: int) -> str:
    """A virtual time as h:mm:ss.ms."""
    seconds, rest = divmod(ns, NS_PER_S)
    hours, seconds = divmod(seconds, 3600)
    return f"{hours}:{seconds // 60:02}:{seconds % 60:02}.{rest // 1_000_000:03}"


def size_text(size: int) -> str:
    return f"{size / MiB:.1f} MiB" if size >= MiB else f"{size / KiB:.1f} KiB"


def status(info: StatusInfo) -> str:
    """QEMU's line first: programs read it."""
    plain = info.status in ("running", "paused")
    words = info.status if plain else f"paused ({info.status})"
    return (
        f"VM status: {words}\n"
        f"{info.instructions} instructions; virtual time {clock_text(info.clock_ns)}"
    )


def name(info: NameInfo) -> str:
    return info.name or info.machine


def version(info: VersionInfo) -> str:
    return info.package


def snapshots(found: Sequence[SnapshotEntry]) -> str:
    if not found:
        return "no snapshots"
    rows = []
    for s in found:
        date = datetime.fromtimestamp(s.date_ns // NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S")
        icount = "" if s.icount is None else str(s.icount)
        rows.append([s.id, s.tag, size_text(s.size), date, clock_text(s.vm_clock_ns), icount])
    return table(["ID", "TAG", "VM SIZE", "DATE (UTC)", "VM CLOCK", "ICOUNT"], rows)


def save(last: LastSave) -> str:
    cost = last.cost
    if cost is None:
        return "nothing saved yet"
    total, waited = cost.took_ns / 1_000_000, cost.fsync_ns / 1_000_000
    return (
        f"last save: {total:.1f} ms, {waited:.1f} ms of it waiting for the medium; "
        f"stream {cost.stream_bytes} bytes, file {cost.file_bytes} bytes"
    )


def losses(lost: Iterable[str]) -> str:
    """What the receiver of a machine will not have, a line each."""
    return "".join(f"the receiver will lose: {line}\n" for line in lost)


def sent(result: Sent | None) -> str:
    """What a transfer took, and what its receiver will lack."""
    return "" if result is None else result.text


def migration(info: MigrationInfo) -> str:
    lines = [f"Migration status: {info.status}"] if info.status else ["no migration yet"]
    if info.error_desc:
        lines[0] += f" ({info.error_desc})"
    if info.ram is not None:
        lines += _figures(info)
    lines += losses(info.expected_losses or ()).splitlines()
    return "\n".join(lines + [text for text in (info.received, info.sent) if text])


def _figures(info: MigrationInfo) -> list[str]:
    """The lines of QEMU's ``info migrate``."""
    ram = info.ram
    assert ram is not None
    rows: list[tuple[str, object, str]] = [
        ("total time", info.total_time, "ms"), ("downtime", info.downtime, "ms"),
        ("expected downtime", info.expected_downtime, "ms"), ("setup", info.setup_time, "ms"),
        ("transferred ram", ram.transferred >> 10, "kbytes"),
        ("throughput", f"{ram.mbps:.2f}", "mbps"),
        ("remaining ram", ram.remaining >> 10, "kbytes"), ("total ram", ram.total >> 10, "kbytes"),
        ("duplicate", ram.duplicate, "pages"), ("normal", ram.normal, "pages"),
        ("dirty sync count", ram.dirty_sync_count, ""),
        ("dirty pages rate", ram.dirty_pages_rate, "pages"),
        ("postcopy request count", ram.postcopy_requests or None, ""),
        ("cpu throttle percentage", info.cpu_throttle_percentage, ""),
    ]  # fmt: skip
    return [f"{name}: {value} {unit}".rstrip() for name, value, unit in rows if value is not None]


def parameters(p: MigrateParameters) -> str:
    units = {"max_bandwidth": "bytes/second", "downtime_limit": "ms"}
    units |= {f"announce_{word}": "ms" for word in ("initial", "max", "step")}
    lines = []
    for f in fields(p):
        unit = units.get(f.name, "%" if "throttle" in f.name else "")
        lines.append(f"{f.name.replace('_', '-')}: {getattr(p, f.name)} {unit}".rstrip())
    return "\n".join(lines)


def capabilities(found: tuple[CapabilityStatus, ...]) -> str:
    return "\n".join(f"{one.capability}: {'on' if one.state else 'off'}" for one in found)


# --- a look inside ------------------------------------------------------------------------------


def registers(r: Registers) -> str:
    """The layout of QEMU's ``info registers``."""
    if r.embedded is not None:
        return embedded_registers(r, r.embedded)
    lines = [
        f"NIP {r.nip:08x}   LR {r.lr:08x} CTR {r.ctr:08x} XER {r.xer:08x} CPU#{r.cpu_index}",
        f"MSR {r.msr:08x} HID0 {r.hid0:08x}  count {r.instructions}",
        f"TB {r.tb >> 32:08x} {r.tb & 0xFFFFFFFF:08x} DECR {r.dec:08x}",
        *_rows("GPR", r.gpr, 8, 8),
    ]
    flags = " ".join(_cr_field(r.cr >> shift & 0xF) for shift in range(28, -4, -4))
    reserved = "none" if r.reserved is None else f"{r.reserved:08x}"
    lines.append(f"CR {r.cr:08x}  [ {flags} ]  RES {reserved}")
    lines += [*_rows("FPR", r.fpr, 4, 16), f"FPSCR {r.fpscr:08x}"]
    lines.append(f" SRR0 {r.srr0:08x}  SRR1 {r.srr1:08x}    PVR {r.pvr:08x}")
    lines.append("  ".join(f"SPRG{n} {value:08x}" for n, value in enumerate(r.sprg)))
    lines.append(f" SDR1 {r.sdr1:08x}   DAR {r.dar:08x}  DSISR {r.dsisr:08x}")
    lines += _rows("SR", r.sr, 8, 8)
    for title, pairs in (("IBAT", r.ibat), ("DBAT", r.dbat)):
        texts = (f"{pairs[2 * n]:08x}:{pairs[2 * n + 1]:08x}" for n in range(4))
        lines.append(f"{title} " + "  ".join(texts))
    return "\n".join(lines)


def embedded_registers(r: Registers, e: EmbeddedRegisters) -> str:
    """A 405's registers, as QEMU 7.2 prints them; floating-point ones are not there and zero."""
    index = (r.msr & MSR_PR == 0) | (0 if r.msr & MSR_IR else 2)
    data_index = (r.msr & MSR_PR == 0) | (0 if r.msr & MSR_DR else 2)
    flags = data_index << 29 | index << 26 | r.msr & (MSR_PR | MSR_FP | MSR_DR) | HF_HYPERVISOR
    fields = "".join(f" {_qemu_cr_field(r.cr >> shift & 0xF)}" for shift in range(28, -4, -4))
    none = 0xFFFF_FFFF if r.reserved is None else r.reserved
    return "\n".join(
        (
            "",
            "CPU#0",
            f"NIP {r.nip:08x}   LR {r.lr:08x} CTR {r.ctr:08x} XER {r.xer:08x} CPU#{r.cpu_index}",
            f"MSR {r.msr:08x} HID0 {e.dbsr:08x}  HF {flags:08x} iidx {index} didx {data_index}",
            f"TB {r.tb >> 32:08} {r.tb & 0xFFFFFFFF:08} DECR {e.pit:08}",
            *_rows("GPR", r.gpr, 4, 16),
            f"CR {r.cr:08x}  [{fields} ]             RES {none:08x}",
            *_rows("FPR", [0] * 32, 4, 16),
            "FPSCR 00000000",
            f" SRR0 {r.srr0:08x}  SRR1 {r.srr1:08x}    PVR {r.pvr:08x} VRSAVE 00000000",
            *(
                f"SPRG{n} {s[0]:08x} SPRG{n + 1} {s[1]:08x}  SPRG{n + 2} {s[2]:08x}  "
                f"SPRG{n + 3} {s[3]:08x}"
                for n, s in ((n, r.sprg[n : n + 4]) for n in (0, 4))
            ),
            f"  TCR {e.tcr:08x}   TSR {e.tsr:08x}    ESR {e.esr:08x}   DEAR {e.dear:08x}",
            f" EVPR {e.evpr:08x}  SRR2 {e.srr2:08x}   SRR3 {e.srr3:08x}   PID {e.pid:08x}",
        )
    )


def _qemu_cr_field(value: int) -> str:
    first = next((c for c, weight in (("L", 8), ("G", 4), ("E", 2)) if value & weight), "-")
    return first + ("O" if value & 1 else " ")


def _rows(title: str, values: Sequence[int], each: int, digits: int) -> list[str]:
    return [
        f"{title}{n:02} " + " ".join(f"{value:0{digits}x}" for value in values[n : n + each])
        for n in range(0, len(values), each)
    ]


def _cr_field(value: int) -> str:
    names = "".join(c for c, weight in (("L", 8), ("G", 4), ("E", 2), ("O", 1)) if value & weight)
    return names or "-"


def chip_states(chips: Sequence[ChipState]) -> str:
    lines = []
    for chip in chips:
        lines.append(f"{chip.path}:")
        for field, value in zip(chip.names, chip.values, strict=True):
            text = f"{value:#x}" if isinstance(value, int) else str(value)
            lines.append(f"  {field} = {text}")
    return "\n".join(lines) or "no controller"


def irqs(levels: Sequence[IrqLevel]) -> str:
    return "\n".join(f"{one.name:14} {one.level}" for one in levels)


def tree(found: Tree) -> str:
    lines = []
    for chip in found.chips:
        lines += _chip(chip)
    return "\n".join(lines + [f"loader: dev {one}" for one in found.loaders])


def _chip(chip: Chip) -> list[str]:
    section = f'  section "{chip.section}" version {chip.version}' if chip.section else ""
    device = f"  dev {chip.device}" if chip.device else ""
    return [f"{chip.path}: {chip.type}{section}{device}"] + [
        f'  {d.bus} unit {d.unit}: dev {d.driver}, id "{d.id}", '
        f'serial "{d.serial}", model "{d.model}", ver "{d.firmware}"'
        for d in chip.drives or ()
    ]


def memory_map(ranges: Sequence[MemoryRange]) -> str:
    return "\n".join(f"{one.start:08x}-{one.end:08x} {one.kind} {one.name}" for one in ranges)


# --- drives -------------------------------------------------------------------------------------


def drives(found: Sequence[DriveState]) -> str:
    lines = []
    for drive in found:
        medium = "empty" if drive.medium is None else _medium(drive.medium)
        lines.append(f"{drive.device}: {drive.kind} {drive.model}, {drive.serial}; {medium}")
        if drive.tray_open is not None:
            state = "open" if drive.tray_open else "closed"
            lines.append(f"    tray {state}{', locked' if drive.tray_locked else ''}")
        if drive.rerror and drive.werror:
            lines.append(f"    on errors: rerror={drive.rerror}, werror={drive.werror}")
        if drive.stalled:
            lines.append("    waits for cont after an error of the host")
    return "\n".join(lines) or "no drives"


def _medium(medium: Medium) -> str:
    if medium.standing_by:
        size = f"{medium.format}, {medium.size} bytes"
        return f"{medium.file} ({size}, opened when the machine runs)"
    if medium.handed_over:
        return f"{medium.file}, handed over"
    how = "read-only" if medium.read_only else "writable"
    if medium.changed is not None:
        how = f"-snapshot, {medium.changed} bytes changed"
    elif medium.saves:
        how += f", {medium.kept} bytes of older content for {medium.saves} saves"
    return f"{medium.file} ({medium.format}, {medium.size} bytes, {how})"
