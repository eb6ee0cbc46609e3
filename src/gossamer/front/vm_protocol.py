"""What consoles and monitors need of a machine: the border between `front` and `control`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from gossamer.migrate.container_writer import Written


class SnapshotInfo(Protocol):
    """A saved state inside the machine's disks or folder.

    `size` bytes of state, `date_ns` ns since 1970 UTC, `vm_clock_ns` virtual ns, `icount`
    instructions since power-on (None: not known).
    """

    @property
    def id(self) -> str: ...
    @property
    def tag(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def date_ns(self) -> int: ...
    @property
    def vm_clock_ns(self) -> int: ...
    @property
    def icount(self) -> int | None: ...


class VmControl(Protocol):
    """A machine as a monitor sees it.

    Every method is called between two instructions, from the thread that runs the machine, and
    raises `GossamerError` with one clear line when it cannot do what it is asked.
    """

    @property
    def name(self) -> str:
        """The machine, such as ``g3beige-1.0``, or what -name gave."""

    @property
    def run_state(self) -> str:
        """QEMU's words: running, paused, prelaunch, inmigrate, postmigrate, shutdown and more."""

    @property
    def instructions(self) -> int:
        """Instructions executed since power-on."""

    @property
    def clock_ns(self) -> int:
        """The virtual clock."""

    def cont(self) -> None: ...
    def stop(self) -> None: ...
    def reset(self) -> None: ...
    def power_down(self) -> None: ...
    def quit(self) -> None:
        """Make `run_state` shutdown."""

    @property
    def last_save(self) -> Written | None: ...

    def save(self, path: Path) -> object: ...
    def restore(self, path: Path) -> None:
        """Take on the state of a save file."""

    def savevm(self, name: str) -> None: ...
    def loadvm(self, name: str, clock: str = "freeze") -> None: ...
    def delvm(self, name: str) -> None: ...
    def snapshots(self) -> Sequence[SnapshotInfo]: ...

    def registers_text(self) -> str: ...
    def pic_text(self) -> str: ...
    def irq_text(self) -> str: ...
    def jit_text(self) -> str: ...
    def qtree_text(self) -> str: ...
    def mtree_text(self) -> str: ...
    def register(self, name: str) -> int:
        """A register by its name in the books, in lower case (``pc`` for the next address).

        KeyError when there is none.
        """

    def read_virtual(self, ea: int, length: int) -> bytes: ...
    def read_physical(self, ra: int, length: int) -> bytes: ...
    def instruction_text(self, word: int, ea: int) -> str:
        """The disassembly of an instruction word at `ea`."""

    def screen(self) -> tuple[int, int, bytes]:
        """Width, height and rows from the top of three bytes (red, green, blue) a pixel."""

    def send_key(self, names: Sequence[str], hold_ms: int) -> None:
        """Press the keys in order, hold them, release them in reverse order."""

    def mouse_move(self, dx: int, dy: int, dz: int) -> None: ...
    def mouse_buttons(self, mask: int) -> None:
        """1 left, 2 middle, 4 right."""


@runtime_checkable
class Migrates(Protocol):
    """A machine that can be sent to another emulator."""

    def migrate(self, uri: str, *, background: bool) -> None: ...
    def migrate_cancel(self) -> None: ...
    def migration_text(self) -> str: ...


class RunnableVm(VmControl, Protocol):
    """A machine that a console runs."""

    @property
    def idle_until_ns(self) -> int | None:
        """Host monotonic ns before which there is nothing to run; None while there is."""

    def run_slice(self, max_host_ns: int) -> None:
        """Run the guest for about so long, or until it is idle or no longer running."""

    def serial_room(self, channel: int) -> int:
        """Bytes that the serial port can take now."""

    def serial_receive(self, channel: int, byte: int) -> None:
        """A byte for the guest; only while there is room."""
