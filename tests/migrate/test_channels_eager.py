"""A channel that waits eagerly looks without sleeping, for a bounded time."""

from __future__ import annotations

import select
import socket
from contextlib import closing
from typing import Any

import pytest

from gossamer.core import host
from gossamer.migrate.channels import Channel, Limits


class Clock:
    """The host's clock and its `select`, each look of which takes 1 ms, each sleep all of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.waits = 10**9, []
        monkeypatch.setattr(host, "cores", lambda: 2)
        monkeypatch.setattr(host, "monotonic_ns", lambda: self.now)
        monkeypatch.setattr(select, "select", self.select)

    def select(self, *args: Any) -> tuple[list[int], list[int], list[int]]:
        seconds = args[3]
        self.waits.append(seconds)
        self.now += max(1_000_000, int(seconds * 1e9))
        return [], [], []


def test_an_eager_channel_does_not_sleep_until_its_time_is_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, there = socket.socketpair()
    with there, closing(Channel(here.detach(), "unix:x", Limits(), two_way=True)) as channel:
        clock = Clock(monkeypatch)
        assert not channel.has_input(0.05)
        assert max(clock.waits) > 0.04, "it sleeps"
        clock.waits.clear()
        channel.be_eager(10_000_000)
        began = clock.now
        assert not channel.has_input(0.05)
        assert clock.waits[:10] == [0.0] * 10
        assert max(clock.waits[10:]) > 0.03, "it sleeps again"
        assert clock.now - began <= 52_000_000
        clock.waits.clear()
        assert not channel.has_input(0.0)
        assert clock.waits == [0.0]


def test_a_peer_that_may_need_the_same_core_is_waited_for_asleep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, there = socket.socketpair()
    with there, closing(Channel(here.detach(), "unix:x", Limits(), two_way=True)) as channel:
        clock = Clock(monkeypatch)
        monkeypatch.setattr(host, "cores", lambda: 1)
        channel.be_eager(10_000_000)
        assert not channel.has_input(0.05)
        assert clock.waits[0] > 0.04


def test_an_eager_channel_hears_that_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = socket.socketpair()
    with there, closing(Channel(here.detach(), "unix:x", Limits(), two_way=True)) as channel:
        clock = Clock(monkeypatch)
        channel.be_eager(10**12)
        looks = clock.select

        def select_and_cancel(*args: Any) -> Any:
            channel.cancel()
            return looks(*args)

        monkeypatch.setattr(select, "select", select_and_cancel)
        assert not channel.has_input(100.0)
        assert len(clock.waits) == 1
