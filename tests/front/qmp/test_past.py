"""A machine's past by QMP: each command once, its answer as the schema has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.front.qmp.client import Host
from tests.front.qmp.test_commands import PAST, Checked

BASE = ("-M", "g3beige", "-bios", "builtin", "-m", "8", "-nographic", "-icount", "5,sleep=off")


#: What must not change, or be kept, while the machine is on its way elsewhere.
AWAY: dict[str, dict[str, object]] = {
    "x-rewind": {"to": "here"}, "replay-seek": {"icount": 5000}, "x-last-write": {"address": 0},
    "x-savevm": {"tag": "x"}, "x-loadvm": {"tag": "x"}, "x-save": {"file": "/no/x"},
    "x-load": {"file": "/no/x"}, "device_add": {"driver": "usb-kbd"}, "device_del": {"id": "x"},
    "pmemsave": {"val": 0, "size": 1, "filename": "/dev/null"},
    "memsave": {"val": 0, "size": 1, "filename": "/dev/null"},
    "dump-guest-memory": {"paging": False, "protocol": "file:/dev/null"},
    "block-commit": {"device": "x"}, "transaction": {"actions": []},
    "blockdev-snapshot": {"node": "x", "overlay": "x"}, "x-timeline": {}, "x-record": {
        "filename": "/no/x"}, "migrate": {"uri": "exec:true"},
}  # fmt: skip


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Checked]:
    host = Host(tmp_path, *BASE, "-S")
    yield Checked(host.client)
    assert host.end() == 0


def test_every_command_of_the_past(counted: Checked, tmp_path: Path) -> None:
    counted("x-timeline", limit=16)
    assert counted("query-replay") == {"mode": "record", "icount": 0}
    counted("cont")
    while counted("query-replay")["icount"] < 400_000:
        pass
    counted("stop")
    here = counted("x-mark", label="here")
    assert here["label"] == "here"
    wrote = counted("x-last-write", address=0x3000)
    assert wrote["pc"] == 0x944
    assert int(wrote["after"], 16) == int(wrote["before"], 16) + 1
    counted("x-rewind", icount=1000)
    assert counted("query-replay") == {"mode": "play", "icount": here["icount"] - 1000}
    counted("replay-seek", icount=5000)
    counted("replay-break", icount=9000)
    counted("cont")
    while counted("query-status")["status"] != "debug":
        pass
    assert counted("query-replay") == {"mode": "play", "icount": 9000}
    counted("replay-break", icount=10_000)
    counted("replay-delete-break")
    assert "none is set" in counted.no("replay-delete-break")
    assert "instruction 9,000 has been" in counted.no("replay-break", icount=9000)
    counted("x-rewind", to="here")
    past = counted("x-query-timeline")
    assert (past["now"]["icount"], past["moments"][1]) == (here["icount"], here)
    assert "is outside of it" in counted.no("x-rewind", ns=10**15)
    assert "give one of" in counted.no("x-rewind")
    counted("x-record", filename=str(tmp_path / "run"), points=5)
    counted("migrate-set-parameters", max_bandwidth=1000)
    counted("migrate", uri="exec:cat > /dev/null")
    counted.event("MIGRATION", status="active")
    for name, given in AWAY.items():
        assert counted.no(name, **given) == "There's a migration process in progress", name
    counted("migrate_cancel")
    counted.event("MIGRATION", status="cancelled")
    counted("x-timeline", enable=False)
    assert "there is no timeline" in counted.no("x-rewind", ns=1)
    assert set(PAST) <= counted.worked
