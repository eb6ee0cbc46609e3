"""Handing a machine to another emulator through a channel, while it runs.

Memory goes in rounds over its dirty pages (`control.rounds`); when little enough is left the
machine is stopped, and the rest and the devices follow (`control.standstill`).  What cannot be sent
is refused before anything is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from functools import partial
from typing import Final

from gossamer.base.errors import ConfigError
from gossamer.control.departure import Departure
from gossamer.control.handover import cut_for
from gossamer.control.losses import losses
from gossamer.control.postcopy_out import CAPABILITY as POSTCOPY
from gossamer.control.rounds import Rounds
from gossamer.control.runner import Runner
from gossamer.control.standstill import Sent, Standstill
from gossamer.control.steps import InThread, Steps
from gossamer.control.tls_objects import TlsObjects
from gossamer.control.transfer import Transfer
from gossamer.migrate import mapped_out, multifd_out
from gossamer.migrate.channels import Channel, Limits, connect, parse
from gossamer.migrate.outgoing import Outgoing
from gossamer.migrate.precopy import Parameters
from gossamer.migrate.releases import OURS, Release, release

_KEEP_TB: Final = ",keep-tb"
PAUSE_FIRST: Final = "pause-before-switchover"
MULTIFD: Final = "multifd"
MAPPED: Final = mapped_out.CAPABILITY
AUTO_CONVERGE: Final = "auto-converge"


def wanted(text: str) -> tuple[str, str, bool]:
    """``FORM,keep-tb+URI`` taken apart: the profile ("" for none), the URI, whether TB is kept."""
    form, plus, uri = text.partition("+")
    if not plus or ":" in form:
        return "", text, False
    return form.removesuffix(_KEEP_TB), uri, form.endswith(_KEEP_TB)


def connector(
    uri: str, tls: TlsObjects | None, limits: Limits | None = None
) -> Callable[[], Channel]:
    """What connects to a receiver, by TLS where it was chosen; for a thread.  ConfigError now."""
    parse(uri)
    credentials = None if tls is None else tls.chosen("client")
    host_name = "" if tls is None or credentials is None else tls.host_of(uri)

    def connected() -> Channel:
        plain = connect(uri, limits)
        if tls is None or credentials is None:
            return plain
        return tls.wrap(plain, credentials, host=host_name)

    return connected


def sending(
    vm: Runner,
    uri: str,
    transfer: Transfer,
    profile: str = OURS,
    *,
    keep_tb: bool = False,
    answers: bool = True,
    limits: Limits | None = None,
    parameters: Parameters | None = None,
    capabilities: Collection[str] = (),
    tls: TlsObjects | None = None,
) -> Steps[Sent]:
    """Send the machine; afterwards it is the receiver's.

    With the capability postcopy-ram it may switch over before its memory has gone
    (`Transfer.wants_postcopy`).
    HostError or ConfigError: it is still ours, as it was, and in the run state that it had.
    """
    to = release(profile)
    if vm.run_state in ("postmigrate", "shutdown"):
        raise ConfigError(f"the machine cannot be sent: it is in state {vm.run_state}")
    parameters = parameters or Parameters()
    check_capabilities(uri, to, capabilities)
    profile_now = cut_for(vm.machine, to, keep_tb=keep_tb).profile
    transfer.expected_losses = lasting(vm, profile)
    connected = connector(uri, tls, limits)
    postcopy = POSTCOPY in capabilities
    channel: Channel = yield InThread(connected)
    with contextlib.ExitStack() as open_ones:
        open_ones.enter_context(channel)
        transfer.begin(channel)
        out = Outgoing(channel, answers=answers, postcopy=postcopy)
        if postcopy and not out.answers:
            raise ConfigError(f"{uri}: capability postcopy-ram needs a peer that can answer")
        leaves = Departure(vm, transfer, out, to)
        others: list[Channel] = []
        for n in range(parameters.multifd_channels if MULTIFD in capabilities else 0):
            one = InThread(partial(lambda n: multifd_out.hello(connected(), n), n))
            others.append(open_ones.enter_context((yield one)))
            transfer.also(others[-1])
        if others:
            leaves.spread(others, parameters)
        if MAPPED in capabilities:
            leaves.map(channel)
        rounds = Rounds(leaves, parameters, profile_now)
        last = Standstill(leaves, uri, keep_tb=keep_tb, pause=PAUSE_FIRST in capabilities)
        try:
            yield from rounds.steps(auto_converge=AUTO_CONVERGE in capabilities)
            if transfer.wants_postcopy:
                return (yield from last.go_ahead(parameters))
            return (yield from last.switch_over())
        finally:
            vm.throttle = 0


def check_capabilities(uri: str, to: Release, capabilities: Collection[str]) -> None:
    """ConfigError for what does not go with the place, the receiver or each other."""
    kind = parse(uri).kind
    multifd, mapped = MULTIFD in capabilities, MAPPED in capabilities
    if multifd and kind not in ("unix", "tcp"):
        raise ConfigError(f"{uri}: capability multifd needs tcp: or unix:")
    if mapped and (multifd or kind != "file"):
        raise ConfigError(f"{uri}: capability mapped-ram needs file:, and no multifd")
    if mapped and not (to.ours or to.suspended):
        raise ConfigError(f"capability mapped-ram: {to.title} does not know it")
    if POSTCOPY in capabilities and (multifd or mapped):
        raise ConfigError(
            f"{uri}: capability postcopy-ram goes with neither multifd nor mapped-ram"
        )


def lasting(vm: Runner, profile: str) -> tuple[str, ...]:
    """What a receiver of that form will not have, however long one waits, a line each.

    ConfigError for a form that is not known.
    """
    return tuple(loss.text for loss in losses(vm.machine, release(profile)) if not loss.passes)
