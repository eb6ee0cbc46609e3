"""ibm,client-architecture-support in the whole machine: its tree, its streams, its reset."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest

from gossamer.base.errors import ConfigError, StreamError
from gossamer.control.globalstate import GlobalState
from gossamer.control.hashing import StateHash
from gossamer.control.losses import losses
from gossamer.control.profiles import READING, profile_of
from gossamer.control.stream_in import load_stream, read_stream
from gossamer.control.stream_out import Extra, save_stream
from gossamer.machines.machine import Machine
from gossamer.machines.options import parse
from gossamer.migrate.releases import release
from tests.devices.spapr.option_vectors import LAST, level, words
from tests.machines.test_pseries import make

__all__ = ["make"]

AT = 0x20_0000
POWER7, POWER8 = 0x0F00_0003, 0x0F00_0004
Make = Callable[..., Machine]


def ask(m: Machine, data: bytes) -> int:
    """Negotiate, as the firmware's service does it."""
    m.memory.write(AT, data)
    firmware = m.part("spapr").firmware  # type: ignore[attr-defined]
    code, root = firmware.negotiate(AT)
    firmware._present(root)
    return int(code)


def seen(m: Machine) -> tuple[int, int, bytes]:
    """Level, options, and the level that the tree shows."""
    spapr: Any = m.part("spapr")
    cpu = spapr.firmware.root.find("/cpus").children[0]
    return m.cpu.compat_pvr, spapr.ov5, cpu.properties["cpu-version"]  # type: ignore[attr-defined]


def stream_of(m: Machine, name: str = "gossamer") -> bytes:
    out = BytesIO()
    save_stream(m, out, Extra("globalstate", GlobalState()), profile_of(release(name)))
    return out.getvalue()


@pytest.mark.parametrize("version", ["2.8", "2.9", "7.2"])
def test_what_was_agreed_on_is_carried(make: Make, version: str) -> None:
    """Though QEMU keeps no level before 2.10."""
    m = make(version=version, cpu="power8_v2.0", cpus=2)
    assert ask(m, words()) == 0
    assert seen(m)[0::2] == (POWER8, POWER8.to_bytes(4, "big"))
    assert seen(m)[1]
    assert {cpu.compat_pvr for cpu in m.cpus} == {POWER8}  # type: ignore[attr-defined]
    fresh = make(version=version, cpu="power8_v2.0", cpus=2, rtc_base=0)
    load_stream(fresh, BytesIO(stream_of(m)), Extra("globalstate", GlobalState()))
    assert seen(fresh) == seen(m)
    assert StateHash(fresh).sections() == StateHash(m).sections()
    said = [str(one) for one in losses(m, release("qemu-7.2"))]
    assert any("has agreed to" in one for one in said) is (version != "7.2")
    # The kernel asks again, in the machine that was loaded: nothing of the first start is needed.
    for one in (m, fresh):
        assert ask(one, words([level(POWER7), LAST])) == 0
    assert seen(fresh) == seen(m)
    assert m.part("spapr").firmware.blob == fresh.part("spapr").firmware.blob  # type: ignore[attr-defined]


def test_the_kernels_words_stay_and_a_reset_forgets(make: Make) -> None:
    m = make(cpu="power8_v2.0")
    firmware = m.part("spapr").firmware  # type: ignore[attr-defined]
    chosen = firmware.root.find("/chosen")
    before = dict(chosen.properties)
    chosen.set("bootargs", "root=/dev/vda")
    assert ask(m, words()) == 0
    after = firmware.root.find("/chosen").properties
    assert after["bootargs"] == b"root=/dev/vda\0"
    for name in ("rng-seed", "linux,initrd-start", "linux,initrd-end", "qemu,boot-kernel"):
        assert after[name] == before[name]
    assert after["stdout"] != before["stdout"]  # opened again
    m.reset()
    assert seen(m) == (0, 0, bytes.fromhex("004d0200"))


def test_a_limit_holds_from_the_start(make: Make) -> None:
    m = make(cpu="power8_v2.0", properties={"max-cpu-compat": "power7"})
    assert seen(m)[0] == POWER7
    assert ask(m, words()) == 0
    assert seen(m)[0] == POWER7
    with pytest.raises(ConfigError, match=r"max-cpu-compat=power7: 970mp_v1.1 has no such level"):
        make(properties={"max-cpu-compat": "power7"})
    with pytest.raises(ConfigError, match=r"max-cpu-compat.*power9.*power8"):
        parse(["-M", "pseries,max-cpu-compat=power9"])


def test_a_level_that_the_cpu_has_not_is_refused(make: Make) -> None:
    m = make(cpu="power8_v2.0")
    assert ask(m, words()) == 0
    stream = stream_of(m, "qemu-7.2").replace(POWER8.to_bytes(4, "big"), b"\x0f\0\0\5")
    with pytest.raises(StreamError, match=r"0x0f000005 is no level .* power8_v2.0 has"):
        read_stream(
            make(cpu="power8_v2.0"), BytesIO(stream), Extra("globalstate", GlobalState()), READING
        )
