"""-chardev, and the ways that -serial, -monitor and -mon name one.

A character device is a text in the spelling of -serial (``unix:PATH,server=on``, ``file:PATH``),
which `front` opens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.machines.config import unknown
from gossamer.machines.values import choice, escaped, identifier, keyval, number, on_off

_EVERY: Final = ("mux", "logfile", "logappend")
#: Goes before a monitor's device that speaks QMP.
CONTROL: Final = "control:"
#: Follows it where the answers are laid out for a person.
PRETTY: Final = "pretty:"
#: Kinds of QEMU's that there are not, and why.
REFUSED: Final = {
    "vc": "there is no window for a console",
    "ringbuf": "there is no command that reads one",
    "pipe": "give -chardev file or socket",
    "udp": "give -chardev socket",
    "serial": "a port of the host cannot be had; a pty or a socket can",
    "tty": "a port of the host cannot be had; a pty or a socket can",
    "parallel": "the machines here have no parallel port",
    "parport": "the machines here have no parallel port",
    "msmouse": "the machines here have no serial mouse",
    "braille": "there is no braille terminal",
    "wctablet": "the machines here have no such tablet",
    "testdev": "it belongs to QEMU's own tests",
    "spicevmc": "there is no SPICE",
    "spiceport": "there is no SPICE",
    "qemu-vdagent": "there is no agent in a guest of these machines",
    "dbus": "there is no D-Bus display",
}


def _socket(given: Mapping[str, str]) -> str:
    server = on_off("-chardev: server", given.get("server", "off"))
    wait = on_off("-chardev: wait", given.get("wait", "on" if server else "off"))
    tail = f",server=on,wait={'on' if wait else 'off'}" if server else ""
    if "fd" in given:
        return f"fd:{number('-chardev: fd', given['fd'], 0, 1 << 20)}{tail}"
    if "path" in given:
        return f"unix:{escaped(given['path'])}{tail}"
    if "port" not in given:
        raise ConfigError("-chardev socket: needs path=, host= and port=, or fd=")
    return f"tcp:{given.get('host', '127.0.0.1')}:{given['port']}{tail}"


def _file(given: Mapping[str, str]) -> str:
    if "path" not in given:
        raise ConfigError("-chardev file: needs path=")
    append = on_off("-chardev: append", given.get("append", "off"))
    return f"file:{escaped(given['path'])}{',append=on' if append else ''}"


def _plain(kind: str) -> Callable[[Mapping[str, str]], str]:
    return lambda given: kind


#: By kind: its properties beside those of every one, and its text.
KINDS: Final[dict[str, tuple[tuple[str, ...], Callable[[Mapping[str, str]], str]]]] = {
    "null": ((), _plain("null")),
    "stdio": (("signal",), _plain("stdio")),
    "pty": ((), _plain("pty")),
    "file": (("path", "append"), _file),
    "socket": (
        ("path", "host", "port", "fd", "server", "wait", "nodelay", "ipv4", "ipv6", "to"),
        _socket,
    ),
}


def device_text(option: str, kind: str, given: Mapping[str, str]) -> str:
    """The spelling of a character device with these properties."""
    choice(option, kind, KINDS)
    properties, made = KINDS[kind]
    for key in given:
        if key in ("logfile", "logappend"):
            raise ConfigError(f"{option}: {key}: give {option} file, or tee the output")
        if key not in (*properties, *_EVERY):
            raise unknown(f"property of {option} {kind}", key, (*properties, "id", "mux"))
    return made(given)


class Chardevs:
    """The character devices that -chardev made, by id."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._shared: set[str] = set()
        self._used: dict[str, str] = {}

    def add(self, text: str) -> None:
        """The value of -chardev."""
        given = keyval("-chardev", text, first="backend")
        kind = given.pop("backend", "")
        if kind in REFUSED:
            raise ConfigError(f"-chardev: {kind}: {REFUSED[kind]}")
        choice("-chardev", kind, KINDS)
        if "id" not in given:
            raise ConfigError(f"-chardev: {kind}: needs id=")
        name = identifier("-chardev: id", given.pop("id"))
        if name in self._texts:
            raise ConfigError(f"-chardev: id={name} is given twice")
        text = device_text("-chardev", kind, given)
        if on_off("-chardev: mux", given.get("mux", "off")):
            self._shared.add(name)
        self._texts[name] = text

    def find(self, option: str, name: str) -> str:
        """The text of the device called `name`, for one user; for several when it has mux=on."""
        if name not in self._texts:
            raise unknown(f"-chardev for {option}", name, self._texts)
        before = self._used.get(name)
        if before is not None and name not in self._shared:
            raise ConfigError(f"{option}: chardev {name} is used by {before}; mux=on shares it")
        self._used[name] = option
        return self._texts[name]

    def labels(self, serials: Sequence[str], monitors: Sequence[str]) -> dict[str, str]:
        """The id of each device that has one, by ``serial0``, ``monitor0`` and so on."""
        left = list(self._texts.items())
        found: dict[str, str] = {}
        for kind, texts in (("serial", serials), ("monitor", monitors)):
            for n, text in enumerate(texts):
                bare = text.removeprefix(CONTROL).removeprefix(PRETTY).removeprefix("mon:")
                one = next((pair for pair in left if pair[1] == bare), None)
                if one is not None:
                    left.remove(one)
                    found[f"{kind}{n}"] = one[0]
        return found

    def resolve(self, serials: list[str], monitors: list[str]) -> tuple[list[str], list[str]]:
        """Both lists with the texts in the place of ``chardev:ID``; a shared one becomes mon:."""
        named = [text.removeprefix("chardev:") for text in monitors if _is_named(text)]
        out: list[str] = []
        merged: set[str] = set()
        for text in serials:
            if not _is_named(text):
                out.append(text)
                continue
            name = text.removeprefix("chardev:")
            found = self.find("-serial", name)
            if name in named and name in self._shared:
                merged.add(name)
                found = f"mon:{found}"
            out.append(found)
        rest = [
            self._monitor(text)
            for text in monitors
            if not (_is_named(text) and text.removeprefix("chardev:") in merged)
        ]
        return out, rest

    def _monitor(self, text: str) -> str:
        control = CONTROL if text.startswith(CONTROL) else ""
        control += PRETTY if text.startswith(CONTROL + PRETTY) else ""
        plain = text.removeprefix(control)
        named = self.find("-mon", plain.removeprefix("chardev:")) if _is_named(plain) else plain
        return control + named


def _is_named(text: str) -> bool:
    return text.startswith("chardev:")


def parse_mon(text: str) -> str:
    """The value of -mon, as -monitor (or -qmp, for mode=control) has it."""
    given = keyval("-mon", text, first="chardev")
    for key in given:
        if key not in ("chardev", "mode", "pretty", "id"):
            raise unknown("part of -mon", key, ("chardev", "mode", "pretty"))
    if "chardev" not in given:
        raise ConfigError("-mon: needs chardev=, the id of a -chardev")
    mode = choice("-mon: mode", given.get("mode", "readline"), ("readline", "control"))
    pretty = PRETTY if on_off("-mon: pretty", given.get("pretty", "off")) else ""
    return f"{CONTROL + pretty if mode == 'control' else ''}chardev:{given['chardev']}"


#: Where gdb finds its server when no place is named.
GDB_HERE = "tcp::1234"


def listening(text: str) -> str:
    """A character device that waits for its client, where it is a socket and says nothing else."""
    if not text.startswith(("tcp:", "unix:")):
        return text
    for word in ("server=on", "wait=off"):
        text += "" if word.partition("=")[0] in text.split(",", 1)[-1] else f",{word}"
    return text
