"""One machine on its way through a scenario: inputs at exact instruction counts, output noted."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import xxhash

from gossamer.base.data import Data, field, replace
from gossamer.base.errors import GossamerError
from gossamer.control.vm import Vm
from gossamer.core.clock import NEVER
from gossamer.devices.ide import atapi
from gossamer.devices.ide.cell import MacioIde
from gossamer.devices.ide.drive import CDROM, IdeDrive
from gossamer.devices.ne2000 import Ne2000
from gossamer.devices.spapr.llan import LogicalLan
from gossamer.devices.sungem import SunGem
from gossamer.devices.virtio.net import VirtioNet
from gossamer.engine.processor import Stop
from gossamer.machines.config import Config
from gossamer.machines.stored import host_files
from gossamer.verify.cuts.tiers import Tiers


class Input(NamedTuple):
    """Something from outside when `at` instructions have been executed.

    `kind`: "byte" for serial port 0, which must take it; "offered", a byte that is lost where
    there is no room; "key", twice the ADB code and 1 for down; "move", 8 bits each of x and y
    and 3 of buttons; "frame", a network frame in hex (`text`); "button" of the CD drives, 1 opens
    the tray; "change" of the CD to the file `text`; "reset".
    """

    at: int
    value: int
    kind: str = "byte"
    text: str = ""


CD, CD_DRIVE = "drive2", "ide1-cd0"
"""The disc that is changed: what a save and what a monitor calls its place."""


class Track(Data, frozen=False):
    """A running machine of a scenario."""

    __slots__ = ("__weakref__",)

    config: Config
    inputs: Sequence[Input]
    done: int = 0
    out: list[tuple[int, int]] = field(default_factory=list)
    tiers: Tiers | None = None
    vm: Vm = field(init=False)
    closes: Callable[[], object] = field(init=False)
    """Lets go of the images of the machine; called when the track has no owner any more."""
    given: Vm | None = None

    def __post_init__(self) -> None:
        given, self.given = self.given, None
        self.take(Vm(self.config) if given is None else given)

    def take(self, vm: Vm) -> None:
        """Go on with `vm`."""
        self.vm = vm
        if self.tiers is not None:
            self.tiers.choose(vm.machine)
        vm.serial_sinks = [self._written]
        vm.inputs.lets_go = False  # keys are part of the plan, which lets them go
        vm.inputs.keep_down()  # those of a machine that was just loaded too
        self.closes = weakref.finalize(self, vm.disks.abandon)

    def _written(self, data: bytes) -> None:
        self.out += [(self.vm.machine.engine.count_now, byte) for byte in data]

    def text(self) -> str:
        return bytes(byte for _, byte in self.out).decode("latin-1")

    # --- going on ---------------------------------------------------------------------------------

    def run_to(self, count: int | None = None, ns: int = NEVER) -> None:
        """Run until `count` instructions are done or it is virtual `ns`, typing on the way."""
        while True:
            if self.tiers is not None:
                self.tiers.disturb()
            target = count
            if self.done < len(self.inputs):
                at = self.inputs[self.done].at
                target = at if target is None else min(at, target)
            stop = self.vm.run_to(target, ns)
            if stop is Stop.REQUEST and not self.config.shutdown:
                continue  # the guest switched itself off, and is not let
            if stop is not Stop.LIMIT:
                raise GossamerError(
                    f"the guest ended ({stop.value}) at instruction {self.vm.instructions}"
                )
            if not self._type():
                return

    @property
    def ns(self) -> int:
        """Virtual time: names an instruction boundary, idle time included."""
        return self.vm.clock_ns

    def _type(self) -> bool:
        """Let the guest have what is due now; whether anything was."""
        if self.done == len(self.inputs) or self.inputs[self.done].at > self.vm.instructions:
            return False
        given = self.inputs[self.done]
        if given.kind == "byte" and not self.vm.serial_room(0):
            raise GossamerError(
                f"serial port 0 takes no byte at instruction {self.vm.instructions}"
            )
        give(self, given)
        self.done += 1
        return True

    # --- cutting ----------------------------------------------------------------------------------

    @property
    def files(self) -> dict[str, str]:
        """The host's files by what a save calls them, the disc put in last among them."""
        found = host_files(self.config)
        for given in self.inputs[: self.done]:
            if given.kind == "change":
                found[CD] = given.text
        return found

    @property
    def needs_file(self) -> bool:
        """Whether a bare stream does not have all that a new machine needs."""
        return bool(self.vm.disks.writable) or self.files != host_files(self.config)

    def save(self) -> bytes:
        """All that `load` needs: a stream, or a save file where disks belong to the state."""
        if not self.needs_file:
            return self.vm.save_bytes()
        with tempfile.TemporaryDirectory(prefix="gossamer-cut-") as folder:
            path = Path(folder) / "cut"
            self.vm.save(path)
            return path.read_bytes()

    def load(self, saved: bytes) -> None:
        """Go on from what `save` gave in a machine newly built; the old one is gone."""
        if self.needs_file:
            with tempfile.TemporaryDirectory(prefix="gossamer-cut-") as folder:
                path = Path(folder) / "cut"
                path.write_bytes(saved)
                self.load_file(path)
            return
        self.close()
        vm = Vm(self.config)
        vm.load_bytes(saved)
        self.take(vm)

    def load_file(self, path: Path) -> None:
        """The same from a save file, made as the file itself says, with the files of the guest."""
        self.close()
        vm = Vm.load(path, files=self.files)
        # A file says what the machine is, not what becomes of a guest that switches itself off.
        vm.config = replace(vm.config, shutdown=self.config.shutdown)
        self.take(vm)

    def close(self) -> None:
        """The machine is not needed any more."""
        self.closes()

    # --- comparing --------------------------------------------------------------------------------

    def digest(self) -> int:
        """Hash of the whole state and of all that was written, each byte with its moment."""
        h = xxhash.xxh3_64(self.vm.state_hash().to_bytes(8, "big"))
        for at, byte in self.out:
            h.update(at.to_bytes(8, "big") + bytes((byte,)))
        h.update(self.done.to_bytes(4, "big"))
        return h.intdigest()


def give(track: Track, given: Input) -> None:
    """Let the machine have an input."""
    vm, value = track.vm, given.value
    machine = vm.machine
    match given.kind:
        case "byte" | "offered":
            if vm.serial_room(0):
                vm.serial_receive(0, value)
        case "key":
            if machine.keyboard is not None:
                machine.keyboard.key(value >> 1, bool(value & 1))
        case "move":
            if machine.mouse is not None:
                x, y = ((value >> n & 0xFF) - 0x80 for n in (0, 8))
                machine.mouse.move(x, y, value >> 16 & 7)
        case "frame":
            for part in machine.parts:
                if isinstance(part.device, SunGem | Ne2000 | VirtioNet | LogicalLan):
                    part.device.receive(bytes.fromhex(given.text))
        case "button":
            for disk in machine.parts:
                if isinstance(disk.device, MacioIde):
                    for drive in disk.device.bus.drives:
                        _press(drive, value)
        case "change":
            vm.change_disc(CD_DRIVE, Path(given.text), "raw")
        case "reset":
            vm.reset()
        case kind:
            raise GossamerError(f"no input is called {kind}")


def _press(drive: IdeDrive, open_: int) -> None:
    """The button of a CD drive: open the tray if the guest lets it, or close it."""
    if drive.kind == CDROM and drive.media is not None:
        if open_:
            atapi.request_eject(drive)
        else:
            atapi.change_media(drive, drive.media)
