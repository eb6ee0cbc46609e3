"""What viewers may take of the machine's time: counted, whatever the host does."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from gossamer.front.vnc.budget import SHARE, Budget
from tests.front.vnc.rfb import RAW, Shown
from tests.front.vnc.test_viewers import RUNS, server, wait_for


@pytest.mark.parametrize("seed", range(4))
def test_viewers_take_a_twentieth_at_the_most(seed: int) -> None:
    random_ = random.Random(seed)
    had = taken = most = 0
    budget = Budget(lambda: had)
    for _ in range(20_000):
        had += random_.randrange(1000)  # a turn of the loop: the guest's, or a wait
        if not budget.left_ns:
            cost = random_.choice((10, 1000, 50_000))
            most = max(most, cost)
            for part in (cost // 3, cost - cost // 3):
                budget.spent(part)
            taken += cost
        assert taken <= had / SHARE + most
    assert taken > 0.9 * had / SHARE


def test_guest_that_draws_all_the_time_is_looked_at_within_the_budget(
    shown: Callable[..., Shown],
) -> None:
    """The machine's time and the cost of a look are counted here: 1 and 1 for each look."""
    host = shown(machine=RUNS)
    viewer = host.rfb(RAW)
    viewer.full()
    seen = server(host)
    had = looks = 0
    real = seen.screen.look

    def counted():
        nonlocal looks
        looks += 1
        return real()

    def count() -> None:
        seen.screen.look = counted
        seen.budget = Budget(lambda: had, lambda: looks)
        seen.budget.spent(1)

    host.do(count)
    # Nothing however long the host waits, until the machine has had its time.
    for n in range(3):
        viewer.ask()
        had += SHARE - 1
        time.sleep(0.05)
        assert looks == n
        had += 1
        wait_for(lambda n=n: looks > n)
