"""What is done before a guest stands still changes nothing in it."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import cast

import pytest

from gossamer.base.units import PAGE_SIZE
from gossamer.control.globalstate import GlobalState
from gossamer.control.loading import memory_ahead, rehearse_arrival, rehearse_stream
from gossamer.control.profiles import READING
from gossamer.control.stream_in import StreamReader
from gossamer.control.stream_out import Extra, StreamOut, save_all
from gossamer.control.vm import Vm
from gossamer.machines.build import build
from gossamer.machines.options import parse
from gossamer.migrate.channels import Channel
from gossamer.migrate.framing import Cmd
from gossamer.migrate.incoming import CAUGHT_UP, Incoming

SMALL = ["-M", "g3beige", "-m", "64", "-nographic", "-serial", "null", "-bios", "builtin"]


@pytest.mark.parametrize("machine", ["g3beige", "mac99", "mac99,via=pmu", "ref405ep", "pseries"])
def test_a_machine_that_has_rehearsed_its_arrival_is_as_it_was(
    machine: str, tmp_path: Path
) -> None:
    firmware = tmp_path / "firmware"
    firmware.write_bytes(bytes(0x100))
    bios = [] if machine in ("ref405ep", "pseries") else ["-bios", str(firmware)]
    with closing(Vm(parse(["-M", machine, "-nographic", "-serial", "null", *bios]))) as vm:
        bodies, dirty = save_all(vm.machine), bytes(vm.machine.arena.dirty_view)
        rehearse_arrival(vm.machine)
        assert save_all(vm.machine) == bodies
        assert bytes(vm.machine.arena.dirty_view) == dirty, "memory was written"
        assert bodies["cpu"]


@pytest.mark.parametrize("machine", ["g3beige", "mac99", "pseries"])
def test_a_machine_whose_memory_has_come_is_as_it_was_when_its_sections_are_rehearsed(
    machine: str,
) -> None:
    bios = [] if machine == "pseries" else ["-bios", "builtin"]
    with closing(Vm(parse(["-M", machine, "-nographic", "-serial", "null", *bios]))) as vm:
        arena, table = vm.machine.arena, vm.machine.hash_table
        arena.bytes_of(arena.blocks[0])[PAGE_SIZE : 3 * PAGE_SIZE] = 0x5A
        if table is not None:
            table.take(8, b"\x80" * 7 + b"\x01" + bytes(8), 0)
        bodies, hashed, dirty = save_all(vm.machine), vm.state_hash(), bytes(arena.dirty_view)
        memory = vm.machine.memory
        shown, pages = memory.mappings, bytes(memory.page_table.memory)
        rehearse_stream(vm.machine)
        assert memory.mappings == shown
        assert bytes(memory.page_table.memory) == pages
        assert save_all(vm.machine) == bodies
        assert vm.state_hash() == hashed
        assert bytes(arena.dirty_view) == dirty, "memory was written"


def test_memory_that_is_had_ready_is_as_it_was_and_there() -> None:
    options = [*SMALL, "-rtc", "base=2001-09-09"]
    with closing(Vm(parse(options))) as vm, closing(Vm(parse(options))) as other:
        arena = vm.machine.arena
        dirty, before = bytes(arena.dirty_view), arena.untouched()
        memory_ahead(vm.machine)
        after, pages = arena.untouched(), arena.blocks[0].size // PAGE_SIZE
        assert bytes(arena.dirty_view) == dirty
        assert vm.state_hash() == other.state_hash()
        if before.any():  # the host says which pages it has made
            assert not after[: pages // 2].any()
            big = 1024  # a page of the host's reaches further
            assert after[pages // 2 + big : pages - 2 * big].all(), "only what is used first"


def test_memory_of_a_machine_that_has_gone_stays_gone() -> None:
    options = [*SMALL, "-rtc", "base=2001-09-09"]
    vm = Vm(parse(options))
    arena, machine = vm.machine.arena, vm.machine
    machine.close()
    before = arena.untouched()
    memory_ahead(machine)
    assert (arena.untouched() == before).all()
    vm.close()


class Pings:
    """PINGs of a sender that says again and again that it is about to stop its machine."""

    def __init__(self, vm: Vm) -> None:
        out = BytesIO()
        self.stream = StreamOut(vm.machine, out)
        self.stream.begin([(int(Cmd.PING), CAUGHT_UP.to_bytes(4, "big"))] * 50)
        self.stream.part(self.stream.everything())
        self.stream.devices(Extra("globalstate", GlobalState("running")))
        self.stream.writer.command(Cmd.PING, CAUGHT_UP.to_bytes(4, "big"))
        self.stream.end()
        self.data = out.getvalue()


def test_a_receiver_rehearses_once_and_not_behind_a_device() -> None:
    options = ["-M", "bare", "-m", "1", "-serial", "null", "-bios", "builtin"]
    with closing(Vm(parse(options))) as vm, closing(Vm(parse(options))) as other:
        vm.run(instructions=5000)
        data, calls = Pings(vm).data, []
        extra = Extra("globalstate", GlobalState())
        for whole in (data, data.replace(CAUGHT_UP.to_bytes(4, "big"), bytes(4), 50)):
            fresh = build(other.config, arrives=True)
            reader = StreamReader(fresh, BytesIO(whole), extra, READING)
            reader.caught_up = partial(calls.append, whole)
            reader.read()
            assert save_all(fresh) == save_all(vm.machine)
        assert calls == [data]


class _Channel:
    """Counts how often it is told to be eager."""

    def __init__(self) -> None:
        self.two_way, self.eager = False, 0

    def be_eager(self, ns: int) -> None:
        assert 0 < ns <= 20_000_000
        self.eager += 1

    def extend(self) -> None:
        pass


def test_a_receiver_waits_eagerly_once_however_often_a_sender_says_that_it_stops() -> None:
    options = ["-M", "bare", "-m", "1", "-serial", "null", "-bios", "builtin"]
    with closing(Vm(parse(options))) as vm:
        channel = _Channel()
        fresh = build(vm.config, arrives=True)
        extra, talk = Extra("globalstate", GlobalState()), Incoming(cast(Channel, channel))
        reader = StreamReader(fresh, BytesIO(Pings(vm).data), extra, READING, talk=talk)
        reader.caught_up = lambda: None
        reader.read()
        assert channel.eager == 1
