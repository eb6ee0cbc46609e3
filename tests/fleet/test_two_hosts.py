"""A move between two computers: TLS over TCP, at an address of its own, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="the extra tls is not installed")

from gossamer.fleet import Fleet, FleetError
from gossamer.fleet.demo import TICK, counts
from gossamer.migrate import tls_init

HOST, STRANGER = "127.0.0.2", "127.0.0.3"


def elsewhere(fleet: Fleet, host: str) -> None:
    """Let node2 be another computer, known as `host`."""
    node = fleet.node("node2")
    node.facts["boot"], node.facts["host"] = "another boot", host


@pytest.mark.slow
def test_a_machine_moves_inside_tls_to_the_host_that_the_certificate_names(tmp_path: Path) -> None:
    pki = tmp_path / "pki"
    tls_init.make(pki, [HOST])
    with Fleet(nodes=2, tls=pki) as fleet:
        mac = fleet.start("mac", ("-M", "bare", "-icount", "8"), "node1")
        mac.expect(TICK.pattern)
        elsewhere(fleet, STRANGER)
        with pytest.raises(FleetError, match=r"machine mac stays on node1: .*127\.0\.0\.3"):
            fleet.move("mac", "node2")
        counts(mac)
        elsewhere(fleet, HOST)
        moved = fleet.move("mac", "node2")
        assert (moved.source, moved.target) == ("node1", "node2")
        counts(mac)
        fleet.node("node1").facts["host"] = HOST
        assert fleet.move("mac", "node1").target == "node1"
        counts(mac)
    with Fleet(nodes=2) as fleet:
        fleet.start("mac", ("-M", "bare", "-icount", "8"), "node1")
        elsewhere(fleet, HOST)
        with pytest.raises(FleetError, match=r"different computers: a machine moves .* inside TLS"):
            fleet.move("mac", "node2")
