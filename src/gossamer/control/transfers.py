"""The transfers of one machine: one at a time, in or out, with what was agreed on before."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from gossamer.base.errors import ConfigError, GossamerError
from gossamer.base.late import LateModule
from gossamer.control.runner import Runner
from gossamer.control.steps import InThread, Steps, finish
from gossamer.control.tls_objects import TlsObjects
from gossamer.migrate.precopy import Parameters

if TYPE_CHECKING:
    from gossamer.control import postcopy_out, receiving, sending
    from gossamer.control import transfer as states
    from gossamer.control.receiving import Received
    from gossamer.control.standstill import Sent
    from gossamer.control.transfer import Transfer
    from gossamer.migrate import channels
    from gossamer.migrate.channels import Channel, Limits, Listener
else:  # most machines stay where they are
    postcopy_out = LateModule(lambda: import_module("gossamer.control.postcopy_out"))
    receiving = LateModule(lambda: import_module("gossamer.control.receiving"))
    sending = LateModule(lambda: import_module("gossamer.control.sending"))
    states = LateModule(lambda: import_module("gossamer.control.transfer"))
    channels = LateModule(lambda: import_module("gossamer.migrate.channels"))

T = TypeVar("T")


class Transfers:
    """What a machine has to do with other emulators."""

    def __init__(self, vm: Runner) -> None:
        self.vm = vm
        self.outgoing: Transfer | None = None
        self.arriving: Transfer | None = None
        self.parameters = Parameters()
        self.capabilities: set[str] = set()
        self.tls = TlsObjects()
        self.last_sent: Sent | None = None
        self.last_received: Received | None = None

    @property
    def under_way(self) -> Transfer | None:
        """The transfer that goes on just now."""
        for one in (self.outgoing, self.arriving):
            if one is not None and not one.over:
                return one
        return None

    def send(
        self,
        uri: str,
        *,
        profile: str = "",
        keep_tb: bool | None = None,
        answers: bool = True,
        limits: Limits | None = None,
    ) -> Steps[Sent]:
        """The steps that send the machine to `uri`; ConfigError at once for what cannot begin.

        In one word for a monitor: ``qemu-7.2+unix:/path`` or ``qemu-7.2,keep-tb+unix:/path``.
        """
        if self.under_way is not None:
            raise ConfigError("There's a migration process in progress")
        self._check_free()
        named, place, keeps = sending.wanted(uri)
        keep = (self.vm.keep_tb or keeps) if keep_tb is None else keep_tb
        transfer = self.outgoing = states.Transfer(self.vm.events)
        transfer.enter("setup")
        steps = sending.sending(
            self.vm,
            place,
            transfer,
            profile or named or self.vm.wire_profile,
            keep_tb=keep,
            answers=answers,
            limits=limits,
            parameters=self.parameters,
            capabilities=self.capabilities,
            tls=self.tls,
        )
        try:
            channels.parse(place)
        except GossamerError as fault:
            transfer.fail(str(fault))
            raise
        return self._watched(transfer, steps, self._sent)

    def losses_at(self, uri: str) -> tuple[str, ...]:
        """What the receiver at `uri` will not have, a line each; ConfigError for another form."""
        named, _, _ = sending.wanted(uri)
        return sending.lasting(self.vm, named or self.vm.wire_profile)

    def receive(
        self,
        uri: str | Listener,
        *,
        mend: bool | None = None,
        limits: Limits | None = None,
        patient: bool = False,
        beside: Callable[[Steps[None]], object] = finish,
    ) -> Steps[Received]:
        """The steps that wait at `uri` for a machine and become it; see `receiving`."""
        if self.under_way is not None:
            raise ConfigError("The incoming migration has already been started")
        self._check_free()
        transfer = self.arriving = states.Transfer(self.vm.events)
        mends = self.vm.mends if mend is None else mend
        listener = channels.Listener(uri, limits) if isinstance(uri, str) else uri
        transfer.listens_at = listener.uri
        transfer.enter("setup")
        steps = receiving.receiving(
            self.vm,
            listener,
            transfer,
            mend=mends,
            patient=patient,
            tls=self.tls,
            further=self._further,
            beside=beside,
            postcopy=lambda: postcopy_out.CAPABILITY in self.capabilities,
        )
        return self._watched(transfer, steps, self._received)

    def _check_free(self) -> None:
        if self.vm.busy:
            raise ConfigError(f"not while the machine is being {self.vm.busy}")
        self.vm.disks.check_free()

    def _further(self) -> int:
        """How many connections more a sender makes."""
        return self.parameters.multifd_channels if sending.MULTIFD in self.capabilities else 0

    def may_switch(self) -> None:
        """Let a transfer that waits before the switch-over go on; ConfigError if none does."""
        transfer = self.outgoing
        if transfer is None or transfer.status != "pre-switchover":
            raise ConfigError("Migration not in expected state: none")
        transfer.may_switch = True

    def cancel(self) -> None:
        """End the transfer that is under way, if there is one.

        ConfigError where the guest would be lost: its memory is at both ends.
        """
        transfer = self.under_way
        if transfer is None:
            return
        if transfer.follows and (transfer is self.arriving or transfer.status != states.PAUSED):
            raise ConfigError(
                "the guest's memory is at both ends: it cannot be cancelled; migrate-pause breaks "
                "the connection"
            )
        if transfer.follows:
            transfer.cancelled = True  # `postcopy_out` gives it up
        else:
            transfer.cancel()

    def abandon(self) -> None:
        """End what goes on, whatever is lost: the process ends."""
        if self.under_way is not None:
            self.under_way.cancel()

    # --- memory that follows (postcopy) -----------------------------------------------------------

    def start_postcopy(self) -> None:
        """Let the machine switch over now, and its memory follow."""
        transfer = self.outgoing
        if postcopy_out.CAPABILITY not in self.capabilities:
            raise ConfigError(
                "Enable postcopy with migrate_set_capability before the start of migration"
            )
        if transfer is None or transfer.status not in ("setup", "active"):
            raise ConfigError("Postcopy must be started after migration has been started")
        transfer.wants_postcopy = True

    def pause(self) -> None:
        """Break the connection of a transfer whose memory follows."""
        transfer = self.under_way
        if transfer is None or transfer.status not in (states.FOLLOWS, states.RECOVERS):
            raise ConfigError(
                "migrate-pause is currently only supported during postcopy-active or "
                "postcopy-recover state"
            )
        transfer.cut()

    def recover(self, uri: str) -> None:
        """Wait at `uri` for the sender whose connection has broken."""
        transfer = self.arriving
        if transfer is None or transfer.status != states.PAUSED or transfer.another is not None:
            raise ConfigError("Migrate recover can only be run when postcopy is paused.")
        transfer.another = channels.Listener(uri)

    def resuming(self, uri: str) -> Steps[None]:
        """The steps that connect to the receiver anew; ConfigError at once if none waits for it."""
        transfer = self.outgoing
        if transfer is None or transfer.status != states.PAUSED or transfer.another is not None:
            raise ConfigError("Cannot resume if there is no paused migration")
        return self._resuming(transfer, sending.connector(uri, self.tls))

    def _resuming(self, transfer: Transfer, connected: Callable[[], Channel]) -> Steps[None]:
        try:
            channel: Channel = yield InThread(connected)
        except GossamerError as fault:
            transfer.error = str(fault)
            return
        if transfer.status == states.PAUSED and transfer.another is None:
            transfer.another = channel
        else:
            channel.close()

    def _watched(self, transfer: Transfer, steps: Steps[T], done: Callable[[T], None]) -> Steps[T]:
        """The same steps; `transfer` knows how they end."""
        try:
            result = yield from steps
        except BaseException as fault:
            transfer.fail(str(fault) or type(fault).__name__)
            raise
        done(result)
        if transfer is self.outgoing or not transfer.follows:
            transfer.enter("completed")
        return result

    def _sent(self, sent: Sent) -> None:
        self.last_sent = sent

    def _received(self, received: Received) -> None:
        self.last_received = received
