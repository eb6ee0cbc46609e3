"""The monitor's words for devices, files of memory, objects and ports."""

from __future__ import annotations

import json
from typing import Any

from gossamer.base.errors import ConfigError
from gossamer.control import look
from gossamer.control.commands.rows import TABLE
from gossamer.control.session import Session
from gossamer.control.shapes import dumped
from gossamer.control.steps import Steps
from gossamer.front.hmp import memory
from gossamer.front.hmp.row_table import composed, row
from gossamer.front.hmp.words import Arguments, number
from gossamer.machines.chardev_options import device_text
from gossamer.machines.device_options import list_devices, list_properties
from gossamer.machines.values import identifier, keyval, on_off

_LONGEST_SUM = 1 << 20


def _device_add(session: Session, given: Arguments) -> str:
    """``device_add DRIVER,PROP=VALUE…``, or a list of what there is."""
    text = given["device"]
    if text in ("?", "help"):
        return list_devices()
    values: dict[str, Any] = keyval("device_add", text, first="driver")
    if set(values) & {"?", "help"}:
        return list_properties(values.get("driver", ""))
    TABLE.find("device_add")(session, values)
    return ""


def _netdev_add(session: Session, given: Arguments) -> str:
    """``netdev_add KIND,id=ID,PROP=VALUE…``, as -netdev."""
    from gossamer.machines.net_options import parse_netdev  # noqa: PLC0415 - most runs need none

    session.network_there().add(parse_netdev(given["netdev"], "netdev_add"))
    return ""


def _set_link(session: Session, given: Arguments) -> str:
    up = on_off("set_link", given["up"])
    TABLE.find("set_link")(session, {"name": given["name"], "up": up})
    return ""


def _chardev_add(session: Session, given: Arguments) -> str:
    """``chardev-add KIND,id=ID,PROP=VALUE…``, as -chardev."""
    values = keyval("chardev-add", given["chardev"], first="backend")
    name = identifier("chardev-add: id", values.pop("id", ""))
    if values.get("server") == "on":
        values.setdefault("wait", "off")
    text = device_text("chardev-add", values.pop("backend", ""), values)
    pty = session.chardev_add(name, text)
    return f"char device redirected to {pty} (label {name})" if pty else ""


composed("device_add", "DEVICE:device", "plug in a USB device; device_add ? lists", _device_add)
row("device_del", "ID:id", "device_del")
composed("netdev_add", "NETDEV:netdev", "make a network backend, as -netdev", _netdev_add)
row("netdev_del", "ID:id", "netdev_del")
composed(
    "set_link",
    "NAME:name STATE:up",
    "pull a network card's cable, or put it back: off, on",
    _set_link,
)
composed("chardev-add", "CHARDEV:chardev", "make a character device", _chardev_add)
row("chardev-remove", "ID:id", "chardev-remove")
row("getfd", "NAME:fdname", "getfd")
row("closefd", "NAME:fdname", "closefd")
row("system_wakeup", "", "system_wakeup")
row("boot_set", "LETTERS:bootdevice", "x-boot-set", str)
row("mouse_set", "INDEX:index", "x-mouse-set")
row("snapshot_blkdev", "DRIVE:device FILE:snapshot-file [FORMAT:format]", "blockdev-snapshot-sync")
row("snapshot_blkdev_internal", "DRIVE:device NAME:name", "blockdev-snapshot-internal-sync")
row(
    "snapshot_delete_blkdev_internal", "DRIVE:device NAME:name [ID:id]",
    "blockdev-snapshot-delete-internal-sync",
)  # fmt: skip

row("block_job_complete", "DEVICE:device", "block-job-complete")
row("block_job_cancel", "[-f:force] DEVICE:device", "block-job-cancel")
row("block_job_set_speed", "DEVICE:device BYTES:speed", "block-job-set-speed")

# --- memory and ports ---------------------------------------------------------------------------


def _saved(command: str) -> Any:  # noqa: ANN401 - an action of a row
    def save(session: Session, given: Arguments) -> Steps[str]:
        start = memory.value_of(session, given["address"])
        size = number(given["size"], "SIZE")
        values = {"val": start, "size": size, "filename": given["file"]}
        steps: Any = TABLE.find(command)(session, values)
        yield from steps
        return ""

    return save


_WORDS = "ADDRESS:address SIZE:size FILE:file"
composed("memsave", _WORDS, "memory into a file, as data accesses find it", _saved("memsave"))
composed("pmemsave", _WORDS, "real memory into a file", _saved("pmemsave"))
row(
    "dump-guest-memory", "[-d:detach] FILE:protocol [BEGIN:begin] [LENGTH:length]",
    "dump-guest-memory",
    arguments=lambda given: {**given, "paging": False, "protocol": f"file:{given['protocol']}"},
)  # fmt: skip


def _sum(session: Session, given: Arguments) -> str:
    """The sum as BSD's sum command has it: 16 bits, turned right before each byte."""
    start, size = (memory.value_of(session, given[name]) for name in ("address", "size"))
    if size > _LONGEST_SUM:
        raise ConfigError(f"SIZE must be at most {_LONGEST_SUM}, got {size}")
    total = 0
    for at in range(start, start + size, 1 << 16):
        length = min(1 << 16, start + size - at)
        for byte in session.vm.read_physical(at, length):
            total = (total >> 1 | total << 15) + byte & 0xFFFF
    return f"{total:05d}"


def _translate(session: Session, given: Arguments) -> str:
    ea = memory.value_of(session, given["address"])
    machine = session.vm.machine
    real = look.real_address(machine.cpus[session.cpu_index], machine, ea)
    return "Unmapped" if real is None else f"gpa: {real:#x}"


def _cpu(session: Session, given: Arguments) -> str:
    index = number(given["index"], "INDEX")
    if not 0 <= index < len(session.vm.machine.cpus):
        raise ConfigError("invalid CPU index")
    session.cpu_index = index
    return ""


composed("sum", "ADDRESS:address SIZE:size", "a checksum of real memory", _sum)
composed("gva2gpa", "ADDRESS:address", "the real address of an effective one", _translate)
composed("cpu", "INDEX:index", "which CPU is looked at, from 0 on", _cpu)

# --- objects ------------------------------------------------------------------------------------


def _shown(value: object) -> str:
    return json.dumps(dumped(value))


row(
    "qom-list", "[PATH:path]", "qom-list",
    lambda found: "\n".join(f"{one.name} ({one.type})" for one in found),
    lambda given: {"path": "/", **given},
)  # fmt: skip
row("qom-get", "PATH:path PROPERTY:property", "qom-get", _shown)
