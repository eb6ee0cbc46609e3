"""-readconfig: a file of QEMU's with options, ``[group "id"]`` and lines of ``key = "value"``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.machines.config import unknown
from gossamer.machines.firmware import read_file
from gossamer.machines.values import escaped

_GROUP: Final = re.compile(r'\[\s*([\w-]+)(?:\s+"([^"]*)")?\s*\]')
_ENTRY: Final = re.compile(r'([\w.-]+)\s*=\s*"([^"]*)"')
_MOST: Final = 1 << 20
#: By group, the option that it is.
OPTIONS: Final = {
    "machine": "-machine", "device": "-device", "drive": "-drive", "chardev": "-chardev",
    "mon": "-mon", "rtc": "-rtc", "name": "-name", "boot-opts": "-boot", "memory": "-m",
    "global": "-global", "smp-opts": "-smp", "icount": "-icount", "object": "-object",
    "fw_cfg": "-fw_cfg", "msg": "-msg", "overcommit": "-overcommit", "accel": "-accel",
    "netdev": "-netdev", "net": "-net", "add-fd": "-add-fd", "sandbox": "-sandbox",
    "action": "-action", "trace": "-trace", "audiodev": "-audiodev",
}  # fmt: skip


def words(path: Path) -> list[str]:
    """The options in the file at `path`, as words of a command line."""
    text = read_file(path, _MOST, "file of -readconfig").decode("utf-8", "replace")
    found: list[tuple[str, dict[str, str]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        where = f"-readconfig: {path}, line {number}"
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if group := _GROUP.fullmatch(line):
            if group[1] not in OPTIONS:
                raise unknown(f"group in {where}", group[1], OPTIONS)
            found.append((OPTIONS[group[1]], {"id": group[2]} if group[2] else {}))
        elif entry := _ENTRY.fullmatch(line):
            if not found:
                raise ConfigError(f"{where}: {entry[1]} stands before the first group")
            found[-1][1][entry[1]] = entry[2]
        else:
            raise ConfigError(f'{where}: expected [group "id"] or key = "value", got {line!r:.40}')
    out = []
    for option, values in found:
        out += [option, ",".join(f"{key}={escaped(value)}" for key, value in values.items())]
    return out
