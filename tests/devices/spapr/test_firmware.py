"""The client interface: what a starting kernel asks for, and what a hostile one does."""

from __future__ import annotations

import random
from struct import pack

import pytest

from gossamer.devices.spapr import fdt, vof
from gossamer.devices.spapr.fdt import Node, flatten, unflatten
from gossamer.devices.spapr.vof import ERROR, Firmware
from tests.devices.spapr.rig import RAM, Rig

CELLS, TEXT, BUFFER = 0x2_0000, 0x2_1000, 0x2_2000


def tree() -> Node:
    root = Node("")
    root.set("phandle", 1)
    chosen = {"phandle": 2, "stdout-path": "/vdevice/vty@71000000", "bootargs": "quiet"}
    root.add("chosen", chosen)
    vty = {"phandle": 4, "device_type": "serial"}
    root.add("vdevice", {"phandle": 3}).add("vty@71000000", vty)
    root.add("memory@0", {"phandle": 5, "reg": [0, 0, 0, RAM]})
    root.add("rtas", {"phandle": 6})
    return root


class Prom:
    """A client: `call` gives the results."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.firmware = Firmware(self.rig.ram)
        self.rig.add({vof.H_VOF_CLIENT: self.firmware.call})
        self.firmware.begin(tree(), [(0x1000, 0x2000)], [(0, 0x1000)])
        self._text = TEXT

    def text(self, text: str) -> int:
        self._text = TEXT + (self._text + 0x40 - TEXT) % 0x1000
        self.rig.memory.write(self._text, text.encode() + b"\0")
        return self._text

    def call(self, service: str, *arguments: int | str, results: int = 1) -> list[int]:
        cells = [self.text(one) if isinstance(one, str) else one for one in arguments]
        block = [self.text(service), len(cells), results, *cells, *[0x5555_5555] * results]
        self.rig.memory.write(CELLS, pack(f">{len(block)}I", *block))
        code, _ = self.rig.call(vof.H_VOF_CLIENT, CELLS)
        assert code == 0, service
        return [self.rig.ram.uint(CELLS + 4 * (3 + len(cells) + n), 4) for n in range(results)]

    def one(self, service: str, *arguments: int | str) -> int:
        return self.call(service, *arguments)[0]


@pytest.fixture
def prom() -> Prom:
    return Prom()


def test_walk_and_properties(prom: Prom) -> None:
    assert prom.one("peer", 0) == 1
    assert [prom.one("child", 1), prom.one("peer", 2), prom.one("child", 3)] == [2, 3, 4]
    assert [prom.one("parent", 4), prom.one("peer", 6), prom.one("parent", 1)] == [3, 0, 0]
    assert prom.one("finddevice", "/memory") == prom.one("finddevice", "/memory@0") == 5
    assert prom.one("finddevice", "/nothing") == prom.one("finddevice", "memory") == ERROR
    assert prom.one("getproplen", 2, "bootargs") == 6
    assert prom.one("getprop", 2, "bootargs", BUFFER, 3) == 6
    assert prom.rig.ram.read(BUFFER, 4) == b"qui\0"
    assert prom.one("getprop", 4, "name", BUFFER, 16) == 4
    assert prom.rig.ram.text(BUFFER, 16) == b"vty"
    names, before = [], ""
    while prom.one("nextprop", 2, before, BUFFER) == 1:
        before = (prom.rig.ram.text(BUFFER, 32) or b"").decode()
        names.append(before)
    assert names == ["stdout", "phandle", "stdout-path", "bootargs"]
    assert prom.one("package-to-path", 4, BUFFER, 99) == 21


def test_set_a_property(prom: Prom) -> None:
    prom.rig.memory.write(BUFFER, b"abcd")
    assert prom.one("setprop", 6, "linux,rtas-base", BUFFER, 4) == 4
    assert list(prom.firmware.root.children[3].properties) == ["linux,rtas-base", "phandle"]
    assert unflatten(prom.firmware.blob)[0].find("/rtas") is not None
    assert prom.one("setprop", 6, "phandle", BUFFER, 4) == ERROR
    assert prom.one("setprop", 6, "x", BUFFER, RAM) == ERROR


def test_output(prom: Prom) -> None:
    said: list[bytes] = []
    prom.firmware.write = said.append
    prom.rig.memory.write(BUFFER, b"Linux")
    assert prom.one("write", 1, BUFFER, 5) == 5
    root = prom.one("open", "/")
    assert prom.one("write", root, BUFFER, 5) == 5  # nothing that prints
    assert prom.one("write", 77, BUFFER, 5) == ERROR
    assert prom.one("write", 1, RAM - 1, 5) == ERROR
    assert said == [b"Linux"]
    assert prom.one("instance-to-package", 1) == 4
    prom.one("close", root)
    assert prom.one("instance-to-package", root) == ERROR


def test_memory(prom: Prom) -> None:
    assert prom.one("claim", 0x800, 0x1000, 0) == ERROR
    assert prom.one("claim", 0x1000, 0x1000, 0) == 0x1000
    assert prom.one("claim", 0, 0x100, 0x4000) == 0x4000
    memory = prom.firmware.root.find("/memory@0")
    assert memory is not None
    assert memory.cells("available") == [0, 0x2000, 0, 0x2000, 0, 0x4100, 0, RAM - 0x4100]
    assert prom.one("release", 0x1000, 0x1000) == 0
    assert prom.one("release", 0x1000, 0x1000) == ERROR
    assert prom.one("claim", 0xFFFF_F000, 0x1000, 0) == ERROR
    assert prom.one("claim", 0, 0, 4) == prom.one("claim", 0, RAM, 16) == ERROR


def test_methods(prom: Prom) -> None:
    instance = prom.one("open", "/rtas")
    found = prom.call("call-method", "instantiate-rtas", instance, 0x8000, results=2)
    assert found == [0, 0x8000]
    assert prom.rig.ram.read(0x8000, 20).hex() == "7c641b783c6000006063f000440000224e800020"
    assert prom.call("call-method", "instantiate-rtas", instance, RAM - 4, results=2)[0] == ERROR
    root = prom.one("open", "/")
    vectors = []
    prom.firmware.negotiate = lambda address: (vectors.append(address) or 0, prom.firmware.root)
    method = "ibm,client-architecture-support"
    assert prom.call("call-method", method, root, 0x9000, results=2) == [0, 0]
    assert vectors == [0x9000]
    assert prom.call("call-method", method, instance, 0, results=2)[0] == ERROR


def test_quiesce_ends_the_services(prom: Prom) -> None:
    assert prom.call("quiesce", results=0) == []
    assert prom.rig.call(vof.H_VOF_CLIENT, CELLS)[0] == -4


def test_hostile_calls_touch_nothing_outside(prom: Prom) -> None:
    """Any cells, any service: an answer, bounded, and no error of the host."""
    chance = random.Random(22)
    names = [prom.text(name) for name in (*prom.firmware._services, "call-method", "bogus")]
    values = [0, 1, 4, 5, 99, TEXT, BUFFER, RAM - 1, RAM, 0x7FFF_FFFF, 0x8000_0000, ERROR]
    for _ in range(3000):
        prom.firmware.active = True
        count, results = (
            chance.choice([0, 1, 2, 3, 4, 6, 9, ERROR]),
            chance.choice([0, 1, 2, ERROR]),
        )
        block = [chance.choice([*names, 0, RAM, ERROR]), count, results]
        block += [chance.choice([*values, *names]) for _ in range(9)]
        at = chance.choice([CELLS, CELLS, RAM - 8, RAM, ERROR])
        if at == CELLS:
            prom.rig.memory.write(at, pack(">12I", *block))
        assert prom.rig.call(vof.H_VOF_CLIENT, at | chance.choice([0, 1 << 40]))[0] in (0, -1, -4)
    assert len(prom.firmware.instances) <= vof.MOST_INSTANCES
    assert len(prom.firmware.blob) < vof.MOST_TREE


def test_a_blob_and_back() -> None:
    blob = flatten(tree(), [(0x10, 0x20)])
    root, reserved = unflatten(blob)
    assert reserved == [(0x10, 0x20)]
    assert flatten(root, reserved) == blob
    assert [node.path for node in root.walk()] == [node.path for node in tree().walk()]


def test_damaged_blobs_are_refused() -> None:
    blob = flatten(tree())
    for length in range(0, len(blob) - 1, 7):
        with pytest.raises(ValueError, match=r"device tree|property|name"):
            unflatten(blob[:length])
    chance = random.Random(5)
    for _ in range(500):
        bad = bytearray(blob)
        bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        try:
            unflatten(bytes(bad))
        except ValueError:
            continue
    deep = Node("")
    node = deep
    for _ in range(fdt.DEEPEST + 1):
        node = node.add("x")
    with pytest.raises(ValueError, match="deeper"):
        unflatten(flatten(deep))
