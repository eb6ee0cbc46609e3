"""The receiver of a machine that runs here before its memory has come (postcopy).

From the moment that it is to run here the guest is here and nowhere else, and a part of its memory
is at the sender: neither end alone has it.  A connection that breaks is waited for
(`migrate-recover`); what needs a page meanwhile waits, and the monitors go on.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import BinaryIO, Final, cast

from gossamer.base.errors import GossamerError, HostError
from gossamer.control.parting import come, part
from gossamer.control.progress import SILENT
from gossamer.control.runner import Runner
from gossamer.control.steps import InThread, Steps, Wait
from gossamer.control.stream_in import StreamReader
from gossamer.control.tls_objects import TlsObjects
from gossamer.control.transfer import FOLLOWS, RECOVERS, Transfer
from gossamer.core import host
from gossamer.migrate.channels import Channel, Listener
from gossamer.migrate.incoming import Incoming
from gossamer.migrate.source import Source

_LOOK_NS: Final = 20_000_000
LOST: Final = "a part of its memory is still with the sender: the guest is lost"


class Arriving:
    """Memory on its way to the machine that runs here."""

    def __init__(
        self,
        vm: Runner,
        transfer: Transfer,
        reader: StreamReader,
        talk: Incoming,
        tls: TlsObjects | None,
    ) -> None:
        assert talk.arrival is not None
        self.vm, self.transfer, self.reader = vm, transfer, reader
        self.talk, self.arrival, self._tls = talk, talk.arrival, tls
        self._reading = InThread(reader.rest)

    def begin(self) -> None:
        """The machine is about to take its place: whatever reaches for a page waits for it."""
        self.reader.bodies.progress = SILENT
        self.arrival.serve = self.vm.serve_waiting
        self.arrival.live()
        self._reading.ahead()

    def give_up(self, why: str) -> None:
        """It is over: nothing waits any more."""
        self.arrival.give_up(f"{why}; {LOST}")
        self.talk.channel.cancel()

    def steps(self, open_ones: contextlib.ExitStack) -> Steps[None]:
        """Take in all that follows, over as many connections as it takes."""
        transfer, arrival = self.transfer, self.arrival
        try:
            with open_ones:
                while True:
                    try:
                        if (yield self._reading):
                            break
                        transfer.enter(FOLLOWS)  # the sender goes on over another connection
                        arrival.ask_again()
                        self._reading = InThread(self.reader.rest)
                    except GossamerError as fault:
                        yield from self._another(fault)
                arrival.settled()
                with contextlib.suppress(GossamerError):  # all of it is here, whatever it hears
                    self.talk.accepted()
                transfer.figures.postcopy_requests = arrival.requests
                transfer.enter("completed")
                yield from part(self.talk.channel, contextlib.ExitStack())
        except BaseException as fault:
            self.give_up(str(fault) or type(fault).__name__)
            transfer.fail(str(fault))
            if not isinstance(fault, GossamerError):
                raise
        finally:
            self.talk.channel.close()

    def _another(self, fault: GossamerError) -> Steps[None]:
        """The connection has broken: wait for another, and begin to read from it.

        HostError: the process ends.
        """
        transfer, arrival = self.transfer, self.arrival
        while True:
            arrival.lost()
            self.talk.channel.close()
            transfer.pause(str(fault))
            while transfer.another is None:
                if transfer.cancelled or self.vm.ended:
                    raise HostError(str(fault))
                yield Wait(until_ns=host.monotonic_ns() + _LOOK_NS)
            listener, transfer.another = transfer.another, None
            assert isinstance(listener, Listener)
            try:
                channel = yield from self._accepted(listener)
            except GossamerError as another:
                fault = another
                continue
            transfer.channel = self.talk.channel = channel
            transfer.enter(RECOVERS)
            arrival.resumed(channel)
            self.reader.go_on(Source(cast(BinaryIO, channel)))
            self._reading = InThread(self.reader.rest)
            return

    def _accepted(self, listener: Listener) -> Steps[Channel]:
        with listener:
            while listener.fd is not None:
                try:
                    yield from come(listener, _LOOK_NS / 1e9)
                    break
                except HostError:
                    if self.transfer.cancelled or self.vm.ended:
                        raise
                    if self.transfer.another is not None:
                        raise HostError(f"{listener.uri}: another place was named") from None
            plain = listener.accept()
        credentials = None if self._tls is None else self._tls.chosen("server")
        if self._tls is None or credentials is None:
            return plain
        try:
            wrapped: Channel = yield InThread(partial(self._tls.wrap, plain, credentials))
        except BaseException:
            plain.close()
            raise
        return wrapped
