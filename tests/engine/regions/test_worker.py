"""The thread that compiles: what it holds goes when nothing has come for a while."""

from __future__ import annotations

from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from gossamer.cpu.model import find
from gossamer.engine.regions import worker


@pytest.fixture
def given_back(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    monkeypatch.setattr(worker.mappings, "give_back", calls.append)
    return calls


def made(monkeypatch: pytest.MonkeyPatch, rest: float) -> tuple[worker.Worker, Any]:
    monkeypatch.setattr(worker, "_REST_S", rest)
    monkeypatch.setattr(worker.Worker, "_compile", lambda self, region: region)
    return worker.Worker(find("750").architecture), SimpleNamespace()


def settled(w: worker.Worker) -> None:
    """All that was asked for so far is done."""
    done = Event()
    w._pool.submit(done.set)
    assert done.wait(600)


def test_it_gives_back_once_after_the_last_region(
    monkeypatch: pytest.MonkeyPatch, given_back: list[str]
) -> None:
    w, region = made(monkeypatch, 0.0)
    for _ in range(3):
        w.add(region)
    w._waiting[-1][1].result(60)
    settled(w)
    settled(w)
    assert given_back[-1:] == ["/libllvmlite.so"]
    assert [one for one, _ in w.done()] == [region] * 3
    w.close()


def test_what_comes_while_it_rests_does_not_wait(
    monkeypatch: pytest.MonkeyPatch, given_back: list[str]
) -> None:
    w, region = made(monkeypatch, 3600.0)
    for _ in range(3):
        w.add(region)
        w._waiting[-1][1].result(60)
    ran = Event()
    w.run(ran.set)
    assert ran.wait(600)
    w.add(region)
    w._waiting[-1][1].result(60)
    with w.standing():
        pass
    w.close()
    w._pool.shutdown(wait=True)  # the rest ends with it
    assert given_back == []
