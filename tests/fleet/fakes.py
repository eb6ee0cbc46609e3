"""Nodes that only keep a book: which machine is where, and what each was asked, in order."""

from __future__ import annotations

from typing import Any

from gossamer.fleet.errors import FleetError, NodeLostError


class FakeNode:
    """A node of `handle.NodeLink`; `book` is shared by all and tells the order of calls.

    `fail[method]` is raised when that method is called; a machine is a dict with its status.
    """

    def __init__(self, name: str, book: list[tuple[str, str, str]], boot: str = "b") -> None:
        self.name, self.book = name, book
        self.facts = {"name": name, "boot": boot, "host": name, "cpus": 1, "pid": 1}
        self.certain, self.gone = True, False
        self.machines: dict[str, dict[str, Any]] = {}
        self.fail: dict[str, Exception] = {}
        self.hashes: dict[str, str] = {}

    def call(self, method: str, *arguments: Any) -> Any:
        name = str(arguments[0]) if arguments else ""
        self.book.append((self.name, method, name))
        if self.gone:
            raise NodeLostError(self.name, "it is dead")
        if method in self.fail:
            raise self.fail[method]
        return getattr(self, "do_" + method)(*arguments)

    def machine(self, name: str) -> dict[str, Any]:
        if name not in self.machines:
            raise FleetError(f"node {self.name} has no machine {name}")
        return self.machines[name]

    def do_start(self, name: str, options: list[str], python: str, paused: bool) -> None:
        self.machines[name] = {
            "status": "prelaunch" if paused else "running", "python": python, "clock-ns": 5,
        }  # fmt: skip

    def do_receive(self, name: str, options: list[str], python: str, way: list[str]) -> str:
        self.machines[name] = {"status": "inmigrate", "python": python, "clock-ns": 0}
        return f"{self.name}/{name}"

    def do_send(self, name: str, place: str, tls: str) -> None:
        self.machine(name)["status"] = "postmigrate"

    def do_sending(self, name: str, seconds: float) -> dict[str, Any]:
        return {"status": "completed", "downtime": 7, "ram": {"transferred": 100}}

    def do_receiving(self, name: str) -> dict[str, Any]:
        self.machine(name)["status"] = "paused"
        return self.machine(name)

    def do_command(self, name: str, command: str, arguments: dict[str, Any]) -> Any:
        found = self.machine(name)
        if command in ("cont", "stop"):
            found["status"] = "running" if command == "cont" else "paused"
        return dict(found) if command == "query-status" else {}

    def do_rename(self, name: str, to: str) -> None:
        self.machines[to] = self.machines.pop(name)

    def do_release(self, name: str, kill: bool) -> list[Any]:
        self.machine(name)
        del self.machines[name]
        return [0, ""]

    def do_wrote(self, name: str, end: int, text: str) -> None:
        self.machine(name)

    def do_hash(self, name: str) -> dict[str, Any]:
        self.machine(name)
        return {"hash": self.hashes.get(name, "0x1"), "instructions": 1}

    def do_save(self, name: str, file: str) -> dict[str, Any]:
        return dict(self.machine(name))

    def do_load(self, name: str, file: str) -> dict[str, Any]:
        return dict(self.machine(name))

    def do_environment(self, python: str) -> str:
        return "0"

    def do_listing(self) -> list[dict[str, Any]]:
        return [{"name": name, "options": []} | row for name, row in self.machines.items()]

    def kill(self) -> None:
        self.gone = True

    def close(self) -> None:
        self.gone = True
