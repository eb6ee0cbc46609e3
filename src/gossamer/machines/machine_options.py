"""The properties of ``-machine``, and what the options answer to ``help``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gossamer.machines import device_options, registry
from gossamer.machines.config import DEFAULT_MACHINE
from gossamer.machines.kind import CPU_ALIASES
from gossamer.machines.registry import Kind

#: Properties that are another option in disguise.
SAME_AS: Final = ("firmware", "kernel", "initrd", "append", "memory", "smp")
#: About the host's memory: nothing that a guest or a stream shows.
WITHOUT_EFFECT: Final = ("dump-guest-core", "mem-merge")
REFUSED: Final = {
    "boot": "give -boot order=",
    "dtb": "the firmware makes the device tree",
    "dumpdtb": "the firmware makes the device tree, in the guest's memory",
    "dt-compatible": "the firmware makes the device tree",
    "phandle-start": "the firmware makes the device tree",
    "memory-encryption": "there is no encryption of memory",
    "confidential-guest-support": "there is no encryption of memory",
    "kernel-irqchip": "there is no KVM",
}
TEXTS: Final = {
    "accel": "accelerator",
    "append": "kernel command line",
    "dump-guest-core": "without effect",
    "firmware": "firmware image",
    "graphics": "whether there is a display for the firmware",
    "initrd": "initial RAM disk",
    "kernel": "kernel image",
    "mem-merge": "without effect",
    "memory": "size of RAM",
    "memory-backend": "an -object memory-backend-ram, for its size",
    "smp": "number of CPUs (pseries: 1 to 8)",
    "suppress-vmdesc": "streams without their own description",
    "usb": "USB controller",
    "timebase": "Hz of TB and DEC: 25000000 as QEMU from 9.0 on, 100000000 before",
    "via": "what is behind the VIA",
    "x-vof": "client interface by the machine, without a firmware",
    "ic-mode": "interrupt controller",
    "max-cpu-compat": "the highest level that the guest may agree to",
    "cap-vsx": "vector-scalar registers",
    "cap-dfp": "decimal floating point",
    "cap-htm": "transactional memory",
    "cap-nested-hv": "guests of guests",
}
_MACHINE: Final = ("-M", "-machine")
_NETWORK: Final = ("-nic", "-net")
_ASKING: Final = ("help", "?")


def known(model: Kind) -> list[str]:
    """Every property that is understood."""
    return [*model.properties, *SAME_AS, "memory-backend", *WITHOUT_EFFECT]


# --- help ---------------------------------------------------------------------------------------


def asked(words: Sequence[str]) -> str | None:
    """The list that a ``help`` in the options asks for; None when there is none."""
    machine = DEFAULT_MACHINE
    options = [
        ("-" + word.lstrip("-") if word.startswith("-") else "", value)
        for word, value in zip(words, [*words[1:], ""], strict=True)
    ]
    for option, value in options:
        first, _, rest = value.partition(",")
        if option in _MACHINE:
            if first in _ASKING:
                return machines()
            named = first.removeprefix("type=")
            if named and "=" not in named:
                machine = registry.find_version(named)[0].name
            if set(rest.split(",")) & set(_ASKING) or value.endswith(",help"):
                return machine_properties(registry.find(machine))
    for option, value in options:
        found = _other(option, value, machine)
        if found is not None:
            return found
    return None


def _other(option: str, value: str, machine: str) -> str | None:
    first, _, rest = value.partition(",")
    if option == "-cpu" and value in _ASKING:
        return cpus(registry.find(machine))
    if option == "-accel" and value in _ASKING:
        return "Accelerators supported:\ntcg\n"
    if option == "-vga" and value in _ASKING:
        return "".join(f"{name}\n" for name in registry.find(machine).vga)
    if option in _NETWORK and {"model=help", "model=?"} & set(value.split(",")):
        return "Supported NIC models:\n" + "".join(f"{name}\n" for name in device_options.NICS)
    if option == "-device":
        if first in _ASKING:
            return device_options.list_devices()
        if set(rest.split(",")) & set(_ASKING):
            return device_options.list_properties(first.removeprefix("driver="))
    return None


def machines() -> str:
    lines = ["Supported machines are:"]
    for m in registry.kinds():
        default = " (default)" if m.name == DEFAULT_MACHINE else ""
        lines.append(f"{m.name:20} {m.title}{default}")
        lines += [f"{m.name + '-' + v.name:20} version {v.name}" for v in m.versions]
    return "\n".join(lines) + "\n"


def machine_properties(model: Kind) -> str:
    lines = [f"{model.name} options:"]
    for name in sorted(known(model)):
        values = model.properties.get(name)
        kind = "string"
        if values is not None:
            kind = "/".join(values)
        elif name in WITHOUT_EFFECT:
            kind = "on/off"
        lines.append(f"  {name + '=<' + kind + '>':32} - {TEXTS[name]}")
    return "\n".join(lines) + "\n"


def cpus(model: Kind) -> str:
    """The CPUs of a machine; the first is its usual one."""
    lines = []
    for name in model.cpus:
        aliases = [a for a, real in CPU_ALIASES.items() if real == name]
        also = f" (also {', '.join(aliases)})" if aliases else ""
        lines.append(f"PowerPC {name}{also}")
    return "\n".join(lines) + "\n"
