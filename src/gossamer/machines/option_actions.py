"""What each option of the command line does to a `Draft`; `option_table` has their names."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from gossamer.base.errors import ConfigError
from gossamer.base.units import MiB
from gossamer.machines import device_options, machine_options
from gossamer.machines.chardev_options import GDB_HERE, listening
from gossamer.machines.config import CLOCK_POLICIES, Accel, Netdev, unknown
from gossamer.machines.draft import Draft
from gossamer.machines.drives import DriveOptions, host_path, parse_drive
from gossamer.machines.values import (
    choice,
    keyval,
    on_off,
    pairs,
    rtc_base,
    size_of,
    uuid_text,
    whole,
)

Act = Callable[[Draft, str], None]
LETTERS: Final = "acdn"
_SMP: Final = ("cpus", "sockets", "cores", "threads", "maxcpus")


def machine(draft: Draft, value: str) -> None:
    for key, given in pairs("-machine", value, first="type").items():
        if key == "type":
            draft.machine = given
        elif key in SAME_AS:
            SAME_AS[key](draft, given)
        elif key == "memory-backend":
            draft.memory_backend = given
        elif key in machine_options.WITHOUT_EFFECT:
            on_off(f"-machine: {key}", given)
        elif key in machine_options.REFUSED:
            raise ConfigError(f"-machine: {key}: {machine_options.REFUSED[key]}")
        elif key == "accel":
            draft.accelerators += given.split(":")
        else:
            draft.properties[key] = given


def memory(draft: Draft, value: str) -> None:
    for key, text in pairs("-m", value, first="size").items():
        if key == "size":
            draft.set["ram_size"] = size_of("-m", text)
        elif key in ("slots", "maxmem"):
            raise ConfigError(f"-m: {key}: memory cannot be added to a running machine")
        else:
            raise unknown("part of -m", key, ("size",))


def cpu(draft: Draft, value: str) -> None:
    name, comma, _ = value.partition(",")
    if comma:
        raise ConfigError(f"-cpu: {name} has no properties, got {value!r}")
    draft.cpu = name


def accel(draft: Draft, value: str) -> None:
    """What runs the guest; the last -accel with a property has its way, as all name one engine."""
    chosen: dict[str, Any] = {}
    for key, given in pairs("-accel", value, first="accel").items():
        if key == "accel":
            draft.accelerators.append(given)
        elif key == "tier":
            chosen["tier"] = whole("-accel: tier", given, 0, 2)
        elif key == "thread":
            chosen["thread"] = choice("-accel: thread", given, ("single", "multi"))
        elif key == "tb-size":
            chosen["tb_size"] = whole("-accel: tb-size", given, 1, 1024) * MiB
        elif key in ("split-wx", "one-insn-per-tb"):
            on_off(f"-accel: {key}", given)
        else:
            raise unknown("part of -accel", key, ("tier", "thread", "tb-size"))
    if chosen:
        draft.set["accel"] = Accel(**chosen)


def gdb(draft: Draft, value: str) -> None:
    draft.set["gdb"] = None if value == "none" else listening(value)


def gdb_here(draft: Draft, value: str) -> None:
    del value
    gdb(draft, GDB_HERE)


def smp(draft: Draft, value: str) -> None:
    """As QEMU counts: cpus, or what sockets, cores and threads make together."""
    given = pairs("-smp", value, first="cpus")
    counts = {
        key: whole(f"-smp: {choice('-smp', key, _SMP)}", text, 1, 1 << 16)
        for key, text in given.items()
    }
    if counts.get("threads", 1) != 1:
        raise ConfigError(f"-smp: a core here has one thread, got threads={counts['threads']}")
    places = [counts[key] for key in ("sockets", "cores") if key in counts]
    cpus = counts.get("cpus", counts.get("maxcpus", math.prod(places)))
    most = counts.get("maxcpus", cpus)
    if most != cpus:
        raise ConfigError(f"-smp: no CPU can be added later: expected maxcpus={cpus}, got {most}")
    if (len(places) == 2 and math.prod(places) != cpus) or any(cpus % one for one in places):
        raise ConfigError(f"-smp: sockets and cores must make {cpus} CPUs, got {value!r}")
    draft.set["cpus"] = cpus


def prom_env(draft: Draft, value: str) -> None:
    if "=" not in value or value.startswith("="):
        raise ConfigError(f"-prom-env: expected name=value, got {value!r}")
    if not value.isascii() or "\0" in value:
        raise ConfigError(f"-prom-env: expected ASCII, got {value!r}")
    draft.prom_env.append(value)


def icount(draft: Draft, value: str) -> None:
    given = pairs("-icount", value, first="shift")
    for key, text in given.items():
        if key == "shift":
            if text == "auto":
                raise ConfigError("-icount: shift=auto follows the host's speed; give 0 to 10")
            draft.set["icount"] = whole("-icount: shift", text, 0, 10)
        elif key == "sleep":
            draft.set["icount_sleep"] = on_off("-icount: sleep", text)
        elif key == "align":
            if on_off("-icount: align", text):
                raise ConfigError("-icount: align=on is not supported")
        elif key in ("rr", "rrfile", "rrsnapshot"):
            raise ConfigError(f"-icount: {key}: record and replay are not supported here")
        else:
            raise unknown("part of -icount", key, ("shift", "sleep", "align"))
    if "shift" not in given:
        raise ConfigError("-icount: needs shift=N")


def rtc(draft: Draft, value: str) -> None:
    for key, text in pairs("-rtc", value).items():
        if key == "base":
            draft.set["rtc_base"] = rtc_base(text)
        elif key == "clock":
            # The guest's clock is the machine's: it follows the host when the machine does.
            choice("-rtc: clock", text, ("host", "rt", "vm"))
        elif key == "driftfix":
            if choice("-rtc: driftfix", text, ("none", "slew")) == "slew":
                raise ConfigError("-rtc: driftfix=slew: no tick is ever lost that it could repeat")
        elif key == "restore":
            draft.set["restore_clock"] = choice("-rtc: restore", text, CLOCK_POLICIES)
        else:
            raise unknown("part of -rtc", key, ("base", "clock", "restore", "driftfix"))


def boot_letters(where: str, given: str) -> None:
    """ConfigError for what is no order of boot devices."""
    if set(given) - set(LETTERS) or len(set(given)) != len(given):
        raise ConfigError(f"{where} must be letters of a, c, d, n, got {given!r}")


def boot(draft: Draft, value: str) -> None:
    for key, given in pairs("-boot", value, first="order").items():
        if key in ("order", "once"):
            boot_letters(f"-boot: {key}", given)
            draft.set["boot" if key == "order" else "boot_once"] = given
        elif key in ("menu", "strict"):
            if on_off(f"-boot: {key}", given) and key == "menu":
                raise ConfigError("-boot: menu=on: these firmwares have no menu")
        elif key in ("splash", "splash-time", "reboot-timeout"):
            raise ConfigError(f"-boot: {key}: these firmwares have no such thing")
        else:
            raise unknown("part of -boot", key, ("order", "once", "menu", "strict"))


def display(draft: Draft, value: str) -> None:
    if value.startswith("vnc="):
        vnc(draft, value.removeprefix("vnc="))
        return
    kind = keyval("-display", value, first="type").get("type", "")
    if kind in ("gtk", "sdl", "curses", "cocoa", "spice-app", "egl-headless", "dbus"):
        raise ConfigError(f"-display: {kind}: there is no window; -vnc shows the screen")
    if kind == "vnc":
        raise ConfigError("-display: vnc: expected vnc=HOST:DISPLAY")
    choice("-display", kind, ("none",))
    draft.display_given = True


def vnc(draft: Draft, value: str) -> None:
    """-vnc: one more server; ``none`` takes those before it away."""
    from gossamer.machines.vnc_options import parse_vnc  # noqa: PLC0415 - most runs need none

    made = parse_vnc(value, len(draft.vncs))
    if made is None:
        draft.vncs.clear()
        return
    if any(made.id == other.id for other in draft.vncs):
        raise ConfigError(f"-vnc: id={made.id} is given twice")
    draft.vncs.append(made)


def web(draft: Draft, value: str) -> None:
    """-web: the page; ``none`` takes it away."""
    from gossamer.machines.web_options import parse_web  # noqa: PLC0415 - most runs need none

    draft.web = parse_web(value)


def netdev(draft: Draft, value: str) -> None:
    """-netdev: what a card's cable leads to."""
    from gossamer.machines.net_options import parse_netdev  # noqa: PLC0415 - most runs need none

    _add_netdev(draft, parse_netdev(value))


def _add_netdev(draft: Draft, made: Netdev) -> None:
    if any(made.id == other.id for other in draft.netdevs):
        raise ConfigError(f"-netdev: id={made.id} is given twice")
    draft.netdevs.append(made)


def nic(draft: Draft, value: str) -> None:
    """-nic: a card, and perhaps a network of its own."""
    kind = value.partition(",")[0]
    if "=" in kind or kind == "none":
        draft.nics.append(("-nic", value))
        return
    from gossamer.machines.net_options import nic_parts  # noqa: PLC0415 - most runs need none

    made, card = nic_parts(value, len(draft.netdevs))
    _add_netdev(draft, made)
    draft.nics.append(("-nic", card))


def resolution(draft: Draft, value: str) -> None:
    parts = value.split("x")
    if len(parts) not in (2, 3) or not all(p.isascii() and p.isdigit() for p in parts):
        raise ConfigError(f"-g: expected WIDTHxHEIGHT[xDEPTH], got {value!r}")
    width, height, depth = (*map(int, parts), 32)[:3]
    if depth not in (8, 15, 32) or not (0 < width <= 4096 and 0 < height <= 4096):
        raise ConfigError(f"-g: up to 4096x4096, depth 8, 15 or 32, got {value!r}")
    draft.set["resolution"] = (width, height, depth)


def usb_device(draft: Draft, value: str) -> None:
    draft.usb_devices.append(device_options.parse_usb_device(value))
    usb(draft)


def drive(draft: Draft, value: str) -> None:
    draft.drives.append(parse_drive(value))


def image_at(index: int, media: str, option: str) -> Callable[[Draft, str], None]:
    def add(draft: Draft, value: str) -> None:
        draft.drives.append(
            DriveOptions(option, file=host_path(option, value), index=index, media=media)
        )

    return add


def name(draft: Draft, value: str) -> None:
    for key, text in pairs("-name", value, first="guest").items():
        choice("part of -name", key, ("guest", "process", "debug-threads"))
        if key == "guest":
            draft.set["name"] = text


def uuid(draft: Draft, value: str) -> None:
    draft.set["uuid"] = uuid_text("-uuid", value)


def text_of(field: str) -> Callable[[Draft, str], None]:
    def store(draft: Draft, value: str) -> None:
        draft.set[field] = value

    return store


def path_of(field: str) -> Callable[[Draft, str], None]:
    def store(draft: Draft, value: str) -> None:
        draft.set[field] = Path(value)

    return store


def flag(field: str, value: bool) -> Act:
    def store(draft: Draft, _: str) -> None:
        draft.set[field] = value

    return store


def usb(draft: Draft, _: str = "") -> None:
    draft.properties["usb"] = "on"


def nodefaults(draft: Draft, _: str) -> None:
    draft.defaults = False


def parallel(draft: Draft, value: str) -> None:
    del draft
    choice("-parallel", value, ("none", "null"))


SAME_AS: Final[dict[str, Act]] = dict(
    zip(
        machine_options.SAME_AS,
        (
            text_of("bios"),
            path_of("kernel"),
            path_of("initrd"),
            text_of("append"),
            memory,
            smp,
        ),
        strict=True,
    )
)
