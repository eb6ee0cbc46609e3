"""The monitor's commands: what is typed, which row of the table it is, how results are shown."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from gossamer.base.data import fields
from gossamer.base.errors import ConfigError
from gossamer.base.units import MiB
from gossamer.control.commands import drives, network, transfers, vnc
from gossamer.control.session import Session
from gossamer.front.hmp import devices, info, memory, past, texts
from gossamer.front.hmp.row_table import ROWS, composed, row
from gossamer.front.hmp.words import Arguments, Row, UsageError
from gossamer.machines.chardev_options import GDB_HERE, listening

# --- run, stop, save, send ----------------------------------------------------------------------

row("cont|c", "", "cont")
row("stop|s", "", "stop")
row("quit|q", "", "quit")
row("system_reset", "", "system_reset")
row("system_powerdown", "", "system_powerdown")
row(
    "savevm",
    "[TAG:tag] [FORM:form]",
    "x-savevm",
    lambda saved: f"saved as {saved.tag}" if saved.chosen else "",
)
row("loadvm", "TAG:tag [CLOCK:clock]", "x-loadvm")
row("delvm", "TAG:tag", "x-delvm")
row("save", "FILE:file", "x-save")
row("load", "FILE:file", "x-load")


def _losses(session: Session, given: Arguments) -> str:
    if given.get("resume"):
        return ""
    return texts.losses(session.vm.transfers.losses_at(given["uri"]))


row("migrate", "[-d:detach] [-r:resume] URI:uri", "x-migrate", texts.sent, before=_losses)
row("migrate_cancel", "", "migrate_cancel")
row("migrate_incoming", "URI:uri", "migrate-incoming")
row("migrate_continue", "STATE:state", "migrate-continue")
row("migrate_start_postcopy", "", "migrate-start-postcopy")
row("migrate_pause", "", "migrate-pause")
row("migrate_recover", "URI:uri", "migrate-recover")


def _set_parameter(session: Session, given: Arguments) -> str:
    """Bandwidth takes the suffixes of sizes; without one it is in MiB, as in QEMU."""
    name, text = given["parameter"], given["value"]
    known = [field.name.replace("_", "-") for field in fields(transfers.MigrateParameters)]
    if name not in known:
        raise ConfigError(f"parameter {name!r}: expected one of {', '.join(known)}")
    if name.startswith("tls-"):
        transfers.migrate_set_parameters(session, **{name.replace("-", "_"): text})
        return ""
    unit = MiB if name == "max-bandwidth" else 1
    number, suffix = (text[:-1], text[-1]) if text[-1:].isalpha() else (text, "")
    scale = {"": unit, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(suffix.upper())
    if scale is None or not (number.isascii() and number.isdigit()):
        raise ConfigError(f"{name}: expected a number, got {text!r}")
    chosen: dict[str, Any] = {name.replace("-", "_"): int(number) * scale}
    transfers.migrate_set_parameters(session, **chosen)
    return ""


def _set_capability(session: Session, given: Arguments) -> str:
    if given["state"] not in ("on", "off"):
        raise ConfigError(f"{given['capability']}: expected on or off, got {given['state']!r}")
    one = transfers.CapabilityStatus(given["capability"], given["state"] == "on")
    transfers.migrate_set_capabilities(session, (one,))
    return ""


def _object_add(session: Session, given: Arguments) -> str:
    """``object_add KIND,id=ID,KEY=VALUE``, as QEMU's monitor takes it."""
    kind, _, rest = given["object"].partition(",")
    values = dict(part.partition("=")[::2] for part in rest.split(",") if part)
    session.objects.add(kind, values.pop("id", ""), values)
    return ""


composed(
    "object_add",
    "OBJECT:object",
    "make credentials, an authorization, a secret or memory",
    _object_add,
)
row("object_del", "ID:id", "object-del")
composed(
    "migrate_set_parameter", "NAME:parameter VALUE:value",
    "bandwidth, downtime and throttle of transfers", _set_parameter,
)  # fmt: skip
composed(
    "migrate_set_capability", "NAME:capability STATE:state",
    "switch a capability of transfers on or off", _set_capability,
)  # fmt: skip

# --- drives, keyboard, mouse, display -----------------------------------------------------------

row("eject", "[-f:force] DRIVE:device", "eject")


def _change(session: Session, given: Arguments) -> str:
    if given["device"] != "vnc":
        drives.change(session, given["device"], given["filename"], given.get("format"))
    elif given["filename"] not in ("password", "passwd"):
        raise ConfigError("change vnc: expected password and the password")
    elif "format" not in given:
        raise ConfigError("change vnc password: the password is missing; what is typed is shown")
    else:
        vnc.change_vnc_password(session, given["format"])
    return ""


composed(
    "change",
    "DEVICE:device FILE:filename [FORMAT:format]",
    "another disc for a CD drive; vnc password PASSWORD: of the VNC server",
    _change,
)
row("set_password", "PROTOCOL:protocol PASSWORD:password [ACTION:connected]", "set_password")
row("expire_password", "PROTOCOL:protocol TIME:time", "expire_password")


def _picture(given: Arguments) -> Arguments:
    kind = Path(given["filename"]).suffix.lower()
    if kind not in (".png", ".ppm"):
        raise ConfigError(f"{given['filename']}: a picture's name ends in .png or .ppm")
    return {**given, "format": kind[1:]}


def _keys(given: Arguments) -> Arguments:
    names = given["keys"].split("-")
    if not all(names) or len(names) > 16:
        raise ConfigError(f"expected up to 16 key names with - between them, got {given['keys']!r}")
    return {**given, "keys": [{"type": "qcode", "data": name} for name in names]}


def _forward(given: Arguments) -> Arguments:
    """The id of the netdev may come before the rule."""
    words = [given["rule"], given.get("netdev")]
    return {"rule": words[1], "netdev": words[0]} if words[1] else {"rule": words[0]}


row("hostfwd_add", "[NETDEV:rule] RULE:netdev", "x-hostfwd-add", arguments=_forward)
row(
    "hostfwd_remove",
    "[NETDEV:rule] RULE:netdev",
    "x-hostfwd-remove",
    lambda removed: "" if removed else "host forwarding rule not found",
    arguments=_forward,
)


def _announce(session: Session, given: Arguments) -> str:
    p = session.vm.transfers.parameters
    network.announce_self(
        session, p.announce_initial, p.announce_max, p.announce_rounds, p.announce_step,
        tuple(given["interfaces"].split(",")) if given.get("interfaces") else None,
    )  # fmt: skip
    return ""


composed(
    "announce_self", "[INTERFACES:interfaces] [ID:id]",
    "let network cards say where they are (RARP)", _announce,
)  # fmt: skip
row("screendump", "FILE:filename", "screendump", arguments=_picture)
row("sendkey", "KEYS:keys [MS:hold-time]", "send-key", arguments=_keys)
row("mouse_move", "DX:dx DY:dy [DZ:dz]", "x-mouse-move")
row("mouse_button", "MASK:mask", "x-mouse-button")

# --- memory -------------------------------------------------------------------------------------

composed(
    "x", "[/FMT:format] ADDRESS:address...", "show memory; /8xw, /4i, /16c",
    lambda session, given: memory.show(session, _line(given), physical=False),
)  # fmt: skip
composed(
    "xp", "[/FMT:format] ADDRESS:address...", "show real memory",
    lambda session, given: memory.show(session, _line(given), physical=True),
)  # fmt: skip


def _line(given: Arguments) -> str:
    return " ".join(given[name] for name in ("format", "address") if name in given)


def _print(session: Session, given: Arguments) -> str:
    value = memory.value_of(session, given["expression"])
    return f"{value:#010x} {value}"


composed("p", "EXPRESSION:expression...", "the value of $register, a number, sums of them", _print)


def _serve_gdb(session: Session, given: Arguments) -> str:
    device = given.get("device", GDB_HERE)
    session.debug_at(listening(device))
    return "" if device == "none" else f"Waiting for gdb connection on device '{device}'"


composed("gdbserver", "[DEVICE:device]", "serve gdb, on tcp::1234 or another device", _serve_gdb)


def _log(session: Session, given: Arguments) -> str:
    session.log(given["items"])
    return ""


def _log_file(session: Session, given: Arguments) -> str:
    session.log_file(given["file"])
    return ""


composed("log", "ITEMS:items", "record what chips note, by items of -d; none ends it", _log)
composed("logfile", "FILE:file", "where that is recorded", _log_file)

# --- help -------------------------------------------------------------------------------------


def _info(session: Session, given: Arguments) -> str:
    del session, given
    return _info_lines()


def _info_lines() -> str:
    lines = (one.line() for name, one in sorted(ROWS.items()) if name.startswith("info "))
    return "".join(f"{line}\n" for line in lines)


composed("info", "", "look into the machine; info alone lists what there is", _info)


def _help(session: Session, given: Arguments) -> str:
    del session
    if given.get("command") == "info":
        return _info_lines()
    if "command" in given:
        return find(given["command"].split())[0].line()
    lines = (one.line() for name, one in sorted(ROWS.items()) if not name.startswith("info "))
    return "".join(f"{line}\n" for line in lines)


for _name in ("help", "?"):
    composed(_name, "[COMMAND:command...]", "what there is", _help)


def find(words: list[str]) -> tuple[Row, list[str]]:
    """The row that a line names, and the words behind its name; GossamerError suggests another."""
    if words[0] == "info" and len(words) > 1:
        topics = [name.partition(" ")[2] for name in ROWS if name.startswith("info ")]
        if words[1] not in topics:
            near = difflib.get_close_matches(words[1], topics, 1)
            listed = f" (there is: {', '.join(sorted(topics))})"
            hint = f"; did you mean {near[0]}?" if near else listed
            raise ConfigError(f"no info {words[1]}{hint}")
        return ROWS[f"info {words[1]}"], words[2:]
    found = ROWS.get(words[0])
    if found is None:
        near = difflib.get_close_matches(words[0], ROWS, 1)
        hint = f"; did you mean {near[0]}?" if near else "; help lists the commands"
        raise ConfigError(f"no command {words[0]!r}{hint}")
    return found, words[1:]


#: Importing them has added their rows.
ADDED = (devices, info, past)

__all__ = ["ROWS", "UsageError", "find"]
