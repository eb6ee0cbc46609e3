"""QEMU's command line, as far as gossamer understands it, made into a `Config`.

An option is spelled with one or two dashes.  What is not understood is refused by name: nothing
is ignored except what the table says is without effect (`option_table`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Final

from gossamer.base.data import replace
from gossamer.base.errors import ConfigError
from gossamer.base.late import pattern
from gossamer.machines import device_options, machine_options, registry
from gossamer.machines.config import DEVICE_VGA, Accel, Config, unknown
from gossamer.machines.draft import Draft
from gossamer.machines.drives import (
    SCSI_DEVICES,
    VIRTIO_DISK,
    DriveOptions,
    host_path,
    place_all,
    virtio_disks,
)
from gossamer.machines.option_table import OPTIONS
from gossamer.machines.values import choice

#: What the clock of a deterministic run shows at power on: 2026-01-01T00:00:00 UTC.
ICOUNT_DATE: Final = 1_767_225_600
_FDSET: Final = pattern(r"/dev/fdset/([0-9]{1,9})(?![0-9])")
_FD: Final = pattern(r"(?:^|:)fd:([0-9]{1,9})")
_ALIKE: Final = 0.8
"""How much of an unknown option must be right for a guess at what was meant."""
_TERMINAL: Final = ("stdio", "mon:stdio")


def parse(arguments: Sequence[str]) -> Config:
    """A checked `Config` from QEMU's options; ConfigError (one line) for anything wrong."""
    draft = Draft()
    _take(draft, iter(arguments))
    if draft.web is not None:
        draft.web = replace(draft.web, words=tuple(arguments))
    return _finish(draft)


def _take(draft: Draft, words: Iterator[str]) -> None:
    for word in words:
        if word.startswith("-") and word != "-":
            _option(draft, "-" + word.lstrip("-"), word, words)
        else:
            draft.drives.append(DriveOptions(option=word, file=host_path(word, word), index=0))


def _option(draft: Draft, name: str, spelled: str, words: Iterator[str]) -> None:
    option = OPTIONS.get(name)
    if option is None:
        import difflib  # noqa: PLC0415 - only for what is wrong

        near = difflib.get_close_matches(name, OPTIONS, 1, _ALIKE)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"unknown option {spelled!r}{hint} (gossamer run --help lists them)")
    if option.refused:
        raise ConfigError(f"{name}: {option.refused}")
    value = _value(name, words) if option.value else ""
    if name == "-readconfig":
        from gossamer.machines import config_file  # noqa: PLC0415 - most runs need none

        _take(draft, iter(config_file.words(Path(value))))
    elif option.act is not None:
        option.act(draft, value)


def _value(name: str, words: Iterator[str]) -> str:
    value = next(words, None)
    if value is None:
        raise ConfigError(f"{name} needs a value")
    return value


# --- the whole ----------------------------------------------------------------------------------


def _finish(draft: Draft) -> Config:
    if "icount" in draft.set:
        # The same inputs give the same run, whatever day it is.
        draft.set.setdefault("rtc_base", ICOUNT_DATE)
    model, version = registry.find_version(draft.machine)
    for key, value in draft.properties.items():
        if key not in model.properties:
            raise unknown(f"property of {model.name}", key, machine_options.known(model))
        choice(f"-machine: {key}", value, model.properties[key])
    usable = [name for name in draft.accelerators if name in ("tcg", "qtest")]
    if draft.accelerators and not usable:
        asked = ", ".join(draft.accelerators)
        raise ConfigError(f"-accel: {asked}: there is tcg, gossamer's own engine, and qtest")
    if usable[:1] == ["qtest"] or not model.runs:  # the first that is there is taken, as in QEMU
        draft.set["accel"] = Accel(stands=True)
    if draft.properties.get("graphics") == "off":
        draft.set["graphic"] = False
    drives, names = virtio_disks(draft.drives)
    virtio = [device_options.Asked("-drive", VIRTIO_DISK, {"drive": name}) for name in names]
    defaults = device_options.usual(model.version(version), draft.globals)
    devices = device_options.resolve_all([*draft.usb_devices, *draft.devices, *virtio], defaults)
    # As QEMU: a device of a kind takes the place of the machine's usual one, if only by -global.
    kinds = {d.driver for d in devices} | set(draft.globals)
    chosen: dict[str, object] = {
        "ram_size": _backed_ram(draft) or model.ram_default,
        "cpu": model.find_cpu(draft.cpu or ""),
        "vga": _usual_vga(draft, model, version, kinds),
        "cd_drive": draft.defaults and not kinds & {*device_options.IDE, *SCSI_DEVICES},
        **_nics(draft, model),
        **draft.set,
    }
    chosen["usb"] = _wants_usb(draft, model, has_vga=chosen["vga"] != "none")
    serials, monitors = (
        tuple(_in_fd_set(draft, text) for text in texts) for texts in _consoles(draft)
    )
    plain = Config(
        machine=model.name,
        version=version,
        properties=draft.properties,
        firmware_folders=tuple(draft.folders),
        prom_env=tuple(draft.prom_env),
        fw_cfg=tuple(draft.fw_cfg),
        drives=place_all(
            drives,
            [d for d in devices if d.driver in (*device_options.IDE, VIRTIO_DISK, *SCSI_DEVICES)],
            draft.globals,
            bool(draft.set.get("snapshot")),
            draft.nodes.find,
            lambda path: Path(_in_fd_set(draft, str(path))),
            model.interface,
        ),
        devices=tuple(d for d in devices if d.driver not in device_options.IDE),
        defaults=defaults,
        serials=serials,
        monitors=monitors,
        log=draft.log,
        fd_sets=tuple(draft.passed),
        objects=tuple(draft.objects),
        vncs=tuple(draft.vncs),
        web=draft.web,
        nodes_below=tuple(draft.nodes.below.items()),
        file_nodes=draft.nodes.file_nodes(),
        netdevs=tuple(draft.netdevs),
        chardev_ids=draft.chardevs.labels(serials, monitors),
        inherited_fds=_inherited(draft, serials, monitors),
    )
    config = replace(plain, **chosen)
    model.check(config)
    check_run(config, model)
    check_cables(config)
    return config


def check_cables(config: Config) -> None:
    """ConfigError where a card's netdev= names no -netdev, or one that another card has."""
    known = {one.id for one in config.netdevs}
    used: set[str] = set()
    for one in (*config.nics, *config.devices):
        name = str(one.values.get("netdev") or "")
        if not name:
            continue
        if name not in known:
            raise unknown(f"-netdev for {one.where}", name, known)
        if name in used:
            raise ConfigError(f"{one.where}: netdev={name} is another card's already")
        used.add(name)


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
    if config.daemonize and set(_TERMINAL) & {*config.serials, *config.monitors}:
        raise ConfigError("-daemonize: the terminal is given away; name no stdio")


def _consoles(draft: Draft) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Where the serial ports and monitors are.

    Without a word about them the first port and the monitor share the terminal, unless another
    already has it or the user chose a machine that shows nothing (-display none, -nodefaults).
    """
    serials, monitors = draft.chardevs.resolve(draft.serials, draft.monitors)
    quiet = draft.display_given and draft.set.get("graphic", True) is not False
    quiet = quiet or bool(draft.set.get("daemonize"))
    if not serials:
        free = draft.defaults and not quiet and "stdio" not in monitors
        wanted = "mon:stdio" if not monitors else "stdio"
        serials = [wanted if free else "null"]
    elif (
        draft.set.get("graphic") is False
        and draft.defaults
        and not quiet
        and not monitors
        and not {"stdio", "mon:stdio"} & set(serials)
    ):
        # As QEMU: -nographic gives the terminal to the monitor when no port has it.
        monitors = ["stdio"]
    users = [s for s in (*serials, *monitors) if s in ("stdio", "mon:stdio")]
    if len(users) > 1:
        raise ConfigError(f"{users[0]} and {users[1]}: only one can have the terminal")
    return tuple(serials), tuple(m for m in monitors if m != "none")


def _in_fd_set(draft: Draft, text: str) -> str:
    """`text` with the path of a descriptor in the place of ``/dev/fdset/N``."""

    def path(match: re.Match[str]) -> str:
        number = int(match[1])
        if number not in draft.fd_sets:
            raise ConfigError(f"{match[0]}: no -add-fd has set={number}")
        return f"/dev/fd/{draft.fd_sets[number]}"

    return _FDSET.sub(path, text)


def _inherited(draft: Draft, serials: Sequence[str], monitors: Sequence[str]) -> tuple[int, ...]:
    """The descriptors that options name: they are kept by -daemonize."""
    texts = [*serials, *monitors, str(draft.set.get("incoming", ""))]
    named = [int(m[1]) for text in texts if (m := _FD.search(text))]
    return (*draft.fd_sets.values(), *named)


def _backed_ram(draft: Draft) -> int:
    """The size of -machine memory-backend=, which is that of -m where that is given."""
    if not draft.memory_backend:
        return 0
    if draft.memory_backend not in draft.memory_backends:
        raise unknown("memory backend", draft.memory_backend, draft.memory_backends)
    size = draft.memory_backends[draft.memory_backend]
    if draft.set.get("ram_size", size) != size:
        raise ConfigError(f"-m: expected the {size} bytes of {draft.memory_backend}")
    return size


def _nics(draft: Draft, model: registry.Kind) -> dict[str, object]:
    """The network cards: those of -nic and -net, or the usual one unless something speaks of it."""
    parsed = [device_options.parse_nic(option, text, model) for option, text in draft.nics]
    cards = tuple(device_options.resolve_card(one, draft.globals) for one in parsed if one)
    return {"nics": cards, "nic": bool(model.nic) and draft.defaults and not draft.nics}


def _usual_vga(draft: Draft, model: registry.Kind, version: str, kinds: Set[str]) -> str:
    if "VGA" in kinds:
        return DEVICE_VGA if model.screened else "none"
    here = draft.defaults and "pci/vga" not in model.version(version).without
    return model.vga[0] if here else "none"


def _wants_usb(draft: Draft, model: registry.Kind, *, has_vga: bool) -> bool | None:
    if model.usb is None:
        return None
    given = draft.properties.get("usb")
    usual = draft.defaults and (model.usb or (model.screened and has_vga))
    return usual if given is None else given == "on"
