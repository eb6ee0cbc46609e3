"""One run of a machine: built, brought to its starting state, run at its consoles."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gossamer.base import late
from gossamer.base.errors import HostError
from gossamer.control.session import STARTED, Session
from gossamer.control.vm import Vm
from gossamer.core import ahead
from gossamer.front.console import Console
from gossamer.front.progress_bar import ProgressBar
from gossamer.front.signals import held
from gossamer.front.trace_log import TraceLog
from gossamer.machines import firmware
from gossamer.machines.build import build
from gossamer.machines.config import Config

DEFER: Final = "defer"
#: Objects between two collections while a guest runs: as often as Python does it by itself (700)
#: would be 2 % of a boot.
_COLLECTED: Final = 10_000


def run_machine(config: Config, console: Console, ready: Callable[[], None] = lambda: None) -> int:
    """Run the machine that `config` describes until it ends; returns the exit status.

    `ready` is called when the machine is there and its consoles listen.
    """
    with TraceLog(config.log) as log:
        return _run(config, console, ready, log)


def _run(config: Config, console: Console, ready: Callable[[], None], log: TraceLog) -> int:
    loaded, often = config.loadvm is not None, gc.get_threshold()
    vm = Vm(config, build(config, arrives=True) if loaded else None)
    session = Session(vm)
    for warning in vm.disks.warnings:
        print(f"gossamer: warning: {warning}", file=sys.stderr, flush=True)
    if config.log.patterns:
        vm.machine.trace.listener = log.event

    def record(items: str) -> None:
        log.choose(items)
        vm.machine.trace.listener = None if items == "none" else log.event

    session.log, session.log_file = record, lambda name: log.write_to("logfile", name)
    vm.progress = ProgressBar(sys.stderr, console.settle)
    try:
        if config.dump_vmstate is not None:
            dump_schema(vm, config.dump_vmstate)
            return 0
        vm.serial_sinks = [console.serial_sink(n) for n in range(len(config.serials))]
        vm.let_sinks_wait()
        if config.loadvm is not None:
            vm.starting()
            vm.loadvm(config.loadvm, config.restore_clock)
        session.report = lambda text: print(text, file=sys.stderr, flush=True)
        console.attach(session)
        if config.sandbox is not None:
            from gossamer.core import sandbox  # noqa: PLC0415 - most runs need none

            sandbox.enter(config.sandbox)
        if config.incoming is not None:
            vm.starting()
            vm.run_state = "inmigrate"
            if config.incoming != DEFER:
                session.take_in(config.incoming)
        console.announce()
        ready()
        firmware.forget_files()
        gc.freeze()
        gc.set_threshold(_COLLECTED)
        gc.enable()
        if config.incoming is None and config.start and vm.run_state in STARTED:
            vm.cont()
        # Saves, hashes and pictures must not wait for it, nor a guest that has something to do.
        console.at_leisure = lambda: ahead.load(late.load_all)
        status = console.run(session)
        if session.fault is not None:
            raise session.fault
        return status
    finally:
        with held(), vm.progress.operation("writing out the disks"):
            session.close()
            vm.close()
        gc.unfreeze()
        gc.set_threshold(*often)


def dump_schema(vm: Vm, path: Path) -> None:
    """Write what each section of a stream can hold, in the form of QEMU's -dump-vmstate."""
    from gossamer.control.stream_out import section_description  # noqa: PLC0415 - most runs need none
    from gossamer.migrate import vmstate_dump  # noqa: PLC0415 - most runs need none

    described = [
        (
            part.title,
            vmstate_dump.with_conditions(
                section_description(part, every=True), section_description(part)
            ),
        )
        for part in vm.machine.sections
    ]
    text = vmstate_dump.write(vmstate_dump.machine_from_json(vm.config.full_name, described))
    try:
        path.write_text(text)
    except OSError as fault:
        raise HostError(f"-dump-vmstate: {path}: cannot be written: {fault.strerror}") from None
