"""PyPI's qemu.qmp, the client of QEMU's own tools, drives a save, a load and a migration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.front.qmp.client import Host
from tests.front.qmp.conftest import BARE

protocol = pytest.importorskip("qemu.qmp", reason="needs qemu.qmp")


class Machine:
    """One connection of qemu.qmp; remembers events."""

    def __init__(self, host: Host) -> None:
        host.client.close()  # its place is ours
        self.path = host.path
        self.client = protocol.QMPClient(host.path)
        self.events = protocol.EventListener()

    async def __aenter__(self) -> Machine:
        self.client.register_listener(self.events)
        await self.client.connect(self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.disconnect()

    async def do(self, name: str, **arguments: Any) -> Any:
        return await self.client.execute(name, arguments)

    async def migration(self, status: str) -> None:
        async with asyncio.timeout(600):
            async for event in self.events:
                if event["event"] == "MIGRATION" and event["data"]["status"] == status:
                    return

    async def state(self) -> str:
        return str((await self.do("query-status"))["status"])

    async def registers(self) -> Any:
        return await self.do("x-query-registers")


async def saved_and_loaded(one: Host, two: Host, file: Path) -> None:
    async with Machine(one) as a, Machine(two) as b:
        await a.do("cont")
        await asyncio.sleep(0.05)
        await a.do("stop")
        before = await a.registers()
        await a.do("migrate", uri=f"exec:cat > {file}")
        await a.migration("completed")
        assert await a.state() == "postmigrate"
        assert await b.state() == "inmigrate"
        await b.do("migrate-incoming", uri=f"exec:cat {file}")
        await b.migration("completed")
        assert await b.registers() == before
        assert await b.state() == "paused"
        await b.do("cont")
        assert await b.state() == "running"


def test_save_and_load(start: Callable[..., Host], tmp_path: Path) -> None:
    one, two = start(*BARE, "-S"), start(*BARE, "-S", "-incoming", "defer")
    asyncio.run(saved_and_loaded(one, two, tmp_path / "m"))


async def migrated(one: Host, two: Host, place: str) -> None:
    async with Machine(one) as a, Machine(two) as b:
        await b.do("migrate-incoming", uri=place)
        with pytest.raises(protocol.ExecuteError, match="already been started"):
            await b.do("migrate-incoming", uri=place)
        await b.do("cont")  # remembered
        await a.do("migrate", uri=place)
        await a.migration("completed")
        await b.migration("completed")
        assert await a.state() == "postmigrate"
        assert await b.state() == "running"
        first = (await b.do("query-status"))["instructions"]
        async with asyncio.timeout(600):
            while (await b.do("query-status"))["instructions"] <= first:
                await asyncio.sleep(0.01)


def test_migration_of_a_running_machine(start: Callable[..., Host], tmp_path: Path) -> None:
    one, two = start(*BARE), start(*BARE, "-S", "-incoming", "defer")
    asyncio.run(migrated(one, two, f"unix:{tmp_path}/place"))
