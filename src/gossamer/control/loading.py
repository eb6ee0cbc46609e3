"""Becoming the machine of a stream, once all of it has been read and agrees."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from gossamer.control import repair
from gossamer.control.globalstate import GlobalState
from gossamer.control.profiles import READING
from gossamer.control.runner import Runner
from gossamer.control.stream import Extra, Loaded, read_stream
from gossamer.machines.build import build
from gossamer.machines.machine import Machine
from gossamer.migrate.incoming import Incoming
from gossamer.migrate.releases import release


def adopt_rate(fresh: Machine, loaded: Loaded) -> list[str]:
    """Take on the sender's constants: a stream of QEMU's shows by its form which release wrote it.

    ConfigError when the machine cannot have them.
    """
    sender = release("qemu-10.0" if loaded.suspended else "qemu-7.2")
    hz = sender.timebase.get(fresh.name)
    if not loaded.foreign or hz is None or hz == fresh.cpu.tb_hz:
        return []
    fresh.cpu.set_rate(hz)
    return [f"time base: {hz:,} Hz, as the sender's machine has it ({sender.title} and its like)"]


def take_over(
    vm: Runner,
    file: BinaryIO,
    *,
    mend: bool = True,
    talk: Incoming | None = None,
    before: Callable[[], None] = lambda: None,
    into: Machine | None = None,
) -> tuple[bool, list[str]]:
    """Load a stream, ours or QEMU's, into a fresh machine and put it in the place of `vm`'s.

    `before` is the last that happens before that, and the last that can fail.  Returns whether
    the stream was foreign, and what was repaired.  `into`: a machine that was never used.
    """
    fresh = into or build(vm.config)
    state = GlobalState("running")
    command = (lambda command: None) if talk is None else talk.command
    extra, progress = Extra("globalstate", state), vm.progress
    loaded = read_stream(fresh, file, extra, READING, command=command, progress=progress)
    loaded.suspended = state.is_modern
    loaded.modern |= state.is_modern
    lines = adopt_rate(fresh, loaded)
    lines += repair.finish(fresh, loaded, mend=mend)
    vm.disks.open()  # the sender has let go of them before its last byte
    if talk is not None:
        talk.accepted()
    before()
    vm.adopt(fresh, state.name, loaded.carried)
    return loaded.foreign, lines
