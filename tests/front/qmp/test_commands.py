"""Every command of the schema on a machine with disks, a CD and a tablet; both ways agree."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gossamer.base.units import MiB
from gossamer.block import create
from tests import ptys
from tests.front.qmp.client import Client, Host
from tests.front.qmp.schema_check import Schema


class Checked:
    """A client whose every answer and event must be what the schema says; notes the commands."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.schema = Schema(client.do("query-qmp-schema"))
        self.worked, self.refused_ = {"query-qmp-schema", "qmp_capabilities"}, set[str]()

    def __call__(self, command: str, /, **arguments: Any) -> Any:
        result = self.client.do(command, **arguments)
        self.worked.add(command)
        self.schema.check(self.schema.by_name[command]["ret-type"], result, command)
        return result

    def no(self, command: str, /, **arguments: Any) -> str:
        self.refused_.add(command)
        kind, text = self.client.refused(command, **arguments)
        return text if kind == "GenericError" else f"{kind}: {text}"

    def events(self) -> list[str]:
        """The names of the events since the last look, each checked."""
        seen, self.client.events = self.client.events, []
        for event in seen:
            arg = self.schema.by_name[event["event"]]["arg-type"]
            self.schema.check(arg, event.get("data", {}), event["event"])
        return [event["event"] for event in seen]

    def event(self, name: str, **data: Any) -> dict[str, Any]:
        found = self.client.wait_event(name, **data)
        self.schema.check(self.schema.by_name[name]["arg-type"], found.get("data", {}), name)
        return found


#: Commands of a machine that keeps its past; `test_past` does them.
VNC = {
    "set_password": {"protocol": "vnc", "password": "x"},
    "expire_password": {"protocol": "vnc", "time": "now"},
    "change-vnc-password": {"password": "x"},
}
FORWARDS = {"x-hostfwd-add": {"rule": "tcp::1-:1"}, "x-hostfwd-remove": {"rule": "tcp::1"}}
PAST: dict[str, dict[str, Any]] = {
    "x-query-timeline": {}, "x-mark": {}, "x-rewind": {"ns": 1},
    "x-record": {"filename": "/dev/null"},
    "x-last-write": {"address": 0}, "replay-seek": {"icount": 0},
    "replay-break": {"icount": 1 << 40}, "replay-delete-break": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("qmp")


@pytest.fixture(scope="module")
def mac(folder: Path) -> Iterator[Checked]:
    create(folder / "hd.qcow2", "qcow2", 4 * MiB)
    for name in ("a.iso", "b.iso"):
        (folder / name).write_bytes(b"CD001" + bytes(40955))
    file = json.dumps({"driver": "file", "filename": f"{folder}/hd.qcow2", "node-name": "hdf"})
    host = Host(
        folder, "-M", "g3beige", "-bios", "builtin", "-S", "-m", "32", "-name", "mac",
        "-uuid", "11111111-2222-3333-4444-555555555555", "-usb", "-device", "usb-tablet,id=tab",
        "-blockdev", file, "-blockdev", '{"driver":"qcow2","file":"hdf","node-name":"hd0"}',
        "-device", "ide-hd,drive=hd0,id=disk0,bus=ide.0", "-device", "ide-cd,id=cd0,bus=ide.1",
        "-vga", "std", "-device", "sungem,id=net0",
    )  # fmt: skip
    yield Checked(host.client)
    assert host.end() == 0


# In order: each of them leaves the machine as the next needs it.


def test_queries_that_change_nothing(mac: Checked) -> None:
    assert mac("query-version")["qemu"]["major"] == 7
    assert mac("query-status")["status"] == "prelaunch"
    assert mac("query-name") == {"machine": mac("query-name")["machine"], "name": "mac"}
    assert mac("query-uuid") == {"UUID": "11111111-2222-3333-4444-555555555555"}
    assert mac("query-target") == {"arch": "ppc"}
    assert mac("query-kvm") == {"enabled": False, "present": False}
    assert mac("query-memory-size-summary") == {"base-memory": 32 * MiB, "plugged-memory": 0}
    assert mac("query-current-machine") == {"wakeup-suspend-support": False}
    assert mac("query-replay") == {"mode": "none", "icount": 0}
    assert mac("query-display-options") == {"type": "none"}
    assert mac("query-vnc") == mac("x-query-web") == {"enabled": False}
    for name, given in VNC.items():  # tests/front/vnc has a server
        assert "VNC is not active" in mac.no(name, **given)
    for name, given in FORWARDS.items():  # tests/net has one
        assert "there is no user network" in mac.no(name, **given)
    assert mac("x-query-usernet") == {"human-readable-text": ""}
    assert mac("announce-self", initial=1, max=5, rounds=2, step=1) == {}
    assert "expected 0 to" in mac.no("announce-self", initial=1, max=5, rounds=-2, step=1)
    assert mac("query-dump") == {"status": "none", "completed": 0, "total": 0}
    assert mac("query-dump-guest-memory-capability") == {"formats": ["elf"]}
    for name in (
        "query-memory-devices", "query-iothreads", "query-tpm-models", "query-tpm-types",
        "query-rx-filter", "query-stats-schemas", "query-vnc-servers", "query-block-jobs",
        "query-jobs",
    ):  # fmt: skip
        assert mac(name) == []
    assert "needs -icount" in mac.no("x-timeline")
    for name, given in PAST.items():
        assert "there is no timeline" in mac.no(name, **given)
    assert "not enabled" in mac.no("query-hotpluggable-cpus")
    assert mac.no("query-balloon").startswith("DeviceNotActive: ")
    assert "not supported by this guest" in mac.no("system_wakeup")


def test_machines_cpus_types_and_options(mac: Checked) -> None:
    machines = {one["name"]: one for one in mac("query-machines")}
    assert machines["g3beige"]["default-ram-id"] == "ppc_heathrow.ram"
    assert {"750", "7400", "g3", "g4"} <= {one["name"] for one in mac("query-cpu-definitions")}
    (cpu,) = mac("query-cpus-fast")
    assert cpu["thread-id"] > 0
    types = {one["name"] for one in mac("qom-list-types")}
    wanted = {"tcg-accel", "ide-hd", "ide-cd", "usb-tablet", "usb-kbd", "usb-mouse", "VGA"}
    assert wanted | {"ne2k_pci", "sungem", "g3beige-machine"} <= types
    devices = {one["name"] for one in mac("qom-list-types", implements="device")}
    assert "usb-tablet" in devices
    assert "tcg-accel" not in devices
    assert mac("device-list-properties", typename="usb-tablet")
    assert mac.no("device-list-properties", typename="nope").startswith("DeviceNotFound")
    assert mac("qom-list-properties", typename="g3beige-machine")
    assert mac.no("qom-list-properties", typename="nope").startswith("DeviceNotFound")
    options = {one["option"] for one in mac("query-command-line-options")}
    assert {"machine", "qmp", "incoming"} <= options
    assert mac("query-command-line-options", option="machine")[0]["option"] == "machine"
    assert mac.no("query-command-line-options", option="M1") == "invalid option name: M1"
    assert {one["name"] for one in mac("query-commands")} == mac.schema.names("command")
    assert "socket" in {one["name"] for one in mac("query-chardev-backends")}
    assert any("q.qmp" in one["filename"] for one in mac("query-chardev"))


def test_the_tree_of_objects(mac: Checked) -> None:
    assert {"peripheral", "unattached"} <= {one["name"] for one in mac("qom-list", path="/machine")}
    children = {one["name"]: one["type"] for one in mac("qom-list", path="/machine/peripheral")}
    assert children == {
        "type": "string", "disk0": "child<ide-hd>", "cd0": "child<ide-cd>",
        "tab": "child<usb-tablet>", "net0": "child<sungem>",
    }  # fmt: skip
    assert mac("qom-get", path="/machine", property="type") == "g3beige-machine"
    assert mac("qom-get", path="/machine/peripheral/tab", property="type") == "usb-tablet"
    assert mac("qom-get", path="tab", property="realized") is True
    assert mac.no("qom-get", path="/nope", property="type") == (
        "DeviceNotFound: Device '/nope' not found"
    )
    text = "Property 'g3beige-machine.nope' not found"
    assert mac.no("qom-get", path="/machine", property="nope") == text


def test_devices_come_and_go(mac: Checked) -> None:
    assert mac("device_add", driver="usb-kbd", id="k1", port="3", serial="7") == {}
    assert mac("qom-get", path="k1", property="hotplugged") is True
    text = "'nonsense' is not a valid device model name"
    assert mac.no("device_add", driver="nonsense") == text
    assert "Duplicate" in mac.no("device_add", driver="usb-kbd", id="k1")
    assert "expected a text" in mac.no("device_add", driver="usb-kbd", port=[1])
    assert mac.no("device_add") == "Parameter 'driver' is missing"
    assert mac("device_del", id="k1") == {}
    mac.event("DEVICE_DELETED", device="k1", path="/machine/peripheral/k1")
    assert mac.no("device_del", id="k1") == "DeviceNotFound: Device 'k1' not found"
    assert "part of the machine" in mac.no("device_del", id="disk0")
    for up in (True, False, True):
        assert mac("set_link", name="net0", up=up) == {}
        assert [one["link"] for one in mac("x-query-network")] == [up]
    near, far = ({"type": "inet", "host": "127.0.0.1", "port": port} for port in ("0", "9"))
    assert mac("netdev_add", type="dgram", id="new", local=near, remote=far) == {}
    assert {one["id"]: one["type"] for one in mac("x-query-netdevs")}["new"] == "dgram"
    assert mac("netdev_del", id="new") == {}
    assert mac.no("netdev_del", id="new") == "DeviceNotFound: Device 'new' not found"
    assert mac.no("set_link", name="x", up=True) == "DeviceNotFound: Device 'x' not found"


def test_run_stop_reset(mac: Checked) -> None:
    assert mac("cont") == {}
    assert mac.events() == ["RESUME"]
    assert mac("query-status")["running"] is True
    assert mac("system_reset") == {}
    assert mac.events() == ["RESET"]
    assert mac("system_powerdown") == {}
    assert mac.events() == ["POWERDOWN"]
    assert mac("stop") == {}
    assert mac.events() == ["STOP"]


def test_a_look_inside(mac: Checked) -> None:
    registers = mac("x-query-registers")
    assert mac("x-query-register", name="pc") == registers["nip"]
    assert "no register" in mac.no("x-query-register", name="zz")
    assert mac("x-query-pic")[0]["names"]
    assert mac("x-query-cpu-irq")
    hashed = mac("x-query-hash")
    assert hashed["hash"] == mac("x-query-hash")["hash"]
    assert len(hashed["hash"]) == 18
    assert mac("x-query-mtree")
    tree = mac("x-query-qtree")
    assert any(chip.get("drives") for chip in tree["chips"])
    assert "% interpreted" in mac("x-query-jit")["human-readable-text"]
    assert "ID: tab" in mac("x-query-usb")["human-readable-text"]
    assert "ppc_heathrow.ram" in mac("x-query-ramblock")["human-readable-text"]
    assert "mem=rom" in mac("x-query-roms")["human-readable-text"]
    assert mac("x-query-objects")["human-readable-text"] == ""
    assert {one["name"] for one in mac("x-query-network")} == {"net0"}
    assert mac("x-disassemble", word=0x60000000, address=0) == "nop"
    assert len(base64.b64decode(mac("x-read-memory", address=0, size=64, physical=True))) == 64
    assert "below 4 GiB" in mac.no("x-read-memory", address=1 << 32, size=1)
    (bus,) = mac("query-pci")
    assert {one["id"]["vendor"] for one in bus["devices"]} >= {0x1234}
    assert {one["name"] for one in mac("query-mice")} == {"QEMU ADB Mouse", "QEMU HID Tablet"}


def test_input_and_pictures(mac: Checked, folder: Path) -> None:
    move = {"type": "abs", "data": {"axis": "x", "value": 16384}}
    press = {"type": "btn", "data": {"down": True, "button": "left"}}
    key = {"type": "key", "data": {"key": {"type": "qcode", "data": "a"}, "down": True}}
    rel = {"type": "rel", "data": {"axis": "y", "value": -3}}
    assert mac("input-send-event", events=[move, press, key, rel]) == {}
    assert "'events[0].type' does not accept" in mac.no("input-send-event", events=[{"type": "x"}])
    keys = [{"type": "qcode", "data": "a"}, {"type": "number", "data": 0x1E}]
    assert mac("send-key", keys=keys) == {}
    assert "unknown key" in mac.no("send-key", keys=[{"type": "qcode", "data": "zz"}])
    assert mac("x-mouse-move", dx=1, dy=2) == {}
    assert mac("x-mouse-button", mask=1) == {}
    assert mac("screendump", filename=f"{folder}/s.ppm") == {}
    assert mac("screendump", filename=f"{folder}/s.png", format="png") == {}
    assert (folder / "s.ppm").read_bytes()[:2] == b"P6"
    assert (folder / "s.png").read_bytes()[1:4] == b"PNG"


def test_memory_in_files(mac: Checked, folder: Path) -> None:
    assert mac("pmemsave", val=0, size=8192, filename=f"{folder}/m") == {}
    seen = base64.b64decode(mac("x-read-memory", address=0, size=8192, physical=True))
    assert (folder / "m").read_bytes() == seen
    assert mac("memsave", val=0, size=100, filename=f"{folder}/v") == {}
    assert (folder / "v").stat().st_size == 100
    text = "Invalid addr 0x00000000fffff000/size 8192 specified"
    assert mac.no("pmemsave", val=0xFFFFF000, size=8192, filename=f"{folder}/m") == text
    assert "cannot be written" in mac.no("pmemsave", val=0, size=1, filename="/no/where")
    assert mac("cont") == {}
    mac.events()
    assert mac("dump-guest-memory", paging=False, protocol=f"file:{folder}/core") == {}
    assert mac.events() == ["STOP", "DUMP_COMPLETED", "RESUME"]
    assert mac("query-dump")["completed"] >= 32 * MiB
    assert "real addresses" in mac.no("dump-guest-memory", paging=True, protocol="file:x")
    data = (folder / "core").read_bytes()
    assert data[:6] == b"\x7fELF\x01\x02"
    assert mac("stop") == {}
    mac.events()


def test_discs(mac: Checked, folder: Path) -> None:
    file = {"driver": "file", "filename": f"{folder}/a.iso"}
    add = {"driver": "raw", "node_name": "iso0", "read_only": True, "file": file}
    assert mac("blockdev-add", **add) == {}
    assert "Duplicate" in mac.no("blockdev-add", **add)
    assert "iso0" in {one["node-name"] for one in mac("query-named-block-nodes")}
    assert "Tray" in mac.no("blockdev-insert-medium", id="cd0", node_name="iso0")
    assert mac("blockdev-open-tray", id="cd0") == {}
    mac.event("DEVICE_TRAY_MOVED", id="cd0")
    assert mac("blockdev-insert-medium", id="cd0", node_name="iso0") == {}
    assert mac("blockdev-close-tray", id="cd0") == {}
    mac.event("DEVICE_TRAY_MOVED", id="cd0")
    blocks = {one.get("qdev"): one for one in mac("query-block")}
    assert blocks["cd0"]["inserted"]["node-name"] == "iso0"
    figures = {one.get("qdev"): one["stats"] for one in mac("query-blockstats")}
    assert {"rd_bytes", "wr_operations", "flush_operations"} <= set(figures["disk0"])
    nodes = {one["node-name"] for one in mac("query-blockstats", query_nodes=True)}
    assert blocks["disk0"]["inserted"]["node-name"] in nodes
    assert blocks["disk0"]["inserted"]["image"]["format"] == "qcow2"
    assert mac("blockdev-change-medium", id="cd0", filename=f"{folder}/b.iso", format="raw") == {}
    assert [d["medium"]["file"] for d in mac("x-query-drives")][1].endswith("b.iso")
    (folder / "disc").mkdir()
    assert mac("blockdev-change-medium", id="cd0", filename=f"{folder}/disc") == {}
    assert [d["medium"]["file"] for d in mac("x-query-drives")][1].endswith("disc")
    assert mac("eject", id="cd0") == {}
    assert mac("blockdev-remove-medium", id="cd0") == {}
    assert mac("blockdev-close-tray", id="cd0") == {}
    assert "inserted" not in {one.get("qdev"): one for one in mac("query-block")}["cd0"]
    assert "not removable" in mac.no("eject", id="disk0")
    assert mac.no("eject", id="cd0", device="x") == "Need exactly one of 'device' and 'id'"
    assert "Duplicate" in mac.no("blockdev-add", **add)  # taken out, it keeps its name
    assert mac("blockdev-del", node_name="iso0") == {}
    assert "Failed to find node" in mac.no("blockdev-del", node_name="iso0")
    name = mac("x-query-drives")[1]["device"]
    assert mac("x-change", device=name, filename=f"{folder}/a.iso") == {}
    assert mac("eject", device=name, force=True) == {}
    mac.events()


def job(mac: Checked, command: str, **arguments: Any) -> dict[str, Any]:
    """The job that the command begins, when it is over, and dismissed."""
    assert mac(command, job_id="j", **arguments) == {}
    for status in ("created", "running", "concluded"):
        mac.event("JOB_STATUS_CHANGE", id="j", status=status)
    (one,) = mac("query-jobs")
    found: dict[str, Any] = one
    assert mac("job-dismiss", id="j") == {}
    mac.event("JOB_STATUS_CHANGE", id="j", status="null")
    return found


def test_snapshots_as_jobs(mac: Checked, folder: Path) -> None:
    on = {"tag": "one", "vmstate": "hd0", "devices": ["hd0"]}
    assert "error" not in job(mac, "snapshot-save", **on)
    before = mac("x-query-registers")
    image = mac("query-named-block-nodes")[0]["image"]
    assert [s["name"] for s in image["snapshots"]] == ["one"]
    assert "already exists" in job(mac, "snapshot-save", **on)["error"]
    assert mac("cont") == {}
    time.sleep(0.05)
    assert mac("stop") == {}
    assert "error" not in job(mac, "snapshot-load", **on)
    assert mac("x-query-registers") == before
    assert "does not exist" in job(mac, "snapshot-load", **on | {"tag": "nope"})["error"]
    assert "No block device node" in job(mac, "snapshot-save", **on | {"devices": ["x"]})["error"]
    assert "error" not in job(mac, "snapshot-delete", tag="one", devices=["hd0"])
    assert mac.no("job-dismiss", id="zz") == "Job not found"
    assert mac("x-savevm", tag="two")["tag"] == "two"
    assert [s["tag"] for s in mac("x-query-snapshots")] == ["two"]
    assert mac("x-loadvm", tag="two") == {}
    assert mac("x-delvm", tag="two") == {}
    assert mac("x-save", file=f"{folder}/s.gossamer")["stream-bytes"] > 0
    assert mac("x-query-save")["cost"]["stream-bytes"] > 0
    assert mac("x-load", file=f"{folder}/s.gossamer") == {}
    assert "no snapshot" in mac.no("x-loadvm", tag="two")


def test_passed_descriptors(mac: Checked, folder: Path) -> None:
    assert "No file descriptor supplied" in mac.no("getfd", fdname="m")
    request = json.dumps({"execute": "getfd", "arguments": {"fdname": "dump"}}).encode()
    with (folder / "fd.core").open("wb") as file:
        socket.send_fds(mac.client.socket, [request], [file.fileno()])
        assert mac.client.answer() == {"return": {}}
        mac.worked.add("getfd")
    assert mac("dump-guest-memory", paging=False, protocol="fd:dump") == {}
    assert (folder / "fd.core").read_bytes()[:4] == b"\x7fELF"
    assert "not found" in mac.no("closefd", fdname="dump")
    with (folder / "fd.core").open("rb") as file:
        socket.send_fds(mac.client.socket, [request], [file.fileno()])
        assert mac.client.answer() == {"return": {}}
    assert mac("closefd", fdname="dump") == {}
    mac.events()


def test_descriptor_sets(mac: Checked, folder: Path) -> None:
    assert "No file descriptor supplied" in mac.no("add-fd")
    assert mac("query-fdsets") == []
    request = json.dumps({"execute": "add-fd", "arguments": {"opaque": "mine"}}).encode()
    with (folder / "set.bin").open("wb") as file:
        socket.send_fds(mac.client.socket, [request], [file.fileno()])
        added = mac.client.answer()["return"]
        mac.worked.add("add-fd")
    number = added["fdset-id"]
    shown = [{"fdset-id": number, "fds": [{"fd": added["fd"], "opaque": "mine"}]}]
    assert mac("query-fdsets") == shown
    assert mac("pmemsave", val=0, size=16, filename=f"/dev/fdset/{number}") == {}
    assert (folder / "set.bin").stat().st_size == 16
    assert "no file descriptor" in mac.no("pmemsave", val=0, size=16, filename="/dev/fdset/77")
    assert mac("remove-fd", fdset_id=number) == {}
    text = f"File descriptor named 'fdset-id:{number}' not found"
    assert mac.no("remove-fd", fdset_id=number) == text


def test_character_devices_come_and_go(mac: Checked, folder: Path) -> None:
    labels = {one["label"] for one in mac("query-chardev")}
    assert {"serial0", "compat_monitor0"} <= labels
    where = {"type": "unix", "data": {"path": f"{folder}/c"}}
    backend = {"type": "socket", "data": {"addr": where, "server": True}}
    assert mac("chardev-add", id="c0", backend=backend) == {}
    assert "already exists" in mac.no("chardev-add", id="c0", backend=backend)
    assert (folder / "c").stat().st_mode & 0o077 == 0
    (mine,) = (one for one in mac("query-chardev") if one["label"] == "c0")
    assert mine["frontend-open"] is False
    terminal = {"type": "pty", "data": {}}
    if ptys.there():
        assert mac("chardev-add", id="c1", backend=terminal)["pty"].startswith("/dev/pts/")
        assert mac("chardev-remove", id="c1") == {}
    else:
        assert "cannot be opened" in mac.no("chardev-add", id="c1", backend=terminal)
    waits = {"type": "socket", "data": {"addr": where, "wait": True}}
    assert "give false" in mac.no("chardev-add", id="c2", backend=waits)
    assert "does not accept" in mac.no("chardev-add", id="c2", backend={"type": "vc", "data": {}})
    file = {"type": "file", "data": {"out": "/no/where/at/all"}}
    assert "cannot be opened" in mac.no("chardev-add", id="c2", backend=file)
    assert mac("chardev-remove", id="c0") == {}
    assert mac.no("chardev-remove", id="c0") == "Chardev 'c0' not found"
    assert mac.no("chardev-remove", id="serial0") == "Chardev 'serial0' is busy"
    assert not (folder / "c").exists()


def test_objects(mac: Checked) -> None:
    who = {"qom_type": "authz-simple", "id": "who", "identity": "CN=a"}
    assert mac("object-add", **who) == {}
    assert "is taken" in mac.no("object-add", **who)
    assert mac("object-add", qom_type="secret", id="s0", data="letmein") == {}
    assert "data= or file=" in mac.no("object-add", qom_type="secret", id="s1")
    assert mac("object-add", qom_type="memory-backend-ram", id="m0", size=1 << 20) == {}
    assert "needs dir=" in mac.no("object-add", qom_type="tls-creds-x509", id="t0")
    assert "does not accept value 'iothread'" in mac.no("object-add", qom_type="iothread", id="i")
    for name in ("who", "s0", "m0"):
        assert mac("object-del", id=name) == {}
        assert mac.no("object-del", id=name)


def test_external_snapshots(mac: Checked, folder: Path) -> None:
    """As libvirt takes them: a file, an image in it, and a transaction over the disks."""
    size = 4 * MiB
    inside = {"device": "disk0", "name": "inside"}
    assert mac("blockdev-snapshot-internal-sync", **inside) == {}
    assert "already exists" in mac.no("blockdev-snapshot-internal-sync", **inside)
    assert mac("blockdev-snapshot-delete-internal-sync", **inside)["vm-state-size"] == 0
    assert "does not exist" in mac.no("blockdev-snapshot-delete-internal-sync", **inside)
    assert "Cannot find" in mac.no("blockdev-snapshot-internal-sync", device="cd0", name="x")
    file = {"driver": "file", "filename": f"{folder}/over", "size": 0}
    assert "error" not in job(mac, "blockdev-create", options=file)
    node = {"driver": "file", "node_name": "over-file", "filename": f"{folder}/over"}
    assert mac("blockdev-add", **node, auto_read_only=True, discard="unmap") == {}
    image = {
        "driver": "qcow2", "file": "over-file", "size": size, "backing-file": f"{folder}/hd.qcow2",
        "backing-fmt": "qcow2",
    }  # fmt: skip
    assert "error" not in job(mac, "blockdev-create", options=image)
    assert "not empty" in job(mac, "blockdev-create", options=image)["error"]
    over = {"driver": "qcow2", "node_name": "over", "file": "over-file", "backing": None}
    assert mac("blockdev-add", **over) == {}
    action = {"type": "blockdev-snapshot", "data": {"node": "hd0", "overlay": "over"}}
    abort = {"type": "abort", "data": {}}
    assert "aborted" in mac.no("transaction", actions=[action, abort])
    assert mac("transaction", actions=[action]) == {}
    blocks = {one.get("qdev"): one for one in mac("query-block")}
    assert blocks["disk0"]["inserted"]["file"] == f"{folder}/over"
    assert blocks["disk0"]["inserted"]["node-name"] == "over"
    taken = {"node": "over", "overlay": "over"}
    assert "Cannot find" in mac.no("blockdev-snapshot", **taken)
    sync = {"device": "disk0", "snapshot_file": f"{folder}/next", "snapshot_node_name": "next"}
    assert mac("blockdev-snapshot-sync", **sync) == {}
    assert "there already" in mac.no("blockdev-snapshot-sync", **sync)
    cd = {"device": "cd0", "snapshot_file": f"{folder}/nope"}
    assert "Cannot find" in mac.no("blockdev-snapshot-sync", **cd)
    # An image whose backing file is another changes nothing, and leaves nothing behind.
    other = {"device": "disk0", "snapshot_file": f"{folder}/over", "mode": "existing"}
    assert "its backing file: expected" in mac.no("blockdev-snapshot-sync", **other)
    inserted = {one.get("qdev"): one for one in mac("query-block")}["disk0"]["inserted"]
    assert inserted["node-name"] == "next"
    assert mac("cont") == {}
    assert mac("stop") == {}
    last = {"type": "blockdev-snapshot-sync", "data": {"node-name": "next", "snapshot-file": "/no"}}
    assert mac.no("transaction", actions=[last | {"data": last["data"] | {"zz": 1}}])
    image |= {"backing-file": f"{folder}/next"}
    file = {"driver": "file", "filename": f"{folder}/top", "size": 0}
    assert "error" not in job(mac, "blockdev-create", options=file)
    assert mac("blockdev-add", **node | {"node_name": "tf", "filename": f"{folder}/top"}) == {}
    assert "error" not in job(mac, "blockdev-create", options=image | {"file": "tf"})
    assert mac("blockdev-add", **over | {"node_name": "top", "file": "tf"}) == {}
    assert mac("blockdev-snapshot", node="next", overlay="top") == {}
    assert mac("x-savevm", tag="above")["tag"] == "above"
    assert mac("x-loadvm", tag="above") == {}
    assert mac("x-delvm", tag="above") == {}
    mac.events()


def test_images_go_into_the_one_below(mac: Checked, folder: Path) -> None:
    """As libvirt does it; the disk of the test before, with three images above its first."""
    assert mac("query-block-jobs") == []
    names = {"top_node": "top", "base_node": "hd0"}
    assert "Cannot find" in mac.no("block-commit", device="disk0", base_node="nope")
    refused = mac.no("block-job-complete", device="disk0")
    assert refused == "DeviceNotActive: Block job 'disk0' not found"
    kept = {"auto_dismiss": False, "job_id": "c"}
    assert mac("block-commit", device="top", speed=1, **kept, **names) == {}
    assert "already in use" in mac.no("block-commit", device="top", **kept)
    mac.event("JOB_STATUS_CHANGE", id="c", status="ready")
    (one,) = mac("query-block-jobs")
    assert (one["type"], one["device"], one["ready"]) == ("commit", "c", True)
    assert "cannot accept command verb 'dismiss'" in mac.no("job-dismiss", id="c")
    assert "in use by block job" in mac.no("x-savevm", tag="x")
    assert mac("block-job-set-speed", device="c", speed=0) == {}
    assert mac("job-cancel", id="c") == {}
    mac.event("BLOCK_JOB_CANCELLED", device="top")
    mac.event("JOB_STATUS_CHANGE", id="c", status="concluded")
    assert mac("job-dismiss", id="c") == {}
    assert mac("block-commit", device="top", **names) == {}
    mac.event("BLOCK_JOB_READY", device="top")
    assert mac("block-job-cancel", device="top") == {}
    mac.event("JOB_STATUS_CHANGE", id="top", status="null")
    assert mac("block-commit", device="top", **kept, **names) == {}
    mac.event("JOB_STATUS_CHANGE", id="c", status="ready")
    assert mac.no("blockdev-del", node_name="hd0") == "Node hd0 is in use"
    assert mac("job-complete", id="c") == {}
    mac.event("BLOCK_JOB_COMPLETED", device="top")
    mac.event("JOB_STATUS_CHANGE", id="c", status="concluded")
    assert mac("job-dismiss", id="c") == {}
    inserted = {one.get("qdev"): one for one in mac("query-block")}["disk0"]["inserted"]
    assert (inserted["node-name"], inserted["file"]) == ("hd0", f"{folder}/hd.qcow2")
    assert mac.no("blockdev-del", node_name="hdf") == "Node hdf is in use"
    assert mac("blockdev-del", node_name="top") == {}
    assert mac("blockdev-del", node_name="tf") == {}
    sync = {"device": "disk0", "snapshot_file": f"{folder}/once", "snapshot_node_name": "once"}
    assert mac("blockdev-snapshot-sync", **sync) == {}
    assert mac("block-commit", device="disk0") == {}
    mac.event("BLOCK_JOB_READY", device="once")
    assert mac("block-job-complete", device="disk0") == {}
    mac.event("BLOCK_JOB_COMPLETED", device="once")
    mac.event("JOB_STATUS_CHANGE", id="disk0", status="null")
    assert mac("x-savevm", tag="below")["tag"] == "below"
    assert mac("x-delvm", tag="below") == {}
    mac.events()


def test_human_monitor(mac: Checked) -> None:
    said = mac("human-monitor-command", command_line="info block")
    assert "cd" in said.lower()


def test_transfers(mac: Checked, folder: Path) -> None:
    assert {"migrate"} <= mac.schema.names("command")
    assert mac("query-migrate") == {}
    offered = {one["capability"]: one["state"] for one in mac("query-migrate-capabilities")}
    assert {"events", "return-path", "pause-before-switchover", "auto-converge"} <= offered.keys()
    wrong = [{"capability": "nope", "state": True}]
    assert "not spoken here" in mac.no("migrate-set-capabilities", capabilities=wrong)
    pauses = [{"capability": "pause-before-switchover", "state": True}]
    assert mac("migrate-set-capabilities", capabilities=pauses) == {}
    assert mac("migrate-set-parameters", max_bandwidth=1 << 28, downtime_limit=300) == {}
    assert mac("query-migrate-parameters")["max-bandwidth"] == 1 << 28
    assert "0 to 2000000" in mac.no("migrate-set-parameters", downtime_limit=99_999_999)
    assert "-incoming" in mac.no("migrate-incoming", uri="tcp:localhost:1")
    assert "not in expected state" in mac.no("migrate-continue", state="pre-switchover")
    assert "Enable postcopy" in mac.no("migrate-start-postcopy")
    assert "postcopy-active" in mac.no("migrate-pause")
    assert "postcopy is paused" in mac.no("migrate-recover", uri="unix:/x")
    assert "no paused migration" in mac.no("migrate", uri="unix:/x", resume=True)
    assert mac("migrate_cancel") == {}
    assert "expected one of" in mac.no("migrate", uri="bogus:1")
    assert mac.events()[-2:] == ["MIGRATION", "MIGRATION"]
    assert mac("query-migrate")["status"] == "failed"
    assert mac("migrate", uri="unix:/no/where") == {}
    mac.event("MIGRATION", status="failed")
    assert "cannot connect" in mac("query-migrate")["error-desc"]
    assert mac("migrate", uri=f"exec:cat > {folder}/m") == {}
    mac.event("MIGRATION", status="pre-switchover")
    assert "in progress" in mac.no("migrate", uri="exec:true")
    assert "in progress" in mac.no("migrate-set-capabilities", capabilities=pauses)
    assert "not while" in mac.no("system_reset")
    assert mac("migrate_cancel") == {}
    mac.event("MIGRATION", status="cancelled")
    assert mac("query-status")["status"] == "paused"
    assert mac("migrate", uri=f"exec:cat > {folder}/m") == {}
    mac.event("MIGRATION", status="pre-switchover")
    assert mac("migrate-continue", state="pre-switchover") == {}
    mac.event("MIGRATION", status="completed")
    status = mac("query-migrate")
    assert status["status"] == "completed"
    assert status["ram"]["transferred"] > 0
    assert status["ram"]["remaining"] == 0
    assert mac("query-status")["status"] == "postmigrate"
    assert mac("cont") == {}
    mac.events()


def test_wrong_and_missing_arguments_of_every_command(mac: Checked) -> None:
    """The schema's arguments are the server's, in both directions."""
    wrong = {"string": 5, "int": "x", "boolean": "x", "number": "x"}
    for name in sorted(mac.schema.names("command") - {"qmp_capabilities"}):
        members = mac.schema.members(name)
        if name not in ("device_add", "netdev_add", "object-add"):  # they take any property
            assert "'zzz' is unexpected" in mac.no(name, zzz=1), name
        needed = [one for one, entry in members.items() if "default" not in entry]
        if needed:
            assert f"'{needed[0]}' is missing" in mac.no(name), name
        for one, entry in members.items():
            kind = mac.schema.by_name[entry["type"]]
            bad = wrong.get(kind.get("json-type", ""), 5)
            if kind.get("json-type") == "value":
                continue
            said = mac.no(name, **{one: bad})
            expected = (f"type for '{one}'", f"'{needed[0]}' is missing" if needed else "?")
            assert any(text in said for text in expected), (name, one, said)


def test_every_command_of_the_schema_was_tried(mac: Checked) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:  # it has some of this file's tests only
        env = {name: value for name, value in os.environ.items() if "XDIST" not in name}
        alone = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
        done = subprocess.run(alone, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
        return
    tried = mac.worked | mac.refused_
    assert mac.schema.names("command") == tried | {"quit", "migrate-incoming"}
    never = mac.schema.names("command") - mac.worked
    assert never == {"x-timeline", *PAST, *VNC, *FORWARDS} | {
        "migrate-incoming", "migrate-pause", "migrate-recover", "migrate-start-postcopy",
        "query-balloon", "query-hotpluggable-cpus", "quit", "system_wakeup",
    }  # fmt: skip
    used = {mac.schema.by_name[n]["arg-type"] for n in mac.schema.names("event")}
    assert used


@pytest.mark.skipif(not Path("/usr/bin/gdb-multiarch").exists(), reason="needs gdb-multiarch")
def test_gdb_reads_the_core(mac: Checked, folder: Path) -> None:
    shown = subprocess.run(
        ["gdb-multiarch", "-batch", "-nx", "-ex", "set architecture powerpc:750",
         "-ex", f"core-file {folder}/core", "-ex", "info registers pc", "-ex", "x/2xw 0x100"],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert "pc" in shown.stdout, shown.stdout + shown.stderr
