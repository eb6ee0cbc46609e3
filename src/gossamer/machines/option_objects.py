"""Options about objects, descriptors, records and the process: -object, -add-fd, -fw_cfg, -d."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.machines.config import Logging, unknown
from gossamer.machines.draft import Draft
from gossamer.machines.values import (
    choice,
    identifier,
    keyval,
    number,
    on_off,
    pairs,
    size_of,
)

_LONGEST_NAME: Final = 55
#: What -d can record here; everything that a chip notes is one of the two.
LOG_ITEMS: Final = ("guest_errors", "unimp")
#: Items of QEMU's about its translator.
_TRANSLATOR: Final = (
    "out_asm", "in_asm", "op", "op_opt", "op_ind", "int", "exec", "cpu", "fpu", "mmu", "pcall",
    "cpu_reset", "page", "nochain", "plugin", "strace", "tid", "vpu",
)  # fmt: skip


def add_fd(draft: Draft, value: str) -> None:
    """A descriptor that was inherited, for ``/dev/fdset/N``."""
    given = pairs("-add-fd", value)
    for key in given:
        if key not in ("fd", "set", "opaque"):
            raise unknown("part of -add-fd", key, ("fd", "set", "opaque"))
    if "fd" not in given or "set" not in given:
        raise ConfigError("-add-fd: needs fd= and set=")
    fd = number("-add-fd: fd", given["fd"], 3, 1 << 20)
    into = number("-add-fd: set", given["set"], 0, 1 << 30)
    draft.fd_sets.setdefault(into, fd)
    draft.passed.append((into, fd, given.get("opaque")))


SECRET: Final = "secret"  # noqa: S105 - a kind of object
MEMORY: Final = "memory-backend-ram"
#: Each kind of object with its properties.
OBJECTS: Final = {
    "tls-creds-x509": ("dir", "endpoint", "verify-peer", "priority"),
    "authz-simple": ("identity",),
    SECRET: ("data", "file", "format", "keyid", "iv"),
    MEMORY: ("size", "share", "prealloc", "merge", "dump", "reserve", "x-use-canonical-path"),
}


def check_object(where: str, kind: str, given: Iterable[str]) -> None:
    """ConfigError for a kind of object, or a property of it, that there is not."""
    choice(where, kind, OBJECTS)
    for key in given:
        if key not in OBJECTS[kind]:
            raise unknown(f"property of {where} {kind}", key, OBJECTS[kind])


def make_object(draft: Draft, value: str) -> None:
    """-object: an object that commands and other options name; `control.objects` makes it."""
    given = keyval("-object", value, first="qom-type")
    kind = given.pop("qom-type", "")
    name = identifier(f"-object {kind}: id", given.pop("id", ""))
    check_object("-object", kind, given)
    if any(name == other for _, other, _ in draft.objects):
        raise ConfigError(f"-object {kind}: id={name} is given twice")
    draft.objects.append((kind, name, given))
    if kind == MEMORY:
        draft.memory_backends[name] = size_of(f"-object {name}: size", given.get("size", ""), 1)


def set_property(draft: Draft, value: str) -> None:
    """-set device.ID.PROPERTY=VALUE, for a -device that came before."""
    path, equals, text = value.partition("=")
    group, _, rest = path.partition(".")
    name, dot, key = rest.partition(".")
    if not (equals and dot and key):
        raise ConfigError(f"-set: expected GROUP.ID.PROPERTY=VALUE, got {value!r}")
    if group != "device":
        raise ConfigError(f"-set: {group}: give it where it is made; there is device")
    for n, asked in enumerate(draft.devices):
        if asked.given.get("id") == name:
            draft.devices[n] = asked.having(key, text)
            return
    raise unknown("-device for -set", name, (d.given.get("id", "") for d in draft.devices))


def fw_cfg(draft: Draft, value: str) -> None:
    """An entry of the firmware's configuration."""
    given = pairs("-fw_cfg", value, first="name")
    for key in given:
        if key not in ("name", "file", "string"):
            raise unknown("part of -fw_cfg", key, ("name", "file", "string"))
    name = given.get("name", "")
    if not (0 < len(name) <= _LONGEST_NAME and name.isascii() and name.isprintable()):
        raise ConfigError(f"-fw_cfg: name has 1 to {_LONGEST_NAME} ASCII characters, got {name!r}")
    if ("file" in given) == ("string" in given):
        raise ConfigError(f"-fw_cfg: {name}: needs file= or string=")
    if any(name == other for other, _, _ in draft.fw_cfg):
        raise ConfigError(f"-fw_cfg: {name} is given twice")
    path = Path(given["file"]) if "file" in given else None
    draft.fw_cfg.append((name, given.get("string"), path))


def audiodev(draft: Draft, value: str) -> None:
    del draft
    given = keyval("-audiodev", value, first="driver")
    if given.get("driver") != "none":
        raise ConfigError(f"-audiodev: {given.get('driver')}: there is no sound; none is accepted")


def audio(draft: Draft, value: str) -> None:
    del draft
    given = pairs("-audio", value, first="driver")
    if given.get("driver") != "none":
        raise ConfigError(f"-audio: {given.get('driver')}: there is no sound; none is accepted")


def overcommit(draft: Draft, value: str) -> None:
    del draft
    for key, text in pairs("-overcommit", value).items():
        choice("part of -overcommit", key, ("mem-lock", "cpu-pm"))
        if on_off(f"-overcommit: {key}", text):
            raise ConfigError(f"-overcommit: {key}=on is not supported; leave it out")


def sandbox(draft: Draft, value: str) -> None:
    """-sandbox: which groups of system calls are denied."""
    from gossamer.core.sandbox import OBSOLETE, PRIVILEGES, RESOURCES, SPAWN, here  # noqa: PLC0415

    given = pairs("-sandbox", value, first="enable")
    groups = (OBSOLETE, PRIVILEGES, SPAWN, RESOURCES)
    denied = [OBSOLETE]
    for key, text in given.items():
        if key == "enable":
            continue
        if key not in groups:
            raise unknown("part of -sandbox", key, ("enable", *groups))
        ways = ("allow", "deny", "children") if key == PRIVILEGES else ("allow", "deny")
        choice(f"-sandbox: {key}", text, ways)
        if text == "deny" and key not in denied:
            denied.append(key)
        elif text != "deny" and key in denied:
            denied.remove(key)
    if not on_off("-sandbox", given.get("enable", "on")):
        return
    if here() is None:
        raise ConfigError("-sandbox: there is no filter of system calls for this host")
    draft.set["sandbox"] = tuple(denied)


def message_format(draft: Draft, value: str) -> None:
    del draft
    for key, text in pairs("-msg", value, first="timestamp").items():
        choice("part of -msg", key, ("timestamp", "guest-name"))
        on_off(f"-msg: {key}", text if text != "timestamp" else "on")


def action(draft: Draft, value: str) -> None:
    """What the events of a guest do."""
    known = {
        "reboot": ("reset", "shutdown"),
        "shutdown": ("poweroff", "pause"),
        "panic": ("pause", "shutdown", "exit-failure", "none"),
        "watchdog": _WATCHDOG,
    }
    for key, text in pairs("-action", value).items():
        choice("part of -action", key, known)
        choice(f"-action: {key}", text, known[key])
        if key in ("reboot", "shutdown"):
            draft.set[key] = text in ("reset", "poweroff")


_WATCHDOG: Final = ("reset", "shutdown", "poweroff", "inject-nmi", "pause", "debug", "none")


def watchdog_action(draft: Draft, value: str) -> None:
    del draft
    choice("-watchdog-action", value, _WATCHDOG)


def compat(draft: Draft, value: str) -> None:
    del draft
    for key, text in keyval("-compat", value).items():
        names = [
            f"{which}-{way}" for which in ("deprecated", "unstable") for way in ("input", "output")
        ]
        choice("part of -compat", key, names)
        if text != "accept":
            raise ConfigError(f"-compat: {key}={text}: nothing here is deprecated; accept it")


def log_items(draft: Draft, value: str) -> None:
    """-d: what is recorded."""
    check_log_items("-d", value)
    draft.log = Logging(draft.log.file, ("*", *draft.log.patterns))


def check_log_items(where: str, value: str) -> None:
    """ConfigError for an item that nothing here records."""
    for item in value.split(","):
        if item in _TRANSLATOR:
            raise ConfigError(f"{where}: {item}: `gossamer verify` and the monitor look into a CPU")
        choice(where, item, LOG_ITEMS)


def log_file(draft: Draft, value: str) -> None:
    """-D: where to; %d becomes the process's number."""
    draft.log = Logging(Path(value), draft.log.patterns)


def trace(draft: Draft, value: str) -> None:
    """-trace: what chips note of an unexpected access, by patterns of their paths."""
    given = pairs("-trace", value, first="enable")
    for key in given:
        if key == "events":
            raise ConfigError("-trace: events=: give each pattern in a -trace of its own")
        choice("part of -trace", key, ("enable", "file"))
    file = Path(given["file"]) if "file" in given else draft.log.file
    patterns = (given["enable"],) if "enable" in given else ()
    draft.log = Logging(file, (*draft.log.patterns, *patterns))


def echr(draft: Draft, value: str) -> None:
    """-echr: the escape key of a shared terminal, as its code."""
    draft.set["escape"] = number("-echr", value, 1, 31)
