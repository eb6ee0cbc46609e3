"""What QMP offers, in the form of QEMU's introspection, taken from the table of commands.

Names of types are numbers, as QEMU masks them; "0" is the empty object.  Source: QEMU's
docs/devel/qapi-code-gen, "Client JSON Protocol introspection".
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.control import events
from gossamer.control.commands.table import TABLE, command
from gossamer.control.session import Session
from gossamer.control.shapes import (
    ANY,
    BOOL,
    INT,
    NUMBER,
    SIZE,
    STR,
    Alternate,
    Array,
    Builtin,
    Enumeration,
    Member,
    Struct,
    Type,
    Variants,
    fields_of,
)

EMPTY: Final = "0"
_BUILTINS: Final = {
    STR: ("str", "string"),
    INT: ("int", "int"),
    SIZE: ("int", "int"),
    NUMBER: ("number", "number"),
    BOOL: ("bool", "boolean"),
    ANY: ("any", "value"),
}
Entry = dict[str, Any]


class Schema:
    """Collects the entries: commands, events, then every type that they name."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._numbers: dict[object, str] = {}
        self._types: list[Entry] = []
        self._known: set[str] = set()

    def made(self) -> list[Entry]:
        """All of it."""
        for row in TABLE.rows.values():
            if row.wire:
                self.entries.append(
                    {
                        "name": row.name,
                        "meta-type": "command",
                        "arg-type": self._object(("arguments", row.name), row.members),
                        "ret-type": EMPTY if row.result is None else self._name(row.result),
                    }
                )
        for event in events.KINDS.values():
            arg = self._object(("event", event.name), fields_of(event))
            self.entries.append({"name": event.name, "meta-type": "event", "arg-type": arg})
        empty = {"name": EMPTY, "meta-type": "object", "members": []}
        return [*self.entries, empty, *self._types]

    def _number(self, key: object) -> str:
        return self._numbers.setdefault(key, str(len(self._numbers) + 1))

    def _name(self, kind: Type) -> str:
        """What a type is called; its entry is there afterwards."""
        if isinstance(kind, Builtin):
            name, json_type = _BUILTINS[kind]
            self._add({"name": name, "meta-type": "builtin", "json-type": json_type})
            return name
        if isinstance(kind, Array):
            element = self._name(kind.of)
            name = f"[{element}]"
            self._add({"name": name, "meta-type": "array", "element-type": element})
            return name
        if isinstance(kind, Enumeration):
            name = self._number(("enum", kind.name, kind.values))
            members = [{"name": value} for value in kind.values]
            values = list(kind.values)
            self._add({"name": name, "meta-type": "enum", "members": members, "values": values})
            return name
        if isinstance(kind, Struct):
            return self._object(kind.python, kind.members)
        if isinstance(kind, Variants):
            return self._variants(kind)
        return self._alternate(kind)

    def _object(self, key: object, members: tuple[Member, ...]) -> str:
        if not members:
            return EMPTY
        name = self._number(key)
        if name not in self._known:
            self._known.add(name)
            entry: Entry = {"name": name, "meta-type": "object"}
            self._types.append(entry)
            entry["members"] = [self._member(one) for one in members]
        return name

    def _member(self, one: Member) -> Entry:
        made: Entry = {"name": one.name, "type": self._name(one.type)}
        return made | {"default": None} if one.optional else made

    def _variants(self, kind: Variants) -> str:
        name = self._number(("variants", kind.name))
        if name not in self._known:
            self._known.add(name)
            entry: Entry = {"name": name, "meta-type": "object", "tag": kind.tag}
            self._types.append(entry)
            tag = self._name(Enumeration(f"{kind.name} kinds", tuple(kind.cases)))
            entry["members"] = [{"name": kind.tag, "type": tag}]
            entry["variants"] = [
                {"case": case, "type": self._object((struct.python, "rest"), struct.members[1:])}
                for case, struct in kind.cases.items()
            ]
        return name

    def _alternate(self, kind: Alternate) -> str:
        name = self._number(("alternate", kind.name))
        members = [{"type": self._name(one)} for one in kind.choices]
        self._add({"name": name, "meta-type": "alternate", "members": members})
        return name

    def _add(self, entry: Entry) -> None:
        if entry["name"] not in self._known:
            self._known.add(entry["name"])
            self._types.append(entry)


@command("query-qmp-schema", held=True)
def query_qmp_schema(session: Session) -> tuple[object, ...]:
    """What QMP offers here."""
    del session
    return tuple(Schema().made())


class CommandInfo(Data):
    """A command by its name."""

    name: str


@command("query-commands", held=True)
def query_commands(session: Session) -> tuple[CommandInfo, ...]:
    """The commands that QMP offers."""
    del session
    return tuple(CommandInfo(row.name) for row in TABLE.rows.values() if row.wire)


class QmpCapability(StrEnum):
    """What a client may switch on; none is offered."""

    OOB = "oob"


@command("qmp_capabilities", held=True)
def qmp_capabilities(session: Session, enable: tuple[QmpCapability, ...] = ()) -> None:
    """Begin, as the first command of a QMP connection."""
    del session
    if enable:
        raise ConfigError(f"Capability {enable[0].value} not available")
