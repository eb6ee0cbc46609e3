"""`stream show`: recorded streams, streams of other architectures, captures, bad input."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gossamer.control.globalstate import GlobalState
from gossamer.control.profiles import profile_of
from gossamer.control.stream_out import Extra, save_stream
from gossamer.machines.build import build
from gossamer.machines.options import parse
from gossamer.migrate import returnpath, writer
from gossamer.migrate.container import is_container
from gossamer.migrate.framing import Configuration, Kind, Section
from gossamer.migrate.inspect import open_stream
from gossamer.migrate.releases import release
from gossamer.migrate.rewrite import Edit, rewrite
from tests.migrate.streams import small_stream
from tests.migrate.test_channels_read import HELLO, MESSAGES, packet, postcopy
from tests.migrate.test_ram import mapped_file
from tests.streams.qemu_run import Qemu

Run = Callable[..., Any]
Recorded = Callable[[str], Path]


def test_show_prints_names_bits_and_times(stream_command: Run, recorded: Recorded) -> None:
    shown = stream_command("show", recorded("mac99-run.mig"))
    assert shown.status == 0
    lines = {" ".join(line.split()) for line in shown.out.splitlines()}
    for line in (
        "virtual clock 25.12 s",
        "run state running",
        "ppc_core99.ram 128 MiB 32,627 146 0 5 871.9 KiB",
        "env.msr 0x2030 (FP|IR|DR)",
        "env.spr[PVR] 0xc0209 (7400 revision 2.9)",
        "env.crf[5] 4 (GT)",
        "ivpr 0xa0000000 (masked|mode priority 0 vector 0)",
        "vga.vram",
        "autopoll_rate_ms 0x14 (20 ms)",
        "vbe_regs[width] 0x320",
    ):
        assert any(line in have for have in lines), line
    assert "106b:0022 KeyLargo mac-io, I/O|memory" in shown.out
    assert "the guest's clock shows 20" in shown.out


def test_show_names_the_bits_of_usb_ports_and_of_the_pmu(
    stream_command: Run, recorded: Recorded
) -> None:
    path = recorded("mac99-pmu-run.mig")
    shown = " ".join(stream_command("show", path, "--section", "pci.2:0d.0/ohci").out.split())
    assert "connected|enabled" in shown
    assert "TACK|TREQ" in stream_command("show", path, "--section", "pmu").out


def test_show_json_has_every_value(stream_command: Run, recorded: Recorded) -> None:
    tree = stream_command("show", recorded("cpu-pattern-mac99.mig"), "--json").json
    cpu = next(s for s in tree["sections"] if s["name"] == "cpu")
    assert len(cpu["values"]["env.spr"]) == 1024
    # The register pattern; halves of a vector register are swapped on the wire.
    vectors = cpu["values"]["<cpu/altivec>"]["env.vsr"]
    assert "8899aabbccddeeff0011223344556677" in vectors
    assert tree["machine"] == "mac99"


def test_show_section_takes_names_and_patterns(stream_command: Run, recorded: Recorded) -> None:
    path = recorded("g3beige-run.mig")
    one = stream_command("show", path, "--section", "ide/1").out
    assert one.startswith("ide/1  version 5, 579 bytes at")
    assert "(DRDY|DSC)" in one
    assert "macio-oldworld" in stream_command("show", path, "--section", "*macio*").out
    assert "RTL8029" in stream_command("show", path, "--section", "ne2000").out
    bad = stream_command("show", path, "--section", "nothing")
    assert bad.status == 2
    assert "no section 'nothing'; there are: timer, slirp, cpu_common" in bad.err


def test_show_snapshot_in_an_image(stream_command: Run, recorded: Recorded) -> None:
    image = recorded("snap.qcow2")
    shown = stream_command("show", f"{image}@snap1", "--ram")
    assert shown.status == 0
    assert "ppc_heathrow.ram" in shown.out
    assert "no snapshot 'nope'; there are: 'snap1', 'second'" in (
        stream_command("show", f"{image}@nope").err
    )
    assert f"name a snapshot as {image}@snap1 or" in stream_command("show", image).err


def test_show_save_file_and_pipe(stream_command: Run, tmp_path: Path) -> None:
    plain, save = tmp_path / "a.mig", tmp_path / "a.save"
    plain.write_bytes(small_stream())
    assert stream_command("convert", plain, save, "--to", "save-file").status == 0
    assert is_container(save)
    assert "mac.ram" in stream_command("show", save, "--ram").out
    piped = subprocess.run(
        [sys.executable, "-m", "gossamer.streams.command", "show", "-"],
        input=plain.read_bytes(), capture_output=True, check=True,
        cwd=Path(__file__).parents[2] / "src",
    )  # fmt: skip
    text = piped.stdout.decode()
    assert "standard input: " in text
    assert "in 312 µs" in text
    assert "\x1b[" not in text, "colour in a pipe"
    assert "count                      0x4d" in text


def test_show_packed_pages_are_counted(stream_command: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.mig"
    path.write_bytes(small_stream())
    ram = stream_command("show", path, "--json").json["ram"]["mac.ram"]
    assert (ram["zero"], ram["data"], ram["packed"], ram["again"]) == (14, 2, 2, 2)


def test_show_without_description_uses_our_layouts(
    stream_command: Run, recorded: Recorded, tmp_path: Path
) -> None:
    whole = recorded("mac99-pmu-run.mig")
    described = stream_command("show", whole, "--json").json
    data = whole.read_bytes()
    bare = tmp_path / "bare.mig"
    bare.write_bytes(data[: data.rindex(b"\x00\x06") + 1])
    found = stream_command("show", bare, "--json").json
    assert found["sections"] == described["sections"]
    assert found["kind"] == "without description"


EARLY = {
    "2.1": ("-cpu", "power8", "-device", "virtio-net-pci", "-device", "virtio-scsi-pci"),
    "2.2": ("-cpu", "970mp_v1.1", "-smp", "2", "-device", "nec-usb-xhci"),
}


@pytest.mark.parametrize("version", EARLY)
def test_show_of_a_machine_from_before_streams_named_it(
    stream_command: Run, tmp_path: Path, version: str
) -> None:
    """Neither configuration, footers nor description: bodies are the named machine's."""
    name = f"pseries-{version}"
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    drive = f"if=none,id=d,format=raw,file={disk}"
    hardware = (*EARLY[version], "-drive", drive, "-device", "virtio-blk-pci,drive=d")
    m = build(parse(["-M", f"{name},cap-htm=off", "-m", "256", *hardware]))
    m.cpu.block.set("gpr", 0x1234, 3)
    path = tmp_path / "early.mig"
    with path.open("wb") as out:
        extra = Extra("globalstate", GlobalState("prelaunch"))
        save_stream(m, out, extra, profile_of(release("qemu-7.2")))

    shown = stream_command("show", path, "--machine", name, "--json")
    assert shown.status == 0, shown.err
    sections = {(s["name"], s["instance_id"]): s for s in shown.json["sections"]}
    assert None not in [s["values"] for s in sections.values()]
    sent = {(p.idstr, p.instance) for p in m.sections} - {("spapr/htab", 0)}
    ours = {key for key in sent if key[0].startswith("gossamer")}
    assert set(sections) == sent - ours | {("globalstate", 0)}
    assert sections["cpu", 0]["values"]["env.gpr"][3] == 0x1234
    caps = sections["spapr", 0]["values"].get("<spapr/cap/htm>")
    assert caps == ({"mig.caps[0x00]": 0} if "power8" in hardware else None)
    assert shown.json["kind"] == (
        "without section footers, without configuration, without description"
    )


def test_show_says_what_it_cannot_take_apart(stream_command: Run, tmp_path: Path) -> None:
    m = build(parse(["-M", "pseries-2.1", "-m", "256", "-device", "virtio-net-pci"]))
    path = tmp_path / "early.mig"
    with path.open("wb") as out:
        extra = Extra("globalstate", GlobalState("prelaunch"))
        save_stream(m, out, extra, profile_of(release("qemu-7.2")))
    for machine, said in {
        (): "timer: its layout is unknown: the stream has no description",
        ("--machine", "pseries-2.0"): "unknown version of pseries '2.0'",
        ("--machine", "pseries-x"): "unknown machine 'pseries-x'",
        ("--machine", "pseries-2.2"): "vga/dev/config[0]: it is not laid out as pseries-2.2's",
    }.items():
        shown = stream_command("show", path, *machine)
        assert shown.status == 2
        assert said in shown.err
        assert shown.err.count("\n") == 1
    data = path.read_bytes()
    path.write_bytes(data.replace(b"/virtio-net", b"/virtio-gpu"))
    shown = stream_command("show", path, "--machine", "pseries-2.1")
    assert "virtio-gpu: its layout is unknown: no pseries-2.1 here has such a section" in shown.err


def test_show_without_description_footers_or_configuration(
    stream_command: Run, recorded: Recorded, tmp_path: Path
) -> None:
    data = recorded("g3-nofoot.mig").read_bytes()
    bare = tmp_path / "bare.mig"
    bare.write_bytes(data[: data.rindex(b"\x00\x06") + 1])
    assert "its layout is unknown" in stream_command("show", bare).err
    shown = stream_command("show", bare, "--machine", "g3beige")
    assert shown.status == 0, shown.err
    assert "without section footers, without configuration, without description" in shown.out


def test_show_other_channels(stream_command: Run, tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(HELLO + packet(0, bytes(4096), [0]) + packet(1, b"", [], flags=1))
    shown = stream_command("show", path)
    assert "a multifd channel" in shown.out
    assert "block mac.ram  pages 1" in shown.out
    path.write_bytes(b"".join(map(returnpath.encode, MESSAGES)))
    assert "message REQ_PAGES_ID" in stream_command("show", path, "--as", "return-path").out
    path.write_bytes((8).to_bytes(8, "big") + b"\x01a" + bytes(4096) + (16).to_bytes(8, "big"))
    shown = stream_command("show", path, "--as", "preempt")
    assert "with an end record" in shown.out
    path.write_bytes(postcopy())
    shown = stream_command("show", path)
    assert "POSTCOPY_RAM_DISCARD" in shown.out
    assert "pc.ram: 1 range" in shown.out


def test_show_mapped_ram_file(stream_command: Run, tmp_path: Path) -> None:
    head = writer.header() + writer.configuration(
        Configuration("mac99", capabilities=("mapped-ram",))
    )
    start = writer.section_head(Section(Kind.START, 2, "ram", 0, 4, 0, 0))
    body = bytearray(mapped_file())
    # Offsets in the file are absolute: move them by what comes before the body.
    before = len(head) + len(start)
    for at in (30, 38):
        value = int.from_bytes(body[at : at + 8], "big") + before
        body[at : at + 8] = value.to_bytes(8, "big")
    path = tmp_path / "mapped.mig"
    path.write_bytes(head + start + body + writer.footer(2) + writer.eof())
    ram = stream_command("show", path, "--json").json["ram"]["a"]
    assert ram["data"] == 2
    out = tmp_path / "plain.mig"
    assert stream_command("convert", path, out, "--to", "qemu-7.2").status == 0
    plain = stream_command("show", out, "--json").json
    assert plain["ram"]["a"]["data"] == 2
    assert plain["kind"] == "without description"


OTHERS = {
    "qemu-system-x86_64": (
        "pc", "-vga", "std", "-device", "qemu-xhci", "-device", "usb-kbd",
        "-drive", "if=none,id=d,file=null-co://,format=raw", "-device", "virtio-blk-pci,drive=d",
    ),
    "qemu-system-aarch64": ("virt", "-cpu", "cortex-a57"),
}  # fmt: skip


@pytest.mark.parametrize("program", OTHERS)
def test_show_streams_of_other_architectures(
    stream_command: Run, tmp_path: Path, program: str
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    machine, *options = OTHERS[program]
    base = ("-M", machine, "-m", "128", "-accel", "tcg", "-nodefaults", *options)
    with Qemu(program, *base) as guest:
        time.sleep(0.5)
        data = guest.save(tmp_path / "other.mig")
    shown = stream_command("show", tmp_path / "other.mig", "--json")
    assert shown.status == 0, shown.err
    tree = shown.json
    assert tree["machine"].startswith(machine)
    assert {s["name"] for s in tree["sections"]} >= {"timer", "cpu_common", "cpu", "globalstate"}
    assert all(s["values"] is not None for s in tree["sections"])
    # Byte for byte again, with every body taken apart and put together.
    out = io.BytesIO()
    rewrite(open_stream(io.BytesIO(data)), out, Edit(section=lambda section, tree: (section, tree)))
    assert out.getvalue() == data
    # Without the description, the footers alone find every section.
    bare = data[: data.rindex(b"\x00\x06") + 1]
    found = open_stream(io.BytesIO(bare), page_size=tree["page_size"])
    assert [(s.offset, s.length) for s in found.devices] == [
        (s["offset"], s["size"]) for s in tree["sections"]
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty: not a QEMU stream"),
        (
            b"hello world",
            "not a QEMU stream: starts with b'hello wo', expected b'QEVM' (offset 0x0)",
        ),
        (b"{}", "not a QEMU stream"),
        (small_stream()[:3000], "ram: "),
        (
            small_stream().replace(b'"size": 8', b'"size": 7'),
            "type 'int64' with size 7, expected 8",
        ),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    stream_command: Run, tmp_path: Path, data: bytes, message: str
) -> None:
    path = tmp_path / "bad"
    path.write_bytes(data)
    for command in (["show", path], ["doctor", path], ["diff", path, path]):
        ran = stream_command(*command)
        assert ran.status == 2
        assert message in ran.err
        assert ran.err.count("\n") == 1
        assert ran.out == ""


def test_a_missing_file_is_status_2(stream_command: Run, tmp_path: Path) -> None:
    ran = stream_command("show", tmp_path / "none")
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert "cannot be opened: No such file" in ran.err


def test_show_and_diff_of_a_128_mb_guest_are_quick(stream_command: Run, recorded: Recorded) -> None:
    a, b = recorded("g3beige-run.mig"), recorded("g3beige-S.mig")
    best = {"show": 9.0, "diff": 9.0}
    for _ in range(3):
        for command in (["show", a], ["diff", a, b]):
            began = time.process_time()
            assert stream_command(*command).status < 2
            best[command[0]] = min(best[command[0]], time.process_time() - began)
    assert best["show"] < 1
    assert best["diff"] < 3
