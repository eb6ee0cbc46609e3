"""A look inside a machine that changes nothing: registers, lines, trees, memory, as text."""

from __future__ import annotations

from gossamer.base.errors import ConfigError
from gossamer.core.memory import RamBlock
from gossamer.cpu.cpu import Cpu
from gossamer.engine.translate import probe
from gossamer.isa.body import Irq
from gossamer.isa.registers import REGISTERS
from gossamer.machines.drives_attach import drives_text
from gossamer.machines.machine import Machine
from gossamer.state.declare import ChildState, State, Stateful


def register(m: Machine, name: str) -> int:
    """A register by the books' name in lower case (``r3``, ``f1``, ``sprg0``, ``pc``, ``cr``)."""
    block = m.cpu.block
    special = {
        "pc": lambda: block.get("nia"),
        "nip": lambda: block.get("nia"),
        "cr": lambda: block.cr,
        "xer": lambda: block.xer,
        "dec": lambda: m.cpu.decrementer,
        "tb": lambda: m.cpu.timebase,
        "tbl": lambda: m.cpu.timebase & 0xFFFF_FFFF,
        "tbu": lambda: m.cpu.timebase >> 32,
    }
    if name in special:
        return special[name]()
    stem = name.rstrip("0123456789")
    number = name[len(stem) :]
    file = {"r": "gpr", "f": "fpr", "v": "vr"}.get(stem, stem)
    if name in REGISTERS and REGISTERS[name][1] == 1:
        return block.get(name)
    if number and file in REGISTERS and int(number) < REGISTERS[file][1]:
        return block.get(file, int(number))
    raise KeyError(name)


def registers_text(m: Machine) -> str:
    b = m.cpu.block
    lines = [
        f"NIP {b.get('nia'):08x}   LR {b.get('lr'):08x} CTR {b.get('ctr'):08x} "
        f"XER {b.xer:08x} CPU#0",
        f"MSR {b.get('msr'):08x} HID0 {b.get('hid0'):08x}  count {m.engine.count}",
        f"TB {m.cpu.timebase >> 32:08x} {m.cpu.timebase & 0xFFFFFFFF:08x} "
        f"DECR {m.cpu.decrementer:08x}",
    ]
    gprs = b.all("gpr")
    lines += [
        f"GPR{n:02} " + " ".join(f"{v:08x}" for v in gprs[n : n + 8]) for n in range(0, 32, 8)
    ]
    flags = " ".join(_cr_field(v) for v in b.all("crf"))
    reserved = f"{b.get('reserve_ea'):08x}" if b.get("reserved") else "none"
    lines.append(f"CR {b.cr:08x}  [ {flags} ]  RES {reserved}")
    fprs = b.all("fpr")
    lines += [
        f"FPR{n:02} " + " ".join(f"{v:016x}" for v in fprs[n : n + 4]) for n in range(0, 32, 4)
    ]
    lines.append(f"FPSCR {b.get('fpscr'):08x}")
    lines.append(f" SRR0 {b.get('srr0'):08x}  SRR1 {b.get('srr1'):08x}    PVR {b.get('pvr'):08x}")
    sprgs = "  ".join(f"SPRG{n} {v:08x}" for n, v in enumerate(b.all("sprg")))
    lines.append(f"{sprgs}")
    lines.append(f" SDR1 {b.get('sdr1'):08x}   DAR {b.get('dar'):08x}  DSISR {b.get('dsisr'):08x}")
    segments = b.all("sr")
    lines += [
        f"SR{n:02} " + " ".join(f"{v:08x}" for v in segments[n : n + 8]) for n in range(0, 16, 8)
    ]
    for name in ("ibat", "dbat"):
        pairs = b.all(name)
        text = "  ".join(f"{pairs[2 * n]:08x}:{pairs[2 * n + 1]:08x}" for n in range(4))
        lines.append(f"{name.upper()} {text}")
    return "\n".join(lines)


def _cr_field(value: int) -> str:
    names = "".join(c for c, weight in (("L", 8), ("G", 4), ("E", 2), ("O", 1)) if value & weight)
    return names or "-"


def pic_text(m: Machine) -> str:
    """State of the interrupt controllers, field by field."""
    parts = [p for p in m.parts if p.path in m.kind.pics]
    return "\n".join(f"{p.path}:\n{_fields(p.device, 1)}" for p in parts) or "no controller"


def irq_text(m: Machine) -> str:
    """Inputs and pending exceptions of the CPU."""
    levels = m.cpu.block.all("irq")
    return "\n".join(f"{i.name.lower():14} {levels[i]}" for i in Irq)


def jit_text(m: Machine) -> str:
    """Translated code: how much there is, what it cost, how often it had to go."""
    return "tier 0 alone: no code is translated" if m.regions is None else m.regions.report()


def qtree_text(m: Machine) -> str:
    """The chips in the order of the composition."""
    out = []
    for p in m.parts:
        section = f'  section "{p.title}" version {p.device.version}' if p.idstr else ""
        name = f"  dev {p.known_as}" if p.known_as else ""
        out.append(f"{p.path}: {type(p.device).__name__}{section}{name}")
        out += drives_text(m, p.path)
    out += [f"loader: dev {d.title}" for d in m.hardware.devices if d.driver == "loader"]
    return "\n".join(out)


def mtree_text(m: Machine) -> str:
    """The map of real addresses."""
    out = []
    for start, end, mapping in m.memory.mappings:
        kind = "i/o"
        if isinstance(mapping.target, RamBlock):
            kind = "rom" if mapping.target.read_only else "ram"
        out.append(f"{start:08x}-{end - 1:08x} {kind} {mapping.target.name}")
    return "\n".join(out)


def _fields(owner: Stateful, depth: int) -> str:
    lines = []
    for d in owner.declared.values():
        pad = "  " * depth
        if isinstance(d, ChildState):
            for n, one in enumerate(d.objects(owner)):
                lines.append(f"{pad}{d.name}[{n}]:\n{_fields(one, depth + 1)}")
        elif isinstance(d, State):
            value = d.value(owner)
            text = f"{value:#x}" if isinstance(value, int) else repr(value)
            lines.append(f"{pad}{d.name} = {text}")
    return "\n".join(lines)


def instruction_text(word: int, ea: int) -> str:
    """The disassembly of `word` at `ea`."""
    from gossamer.isa.text import disassemble

    return disassemble(word, ea)


def read_virtual(m: Machine, ea: int, length: int) -> bytes:
    """Bytes at an effective address with the CPU's present data translation."""
    out = b""
    while length:
        step = min(length, 4096 - ea % 4096)
        ra = real_address(m.cpu, m, ea)
        if ra is None:
            raise ConfigError(f"no translation for {ea:#010x}")
        out += m.memory.read(ra, step)
        ea, length = (ea + step) & 0xFFFF_FFFF, length - step
    return out


def real_address(cpu: Cpu, m: Machine, ea: int) -> int | None:
    """The real address of `ea` for a load, without touching R and C bits; None when it faults."""
    return probe(cpu.block, m.memory, cpu.model.features, ea)
