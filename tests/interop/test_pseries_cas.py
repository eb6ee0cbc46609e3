"""ibm,client-architecture-support beside QEMU 7.2: answers, levels, options, and the tree."""

from __future__ import annotations

import time
from pathlib import Path
from struct import pack, unpack_from
from typing import Any, Final

import pytest

from gossamer.devices.spapr.cas import as_property, option
from gossamer.devices.spapr.fdt import Node, unflatten
from gossamer.isa.compat import PCR
from gossamer.machines.build import build
from gossamer.machines.options import parse
from gossamer.migrate.inspect import open_stream
from gossamer.streams.patient import leaf
from gossamer.verify.hops.qemu import QemuStation
from tests.conftest import program
from tests.devices.spapr.option_vectors import LAST, LINUX, RAW, all_options, level, words
from tests.interop.pseries import CAPS
from tests.interop.test_pseries import AT, kernel, rows

CELLS, TEXTS, VECTORS, INSTANCE = 0x45_0000, 0x45_4000, 0x45_6000, 2
ANSWER: Final = 0x45_8000
#: QEMU offers to make the page table anew, which is not here.
RESIZE = option(6, 7)
CASES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "linux": (words(), ()),
    "no options": (words(five=bytes(34)), ()),
    "few options": (words(five=b"\xff\xff"), ()),
    "no vector 5": (words(five=b""), ()),
    "radix alone": (words(five=all_options(byte24=0x40)), ()),
    "itself": (words([RAW, LAST]), ()),
    "power7": (words([level(0x0F00_0003), RAW, LAST]), ()),
    "power7+": (words([level(0x0F10_0003), level(0x0F00_0003), LAST]), ()),
    "power6": (words([level(0x0F00_0002), LAST]), ()),
    "power9": (words([level(0x0F00_0005), LAST]), ()),
    "after the last": (words([LAST, level(0x0F00_0004)]), ()),
    "512 of them": (words([(0, 0)] * 511 + [level(0x0F00_0004)]), ()),
    "at most power7": (words(), ("max-cpu-compat=power7",)),
    "at most power6": (words(), ("max-cpu-compat=power6",)),
    "at most power8, itself": (words([RAW, LAST]), ("max-cpu-compat=power8",)),
    "6.1": (words(), ("version=6.1",)),
    "4.0": (words(), ("version=4.0",)),
    "970": (words(LINUX), ("cpu=970mp_v1.1",)),
    "970 itself": (words([(0xFFFF_0000, 0x0044_0000), LAST]), ("cpu=970mp_v1.1",)),
}


def guest(folder: Path, vectors: bytes, chosen: int = 0) -> Path:
    """Opens /, sets the kernel's words, and asks; then asks for the memory that is left.

    `chosen`: the handle of /chosen, whose word on what was agreed on is then read.
    """
    texts = bytearray()

    def text(words: str) -> int:
        texts.extend(words.encode() + b"\0")
        return TEXTS + len(texts) - len(words) - 1

    calls: list[tuple[str, list[int], int]] = [
        ("open", [text("/")], 1),
        ("call-method", [text("ibm,client-architecture-support"), INSTANCE, VECTORS], 2),
        ("open", [text("/chosen")], 1),
        ("finddevice", [text("/memory@0")], 1),
        ("finddevice", [text("/chosen")], 1),
    ]
    if chosen:
        calls.append(("getprop", [chosen, text("ibm,architecture-vec-5"), ANSWER, 64], 1))
    cells = bytearray()
    for name, arguments, count in calls:
        words = [text(name), len(arguments), count, *arguments, *[0x5555] * count]
        cells += pack(f">{len(words)}I", *words).ljust(64, b"\0")
    image = rows([(0xF005, CELLS + 64 * n) for n in range(len(calls))])
    for at, data in ((CELLS, cells), (TEXTS, texts), (VECTORS, vectors)):
        image[at - AT : at - AT + len(data)] = data
    return kernel(folder, bytes(image))


def facts(tree: Node, options: int, pvr: int, pcr: int, memory: bytes) -> dict[str, Any]:
    """What is compared."""
    tree.find("/chosen").properties.pop("rng-seed")  # type: ignore[union-attr]
    nodes = {
        node.path: {
            key: value
            for key, value in node.properties.items()
            if not key.startswith("ibm,drc") and key != "ibm,hypertas-functions"
        }
        for node in tree.walk()
    }
    assert nodes["/chosen"].pop("ibm,architecture-vec-5") == as_property(options)
    answers = [unpack_from(">q", memory, 0x2_0000 + 72 * n)[0] for n in range(4)]
    return {
        "answers": answers,
        "cells": memory[CELLS - AT :][:256],
        "level": pvr,
        "pcr": pcr,
        "options": options & ~RESIZE,
        "nodes": nodes,
        "order": {path: list(properties) for path, properties in nodes.items()},
    }


@pytest.mark.parametrize("case", CASES)
def test_what_is_agreed_on_is_qemus(tmp_path: Path, case: str) -> None:
    vectors, options = CASES[case]
    path = guest(tmp_path, vectors)
    usual = {"version": "7.2", "cpu": "power8", **dict(one.split("=") for one in options)}
    version, cpu = usual.pop("version"), usual.pop("cpu")
    more = "".join(f",{name}={value}" for name, value in usual.items())

    line = ["-M", f"pseries-{version}{more}", "-cpu", cpu, "-m", "256", "-nographic"]
    m = build(parse([*line, "-serial", "null", "-nodefaults", "-kernel", str(path)]))
    m.processor.run(300)
    mine = m.memory.read(AT, 0x6_0000)
    assert mine[0x800F] == 1
    spapr: Any = m.part("spapr")
    cpu_: Any = m.cpu
    sprs = next(view for view in cpu_.layouts[""] if view.name == "env.spr").get(cpu_)
    ours = facts(unflatten(spapr.firmware.blob)[0], spapr.ov5, cpu_.compat_pvr, sprs[PCR], mine)

    theirs = qemus(tmp_path, path, f"pseries-{version},x-vof=on,{CAPS[cpu]}{more}", cpu)
    for what, value in theirs.items():
        assert ours[what] == value, what


@pytest.mark.parametrize("version", ["2.1", "2.4", "2.5", "2.7", "2.9"])
def test_early_versions_offer_what_qemus_do(tmp_path: Path, version: str) -> None:
    """Their streams have neither tree nor options: the guest reads them."""
    line = ["-cpu", "power8", "-m", "256", "-nodefaults", "-kernel"]
    chosen, mine = 0, b""
    for _ in range(2):  # the first one finds the handle
        path = guest(tmp_path, words(), chosen)
        here = ["-M", f"pseries-{version}", *line, str(path), "-nographic", "-serial", "null"]
        m = build(parse(here))
        m.processor.run(400)
        mine = m.memory.read(AT, 0x6_0000)
        assert mine[0x800F] == 1
        chosen = int.from_bytes(mine[CELLS - AT + 4 * 64 + 16 :][:4], "big")
    there = ["-M", f"pseries-{version},x-vof=on,{CAPS['power8']}", *line, str(path)]
    qemu, out = program("qemu-system-ppc64", "qemu-system-ppc"), tmp_path / "memory"
    with QemuStation(tmp_path, *there, program=qemu) as station:
        end, theirs = time.monotonic() + 600, b""
        while not theirs or (not theirs[0x800F] and time.monotonic() < end):
            time.sleep(0.02)
            station.command("pmemsave", val=AT, size=0x6_0000, filename=str(out))
            theirs = out.read_bytes()
    at = CELLS - AT
    assert mine[at : at + 6 * 64] == theirs[at : at + 6 * 64]
    assert mine[ANSWER - AT :][:64] == theirs[ANSWER - AT :][:64]
    assert mine[ANSWER - AT + 1] == 0, "byte 1 of the vector: nothing is asked of it"


def qemus(folder: Path, path: Path, machine: str, cpu: str) -> dict[str, Any]:
    out, file = folder / "memory", folder / "stream"
    line = ("-M", machine, "-cpu", cpu, "-m", "256", "-nodefaults", "-kernel", str(path))
    qemu = program("qemu-system-ppc64", "qemu-system-ppc")
    with QemuStation(folder, *line, program=qemu) as station:
        end = time.monotonic() + 600
        memory = b""
        while not memory or (not memory[0x800F] and time.monotonic() < end):
            time.sleep(0.02)
            station.command("pmemsave", val=AT, size=0x6_0000, filename=str(out))
            memory = out.read_bytes()
        station.command("stop")
        station.migrate(f"exec:cat > {file}")
    with file.open("rb") as opened:
        stream = open_stream(opened)
        trees = {s.idstr: t for s, t in stream.trees() if t is not None}
        sub = {s.vmsd: s for name in ("cpu", "spapr") for s in trees[name].subsections}
        blob = leaf(sub["spapr_dtb"], "fdt_blob")
        bits = leaf(sub["spapr_option_vector_ov5_cas"], "ov5_cas.bitmap")
        sprs = leaf(trees["cpu"], "env.spr")
        assert blob is not None
        assert bits is not None
        assert sprs is not None
        raw = bytes(bits.value)  # type: ignore[arg-type]
        options = sum(int.from_bytes(raw[n : n + 8], "big") << 8 * n for n in range(0, len(raw), 8))
        agreed = sub.get("cpu/compat")
        found = leaf(agreed, "compat_pvr") if agreed else None
        return facts(
            unflatten(bytes(blob.value))[0],  # type: ignore[arg-type]
            options,
            found.value if found else 0,  # type: ignore[arg-type]
            sprs.value[PCR],  # type: ignore[index]
            memory,
        )
