"""The virtual machine as a Python program handles it: run, save, load, send, look inside.

`Vm` adds to a `Runner` what the layers above it do: files and snapshots (`disk_state`), transfers
(`sending`, `receiving`), keys and pointer (`inputs`), a look inside (`look`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from gossamer.base.data import replace
from gossamer.base.errors import ConfigError
from gossamer.base.late import LateModule
from gossamer.control.events import SnapshotChanged
from gossamer.control.inputs import Inputs
from gossamer.control.media import Media
from gossamer.control.runner import Runner
from gossamer.control.steps import InThread, Steps, finish
from gossamer.control.transfers import Transfers
from gossamer.core import ahead, host
from gossamer.isa.interrupts import Irq
from gossamer.machines.config import Config
from gossamer.machines.machine import Machine
from gossamer.migrate.releases import Release, release

if TYPE_CHECKING:
    from gossamer.control import (
        disk_restore,
        disk_state,
        globalstate,
        loading,
        look,
        registers,
        saved_config,
        stream_out,
    )
    from gossamer.control.receiving import Received
    from gossamer.control.snapshots import SnapshotEntry
    from gossamer.control.standstill import Sent
    from gossamer.control.stream_out import Carried
    from gossamer.migrate.channels import Limits, Listener
    from gossamer.migrate.container_writer import Written
else:  # what a machine is asked for once it runs
    disk_restore = LateModule(lambda: import_module("gossamer.control.disk_restore"))
    disk_state = LateModule(lambda: import_module("gossamer.control.disk_state"))
    globalstate = LateModule(lambda: import_module("gossamer.control.globalstate"))
    loading = LateModule(lambda: import_module("gossamer.control.loading"))
    look = LateModule(lambda: import_module("gossamer.control.look"))
    registers = LateModule(lambda: import_module("gossamer.control.registers"))
    saved_config = LateModule(lambda: import_module("gossamer.control.saved_config"))
    stream_out = LateModule(lambda: import_module("gossamer.control.stream_out"))

#: What a thread does with a machine that it has (`Runner.busy`).
SAVED: Final = "saved"
LOADED: Final = "loaded"


class Vm(Runner):
    """One virtual machine.  Every method is called between two instructions."""

    def __init__(self, config: Config, machine: Machine | None = None) -> None:
        super().__init__(config, machine)
        self.inputs = Inputs(self)
        self.last_save: Written | None = None
        self.transfers = Transfers(self)
        self.media = Media(self)

    def adopt(self, machine: Machine, run_state: str, carried: tuple[Carried, ...] = ()) -> None:
        super().adopt(machine, run_state, carried)
        self.inputs.arrived()

    # --- save and load ------------------------------------------------------------------------

    def save_bytes(self) -> bytes:
        """The state as a bare stream."""
        out = BytesIO()
        state = globalstate.GlobalState(self.run_state)
        extra = stream_out.Extra("globalstate", state)
        stream_out.save_stream(self.machine, out, extra, carried=self.carried)
        return out.getvalue()

    def load_bytes(self, data: bytes) -> None:
        """Take on the state of a bare stream; on an error the machine stays as it was."""
        _, self.repairs = loading.take_over(self, cast(BinaryIO, BytesIO(data)), mend=self.mends)

    def save(self, path: Path | str, name: str = "") -> Written:
        """Write a save file; it is whole on the medium, or the old one stays.

        The content of writable disks is saved with it (docs/disks.md).
        """
        return self._saved(lambda: disk_state.save_file(self, path, name))

    def _saved(self, save: Callable[[], Written]) -> Written:
        """Save while the machine stands still, and note what that cost."""
        self._check_here()
        self.take_back_disks()
        start = host.monotonic_ns()
        with self.standing("saving"):
            written = save()
        self.last_save = replace(written, took_ns=host.monotonic_ns() - start)
        return self.last_save

    @contextmanager
    def _taken(self, word: str) -> Iterator[None]:
        """A thread has the machine and its disks; it stands still and is being `word`."""
        self._check_here()
        self.take_back_disks()
        with self.taken(word, "saving" if word == SAVED else "loading"):
            yield

    def _check_here(self) -> None:
        """ConfigError while the machine is on its way elsewhere: what it is must not change."""
        if self.transfers.under_way is not None:
            raise ConfigError("There's a migration process in progress")
        self.disks.check_free()

    def saving(self, save: Callable[[], Written]) -> Steps[Written]:
        """The steps of a save: a thread does `save` while the machine stands still."""
        start = host.monotonic_ns()
        with self._taken(SAVED):
            written: Written = yield InThread(save)
        self.last_save = replace(written, took_ns=host.monotonic_ns() - start)
        return self.last_save

    def saving_file(self, path: Path) -> Steps[Written]:
        """The steps of `save`."""
        return self.saving(lambda: disk_state.save_file(self, path))

    def saving_vm(self, name: str, profile: str = "") -> Steps[None]:
        """The steps of `savevm`; for a form of QEMU's the guest may run on first."""
        with self._written_for(profile) as form:
            if not form.ours:
                self.take_back_disks()
                with self.standing("saving"):
                    disk_state.settle_here(self, form)
            yield from self.saving(lambda: disk_state.savevm(self, name, settled=True))
        self.events.report(SnapshotChanged(name, "saved"))

    def restore(self, path: Path | str, clock: str = "freeze") -> None:
        """Take on the state of a save file; on an error machine and disks stay as they were.

        `clock`: what it does for the time in between (`control.restore_clock`).
        """
        finish(self.loading_file(path, clock))

    def loading_file(self, path: Path | str, clock: str = "freeze") -> Steps[None]:
        """The steps of `restore`."""
        with self._taken(LOADED):
            yield from disk_restore.loading_file(self, path, clock)

    @classmethod
    def load(
        cls,
        path: Path | str,
        config: Config | None = None,
        *,
        files: Mapping[str, Path | str | None] | None = None,
    ) -> Vm:
        """A new virtual machine from a save file, made as the file says, or as `config` does.

        A save opens no file of the host by itself: each that its machine had (``drive0`` to
        ``drive3``, ``kernel``, ``initrd``) is named in `files`, or None to go without.
        """
        vm = cls(saved_config.saved_config(path, files or {}) if config is None else config)
        try:
            vm.starting()
            vm.restore(path)
        except BaseException:
            vm.disks.abandon()
            raise
        return vm

    def savevm(self, name: str, profile: str = "") -> None:
        """Keep machine and disks as snapshot `name`; `profile`: in the form of a release.

        QEMU's `loadvm` reads one in its own form out of a qcow2 image; ConfigError where no image
        can hold the snapshot.
        """
        with self._written_for(profile):
            self._saved(lambda: disk_state.savevm(self, name))
        if "gossamer.control.disk_restore" not in sys.modules:  # who saves will go back
            ahead.load(lambda: import_module("gossamer.control.disk_restore"))

    @contextmanager
    def _written_for(self, profile: str) -> Iterator[Release]:
        """Snapshots are written in the form of a release; ConfigError where none can be."""
        before, form = self.wire_profile, release(profile or self.wire_profile)
        if not form.ours and not self.disks.qcow2:
            raise ConfigError(f"savevm: {form.title} reads snapshots out of a qcow2 image: add one")
        self.wire_profile = form.name
        try:
            yield form
        finally:
            self.wire_profile = before

    def loadvm(self, name: str, clock: str = "freeze") -> None:
        """Go back to snapshot `name`; on an error machine and disks stay as they were."""
        finish(self.loading_vm(name, clock))

    def loading_vm(self, name: str, clock: str = "freeze") -> Steps[None]:
        """The steps of `loadvm`."""
        with self._taken(LOADED):
            yield from disk_restore.loading_vm(self, name, clock)
        self.events.report(SnapshotChanged(name, "loaded"))

    def snapshots(self) -> list[SnapshotEntry]:
        """The snapshots that `loadvm` can go back to."""
        return disk_state.entries(self)

    def delvm(self, name: str) -> None:
        """Forget snapshot `name`."""
        finish(self.deleting_vm(name))

    def deleting_vm(self, name: str) -> Steps[None]:
        """The steps of `delvm`."""
        with self._taken(SAVED):
            yield InThread(lambda: disk_state.delvm(self, name))
        self.events.report(SnapshotChanged(name, "deleted"))

    # --- transfers ----------------------------------------------------------------------------

    def migrate(
        self,
        uri: str,
        *,
        profile: str = "",
        keep_tb: bool | None = None,
        answers: bool = True,
        limits: Limits | None = None,
    ) -> Sent:
        """Send the machine to `uri` (``exec:``, ``unix:``, ``tcp:``, ``fd:``, ``file:``).

        Afterwards it is the receiver's.  HostError, ConfigError: it is still ours, as it was.
        """
        return finish(
            self.transfers.send(
                uri, profile=profile, keep_tb=keep_tb, answers=answers, limits=limits
            )
        )

    def incoming(
        self, uri: str | Listener, *, mend: bool | None = None, limits: Limits | None = None
    ) -> Received:
        """Wait at `uri` for a machine and become it."""
        return finish(self.transfers.receive(uri, mend=mend, limits=limits))

    # --- disks --------------------------------------------------------------------------------

    def eject(self, drive: str, *, force: bool = False) -> None:
        """Take the disc out of a CD drive; `force`: also where the guest has locked the tray."""
        place = self.media.find(drive, None)
        self.media.open_tray(place, force=force)
        self.media.take_out(place)

    def change_disc(self, drive: str, path: Path, format: str | None = None) -> None:
        """Put another disc into a CD drive."""
        self.media.change(self.media.find(drive, None), path, format, force=False)

    # --- a look inside ------------------------------------------------------------------------

    def register(self, name: str, cpu: int = 0) -> int:
        """A register of a CPU by its name in lower case; KeyError when there is none."""
        return look.register(self.machine, name, cpu)

    def put_register(self, name: str, value: int) -> None:
        """Write a register; ConfigError where there is none of that name, or it is read only.

        ``r3`` is the first CPU's, ``cpu1.r3`` the second's.
        """
        try:
            found, of = registers.find(self.machine, name)
        except KeyError:
            raise ConfigError(f"{name}: no register that can be written") from None
        if found.put is None:
            raise ConfigError(f"{name}: no register that can be written")
        self.noted("register", name, value)
        found.put(of, value)

    def registers(self, cpu: int = 0) -> look.Registers:
        """The registers of a CPU."""
        return look.registers(self.machine, cpu)

    def pics(self) -> tuple[look.ChipState, ...]:
        """The state of the interrupt controllers."""
        return look.pics(self.machine)

    def irqs(self) -> tuple[look.IrqLevel, ...]:
        """Inputs and pending exceptions of the CPU."""
        return look.irqs(self.machine)

    def read_physical(self, ra: int, length: int) -> bytes:
        return self.machine.memory.read(ra, length)

    def read_virtual(self, ea: int, length: int, cpu: int = 0) -> bytes:
        """Bytes at an effective address as data accesses would find them; ConfigError if none."""
        return look.read_virtual(self.machine, ea, length, cpu)

    def write_physical(self, ra: int, data: bytes) -> None:
        self.noted("physical", ra, data.hex())
        self.machine.memory.write(ra, data)

    def instruction_text(self, word: int, ea: int) -> str:
        return look.instruction_text(word, ea)

    def interrupt(self, source: Irq) -> None:
        """Make an interrupt source pending (tests, debuggers)."""
        self.noted("irq", int(source))
        self.machine.cpu.input_changed(source, True)

    # --- keyboard, mouse, screen --------------------------------------------------------------

    def screen(self) -> tuple[int, int, bytes]:
        """Width, height and RGB bytes of what the display shows."""
        if self.machine.display is None:
            raise ConfigError(f"{self.name} has no display")
        return self.machine.display.render()

    def send_key(self, names: Sequence[str], hold_ms: int = 100) -> None:
        """Press keys (QEMU's names) together; they are released after `hold_ms` of virtual time."""
        self.inputs.send_key(names, hold_ms)

    def mouse_move(self, dx: int, dy: int, dz: int = 0) -> None:
        """Move the mouse by counts; dz above 0 is one notch of its wheel up, below 0 down."""
        self.inputs.mouse_move(dx, dy, dz)

    def mouse_buttons(self, mask: int) -> None:
        """1 left, 2 middle, 4 right."""
        self.inputs.mouse_buttons(mask)
