"""A supervisor below a hypervisor: it sees what it sees on QEMU's pseries."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from gossamer.base.units import MiB
from gossamer.machines.build import build
from gossamer.machines.config import Hardware

SOURCE = Path(__file__).with_name("programs") / "supervisor_64.s"
POWER8 = SOURCE.with_name("supervisor_power8.s")
TOOLS = ("qemu-system-ppc64", "powerpc-linux-gnu-as", "powerpc-linux-gnu-ld")
END = b"DONE"


def power8() -> str:
    """The program with the cases of a POWER8."""
    text = SOURCE.read_text()
    first, last = (text.index(f"    # {mark}") for mark in ("page table entries", "print the log"))
    return text[:first] + POWER8.read_text() + text[last:]


def built(folder: Path, text: str) -> Path:
    """The program, loaded where a pseries puts kernels."""
    program, made, source = (folder / name for name in ("program", "program.o", "program.s"))
    source.write_text(text)
    tool = "powerpc-linux-gnu-"
    assembler = [tool + "as", "-a64", "-mregnames", "-mpower7", "-maltivec", "-many"]
    subprocess.run([*assembler, "-o", str(made), str(source)], check=True)
    linker = [tool + "ld", "-m", "elf64ppc", "-N", "-Ttext=0", "-e", "_start", "-w"]
    subprocess.run([*linker, "-o", str(program), str(made)], check=True)
    return program


def on_qemu(program: Path, cpu: str) -> bytes:
    machine = "pseries,x-vof=on" + ("" if cpu == "power8" else ",cap-vsx=off,cap-dfp=off")
    words = ["-M", machine, "-cpu", cpu, "-m", "256", "-nographic", "-nodefaults"]
    command = ["qemu-system-ppc64", *words, "-serial", "stdio", "-kernel", str(program)]
    out = b""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as peer:
        assert peer.stdout is not None
        while END not in out:
            line = peer.stdout.read1()
            assert line, out[-200:]
            out += line
        peer.kill()
    return out


def on_gossamer(program: Path, cpu: str) -> bytes:
    m = build(
        Hardware(
            machine="pseries",
            version="7.2",
            cpu=cpu,
            ram_size=256 * MiB,
            kernel=program,
            append="",
            rtc_base=0,
            graphic=False,
            vga="none",
        )
    )
    out = bytearray()
    m.serials[0].transmit = out.extend
    while END not in out and m.engine.count < 1_000_000:
        m.processor.run(m.engine.count + 20_000)
    return bytes(out)


def values(out: bytes) -> list[str]:
    return [line for line in out.decode().split("\r\n") if len(line) == 16]


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}")
@pytest.mark.parametrize(("cpu", "count"), [("970mp_v1.1", 600), ("power8", 450)])
def test_a_supervisor_sees_what_it_sees_on_qemu(cpu: str, count: int, tmp_path: Path) -> None:
    text = power8() if cpu == "power8" else SOURCE.read_text()
    program = built(tmp_path, text)
    ours, theirs = values(on_gossamer(program, cpu)), values(on_qemu(program, cpu))
    assert len(ours) > count
    assert [n for n, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1]] == []
