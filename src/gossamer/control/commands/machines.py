"""Commands that say which machines and CPUs there are, and what this one has."""

from __future__ import annotations

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.control import look, outside
from gossamer.control.commands.table import InactiveDeviceError, command
from gossamer.control.pointer import pointer
from gossamer.control.session import Session
from gossamer.control.shapes import Size
from gossamer.machines import registry
from gossamer.machines.kind import CPU_ALIASES


class MachineInfo(Data):
    """A machine that -M takes."""

    name: str
    cpu_max: int
    hotpluggable_cpus: bool
    numa_mem_supported: bool
    deprecated: bool
    default_cpu_type: str | None = None
    default_ram_id: str | None = None
    alias: str | None = None
    is_default: bool | None = None


@command("query-machines", held=True)
def query_machines(session: Session) -> tuple[MachineInfo, ...]:
    """The machines that there are."""
    del session
    return tuple(
        MachineInfo(
            name=kind.name,
            cpu_max=kind.cpu_most,
            hotpluggable_cpus=False,
            numa_mem_supported=False,
            deprecated=False,
            default_cpu_type=f"{kind.cpus[0]}-powerpc-cpu",
            default_ram_id=kind.ram_block,
            is_default=True if kind.name == "g3beige" else None,
        )
        for kind in registry.kinds()
    )


class CpuDefinitionInfo(Data):
    """A CPU that -cpu takes; `typename` is shared by names of the same part."""

    name: str
    typename: str
    static: bool
    deprecated: bool


@command("query-cpu-definitions", held=True)
def query_cpu_definitions(session: Session) -> tuple[CpuDefinitionInfo, ...]:
    """The CPUs that there are, with QEMU's other names of them."""
    del session
    plain = {cpu: cpu for kind in registry.kinds() for cpu in kind.cpus}
    return tuple(
        CpuDefinitionInfo(name, f"{cpu}-powerpc-cpu", static=False, deprecated=False)
        for name, cpu in (plain | CPU_ALIASES).items()
    )


class CpuInfoFast(Data):
    """A CPU of this machine; `thread_id` is the host's thread that runs it."""

    cpu_index: int
    qom_path: str
    thread_id: int
    target: str


@command("query-cpus-fast", held=True)
def query_cpus_fast(session: Session) -> tuple[CpuInfoFast, ...]:
    """The CPUs of this machine, without stopping it."""
    machine = session.vm.machine
    return tuple(
        CpuInfoFast(
            n, f"/machine/unattached/device[{n}]", session.thread_id, look.architecture(machine)
        )
        for n in range(len(machine.cpus))
    )


@command("query-hotpluggable-cpus", held=True)
def query_hotpluggable_cpus(session: Session) -> tuple[object, ...]:
    """Refused: CPUs of these machines cannot be added."""
    del session
    raise ConfigError("The feature 'query-hotpluggable-cpus' is not enabled")


class MemoryInfo(Data):
    """RAM in bytes."""

    base_memory: Size
    plugged_memory: Size | None = None


@command("query-memory-size-summary", held=True)
def query_memory_size_summary(session: Session) -> MemoryInfo:
    """How much RAM the machine has."""
    return MemoryInfo(Size(session.vm.config.ram_size), Size(0))


class CurrentMachine(Data):
    """What this machine can do."""

    wakeup_suspend_support: bool


@command("query-current-machine", held=True)
def query_current_machine(session: Session) -> CurrentMachine:
    """What this machine can do beside running."""
    del session
    return CurrentMachine(wakeup_suspend_support=False)


@command("system_wakeup")
def system_wakeup(session: Session) -> None:
    """Refused: these machines do not sleep."""
    del session
    raise ConfigError("wake-up from suspend is not supported by this guest")


@command("query-balloon", held=True)
def query_balloon(session: Session) -> object:
    """Refused: there is no balloon."""
    del session
    raise InactiveDeviceError("No balloon device has been activated")


def _none(name: str, text: str) -> None:
    """A query about something that no machine here has."""

    def nothing(session: Session) -> tuple[object, ...]:
        del session
        return ()

    nothing.__doc__ = text
    command(name, held=True)(nothing)


_none("query-memory-devices", "Memory that was added: none.")
_none("query-iothreads", "Threads for devices: none.")
_none("query-tpm-models", "Trusted platform modules: none.")
_none("query-tpm-types", "What a trusted platform module could use: nothing.")
_none("query-rx-filter", "Filters of network cards: none is offered.")
_none("query-stats-schemas", "Statistics: none.")


class ReplayInfo(Data):
    """Recording and replaying."""

    mode: str
    icount: Size


@command("query-replay", held=True)
def query_replay(session: Session) -> ReplayInfo:
    """Whether the run is recorded or replayed, and at which instruction it is."""
    counted = session.vm.instructions if session.vm.config.icount is not None else 0
    history = session.vm.history
    return ReplayInfo("none" if history is None else history.mode, Size(counted))


class DisplayOptions(Data):
    """The window."""

    type: str


@command("query-display-options", held=True)
def query_display_options(session: Session) -> DisplayOptions:
    """Where the screen is shown."""
    return DisplayOptions("vnc" if session.vnc_servers else "none")


class MouseInfo(Data):
    """A pointer; `current`: input goes to it."""

    name: str
    index: int
    current: bool
    absolute: bool


_POINTERS = {
    "AdbMouse": ("QEMU ADB Mouse", False),
    "UsbMouse": ("QEMU HID Mouse", False),
    "UsbTablet": ("QEMU HID Tablet", True),
}


@command("query-mice", held=True)
def query_mice(session: Session) -> tuple[MouseInfo, ...]:
    """The pointers."""
    m = session.vm.machine
    current: object = pointer(m)
    infos = []
    for n, device in enumerate(outside.pointers(m)):
        name, absolute = _POINTERS[type(device).__name__]
        infos.append(MouseInfo(name, n, device is current, absolute))
    return tuple(infos)
