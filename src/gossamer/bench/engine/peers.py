"""Running one program of `gossamer bench engine` on gossamer's bare machine and on QEMU."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from gossamer.base.data import Data
from gossamer.base.errors import HostError
from gossamer.bench.engine import programs
from gossamer.engine.processor import Stop
from gossamer.machines.bare import CONSOLE_BASE, bare
from gossamer.machines.config import Config
from gossamer.machines.translate import translate

#: QEMU's g3beige: rate of its timebase, place and size of its ROM, and where the 750 begins.
G3BEIGE_TB_HZ: Final = 16_600_000
ROM_SIZE: Final = 0x40_0000
RESET: Final = 0x30_0100  # 0xfff00100 in a ROM at 0xffc00000
_EXIT: Final = CONSOLE_BASE + 8


class Run(Data):
    """One run: seconds, the guest's checksum, and instructions where they are known."""

    seconds: float
    result: int
    instructions: int = 0


class GossamerPeer:
    """The bare machine with the program in it; built anew for each run."""

    def __init__(self) -> None:
        self.code, self.table = programs.code(), programs.page_table()

    def run(self, kernel: int, iterations: int, timeout: float = 120) -> Run:
        """Seconds of host time from the first instruction to the last."""
        cpu = programs.KERNELS[kernel].cpu
        config = Config(machine="bare", ram_size=programs.RAM_SIZE, nic=False, cpu=cpu)
        machine = bare(config)
        if config.accel.tier:
            translate(machine, config.accel)
        memory, processor = machine.memory, machine.processor
        memory.write(0, programs.vectors())
        memory.write(programs.CODE, self.code)
        memory.write(programs.TABLE, self.table)
        memory.write(programs.BLOCK, programs.block(kernel, iterations, _EXIT))
        machine.cpu.block.set("nia", programs.CODE)
        machine.cpu.block.set("msr", 0)
        machine.engine.flush()
        machine.power_off = processor.request_stop
        start = time.perf_counter()
        while processor.run(machine.engine.count + 200_000_000) is Stop.LIMIT:
            nia = machine.cpu.block.get("nia")
            if nia < programs.BLOCK:
                raise HostError(f"gossamer: the guest took interrupt {nia:#x}")
            if time.perf_counter() - start > timeout:
                raise HostError(f"gossamer: no end after {timeout:.0f} s")
        seconds = time.perf_counter() - start
        machine.stop_translating()
        words = memory.read(programs.BLOCK, 28)
        if not int.from_bytes(words[24:28], "big"):
            raise HostError("gossamer: the guest stopped before it was done")
        return Run(seconds, int.from_bytes(words[12:16], "big"), machine.engine.count)


class QemuPeer:
    """QEMU's g3beige with the program in its RAM and a jump to it in its ROM."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program, self.folder = program, folder
        rom = bytearray(ROM_SIZE)
        jump = (0x3C60 << 16 | programs.CODE >> 16, 0x7C69_03A6, 0x4E80_0420)  # lis, mtctr, bctr
        rom[RESET : RESET + 12] = b"".join(w.to_bytes(4, "big") for w in jump)
        (folder / "rom").write_bytes(rom)
        (folder / "vectors").write_bytes(programs.vectors())
        (folder / "code").write_bytes(programs.code())
        (folder / "table").write_bytes(programs.page_table())

    def version(self) -> str:
        done = subprocess.run(  # noqa: S603 - the program that the user named
            [self.program, "--version"], capture_output=True, text=True, check=False
        )
        return done.stdout.partition("\n")[0]

    def run(self, kernel: int, iterations: int, timeout: float = 120) -> Run:
        """Seconds of the guest's timebase, which is the host's time in QEMU."""
        block = programs.block(kernel, iterations, programs.SCRATCH)
        (self.folder / "block").write_bytes(block)
        with tempfile.TemporaryDirectory() as place, _Qmp(self._start(kernel, place), place) as qmp:
            end = time.monotonic() + timeout
            while time.monotonic() < end:
                words = qmp.words(programs.BLOCK, 7)
                if words[programs.DONE]:
                    ticks = words[programs.END] - words[programs.BEGIN] & 0xFFFF_FFFF
                    return Run(ticks / G3BEIGE_TB_HZ, words[programs.RESULT])
                time.sleep(0.01)
        raise HostError(f"qemu: no end after {timeout:.0f} s")

    def _start(self, kernel: int, place: str) -> subprocess.Popen[bytes]:
        files = (
            ("vectors", 0),
            ("code", programs.CODE),
            ("table", programs.TABLE),
            ("block", programs.BLOCK),
        )
        loaders = [
            part
            for name, at in files
            for part in ("-device", f"loader,file={self.folder / name},addr={at},force-raw=on")
        ]
        words = [self.program, "-M", "g3beige", "-m", "32", "-display", "none", "-serial", "none"]
        words += ["-net", "none", "-bios", str(self.folder / "rom"), *loaders]
        words += ["-cpu", programs.KERNELS[kernel].cpu]
        words += ["-qmp", f"unix:{place}/qmp,server=on,wait=off"]
        return subprocess.Popen(words, stderr=subprocess.PIPE)  # noqa: S603


class _Qmp:
    """A QMP connection to a QEMU that ends with it."""

    def __init__(self, child: subprocess.Popen[bytes], place: str) -> None:
        self.child = child
        self.socket = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + 30
        while True:
            try:
                self.socket.connect(f"{place}/qmp")
                break
            except OSError:
                if child.poll() is not None or time.monotonic() > end:
                    child.kill()
                    text = child.stderr.read() if child.stderr else b""
                    raise HostError(f"qemu: did not start: {text[-200:]!r}") from None
                time.sleep(0.01)
        self.file = self.socket.makefile("rw")
        self.file.readline()
        self.command("qmp_capabilities")

    def __enter__(self) -> _Qmp:
        return self

    def __exit__(self, *about: object) -> None:
        with suppress(OSError, ValueError):
            self.file.write('{"execute": "quit"}\n')
            self.file.flush()
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.file.close()
        self.socket.close()
        if self.child.stderr:
            self.child.stderr.close()

    def command(self, name: str, **arguments: Any) -> Any:  # noqa: ANN401 - JSON
        self.file.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self.file.flush()
        for line in self.file:
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise HostError(f"qemu: {name}: {answer['error']}")
        raise HostError("qemu: the connection ended")

    def words(self, ra: int, count: int) -> list[int]:
        """Words of guest memory."""
        text = self.command("human-monitor-command", **{"command-line": f"xp /{count}wx {ra}"})
        return [int(w, 16) for line in text.splitlines() for w in line.partition(":")[2].split()]
