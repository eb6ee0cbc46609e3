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
from gossamer.control.profiles_losses import losses
from gossamer.control.runner import Runner
from gossamer.control.stream import Extra, save_stream
from gossamer.core import host
from gossamer.migrate.channels import Limits, connect, parse
from gossamer.migrate.outgoing import Outgoing
from gossamer.migrate.releases import OURS, release

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


def send(
    vm: Runner,
    uri: str,
    profile: str = OURS,
    *,
    keep_tb: bool = False,
    answers: bool = True,
    limits: Limits | None = None,
) -> Sent:
    """Send the machine; afterwards it is the receiver's.

    HostError or ConfigError: it is still ours, as it was.
    """
    to = release(profile)
    state = vm.run_state
    if state in ("postmigrate", "shutdown"):
        raise ConfigError(f"the machine cannot be sent: it is in state {state}")
    parse(uri)
    settled = settle(vm, to)
    vm.run_state = state
    cut = cut_for(vm.machine, to, keep_tb=keep_tb)
    lost = [loss.text for loss in losses(vm.machine, to)]
    began = host.monotonic_ns()
    with connect(uri, limits) as channel, vm.progress.operation(f"sending to {uri}"):
        out = Outgoing(channel, answers=answers)
        extra = Extra("globalstate", GlobalState(state))
        try:
            with vm.disks.handed_over():
                save_stream(
                    vm.machine,
                    out,
                    extra,
                    cut.profile,
                    carried=vm.carried,
                    commands=out.commands,
                    switchover=to.switchover,
                    progress=vm.progress,
                )
                sent = channel.sent
                vm.progress.phase("waiting for the receiver")
                out.finish()
        except BaseException:
            if vm.disks.lent:  # another process has them open: `cont` tries again
                vm.run_state = "postmigrate"
            else:
                vm.plug_disks()
            raise
    took = host.monotonic_ns() - began
    vm.run_state = "postmigrate"
    return Sent(uri, profile, sent, took, settled, (*cut.lost, *lost))
