"""Whether a value is what the schema says, and what the schema says of a command."""

from __future__ import annotations

from typing import Any


class Schema:
    """The entries of query-qmp-schema by name."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self.by_name = {entry["name"]: entry for entry in entries}
        assert len(self.by_name) == len(entries), "a name is there twice"

    def names(self, meta: str) -> set[str]:
        return {name for name, entry in self.by_name.items() if entry["meta-type"] == meta}

    def members(self, command: str) -> dict[str, dict[str, Any]]:
        found = self.by_name[self.by_name[command]["arg-type"]]["members"]
        return {one["name"]: one for one in found}

    def check(self, kind: str, value: Any, where: str) -> None:
        """AssertionError when `value` is not of type `kind`."""
        entry = self.by_name[kind]
        match entry["meta-type"]:
            case "builtin":
                self._builtin(entry["json-type"], value, where)
            case "enum":
                assert value in entry["values"], where
            case "array":
                assert isinstance(value, list), where
                for n, one in enumerate(value):
                    self.check(entry["element-type"], one, f"{where}[{n}]")
            case "object":
                self._object(entry, value, where)
            case "alternate":
                assert any(self._is(one["type"], value) for one in entry["members"]), where

    def _is(self, kind: str, value: Any) -> bool:
        try:
            self.check(kind, value, "")
        except AssertionError:
            return False
        return True

    def _builtin(self, kind: str, value: Any, where: str) -> None:
        types: dict[str, Any] = {"string": str, "boolean": bool, "number": (int, float), "int": int}
        if kind != "value":
            assert isinstance(value, types[kind]), f"{where}: {value!r} is no {kind}"
            assert kind == "boolean" or not isinstance(value, bool), where

    def _object(self, entry: dict[str, Any], value: Any, where: str) -> None:
        assert isinstance(value, dict), where
        members = {one["name"]: one for one in entry["members"]}
        if "tag" in entry:
            case = value[entry["tag"]]
            variant = next(one for one in entry["variants"] if one["case"] == case)
            rest = self.by_name[variant["type"]]["members"]
            members |= {one["name"]: one for one in rest}
        assert value.keys() <= members.keys(), f"{where}: {value.keys() - members.keys()}"
        for name, one in members.items():
            assert name in value or "default" in one, f"{where}: {name} is missing"
            if name in value:
                self.check(one["type"], value[name], f"{where}.{name}")
