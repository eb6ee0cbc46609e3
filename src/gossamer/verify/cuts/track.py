"""One machine on its way through a scenario: inputs at exact instruction counts, output noted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import xxhash

from gossamer.base.errors import GossamerError
from gossamer.control.vm import Vm
from gossamer.core.clock import NEVER
from gossamer.engine.processor import Stop
from gossamer.machines.config import Config
from gossamer.machines.stored import host_files


class Input(NamedTuple):
    """A byte that serial port 0 receives when `at` instructions have been executed."""

    at: int
    byte: int


@dataclass
class Track:
    """A running machine of a scenario."""

    config: Config
    inputs: Sequence[Input]
    done: int = 0
    out: list[tuple[int, int]] = field(default_factory=list)
    vm: Vm = field(init=False)

    def __post_init__(self) -> None:
        self.take(Vm(self.config))

    def take(self, vm: Vm) -> None:
        """Go on with `vm`."""
        self.vm = vm
        vm.serial_sinks = [self._written]

    def _written(self, byte: int) -> None:
        self.out.append((self.vm.machine.engine.count_now, byte))

    def text(self) -> str:
        return bytes(byte for _, byte in self.out).decode("latin-1")

    # --- going on ---------------------------------------------------------------------------------

    def run_to(self, count: int | None = None, ns: int = NEVER) -> None:
        """Run until `count` instructions are done or it is virtual `ns`, typing on the way."""
        while True:
            target = count
            if self.done < len(self.inputs):
                at = self.inputs[self.done].at
                target = at if target is None else min(at, target)
            stop = self.vm.run_to(target, ns)
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
        """Let the guest receive what is due now; whether anything was."""
        if self.done == len(self.inputs) or self.inputs[self.done].at > self.vm.instructions:
            return False
        if not self.vm.serial_room(0):
            raise GossamerError(
                f"serial port 0 takes no byte at instruction {self.vm.instructions}"
            )
        self.vm.serial_receive(0, self.inputs[self.done].byte)
        self.done += 1
        return True

    # --- cutting ----------------------------------------------------------------------------------

    def load(self, stream: bytes) -> None:
        """Go on from `stream` in a machine newly built; the old one is gone."""
        vm = Vm(self.config)
        vm.load_bytes(stream)
        self.take(vm)

    def load_file(self, path: Path) -> None:
        """The same from a save file, made as the file itself says, with the files of the guest."""
        self.take(Vm.load(path, files=host_files(self.config)))

    # --- comparing --------------------------------------------------------------------------------

    def digest(self) -> int:
        """Hash of the whole state and of all that was written, each byte with its moment."""
        h = xxhash.xxh3_64(self.vm.state_hash().to_bytes(8, "big"))
        for at, byte in self.out:
            h.update(at.to_bytes(8, "big") + bytes((byte,)))
        h.update(self.done.to_bytes(4, "big"))
        return h.intdigest()
