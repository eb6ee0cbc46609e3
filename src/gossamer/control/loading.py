"""Becoming the machine of a stream, once all of it has been read and agrees."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from gossamer.control import repair
from gossamer.control.globalstate import GlobalState
from gossamer.control.profiles import READING
from gossamer.control.runner import Runner
from gossamer.control.stream import Extra, read_stream
from gossamer.machines.build import build
from gossamer.machines.machine import Machine
from gossamer.migrate.incoming import Incoming


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
    loaded.modern |= state.is_modern
    lines = repair.finish(fresh, loaded, mend=mend)
    vm.disks.open()  # the sender has let go of them before its last byte
    if talk is not None:
        talk.accepted()
    before()
    vm.adopt(fresh, state.name, loaded.carried)
    return loaded.foreign, lines
