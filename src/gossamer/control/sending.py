"""Handing a machine to another emulator through a channel.

Stop and copy: the guest stands still from the first byte to the receiver's acknowledgement; RAM
goes in one round (the seam for more rounds is `save_stream`'s RAM part over dirty pages).  A
failure at any byte leaves the sender's machine as it was and running.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.control.globalstate import GlobalState
from gossamer.control.handover import cut_for, settle
from gossamer.control.losses import losses
from gossamer.control.runner import Runner
from gossamer.control.steps import InThread, Steps
from gossamer.control.stream import Extra, save_stream
from gossamer.control.transfer import Transfer
from gossamer.core import host
from gossamer.migrate.channels import Channel, Limits, connect, parse
from gossamer.migrate.outgoing import Outgoing
from gossamer.migrate.releases import OURS, Release, release
from gossamer.state.transfer import Profile

_KEEP_TB: Final = ",keep-tb"


def wanted(text: str) -> tuple[str, str, bool]:
    """``FORM,keep-tb+URI`` taken apart: the profile ("" for none), the URI, whether TB is kept."""
    form, plus, uri = text.partition("+")
    if not plus or ":" in form:
        return "", text, False
    return form.removesuffix(_KEEP_TB), uri, form.endswith(_KEEP_TB)


@dataclass(frozen=True, slots=True)
class Sent:
    """A transfer to another emulator.  Times in ns of the host, `settled_ns` of the guest."""

    uri: str
    profile: str
    stream_bytes: int
    standstill_ns: int
    settled_ns: int
    lost: tuple[str, ...]

    @property
    def text(self) -> str:
        """For a person."""
        lines = [
            f"sent to {self.uri} as {self.profile}: {self.stream_bytes} bytes, the guest stood "
            f"still for {self.standstill_ns / 1e6:.1f} ms"
        ]
        return "\n".join(lines + [f"lost: {line}" for line in self.lost])


def sending(
    vm: Runner,
    uri: str,
    transfer: Transfer,
    profile: str = OURS,
    *,
    keep_tb: bool = False,
    answers: bool = True,
    limits: Limits | None = None,
) -> Steps[Sent]:
    """Send the machine; afterwards it is the receiver's.

    HostError or ConfigError: it is still ours, as it was, and in the run state that it had.
    """
    to = release(profile)
    if vm.run_state in ("postmigrate", "shutdown"):
        raise ConfigError(f"the machine cannot be sent: it is in state {vm.run_state}")
    parse(uri)
    channel: Channel = yield InThread(lambda: connect(uri, limits))
    with channel:
        transfer.begin(channel)
        state = vm.run_state
        settled = settle(vm, to)
        with vm.standing(f"sending to {uri}"):
            vm.run_state = "finish-migrate"
            try:
                cut = cut_for(vm.machine, to, keep_tb=keep_tb)
                lost = [loss.text for loss in losses(vm.machine, to)]
                began = host.monotonic_ns()
                out = Outgoing(channel, answers=answers)
                extra = Extra("globalstate", GlobalState(state))
                sent = yield InThread(lambda: _write(vm, out, extra, cut.profile, to))
            except BaseException:
                if vm.disks.lent:  # another process has them open: `cont` tries again
                    vm.run_state = "postmigrate"
                else:
                    vm.plug_disks()
                    vm.run_state = state
                raise
        took = host.monotonic_ns() - began
        vm.run_state = "postmigrate"
    return Sent(uri, profile, sent, took, settled, (*cut.lost, *lost))


def _write(vm: Runner, out: Outgoing, extra: Extra, form: Profile, to: Release) -> int:
    """Hand over disks and machine; how many bytes.  The machine stands still meanwhile."""
    with vm.disks.handed_over():
        save_stream(
            vm.machine,
            out,
            extra,
            form,
            carried=vm.carried,
            commands=out.commands,
            switchover=to.switchover,
            progress=vm.progress,
        )
        sent = out.channel.sent
        vm.progress.phase("waiting for the receiver")
        out.finish()
    return sent
