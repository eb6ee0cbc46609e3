"""Commands that look inside a machine and change nothing."""

from __future__ import annotations

from gossamer.base.bits import ones
from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.control import look
from gossamer.control.commands.table import command
from gossamer.control.session import Session
from gossamer.control.shapes import Size

MOST_BYTES = 1 << 20
"""Memory shown by one command."""


@command("x-query-registers", held=True)
def query_registers(session: Session) -> look.Registers:
    """The registers of the CPU that is looked at."""
    return session.vm.registers(session.cpu_index)


@command("x-query-register", held=True)
def query_register(session: Session, name: str) -> Size:
    """A register by the books' name in lower case, as r3, f1, sprg0, pc."""
    try:
        return Size(session.vm.register(name, session.cpu_index))
    except KeyError:
        raise ConfigError(f"no register ${name}") from None


class HashInfo(Data):
    """A 64-bit hash of the whole state, as 0x and 16 digits, and when it was taken."""

    hash: str
    instructions: Size
    clock_ns: Size


@command("x-query-hash", held=True)
def query_hash(session: Session) -> HashInfo:
    """A hash of the machine's whole state."""
    vm = session.vm
    if vm.run_state == "inmigrate":
        raise ConfigError("the machine has not arrived yet")
    return HashInfo(f"{vm.state_hash():#018x}", Size(vm.instructions), Size(vm.clock_ns))


@command("x-query-pic", held=True)
def query_pic(session: Session) -> tuple[look.ChipState, ...]:
    """The interrupt controller."""
    return look.pics(session.vm.machine)


@command("x-query-cpu-irq", held=True)
def query_cpu_irq(session: Session) -> tuple[look.IrqLevel, ...]:
    """Interrupt inputs and pending exceptions of the CPU."""
    return look.irqs(session.vm.machine)


@command("x-query-qtree", held=True)
def query_qtree(session: Session) -> look.Tree:
    """The devices and their buses."""
    return look.tree(session.vm.machine)


@command("x-query-mtree", held=True)
def query_mtree(session: Session) -> tuple[look.MemoryRange, ...]:
    """What is where in real memory."""
    return look.memory_map(session.vm.machine)


@command("x-read-memory", held=True)
def read_memory(session: Session, address: int, size: int, physical: bool = False) -> bytes:
    """Bytes of memory, as the CPU's data accesses find them or at a real address."""
    vm = session.vm
    end = 1 << vm.machine.word
    if not 0 <= address < end or not 0 < size <= MOST_BYTES or address + size > end:
        below = "4 GiB" if vm.machine.word == 32 else "2**64"
        raise ConfigError(f"{size} bytes at {address:#x}: expected 1 to {MOST_BYTES} below {below}")
    if physical:
        return vm.read_physical(address, size)
    return vm.read_virtual(address, size, session.cpu_index)


@command("x-disassemble", held=True)
def disassemble(session: Session, word: int, address: int) -> str:
    """The assembly text of an instruction word at an address."""
    return session.vm.instruction_text(word & 0xFFFF_FFFF, address & ones(session.vm.machine.word))
