"""A machine that does nothing but remember what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gossamer.base.errors import ConfigError, HostError


@dataclass(frozen=True)
class Snapshot:
    """What `SnapshotInfo` asks for."""

    id: str
    tag: str
    size: int
    date_ns: int
    vm_clock_ns: int
    icount: int | None = None


class FakeVm:
    """Satisfies `RunnableVm`; `memory` is both virtual and real, filled from address 0."""

    name = "g3beige-1.0"

    def __init__(self) -> None:
        self.run_state = "running"
        self.instructions = 1234
        self.clock_ns = 3_723_004_000_000
        self.done: list[object] = []
        self.saved: list[Snapshot] = []
        self.memory = bytes(range(256)) * 16
        self.idle_until_ns: int | None = None
        self.room = 3
        self.received: list[tuple[int, int]] = []
        self.on_slice: Callable[[int], None] = lambda ns: None

    def cont(self) -> None:
        self.run_state = "running"

    def stop(self) -> None:
        self.run_state = "paused"

    def reset(self) -> None:
        self.done.append("reset")

    def power_down(self) -> None:
        self.done.append("power_down")

    def quit(self) -> None:
        self.run_state = "shutdown"

    def save(self, path: Path) -> None:
        if not path.parent.is_dir():
            raise HostError(f"{path}: cannot be created: No such file or directory")
        self.done.append(("save", path))

    def restore(self, path: Path) -> None:
        self.done.append(("load", path))

    last_save = None

    def savevm(self, name: str) -> None:
        n = str(len(self.saved) + 1)
        self.saved.append(Snapshot(n, name, 3 << 20, 10**18, self.clock_ns, 77))

    def loadvm(self, name: str, clock: str = "freeze") -> None:
        if clock not in ("freeze", "continue", "step"):
            raise ConfigError(f"unknown clock policy {clock!r}")
        if name not in [s.tag for s in self.saved]:
            raise ConfigError(f"there is no snapshot {name!r}")
        self.done.append(("loadvm", name))

    def delvm(self, name: str) -> None:
        self.loadvm(name)
        self.saved = [s for s in self.saved if s.tag != name]

    def snapshots(self) -> Sequence[Snapshot]:
        return self.saved

    def registers_text(self) -> str:
        return "r0 00000000\n"

    def pic_text(self) -> str:
        return "heathrow: mask 0\n"

    def jit_text(self) -> str:
        return "no code"

    def irq_text(self) -> str:
        return "irq 18: 5\n"

    def qtree_text(self) -> str:
        return "bus: main\n"

    def mtree_text(self) -> str:
        return "00000000..07ffffff ram\n"

    def register(self, name: str) -> int:
        if name != "pc":
            raise KeyError(name)
        return 0x10

    def read_virtual(self, ea: int, length: int) -> bytes:
        if ea + length > len(self.memory):
            raise ConfigError(f"nothing is mapped at {ea:#010x}")
        return self.memory[ea : ea + length]

    def read_physical(self, ra: int, length: int) -> bytes:
        return self.read_virtual(ra, length)

    def instruction_text(self, word: int, ea: int) -> str:
        return f".long {word:#x} @{ea:#x}"

    def screen(self) -> tuple[int, int, bytes]:
        return 2, 1, b"\xff\0\0\0\0\xff"

    def send_key(self, names: Sequence[str], hold_ms: int) -> None:
        self.done.append(("keys", *names, hold_ms))

    def mouse_move(self, dx: int, dy: int, dz: int) -> None:
        self.done.append(("move", dx, dy, dz))

    def mouse_buttons(self, mask: int) -> None:
        self.done.append(("buttons", mask))

    def run_slice(self, max_host_ns: int) -> None:
        self.on_slice(max_host_ns)

    def serial_room(self, channel: int) -> int:
        return self.room

    def serial_receive(self, channel: int, byte: int) -> None:
        assert self.room > 0
        self.room -= 1
        self.received.append((channel, byte))


class MigratingVm(FakeVm):
    """One that can also be sent."""

    def migrate(self, uri: str, *, background: bool) -> None:
        self.done.append(("migrate", uri, background))

    def migrate_cancel(self) -> None:
        self.done.append("cancel")

    def migration_text(self) -> str:
        return "no migration\n"
