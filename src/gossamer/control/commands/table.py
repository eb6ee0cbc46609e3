"""The table of commands: every action of every front is a row here.

A row is a function with a signature: `command` takes its name on the wire, and reads the arguments,
their types and defaults, the result and the line of help off the function itself.  Fronts find a
row, give it JSON values or words, and format what comes back; they decide nothing.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Generator, Mapping
from functools import cached_property
from types import NoneType
from typing import Any, Final

from gossamer.base.data import Data, field
from gossamer.base.errors import ConfigError, GossamerError
from gossamer.control.session import Session
from gossamer.control.shapes import Json, Member, Type, arguments, member, type_of
from gossamer.control.steps import Steps

#: Run states in which a transfer or a save has the machine: what would change it is refused.
HELD: Final = frozenset({"finish-migrate", "inmigrate", "save-vm", "restore-vm"})


#: The argument of a command that takes any property.
REST: Final = "properties_"


class CommandError(GossamerError):
    """A refusal of a class that QMP names."""

    kind = "GenericError"


class UnknownCommandError(CommandError):
    """There is no such command."""

    kind = "CommandNotFound"


class UnknownDeviceError(CommandError):
    """A device that is named does not exist."""

    kind = "DeviceNotFound"


class InactiveDeviceError(CommandError):
    """A device that is named does nothing just now."""

    kind = "DeviceNotActive"


def failure(fault: Exception) -> str:
    """What a client gets for a command that failed: one line, whatever it was.

    An error of the host in a command never ends the machine, nor does one of our own.
    """
    if isinstance(fault, GossamerError):
        text = str(fault)
    elif isinstance(fault, OSError):
        where = f"{fault.filename}: " if fault.filename else ""
        text = f"{where}{fault.strerror or fault}"
    elif isinstance(fault, MemoryError):
        text = "the host has no memory for that"
    elif isinstance(fault, ValueError):
        text = str(fault)
    else:
        text = f"{type(fault).__name__} {fault}".rstrip() + " (a fault of gossamer's own)"
    return " ".join(text.split())


class Command(Data):
    """One row.  `held`: it works also while a transfer or a save has the machine.

    `wire`: whether QMP offers it.  An argument `properties_` takes whatever has no name of its own.
    """

    __slots__ = ("__dict__",)

    name: str
    action: Callable[..., object]
    held: bool
    wire: bool = True

    @property
    def help(self) -> str:
        """One line."""
        text = (self.action.__doc__ or "").partition("\n")[0].rstrip(".")
        return text[:1].lower() + text[1:]

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return typing.get_type_hints(self.action, include_extras=True)

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """The arguments."""
        import inspect

        parameters = list(inspect.signature(self.action).parameters.values())[1:]
        return tuple(
            member(p.name, self._hints[p.name], optional=p.default is not p.empty)
            for p in parameters
            if p.name != REST
        )

    @cached_property
    def rest(self) -> str:
        """The argument that takes all others; empty when there is none."""
        return REST if REST in self._hints else ""

    @cached_property
    def result(self) -> Type | None:
        """What comes back; None: nothing."""
        found = self._hints["return"]
        if typing.get_origin(found) is Generator:
            found = typing.get_args(found)[2]  # of the steps that lead to it
        return None if found is NoneType else type_of(found)

    def __call__(self, session: Session, given: Mapping[str, Json]) -> object | Steps[object]:
        """Do it with JSON arguments: the result, or the steps that lead to it.

        GossamerError (with the `kind` of a CommandError, else GenericError) when it cannot be done.
        """
        state = session.vm.run_state
        words = arguments(self.members, given, "", self.rest)
        if session.vm.busy and not self.held:
            raise ConfigError(f"{self.name}: not while the machine is being {session.vm.busy}")
        if state in HELD and not self.held:
            raise ConfigError(f"{self.name}: not while the machine is in state {state}")
        return self.action(session, **words)


class Table(Data, frozen=False):
    """All rows by name."""

    rows: dict[str, Command] = field(default_factory=dict)

    def command(
        self, name: str, *, held: bool = False, wire: bool = True
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Add the function that follows as command `name`."""

        def add(action: Callable[..., Any]) -> Callable[..., Any]:
            assert name not in self.rows, name
            assert action.__doc__, f"{name} has no help"
            self.rows[name] = Command(name, action, held, wire)
            return action

        return add

    def find(self, name: str) -> Command:
        """The row called `name`."""
        found = self.rows.get(name)
        if found is None:
            raise UnknownCommandError(f"The command {name} has not been found")
        return found

    def call(self, session: Session, name: str, /, **given: Json) -> object | Steps[object]:
        """For fronts that know what they want: `name` with arguments in Python's spelling."""
        named = {key.rstrip("_").replace("_", "-"): value for key, value in given.items()}
        return self.find(name)(session, named)


TABLE: Final = Table()
command: Final = TABLE.command
