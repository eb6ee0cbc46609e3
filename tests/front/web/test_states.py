"""Saved states on the page: their tree, pictures, differences, downloads, uploads; discs."""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from gossamer.base.errors import ConfigError
from gossamer.block.open import create, open_image
from gossamer.front.loop import Loop
from gossamer.front.web.forks import Leash, with_other_disks, words_for
from gossamer.front.web.lineage import MOST, NAME, Lineage
from gossamer.front.web.server import WebServer
from gossamer.machines.options import parse
from tests.front.vnc.rfb import MACHINE as STANDING
from tests.front.web.browser import Monitor, Served

Make = Callable[..., Served]


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def tree(host: Served) -> dict[str, str | None]:
    """Parents of the snapshots, by tag."""
    found = json.loads(host.get("/past")[1])["snapshots"]
    names = {one["key"]: one["tag"] for one in found} | {None: None}
    return {one["tag"]: names[one["parent"]] for one in found}


def server(host: Served) -> WebServer:
    return next(one for one in host.console.loop.sources if isinstance(one, WebServer))


def writable(folder: Path) -> tuple[str, str]:
    """Options of a new disk that keeps snapshots inside."""
    disk = folder / "disk.qcow2"
    create(disk, "qcow2", 1 << 20)
    return "-drive", f"file={disk},format=qcow2"


def size(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    at = png.index(b"IDAT")
    length = struct.unpack(">I", png[at - 4 : at])[0]
    rows = zlib.decompress(png[at + 4 : at + 4 + length])
    assert len(rows) == height * (1 + 3 * width)
    return width, height


def test_snapshots_are_a_tree_that_outlives_the_machine(served: Make) -> None:
    host = served()
    page = host.monitor()
    assert tree(host) == {}
    for tag in ("a", "b"):
        page.do("x-savevm", tag=tag)
    page.do("x-loadvm", tag="a")
    host.client.do("human-monitor-command", command_line="savevm c")
    page.do("x-savevm", tag="d")
    assert tree(host) == {"a": None, "b": "a", "c": "a", "d": "c"}
    page.do("x-delvm", tag="c")
    assert tree(host) == {"a": None, "b": "a", "d": "a"}, "what is gone is passed over"
    said = [
        (e["data"]["tag"], e["data"]["what"]) for e in page.events if e["event"] == "X_SNAPSHOT"
    ]
    assert said == [
        ("a", "saved"), ("b", "saved"), ("a", "loaded"), ("c", "saved"), ("d", "saved"),
        ("c", "deleted"),
    ]  # fmt: skip
    host.peers.close()
    other = served()
    assert tree(other) == {"a": None, "b": "a", "d": "a"}
    status, kept, _ = other.get("/picture?tag=a")  # a child draws it: it is of another run
    assert (status, host.get("/picture?tag=a")[1]) == (200, kept)
    assert size(kept) == size(host.get("/picture?tag=d")[1])


def test_differences_are_in_words(served: Make) -> None:
    host = served()
    page = host.monitor()
    page.do("x-savevm", tag="before")
    host.do(lambda: host.vm.run(instructions=100_000))
    page.do("x-savevm", tag="after")
    status, text, _ = host.get("/difference?tag=before&other=after")
    assert status == 200
    assert "virtual clock" in text.decode()
    assert "in words" in text.decode()
    assert host.get("/difference?tag=before&other=x")[:2] == (400, b"there is no snapshot 'x'\n")


def test_a_state_comes_down_and_goes_up_again(served: Make, state_home: Path) -> None:
    host = served()
    page = host.monitor()
    page.do("x-savevm", tag="one")
    status, data, headers = host.get("/state?tag=one")
    assert status == 200
    assert headers["Content-Disposition"] == 'attachment; filename="one.gossamer"'
    assert next(state_home.rglob("one.gossamer")).read_bytes() == data
    status, now, _ = host.get("/state")
    assert (status, now[:4]) == (200, data[:4])
    assert upload(host, "two.gossamer", now) == {"name": "two"}
    assert "already" in host.get("/upload?name=two")[1].decode()
    page.do("x-loadvm", tag="two")
    assert tree(host)["two"] is None


def upload(host: Served, name: str, data: bytes, **query: str) -> Any:
    peer = host.open("/upload", name=name, **query)
    for at in range(0, len(data), 1 << 19):
        peer.send(data[at : at + (1 << 19)])
    peer.send(b"")
    return json.loads(peer.recv(30))


def test_a_path_in_an_upload_is_refused(served: Make, state_home: Path) -> None:
    host = served()
    for name in ("../x", "/etc/passwd", "a/b", "..", "", ".hidden", "a\0b", "x" * 200, "ä", "a b"):
        with pytest.raises(InvalidStatus, match="400"):
            host.open("/upload", name=name)
    assert [path for path in state_home.rglob("*") if path.is_file()] == []


def test_an_upload_that_is_no_state_leaves_nothing(served: Make, state_home: Path) -> None:
    host = served()
    good = host.get("/state")[1]
    broken = bytearray(good)
    broken[len(good) // 2] ^= 1
    for data in (b"", b"rubbish" * 1000, good[:-1], bytes(broken)):
        found = upload(host, "bad", data)
        assert list(found) == ["error"], data[:20]
        assert ".part" not in found["error"]
    half = host.open("/upload", name="half")
    half.send(good[:100])
    half.close()
    host.client.do("query-status")
    assert [p.name for p in state_home.rglob("*") if p.is_file()] == []
    assert host.client.do("query-status")["status"] == "prelaunch"


def test_discs_are_those_of_the_folder(served: Make, tmp_path: Path) -> None:
    folder = tmp_path / "discs"
    folder.mkdir()
    for name in ("b.iso", "A.toast", "notes.txt"):
        (folder / name).write_bytes(bytes(4096))
    (folder / "folder.iso").mkdir()
    host = served(web=f"files={folder}", machine=(*STANDING, "-cdrom", str(folder / "b.iso")))
    found = json.loads(host.get("/discs")[1])
    assert [one["name"] for one in found["discs"]] == ["A.toast", "b.iso"]
    page = host.monitor()
    drive = next(one for one in page.do("query-block") if one["removable"])
    page.do("blockdev-change-medium", device=drive["device"], filename=found["discs"][0]["path"])
    drive = next(one for one in page.do("query-block") if one["removable"])
    assert drive["inserted"]["file"].endswith("A.toast")


def test_lineage_bears_whatever_is_in_its_file(tmp_path: Path) -> None:
    for text in ("", "[", "[]", '{"a": 1, "b": null, "c": "a", "d": "d"}', "[" * 100_000, "\xff"):
        (tmp_path / NAME).write_text(text, encoding="latin-1")
        line = Lineage(tmp_path)
        assert all(isinstance(v, str | None) for v in line.parents.values())
        assert line.parent("d", {"a"}) is None, "a circle has an end"
        line.saved("x")
        assert Lineage(tmp_path).parents["x"] is None
    for n in range(MOST + 10):
        line.parents[str(n)] = None
    line._path.write_text(json.dumps(line.parents))
    line.saved("y")
    assert len(line.parents) == MOST
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).mkdir()
    line.saved("z")
    assert line.parent("z", {"y"}) == "y", "the tree of this run is there all the same"


def test_words_of_a_fork_leave_out_what_one_process_can_have() -> None:
    words = [
        "-M", "g3beige", "-web", ":1", "-qmp", "unix:q,server=on", "-S", "--serial", "stdio",
        "-cdrom", "d.iso", "-nographic", "-m", "8", "-gdb", "tcp::1", "disk.img",
    ]  # fmt: skip
    made = words_for(words, "tag", "127.0.0.1", 8006, 7)
    own = ["-display", "none", "-serial", "null", "-monitor", "none", "-web"]
    assert made == [
        "-M", "g3beige", "-cdrom", "d.iso", "-m", "8", "disk.img",
        *own, "127.0.0.1:8007,to=9006,leash=7", "-loadvm", "tag",
    ]  # fmt: skip
    parse(words_for(["-M", "g3beige"], "tag", "::1", 65535 - 1, 7))


def test_a_fork_goes_on_from_a_snapshot_and_ends_with_its_machine(served: Make) -> None:
    host = served()
    page = host.monitor()
    page.do("x-savevm", tag="here")
    status, body, _ = host.get("/fork?tag=here")
    assert status == 200, body
    there = json.loads(body)["address"]
    match = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=([0-9a-f]{32})", there)
    assert match is not None
    url = f"ws://127.0.0.1:{match[1]}/qmp?token={match[2]}"
    with connect(url, compression=None) as peer:
        other = Monitor(peer)
        assert other.do("query-status")["running"] is True
        assert page.do("query-status")["running"] is False
    assert host.get("/fork?tag=x")[:2] == (400, b"there is no snapshot 'x'\n")
    children = host.do(lambda: server(host).forks.children)
    assert [one.poll() for one in children] == [None]
    assert host.end() == 0
    assert all(one.poll() is not None for one in children)


def test_a_fork_ends_when_nothing_of_its_parent_is_left() -> None:
    ours, theirs = os.pipe()
    ended: list[bool] = []
    loop = Loop()
    loop.add(Leash(ours, lambda: ended.append(True)))
    loop.poll()
    assert not ended
    os.close(theirs)  # as the host does, whichever way the parent ends
    loop.poll(20)
    loop.poll()
    assert ended == [True]
    loop.close()


def test_a_fork_of_a_machine_that_writes_to_a_disk_has_a_disk_of_its_own(
    served: Make, tmp_path: Path
) -> None:
    disk = tmp_path / "a,disk.qcow2"
    create(disk, "qcow2", 3 << 20)
    host = served("-drive", f"format=qcow2,file={str(disk).replace(',', ',,')}")
    page = host.monitor()
    page.do("x-savevm", tag="before")  # takes the disk
    mine = host.vm.disks.at[0].image
    host.do(lambda: mine.write(70_000, b"then" * 1000))
    page.do("x-savevm", tag="in-image")
    host.do(lambda: (mine.write(70_000, b"now!" * 1000), mine.flush()))
    status, body, _ = host.get("/fork?tag=in-image")
    assert status == 200, body
    (folder,) = host.do(lambda: server(host).forks._folders.values())
    there = open_image(folder.path / "0.qcow2", read_only=True, force_share=True)
    assert there.read(70_000, 8) == b"thenthen"
    assert [(s.name, bool(s.vmstate_size)) for s in there.snapshots] == [("in-image", True)]
    there.close()
    assert host.do(lambda: mine.read(70_000, 8)) == b"now!now!"
    page.do("x-delvm", tag="in-image")  # the fork does not need it any more
    assert host.get("/fork?tag=in-image")[0] == 400
    (child,) = host.do(lambda: server(host).forks.children)
    assert child.poll() is None
    assert host.end() == 0
    assert child.poll() is not None
    assert not folder.path.exists()


def test_a_machine_that_writes_to_a_raw_disk_has_no_fork(served: Make, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    host = served("-drive", f"file={disk},format=raw")
    host.monitor().do("x-savevm", tag="here")
    status, text, _ = host.get("/fork?tag=here")
    assert (status, text.decode()[:9]) == (400, "no fork: ")


def test_a_snapshot_inside_an_image_has_a_picture_and_is_no_file(
    served: Make, tmp_path: Path
) -> None:
    host = served(*writable(tmp_path))
    host.monitor().do("x-savevm", tag="in-image")
    assert size(host.get("/picture?tag=in-image")[1])
    status, text, _ = host.get("/state?tag=in-image")
    assert (status, b"inside a disk image" in text) == (400, True)


def test_disks_of_a_fork_are_found_in_the_words() -> None:
    copies = {Path("/d/a,b"): Path("/x/0"), Path("c.img").absolute(): Path("/x/1,")}
    words = ["-M", "mac99", "-drive", "if=ide,file=/d/a,,b,media=disk", "-cdrom", "c", "c.img"]
    assert with_other_disks(words, copies) == [
        "-M", "mac99", "-drive", "if=ide,file=/x/0,media=disk", "-cdrom", "c", "/x/1,",
    ]  # fmt: skip
    assert with_other_disks(["--hda", "c.img", "-hdb", "/d/a,b"], copies) == [
        "--hda", "/x/1,", "-hdb", "/x/0",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"no fork: /d/a,b: not named by"):
        with_other_disks(["c.img", "-blockdev", "file=/d/a,,b"], copies)


def test_a_picture_comes_out_of_an_image_that_the_machine_writes_to(
    served: Make, tmp_path: Path
) -> None:
    drive = writable(tmp_path)
    host = served(*drive)
    host.monitor().do("x-savevm", tag="old")
    host.peers.close()
    other = served(*drive)
    status, drawn, _ = other.get("/picture?tag=old")
    assert status == 200, drawn
    assert size(drawn)


def test_a_disc_that_is_dropped_is_in_the_folder(served: Make, tmp_path: Path) -> None:
    folder = tmp_path / "discs"
    folder.mkdir()
    host = served(web=f"files={folder}")
    assert upload(host, "My (new) disc.ISO", b"disc" * 1024, kind="disc") == {
        "name": "My (new) disc.ISO"
    }
    assert (folder / "My (new) disc.ISO").read_bytes() == b"disc" * 1024
    for name in ("../x.iso", "/x.iso", "x.txt", ".x.iso", "a/b.iso", "My (new) disc.ISO", ""):
        with pytest.raises(InvalidStatus, match="400"):
            host.open("/upload", name=name, kind="disc")
    assert list(upload(host, "empty.iso", b"", kind="disc")) == ["error"]
    assert [one.name for one in folder.iterdir()] == ["My (new) disc.ISO"]
    with pytest.raises(InvalidStatus, match="400"):
        served().open("/upload", name="x.iso", kind="disc")
