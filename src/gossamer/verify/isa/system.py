"""The peer qemu-system-ppc: supervisor instructions, on the bare machine g3beige.

A program at address 0 takes records from RAM one by one, runs each as `runner` does but
in supervisor mode without translation, and puts it back; the host reads them through the monitor.
An interrupt ends the instruction: `signal` is its vector, and SRR0, SRR1, DAR, DSISR are kept.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from gossamer.base.errors import ConfigError, HostError
from gossamer.isa.text import assemble_program
from gossamer.verify.isa.record import SIZE, Record
from gossamer.verify.isa.runner import SYSTEM

BASE: Final = 0x100
RECORDS: Final = 0x10_0000
SPACE: Final = 0x400_0000  # of a 128 MB machine


class QemuSystem:
    """Runs records in qemu-system-ppc."""

    name = "qemu"
    most = SPACE // SIZE  # records at once

    def __init__(self, program: str | None = None, model: str = "750") -> None:
        self.model = model
        found = program or shutil.which("qemu-system-ppc")
        if not found:
            raise ConfigError("peer qemu: qemu-system-ppc is not installed")
        self.program = found

    def run(self, records: Sequence[Record], timeout: float = 120) -> list[Record]:
        if len(records) > self.most:
            raise ConfigError(f"{len(records)} records: at most {self.most} at once")
        symbols = {"FIRST": RECORDS, "LAST": RECORDS + len(records) * SIZE}
        program = assemble_program(SYSTEM, BASE, symbols)
        with tempfile.TemporaryDirectory() as folder:
            code, data, out = (Path(folder, n) for n in ("code", "data", "out"))
            code.write_bytes(program.code)
            data.write_bytes(b"".join(r.pack() for r in records))
            self.boot(folder, program.symbols, len(records) * SIZE, timeout)
            block = out.read_bytes()
        return [Record.unpack(block[n : n + SIZE]) for n in range(0, len(block), SIZE)]

    def boot(self, folder: str, symbols: Mapping[str, int], length: int, timeout: float) -> None:
        """Start the machine on the files of `folder`, wait for its flag, write `out`."""
        command = [self.program, "-M", "g3beige", "-cpu", self.model, "-m", "128"]
        command += ["-display", "none", "-nodefaults"]
        command += ["-device", f"loader,file=code,addr={BASE:#x},force-raw=on"]
        command += ["-device", f"loader,file=data,addr={RECORDS:#x},force-raw=on"]
        command += ["-device", f"loader,addr={symbols['_start']:#x},cpu-num=0"]
        machine = subprocess.Popen(  # noqa: S603 (found by name or given by the user)
            [*command, "-monitor", "stdio"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert machine.stdin
            deadline = time.monotonic() + timeout
            while not self.is_done(machine, symbols["DONE"]):
                if time.monotonic() > deadline:
                    raise HostError(f"qemu-system-ppc: not done after {timeout:g} s")
                time.sleep(0.05)
            machine.stdin.write(f"pmemsave {RECORDS:#x} {length} out\nquit\n")
            machine.stdin.flush()
            machine.wait(30)
        finally:
            machine.kill()
            machine.communicate()

    def is_done(self, machine: subprocess.Popen[str], flag: int) -> bool:
        """Ask the monitor for the word at `flag`."""
        assert machine.stdin
        assert machine.stdout
        machine.stdin.write(f"xp /1wx {flag:#x}\n")
        machine.stdin.flush()
        for line in machine.stdout:
            if line.startswith(f"{flag:016x}:"):
                return int(line.split()[1], 16) != 0
        raise HostError("qemu-system-ppc: ended before it was done")
