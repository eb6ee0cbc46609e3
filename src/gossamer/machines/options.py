"""QEMU's command line, as far as gossamer understands it, made into a `Config`.

An option is spelled with one or two dashes.  What is not understood is refused by name: nothing
is ignored except what the table below says is without effect.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from gossamer.base.errors import ConfigError
from gossamer.base.units import MiB
from gossamer.machines import device_options, machine_options, registry
from gossamer.machines.config import (
    CLOCK_POLICIES,
    DEFAULT_MACHINE,
    Accel,
    Config,
    unknown,
)
from gossamer.machines.device_options import Asked
from gossamer.machines.drives import DriveOptions, parse_drive, place_all
from gossamer.machines.values import choice, on_off, pairs, rtc_base, size_of, uuid_text, whole

#: Known to QEMU, without effect here, so that command lines need not be edited.
WITHOUT_EFFECT: Final = {"-no-user-config": 0, "-k": 1, "-msg": 1, "-no-fd-bootchk": 0}
#: Known to QEMU; the reason why gossamer refuses them.
REFUSED: Final = {
    "-enable-kvm": "gossamer runs guests itself; leave it out",
    "-daemonize": "gossamer stays in the foreground; use a shell's & or a service manager",
    "-netdev": "there is no host network; -nic none, or a card without a cable",
    "-chardev": "give the device in -serial or -monitor",
    "-blockdev": "give the image in -drive",
    "-qmp": "there is no QMP yet; -monitor serves the human monitor",
    "-qmp-pretty": "there is no QMP yet; -monitor serves the human monitor",
    "-mon": "there is no QMP yet; -monitor serves the human monitor",
    "-gdb": "there is no gdb stub yet",
    "-s": "there is no gdb stub yet",
    "-vnc": "there is no VNC server",
    "-sd": "the machines here have no SD card",
    "-fda": "the floppy drive is not built",
    "-fdb": "the floppy drive is not built",
    "-pflash": "the machines here have no flash; use -bios",
    "-dtb": "the firmware makes the device tree",
    "-object": "there are no objects to make",
    "-audio": "there is no sound",
    "-audiodev": "there is no sound",
    "-d": "see `gossamer stream` and the monitor's info commands",
    "-readconfig": "give the options on the command line",
}


class Draft:
    """Options collected so far; defaults are filled in when all have been seen."""

    def __init__(self) -> None:
        self.machine = DEFAULT_MACHINE
        self.set: dict[str, object] = {}
        self.properties: dict[str, str] = {}
        self.cpu: str | None = None
        self.prom_env: list[str] = []
        self.folders: list[Path] = []
        self.drives: list[DriveOptions] = []
        self.devices: list[Asked] = []
        self.usb_devices: list[Asked] = []
        self.globals: device_options.Globals = {}
        self.nics: list[tuple[str, str]] = []
        self.serials: list[str] = []
        self.monitors: list[str] = []
        self.display_given = False
        self.defaults = True


def parse(arguments: Sequence[str]) -> Config:
    """A checked `Config` from QEMU's options; ConfigError (one line) for anything wrong."""
    draft = Draft()
    words = iter(arguments)
    for word in words:
        if word.startswith("-") and word != "-":
            _option(draft, "-" + word.lstrip("-"), word, words)
        else:
            draft.drives.append(DriveOptions(option=word, file=Path(word), index=0))
    return _finish(draft)


def _option(draft: Draft, name: str, spelled: str, words: Iterator[str]) -> None:
    if name in FLAGS:
        FLAGS[name](draft)
    elif name in VALUED:
        VALUED[name](draft, _value(name, words))
    elif name in WITHOUT_EFFECT:
        for _ in range(WITHOUT_EFFECT[name]):
            _value(name, words)
    elif name in REFUSED:
        raise ConfigError(f"{name}: {REFUSED[name]}")
    else:
        raise unknown("option", spelled, [*FLAGS, *VALUED])


def _value(name: str, words: Iterator[str]) -> str:
    value = next(words, None)
    if value is None:
        raise ConfigError(f"{name} needs a value")
    return value


# --- options with a value -----------------------------------------------------------------------


def _machine(draft: Draft, value: str) -> None:
    for key, text in pairs("-machine", value, first="type").items():
        if key == "type":
            draft.machine = text
        elif key in machine_options.SAME_AS:
            VALUED[machine_options.SAME_AS[key]](draft, text)
        elif key in machine_options.WITHOUT_EFFECT:
            on_off(f"-machine: {key}", text)
        elif key in machine_options.REFUSED:
            raise ConfigError(f"-machine: {key}: {machine_options.REFUSED[key]}")
        else:
            draft.properties[key] = text


def _memory(draft: Draft, value: str) -> None:
    for key, text in pairs("-m", value, first="size").items():
        if key == "size":
            draft.set["ram_size"] = size_of("-m", text)
        elif key in ("slots", "maxmem"):
            raise ConfigError(f"-m: {key}: memory cannot be added to a running machine")
        else:
            raise unknown("part of -m", key, ("size",))


def _cpu(draft: Draft, value: str) -> None:
    name, comma, _ = value.partition(",")
    if comma:
        raise ConfigError(f"-cpu: {name} has no properties, got {value!r}")
    draft.cpu = name


def _accel(draft: Draft, value: str) -> None:
    chosen: dict[str, Any] = {}
    for key, text in pairs("-accel", value, first="accel").items():
        if key == "accel":
            choice("-accel", text, ("tcg",))
        elif key == "tier":
            chosen["tier"] = whole("-accel: tier", text, 0, 2)
        elif key == "thread":
            chosen["thread"] = choice("-accel: thread", text, ("single", "multi"))
        elif key == "tb-size":
            chosen["tb_size"] = whole("-accel: tb-size", text, 1, 1024) * MiB
        else:
            raise unknown("part of -accel", key, ("tier", "thread", "tb-size"))
    draft.set["accel"] = Accel(**chosen)


def _smp(draft: Draft, value: str) -> None:
    del draft
    if set(pairs("-smp", value, first="cpus").values()) != {"1"}:
        raise ConfigError(f"-smp: the machines here have one CPU, got {value!r}")


def _prom_env(draft: Draft, value: str) -> None:
    if "=" not in value or value.startswith("="):
        raise ConfigError(f"-prom-env: expected name=value, got {value!r}")
    if not value.isascii() or "\0" in value:
        raise ConfigError(f"-prom-env: expected ASCII, got {value!r}")
    draft.prom_env.append(value)


def _icount(draft: Draft, value: str) -> None:
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


def _rtc(draft: Draft, value: str) -> None:
    for key, text in pairs("-rtc", value).items():
        if key == "base":
            draft.set["rtc_base"] = rtc_base(text)
        elif key == "clock":
            # The guest's clock is the machine's: it follows the host when the machine does.
            choice("-rtc: clock", text, ("host", "vm"))
        elif key == "restore":
            draft.set["restore_clock"] = choice("-rtc: restore", text, CLOCK_POLICIES)
        else:
            raise unknown("part of -rtc", key, ("base", "clock", "restore"))


def _boot(draft: Draft, value: str) -> None:
    for key, text in pairs("-boot", value, first="order").items():
        if key == "order":
            if set(text) - set("acdn") or len(set(text)) != len(text):
                raise ConfigError(f"-boot: order must be letters of a, c, d, n, got {text!r}")
            draft.set["boot"] = text
        elif key not in ("menu", "strict") or on_off(f"-boot: {key}", text):
            raise ConfigError(f"-boot: {key}={text} is not supported; there is order=")


def _display(draft: Draft, value: str) -> None:
    choice("-display", value, ("none",))
    draft.display_given = True


def _resolution(draft: Draft, value: str) -> None:
    parts = value.split("x")
    if len(parts) not in (2, 3) or not all(p.isascii() and p.isdigit() for p in parts):
        raise ConfigError(f"-g: expected WIDTHxHEIGHT[xDEPTH], got {value!r}")
    width, height, depth = (*map(int, parts), 32)[:3]
    if depth not in (8, 15, 32) or not (0 < width <= 4096 and 0 < height <= 4096):
        raise ConfigError(f"-g: up to 4096x4096, depth 8, 15 or 32, got {value!r}")
    draft.set["resolution"] = (width, height, depth)


def _usb_device(draft: Draft, value: str) -> None:
    draft.usb_devices.append(device_options.parse_usb_device(value))
    _usb(draft)


def _drive(draft: Draft, value: str) -> None:
    draft.drives.append(parse_drive(value))


def _image(index: int, media: str, option: str) -> Callable[[Draft, str], None]:
    def add(draft: Draft, value: str) -> None:
        draft.drives.append(DriveOptions(option, file=Path(value), index=index, media=media))

    return add


def _name(draft: Draft, value: str) -> None:
    for key, text in pairs("-name", value, first="guest").items():
        choice("part of -name", key, ("guest", "process", "debug-threads"))
        if key == "guest":
            draft.set["name"] = text


def _uuid(draft: Draft, value: str) -> None:
    draft.set["uuid"] = uuid_text("-uuid", value)


def _text(field: str) -> Callable[[Draft, str], None]:
    def store(draft: Draft, value: str) -> None:
        draft.set[field] = value

    return store


def _path(field: str) -> Callable[[Draft, str], None]:
    def store(draft: Draft, value: str) -> None:
        draft.set[field] = Path(value)

    return store


def _flag(field: str, value: bool) -> Callable[[Draft], None]:
    def store(draft: Draft) -> None:
        draft.set[field] = value

    return store


def _usb(draft: Draft) -> None:
    draft.properties["usb"] = "on"


def _nodefaults(draft: Draft) -> None:
    draft.defaults = False


VALUED: Final[dict[str, Callable[[Draft, str], None]]] = {
    "-M": _machine,
    "-machine": _machine,
    "-m": _memory,
    "-cpu": _cpu,
    "-accel": _accel,
    "-smp": _smp,
    "-bios": _text("bios"),
    "-L": lambda draft, value: draft.folders.append(Path(value)),
    "-prom-env": _prom_env,
    "-kernel": _path("kernel"),
    "-initrd": _path("initrd"),
    "-append": _text("append"),
    "-boot": _boot,
    "-drive": _drive,
    "-hda": _image(0, "disk", "-hda"),
    "-hdb": _image(1, "disk", "-hdb"),
    "-hdc": _image(2, "disk", "-hdc"),
    "-hdd": _image(3, "disk", "-hdd"),
    "-cdrom": _image(2, "cdrom", "-cdrom"),
    "-display": _display,
    "-vga": _text("vga"),
    "-g": _resolution,
    "-net": lambda draft, value: draft.nics.append(("-net", value)),
    "-nic": lambda draft, value: draft.nics.append(("-nic", value)),
    "-serial": lambda draft, value: draft.serials.append(value),
    "-monitor": lambda draft, value: draft.monitors.append(value),
    "-icount": _icount,
    "-rtc": _rtc,
    "-loadvm": _text("loadvm"),
    "-incoming": _text("incoming"),
    "-dump-vmstate": _path("dump_vmstate"),
    "-global": lambda draft, value: device_options.parse_global(value, draft.globals),
    "-device": lambda draft, value: draft.devices.append(device_options.parse_device(value)),
    "-usbdevice": _usb_device,
    "-name": _name,
    "-uuid": _uuid,
    "-pidfile": _path("pidfile"),
}
FLAGS: Final[dict[str, Callable[[Draft], None]]] = {
    "-nographic": _flag("graphic", False),
    "-S": _flag("start", False),
    "-snapshot": _flag("snapshot", True),
    "-no-repair": _flag("repair", False),
    "-no-reboot": _flag("reboot", False),
    "-no-shutdown": _flag("shutdown", False),
    "-nodefaults": _nodefaults,
    "-usb": _usb,
}


# --- the whole ----------------------------------------------------------------------------------


def _finish(draft: Draft) -> Config:
    model, version = registry.find_version(draft.machine)
    for key, value in draft.properties.items():
        if key not in model.properties:
            raise unknown(f"property of {model.name}", key, machine_options.known(model))
        choice(f"-machine: {key}", value, model.properties[key])
    if draft.properties.get("graphics") == "off":
        draft.set["graphic"] = False
    devices = device_options.resolve_all([*draft.usb_devices, *draft.devices], draft.globals)
    # As QEMU: a device of a kind takes the place of the machine's usual one, if only by -global.
    kinds = {d.driver for d in devices} | set(draft.globals)
    chosen: dict[str, object] = {
        "ram_size": model.ram_default,
        "cpu": model.find_cpu(draft.cpu or ""),
        "vga": model.vga[0] if draft.defaults and "VGA" not in kinds else "none",
        "cd_drive": draft.defaults and not kinds & set(device_options.IDE),
        "usb": _wants_usb(draft, model),
        **_nics(draft, model),
        **draft.set,
    }
    serials, monitors = _consoles(draft)
    plain = Config(
        machine=model.name,
        version=version,
        properties=draft.properties,
        firmware_folders=tuple(draft.folders),
        prom_env=tuple(draft.prom_env),
        drives=place_all(
            draft.drives,
            [d for d in devices if d.driver in device_options.IDE],
            draft.globals,
            bool(draft.set.get("snapshot")),
        ),
        devices=tuple(d for d in devices if d.driver not in device_options.IDE),
        defaults=draft.globals,
        serials=serials,
        monitors=monitors,
    )
    config = dataclasses.replace(plain, **chosen)  # type: ignore[arg-type]
    model.check(config)
    check_run(config, model)
    return config


def check_run(config: Config, kind: registry.Kind) -> None:
    """ConfigError when what a run chose does not fit together, or not to the machine."""
    if config.kernel is None:
        for given, option in ((config.append, "-append"), (config.initrd, "-initrd")):
            if given:
                raise ConfigError(f"{option} needs -kernel")
    if len(config.serials) > kind.serials:
        count = f"{kind.serials} serial port" + "s" * (kind.serials > 1)
        raise ConfigError(f"-serial: {kind.name} has {count}, got {len(config.serials)}")
    if config.loadvm is not None and config.incoming is not None:
        raise ConfigError("-loadvm and -incoming exclude each other")


def _consoles(draft: Draft) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Where the serial ports and monitors are.

    Without a word about them the first port and the monitor share the terminal, unless another
    already has it or the user chose a machine that shows nothing (-display none, -nodefaults).
    """
    serials, monitors = list(draft.serials), list(draft.monitors)
    quiet = draft.display_given and draft.set.get("graphic", True) is not False
    if not serials:
        free = draft.defaults and not quiet and "stdio" not in monitors
        wanted = "mon:stdio" if not monitors else "stdio"
        serials = [wanted if free else "null"]
    elif (
        draft.set.get("graphic") is False
        and draft.defaults
        and not monitors
        and not {"stdio", "mon:stdio"} & set(serials)
    ):
        # As QEMU: -nographic gives the terminal to the monitor when no port has it.
        monitors = ["stdio"]
    users = [s for s in (*serials, *monitors) if s in ("stdio", "mon:stdio")]
    if len(users) > 1:
        raise ConfigError(f"{users[0]} and {users[1]}: only one can have the terminal")
    return tuple(serials), tuple(m for m in monitors if m != "none")


def _nics(draft: Draft, model: registry.Kind) -> dict[str, object]:
    """The network cards: those of -nic and -net, or the usual one unless something speaks of it."""
    parsed = [device_options.parse_nic(option, text, model) for option, text in draft.nics]
    cards = tuple(device_options.resolve_card(one, draft.globals) for one in parsed if one)
    return {"nics": cards, "nic": bool(model.nic) and draft.defaults and not draft.nics}


def _wants_usb(draft: Draft, model: registry.Kind) -> bool | None:
    if model.usb is None:
        return None
    given = draft.properties.get("usb")
    return (model.usb and draft.defaults) if given is None else given == "on"
