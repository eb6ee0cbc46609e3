"""Machines that Linux is measured on: what each emulator is given, what the guest has."""

from __future__ import annotations

from typing import Final

from gossamer.base.data import Data


class Place(Data):
    """One machine: `qemu` is the program to compare with, `has` what its rows may need (`Row`).

    `options` go to both emulators.
    """

    qemu: str
    console: str
    has: frozenset[str]
    options: tuple[str, ...] = ()


_MAC: Final = Place(
    "qemu-system-ppc",
    "console=ttyPZ0 console=tty0",
    frozenset(("disks", "screen", "programs")),
)
#: A bare machine.  QEMU's 970MP has to be without what it cannot do.
_PSERIES: Final = Place(
    "qemu-system-ppc64", "console=hvc0", frozenset(), ("-rtc", "base=2026-01-01", "-nodefaults")
)
#: Properties of QEMU's machine that a CPU asks for.
_PROPERTIES: Final = {"970mp_v1.1": "x-vof=on,cap-vsx=off,cap-dfp=off"}


def place_of(machine: str) -> Place:
    """What to know of a machine, by its name (`pseries-7.2` is one, too)."""
    return _PSERIES if is_pseries(machine) else _MAC


def is_pseries(machine: str) -> bool:
    return machine.partition("-")[0] == "pseries"


def machine_words(machine: str, cpu: str) -> list[str]:
    """The machine and its CPU as options of both emulators; the CPU is the usual one if empty."""
    if not is_pseries(machine):
        return ["-M", machine, *(("-cpu", cpu) if cpu else ())]
    cpu = cpu or "970mp_v1.1"
    return ["-M", f"{machine},{_PROPERTIES.get(cpu, 'x-vof=on')}", "-cpu", cpu]
