"""Takes pages from further connections, as a sender with the capability multifd makes them.

A thread reads each of them.  It stands still at a SYNC packet until the stream on the first
connection has come to the same place: `sync`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import BinaryIO, Final, TypeAlias, cast

from gossamer.base.errors import GossamerError, HostError, StreamError
from gossamer.base.late import np
from gossamer.base.units import PAGE_SIZE
from gossamer.migrate.channels import Channel
from gossamer.migrate.multifd import Hello, is_channel, walk
from gossamer.migrate.ram import U8, U64
from gossamer.migrate.source import Source

_LOOK_S: Final = 0.2
"""How soon a wait notices that another connection has failed."""

Store: TypeAlias = "Callable[[str, U64, U8 | None], None]"
"""Takes pages of a block by its name: addresses (bytes in it) and content, None where it is zero.
From any thread; never two for the same page at a time."""


def first_of(channels: Sequence[Channel]) -> tuple[Source, list[tuple[Channel, Source]]]:
    """Which connection has the stream, and the others; StreamError when there is not one."""
    streams, others = [], []
    for channel in channels:
        source = Source(cast(BinaryIO, channel))
        if is_channel(source.peek(4)):
            others.append((channel, source))
        else:
            streams.append(source)
    if len(streams) != 1:
        text = f"{len(streams)} of {len(channels)} connections begin a stream, expected one"
        raise StreamError(text, "multifd")
    return streams[0], others


class MultifdIn:
    """The further connections of one transfer."""

    def __init__(self, channels: Sequence[tuple[Channel, Source]]) -> None:
        self._channels = channels
        self._store: Store | None = None
        self._there = [threading.Semaphore(0) for _ in channels]
        self._go_on = [threading.Semaphore(0) for _ in channels]
        self._fault: GossamerError | None = None
        self._over = False
        self._threads: list[threading.Thread] = []

    @property
    def received(self) -> int:
        """Bytes on all of them."""
        return sum(channel.received for channel, _ in self._channels)

    def begin(self, store: Store) -> None:
        """Let the pages go to `store` from here on."""
        self._store = store
        for n in range(len(self._channels)):
            thread = threading.Thread(target=self._run, args=(n,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def sync(self) -> None:
        """Return when each has brought what belongs before this place of the stream."""
        for n, there in enumerate(self._there):
            waited = 0.0
            limit = self._channels[n][0].limits.stall
            while not there.acquire(timeout=_LOOK_S):
                self._check()
                waited += _LOOK_S
                if waited > limit:
                    raise HostError(
                        f"{self._channels[n][0].name}: multifd connection {n} brings nothing "
                        f"for {limit:g} s"
                    )
        self._check()
        for go_on in self._go_on:
            go_on.release()

    def _check(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _run(self, n: int) -> None:
        try:
            self._read(n)
        except GossamerError as fault:
            if self._fault is None and not self._over:
                self._fault = fault
        finally:
            if self._fault is not None:
                self._there[n].release()

    def _read(self, n: int) -> None:
        channel, source = self._channels[n]
        for item in walk(source, wait=lambda: self._wait(channel)):
            if isinstance(item, Hello):
                continue
            assert self._store is not None
            if len(item.addresses):
                pages = np.frombuffer(item.data, np.uint8).reshape(-1, PAGE_SIZE)
                self._store(item.block, item.addresses, pages)
            if len(item.zeros):
                self._store(item.block, item.zeros, None)
            if item.sync:
                self._there[n].release()
                while not self._go_on[n].acquire(timeout=_LOOK_S):
                    if self._over or self._fault is not None:
                        return

    def _wait(self, channel: Channel) -> bool:
        """Between two packets a connection may be silent as long as the first one goes on."""
        while not self._over and self._fault is None:
            if channel.has_input(_LOOK_S):
                channel.extend()
                return True
        return False

    def close(self) -> None:
        """End the threads and the connections."""
        self._over = True
        for channel, _ in self._channels:
            channel.cancel()
        for thread in self._threads:
            thread.join()
        for channel, _ in self._channels:
            channel.close()
