"""`stream convert`: between releases' forms, out of containers, refusals, a real QEMU 7.2."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gossamer.migrate import writer
from gossamer.migrate.framing import Cmd, Configuration
from gossamer.migrate.inspect import open_stream
from gossamer.migrate.rewrite import Edit, rewrite
from gossamer.migrate.value_tree import Leaf, Struct, leaves
from tests.migrate.test_channels_read import postcopy
from tests.streams.qemu_run import Qemu

Run = Callable[..., Any]
Recorded = Callable[[str], Path]


def with_subsection(source: Path, target: Path, title: str, sub: Struct) -> Path:
    def add(section: Any, tree: Struct) -> Any:
        if section.title == title:
            tree.subsections.append(sub)
        return section, tree

    with source.open("rb") as file, target.open("wb") as out:
        rewrite(open_stream(file), out, Edit(section=add))
    return target


def subsection(name: str, *members: Leaf) -> Struct:
    return Struct(name, name, 1, 0, 0, list(members))


def loads(qemu: Path, machine: str, path: Path) -> str:
    """The run state after a load in a real QEMU; EOFError with its words when it refuses."""
    options = ("-M", machine, "-m", "128", "-S", "-incoming", f"exec:cat {path}")
    with Qemu(qemu, *options) as guest:
        return guest.loaded()


@pytest.mark.parametrize("form", ["qemu-5.2", "qemu-10.0", "qemu-11"])
@pytest.mark.parametrize("stream", ["g3beige-run.mig", "mac99-pmu-run.mig", "g3-icount-run.mig"])
def test_there_and_back_is_the_same(
    stream_command: Run, recorded: Recorded, tmp_path: Path, form: str, stream: str
) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    # Case 1: between 7.2 and 10 a mac99 changes its rate, which no form can carry.
    rate = ["--lossy"] if "mac99" in stream and form != "qemu-5.2" else []
    ran = stream_command("convert", recorded(stream), there, "--to", form, *rate)
    assert ran.status == 0
    assert ("4 times too slow" in ran.out) == bool(rate)
    if (form, stream) == ("qemu-5.2", "g3-icount-run.mig"):
        # 5.2 has no place for these two; the notes say so.
        assert "last_irq_levels 4 cannot be worked out again" in ran.out
        assert "the adaptive pace of -icount starts anew" in ran.out
        stream_command("convert", there, back, "--to", "qemu-7.2")
        found = stream_command("diff", recorded(stream), back, "--json").json["differences"]
        fields = {d["field"].rpartition(".")[2] for d in found}
        assert fields == {"last_delta", "last_irq_levels"}
        return
    assert there.read_bytes() != recorded(stream).read_bytes()
    assert stream_command("convert", there, back, "--to", "qemu-7.2", *rate).status == 0
    assert back.read_bytes() == recorded(stream).read_bytes()


def test_form_10_0_has_its_marks(stream_command: Run, recorded: Recorded, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = stream_command("convert", recorded("mac99-run.mig"), out, "--to", "qemu-10.0", "--lossy")
    assert "note: command SWITCHOVER_START is added" in ran.out
    with out.open("rb") as file:
        stream = open_stream(file)
        assert [c.number for c in stream.commands] == [Cmd.SWITCHOVER_START]
        assert stream.desc is not None
        assert list(stream.desc.tree) == ["configuration", "page_size", "devices"]
        section = stream.find("globalstate")
        assert section is not None
        assert section.length == 104
        tree = stream.values(section)
        assert tree is not None
        assert dict(leaves(tree))["has_vm_was_suspended"].value == 1


def test_form_5_2_has_a_shorter_6522(
    stream_command: Run, recorded: Recorded, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    stream_command("convert", recorded("g3beige-run.mig"), out, "--to", "qemu-5.2")
    with out.open("rb") as file:
        stream = open_stream(file)
        via, cuda = stream.find("mos6522"), stream.find("cuda")
        assert via is not None
        assert cuda is not None
        assert (via.version_id, via.length, cuda.version_id, cuda.length) == (0, 65, 6, 235)


def forged(recorded: Recorded, stream_command: Run, tmp_path: Path) -> Path:
    """A stream as 10.1 and later write it: with cpu/rtas_stopped."""
    form = tmp_path / "form"
    stream_command("convert", recorded("mac99-run.mig"), form, "--to", "qemu-11", "--lossy")
    stopped = subsection("cpu/rtas_stopped", Leaf("env.quiesced", "bool", 0, 1, None, 0))
    return with_subsection(form, tmp_path / "forged", "cpu", stopped)


def test_real_qemu_7_2_loads_the_converted_and_refuses_the_other(
    stream_command: Run, recorded: Recorded, qemu: Path, tmp_path: Path
) -> None:
    new = forged(recorded, stream_command, tmp_path)
    with pytest.raises(EOFError, match=r"MIG_CMD 0xb|Unknown"):
        loads(qemu, "mac99", new)
    old = tmp_path / "old"
    assert stream_command("convert", new, old, "--to", "qemu-7.2").status == 1
    ran = stream_command("convert", new, old, "--to", "qemu-7.2", "--lossy")
    assert ran.status == 0
    assert "note: cpu/rtas_stopped (false) is left out" in ran.out
    assert loads(qemu, "mac99", old) == "paused"
    assert old.read_bytes() == recorded("mac99-run.mig").read_bytes()


@pytest.mark.parametrize(
    ("stream", "note"),
    [
        ("g3-compress.mig", "161 compressed pages are sent plain"),
        ("g3-xis.mig", "x-ignore-shared is left out"),
        ("g3-nofoot.mig", "section footers are added"),
    ],
)
def test_streams_that_need_a_capability_become_plain(
    stream_command: Run, recorded: Recorded, qemu: Path, tmp_path: Path, stream: str, note: str
) -> None:
    out = tmp_path / "out"
    ran = stream_command(
        "convert", recorded(stream), out, "--to", "qemu-7.2", "--machine", "g3beige"
    )
    assert ran.status == 0
    assert note in ran.out
    assert loads(qemu, "g3beige", out) == "prelaunch"
    ram = stream_command("diff", recorded(stream), out, "--json").json["ram"]
    assert not any(block["differ"] for block in ram)


def test_what_only_gossamer_knows_is_refused_unless_accepted(
    stream_command: Run, recorded: Recorded, tmp_path: Path
) -> None:
    extra = subsection("escc/gossamer", Leaf("queue", "buffer", 0, 4, None, b"abcd"))
    source = with_subsection(recorded("g3beige-run.mig"), tmp_path / "ours", "escc", extra)
    out = tmp_path / "out"
    ran = stream_command("convert", source, out, "--to", "qemu-7.2")
    assert ran.status == 1
    assert "cannot be said: escc: <escc/gossamer> only gossamer knows (queue)" in ran.out
    assert not out.exists()
    ran = stream_command("convert", source, out, "--to", "qemu-7.2", "--lossy")
    assert ran.status == 0
    assert out.read_bytes() == recorded("g3beige-run.mig").read_bytes()


def test_what_no_guest_misses_is_left_out_with_a_note(
    stream_command: Run, recorded: Recorded, tmp_path: Path
) -> None:
    count = subsection("timer/gossamer", Leaf("count", "uint64", 0, 8, None, 7))
    source = with_subsection(recorded("g3beige-run.mig"), tmp_path / "ours", "timer", count)
    ran = stream_command("convert", source, tmp_path / "out", "--to", "qemu-7.2")
    assert ran.status == 0
    assert "note: timer: <timer/gossamer> is left out" in ran.out


def test_our_timebase_and_decrementer_are_said_in_qemus_way(
    stream_command: Run, recorded: Recorded, tmp_path: Path
) -> None:
    clock = 25_115_330_558
    ticks = clock * 100_000_000 // 10**9
    ours = subsection(
        "cpu/gossamer",
        Leaf("dec_zero", "uint64", 0, 8, None, ticks + 5_000_000),
        Leaf("tb_offset", "uint64", 0, 8, None, 10**9),
        Leaf("irq", "uint8", 0, 1, None, 0),
    )
    source = with_subsection(recorded("mac99-run.mig"), tmp_path / "ours", "cpu", ours)
    out = tmp_path / "out"
    ran = stream_command("convert", source, out, "--to", "qemu-10.0", "--lossy")
    assert ran.status == 0, ran.out
    tree = {s["name"]: s["values"] for s in stream_command("show", out, "--json").json["sections"]}
    assert tree["cpu"]["env.spr"][22] == 5_000_000
    now = tree["timer"]["cpu_clock_offset"]
    assert now * 100_000_000 // 10**9 == ticks + 10**9, "TB reads on"
    moved = now - clock
    before = {
        s["name"]: s["values"]
        for s in stream_command("show", recorded("mac99-run.mig"), "--json").json["sections"]
    }
    usb = "pci.2:0d.0/ohci"
    assert tree[usb]["state"]["sof_time"] - before[usb]["state"]["sof_time"] == moved


def test_what_cannot_be_converted_says_why(
    stream_command: Run, tmp_path: Path, recorded: Recorded
) -> None:
    path, out = tmp_path / "a", tmp_path / "out"
    path.write_bytes(postcopy())
    ran = stream_command("convert", path, out, "--to", "qemu-7.2")
    assert ran.status == 2
    assert "is a capture of a postcopy migration" in ran.err
    ran = stream_command("convert", recorded("g3-nofoot.mig"), out, "--to", "qemu-7.2")
    assert ran.status == 2
    assert "name its machine with --machine" in ran.err
    shared = io.BytesIO(
        writer.header()
        + writer.configuration(Configuration("mac99", capabilities=("x-ignore-shared",)))
        + b"\x01\0\0\0\2\3ram\0\0\0\0\0\0\0\4"
        + (0x1004).to_bytes(8, "big")
        + b"\x01a"
        + (0x1000).to_bytes(8, "big")
        + bytes(8)
        + (16).to_bytes(8, "big")
        + b"\x7e\0\0\0\2\0"
    )
    path.write_bytes(shared.getvalue())
    ran = stream_command("convert", path, out, "--to", "qemu-7.2")
    assert ran.status == 1
    assert "cannot be said: RAM: a was left out (x-ignore-shared)" in ran.out


def test_save_file_and_back(stream_command: Run, recorded: Recorded, tmp_path: Path) -> None:
    save, plain = tmp_path / "a.save", tmp_path / "a.mig"
    source = recorded("hpend.mig")
    assert stream_command("convert", source, save, "--to", "save-file").status == 0
    assert stream_command("convert", save, plain, "--to", "plain").status == 0
    assert plain.read_bytes() == source.read_bytes()
    snapshot = f"{recorded('snap.qcow2')}@snap1"
    assert stream_command("convert", snapshot, plain, "--to", "qemu-10.0").status == 0


@pytest.mark.parametrize("form", ["plain", "qemu-7.2"])
def test_files_beside_the_new_one_are_left_alone(
    stream_command: Run, recorded: Recorded, tmp_path: Path, form: str
) -> None:
    data = recorded("g3beige-S.mig").read_bytes()
    source, target, link = tmp_path / "new.part", tmp_path / "new", tmp_path / "link"
    source.write_bytes(data)
    link.symlink_to(target)
    assert stream_command("convert", source, link, "--to", form).status == 0
    assert source.read_bytes() == data
    assert link.is_symlink()
    assert target.read_bytes()[:4] == b"QEVM"
    assert target.stat().st_mode & 0o777 == 0o600, "the guest's memory"
    assert {one.name for one in tmp_path.iterdir()} >= {"new.part", "new", "link"}


def test_a_device_is_written_to_and_stays_one(
    stream_command: Run, recorded: Recorded, tmp_path: Path
) -> None:
    device = tmp_path / "null"
    device.symlink_to("/dev/null")
    ran = stream_command("convert", recorded("g3beige-S.mig"), device, "--to", "plain")
    assert ran.status == 0
    assert Path("/dev/null").is_char_device()
