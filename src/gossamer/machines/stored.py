"""A configuration as data, for save files: JSON that is checked value by value when it is read.

What a machine is (`Hardware`) and the rate of its clock are in it, consoles and the like are not.
Files of the host are not either: the data says which there were (`files`: slot and a label), and
the caller that loads it names those that shall be opened.  The slots are ``drive0`` to ``drive3``,
``kernel``, ``initrd``, ``loader0`` on and ``fw_cfg:NAME``; a firmware comes with the memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from gossamer.base.data import replace
from gossamer.base.errors import ConfigError
from gossamer.machines import registry
from gossamer.machines.config import MOST_PLACES, Added, Config, Drive, interface_of, unknown
from gossamer.machines.device_options import Asked, resolve
from gossamer.machines.device_table import DRIVERS
from gossamer.machines.drives import FORMATS, MEDIA, RERROR, WERROR
from gossamer.machines.firmware import BUILT_IN, SAVED
from gossamer.machines.values import choice, pci_address, uuid_text

Json = dict[str, Any]
Files = Mapping[str, Path | str | None]
T = TypeVar("T")
_DRIVE_TEXTS: Final = ("name", "rerror", "werror", "serial", "model", "firmware", "device")
#: A slot begins so that is the file of an entry of -fw_cfg.
_FW_CFG: Final = "fw_cfg:"
_LONGEST: Final = 4096
_MOST: Final = 64


# --- writing --------------------------------------------------------------------------------------


def stored(config: Config) -> Json:
    """The data of a configuration; `restored` reads it."""
    return {
        "machine": config.machine,
        "version": config.version,
        "ram": config.ram_size,
        "cpu": config.cpu,
        "cpus": config.cpus,
        "properties": dict(config.properties),
        "firmware": _firmware_name(config),
        "prom_env": list(config.prom_env),
        "append": config.append,
        "boot": config.boot,
        "boot_once": config.boot_once,
        "fw_cfg": {name: text for name, text, path in config.fw_cfg if path is None},
        "drives": [_drive(d) for d in config.drives],
        "cd_drive": config.cd_drive,
        "graphic": config.graphic,
        "resolution": list(config.resolution),
        "vga": config.vga,
        "nic": config.nic,
        "nics": [_added(one) for one in config.nics],
        "usb": config.usb,
        "devices": [_added(one) for one in config.devices],
        "unplugged": [_added(one) for one in config.unplugged],
        "defaults": {name: _texts(name, values) for name, values in config.defaults.items()},
        "rtc_base": config.rtc_base,
        "uuid": config.uuid,
        "name": config.name,
        "icount": config.icount,
        "icount_sleep": config.icount_sleep,
        "files": host_files(config),
    }


def host_files(config: Config) -> dict[str, str]:
    """The files of the host that a configuration names, by slot."""
    found = {f"drive{d.index}": str(d.file) for d in config.drives if d.file is not None}
    for slot, path in (("kernel", config.kernel), ("initrd", config.initrd)):
        if path is not None:
            found[slot] = str(path)
    found |= {f"{_FW_CFG}{name}": str(path) for name, _, path in config.fw_cfg if path is not None}
    loaders = [d for d in config.devices if d.driver == "loader"]
    found |= {f"loader{n}": d.text("file") for n, d in enumerate(loaders) if d.text("file")}
    return found


def _drive(drive: Drive) -> Json:
    texts = {name: getattr(drive, name) for name in _DRIVE_TEXTS}
    return {
        "index": drive.index,
        "media": drive.media,
        "format": drive.format or "",
        "readonly": drive.readonly,
        "snapshot": drive.snapshot,
        "wwn": drive.wwn,
        "bootindex": drive.bootindex,
        **texts,
    }


def _added(one: Added) -> Json:
    values = _texts(one.driver, one.values)
    values.pop("netdev", None)  # the host's
    if one.driver == "loader":
        values.pop("file", None)
    found = {"driver": one.driver, "id": one.id, "bus": one.bus, "values": values}
    return found | {"hot": True} if one.hot else found


def _texts(driver: str, values: Mapping[str, object]) -> dict[str, str]:
    """Values as -device spells them; what has none is left out."""
    known = DRIVERS[driver].properties
    return {
        name: _text(known[name].read, value)
        for name, value in values.items()
        if value is not None and value != ""
    }


def _text(read: object, value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, bytes):
        return value.hex(":")
    if read is pci_address:
        assert isinstance(value, int)
        return f"{value >> 3:02x}.{value & 7}"
    return str(value)


# --- reading --------------------------------------------------------------------------------------


class _Reader:
    """Takes values out of a save's object; ConfigError names the key and what was there."""

    def __init__(self, where: str, data: object) -> None:
        self.where = where
        if not isinstance(data, dict):
            raise ConfigError(f"{where}: expected an object, got {data!r:.40}")
        self.data: Json = data

    def error(self, key: str, expected: str) -> ConfigError:
        got = f"{self.data.get(key)!r:.40}"
        return ConfigError(f"{self.where}: {key}: expected {expected}, got {got}")

    def _typed(self, key: str, kind: type[T], default: T) -> T:
        value = self.data.get(key, default)
        if type(value) is not kind:
            raise self.error(key, kind.__name__)
        return value

    def text(self, key: str, known: Iterable[str] | None = None) -> str:
        value = self._typed(key, str, "")
        if len(value) > _LONGEST or "\0" in value:
            raise self.error(key, f"at most {_LONGEST} characters without NUL")
        if known is not None and value not in known:
            raise unknown(f"{self.where}: {key}", value, known)
        return value

    def number(self, key: str, least: int, most: int) -> int:
        value = self._typed(key, int, least)
        if not least <= value <= most:
            raise self.error(key, f"{least} to {most}")
        return value

    def switch(self, key: str, *, default: bool = False) -> bool:
        return self._typed(key, bool, default)

    def listed(self, key: str) -> list[Any]:
        value = self._typed(key, list, [])
        if len(value) > _MOST:
            raise self.error(key, f"at most {_MOST} entries")
        return value

    def texts(self, key: str) -> dict[str, str]:
        """An object of texts."""
        value = self._typed(key, dict, {})
        if len(value) > _MOST or not all(type(v) is str for v in value.values()):
            raise self.error(key, "texts")
        return value


def restored(data: object, where: str, files: Files) -> Config:
    """The configuration that `stored` made `data` from, with the files that the caller names.

    ConfigError when the data is not of a machine that exists, or a slot of `files` is not named
    (None leaves it empty) or not there.
    """
    r = _Reader(where, data)
    kind = registry.find(r.text("machine"))
    properties = r.texts("properties")
    for key, value in properties.items():
        choice(f"{where}: property", key, kind.properties)
        choice(f"{where}: {key}", value, kind.properties[key])
    slots = r.texts("files")
    _check_slots(where, slots, files)
    width, height, depth = _resolution(r)
    loaders = (f"loader{n}" for n in range(_MOST))
    usb, icount = r.data.get("usb"), r.data.get("icount")
    config = Config(
        machine=kind.name,
        version=kind.version(r.text("version")).name,
        ram_size=r.number("ram", 0, 1 << 40),
        cpu=kind.find_cpu(r.text("cpu")),
        cpus=r.number("cpus", 1, kind.cpu_most),
        properties=properties,
        bios=_firmware(r) or (SAVED if kind.firmware else None),
        prom_env=tuple(_prom_env(r, one) for one in r.listed("prom_env")),
        append=r.text("append"),
        boot=r.text("boot"),
        boot_once=r.text("boot_once"),
        fw_cfg=_fw_cfg(r, slots, files),
        drives=tuple(_read_drive(where, one, files) for one in r.listed("drives")),
        cd_drive=r.switch("cd_drive"),
        graphic=r.switch("graphic", default=True),
        resolution=(width, height, depth),
        vga=r.text("vga"),
        nic=r.switch("nic"),
        nics=tuple(_read_added(where, one, {}, loaders) for one in r.listed("nics")),
        usb=None if usb is None else r.switch("usb"),
        devices=tuple(
            one
            for one in (_read_added(where, d, files, loaders) for d in r.listed("devices"))
            if one.driver != "loader" or _does_something(one)
        ),
        unplugged=tuple(_read_added(where, d, {}, loaders) for d in r.listed("unplugged")),
        defaults=_read_defaults(r),
        rtc_base=_rtc_base(r),
        uuid=uuid_text(f"{where}: uuid", r.text("uuid")) if r.text("uuid") else "",
        name=r.text("name"),
        icount=None if icount is None else r.number("icount", 0, 10),
        icount_sleep=r.switch("icount_sleep", default=True),
        kernel=_named(files, "kernel"),
        initrd=_named(files, "initrd"),
    )
    kind.check(config)
    return config if config.kernel else replace(config, append="", initrd=None)


def stored_devices(data: object, where: str) -> tuple[tuple[Added, ...], tuple[Added, ...]]:
    """What `data` has of -device, without files, and what of it had been unplugged."""
    r = _Reader(where, data)
    lists = (r.listed("devices"), r.listed("unplugged"))
    plugged, gone = (
        tuple(_read_added(where, one, {}, iter([""] * _MOST)) for one in found) for found in lists
    )
    return plugged, gone


def _check_slots(where: str, slots: Mapping[str, str], files: Files) -> None:
    for slot in files:
        if slot not in slots:
            raise unknown(f"{where}: file", slot, slots)
    missing = [f"{slot} ({slots[slot]})" for slot in slots if slot not in files]
    if missing:
        raise ConfigError(
            f"{where}: the machine had {', '.join(missing)}; a save opens no file by itself: name "
            "each in files, or None to go without"
        )


def _named(files: Files, slot: str) -> Path | None:
    path = files.get(slot)
    return None if path is None else Path(path)


def _rtc_base(r: _Reader) -> str | int:
    if isinstance(r.data.get("rtc_base"), int):
        return r.number("rtc_base", -(1 << 32), 1 << 32)
    return r.text("rtc_base", ("utc", "localtime")) if "rtc_base" in r.data else "utc"


def _firmware_name(config: Config) -> str:
    """A guest of gossamer's own by name; a file only where there may be none."""
    bios = config.bios or ""
    if bios.startswith(BUILT_IN):
        return bios
    return SAVED if bios and not registry.find(config.machine).firmware else ""


def _firmware(r: _Reader) -> str:
    name = r.text("firmware")
    if name not in ("", SAVED) and not re.fullmatch(rf"{BUILT_IN}[a-z-]*", name):
        raise r.error("firmware", "a guest of gossamer's own")
    return name


def _fw_cfg(
    r: _Reader, slots: Mapping[str, str], files: Files
) -> tuple[tuple[str, str | None, Path | None], ...]:
    texts = tuple((name, text, None) for name, text in r.texts("fw_cfg").items())
    named = ((slot.removeprefix(_FW_CFG), _named(files, slot)) for slot in slots)
    return (*texts, *((name, None, path) for name, path in named if path and name not in slots))


def _resolution(r: _Reader) -> tuple[int, int, int]:
    value = r.listed("resolution")
    if len(value) != 3 or any(type(one) is not int or not 0 < one <= 4096 for one in value):
        raise r.error("resolution", "width, height, depth")
    return value[0], value[1], value[2]


def _prom_env(r: _Reader, one: object) -> str:
    if not isinstance(one, str) or "=" not in one or not one.isascii() or "\0" in one:
        raise r.error("prom_env", "name=value")
    return one


def _read_drive(where: str, one: object, files: Files) -> Drive:
    r = _Reader(f"{where}: drive", one)
    index = r.number("index", 0, MOST_PLACES - 1)
    return Drive(
        interface=interface_of(index),
        index=index,
        media=r.text("media", MEDIA),
        file=_named(files, f"drive{index}"),
        format=r.text("format", ("", *FORMATS)) or None,
        readonly=r.switch("readonly"),
        snapshot=r.switch("snapshot"),
        wwn=r.number("wwn", 0, (1 << 64) - 1),
        bootindex=r.number("bootindex", -1, (1 << 31) - 1),
        rerror=r.text("rerror", RERROR),
        werror=r.text("werror", WERROR),
        **{k: r.text(k) for k in _DRIVE_TEXTS if k not in ("rerror", "werror")},
    )


def _read_added(where: str, one: object, files: Files, loaders: Iterable[str]) -> Added:
    r = _Reader(f"{where}: device", one)
    driver = r.text("driver", DRIVERS)
    given = r.texts("values")
    if driver == "loader":
        slot = next(iter(loaders))
        path = files.get(slot)
        given = {k: v for k, v in given.items() if k != "file"}
        given |= {} if path is None else {"file": str(path)}
    common = {key: r.text(key) for key in ("id", "bus") if r.text(key)}
    made = resolve(Asked("-device", driver, given | common), {})
    return replace(made, hot=r.switch("hot"))


def _does_something(loader: Added) -> bool:
    """Whether a loader has a file, data or a PC still, when its file was not named."""
    values = loader.values
    return bool(values["file"] or values["data-len"] or values["cpu-num"] is not None)


def _read_defaults(r: _Reader) -> dict[str, dict[str, object]]:
    value = r.data.get("defaults", {})
    if not isinstance(value, dict):
        raise r.error("defaults", "an object")
    found: dict[str, dict[str, object]] = {}
    for driver in value:
        choice(f"{r.where}: defaults", driver, DRIVERS)
        known = DRIVERS[driver].properties
        texts = _Reader(f"{r.where}: defaults", value).texts(driver)
        for name, text in texts.items():
            choice(f"{r.where}: defaults: {driver}", name, known)
            read: Callable[[str, str], object] = known[name].read
            found.setdefault(driver, {})[name] = read(f"{r.where}: {driver}.{name}", text)
    return found
