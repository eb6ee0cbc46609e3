"""What moves where: the page follows from what is declared, and says what was tried."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gossamer.streams import command as tool
from gossamer.streams import matrix

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"


def test_the_page_is_today_s() -> None:
    """`gossamer stream matrix > docs/compatibility.md` makes it anew."""
    assert PAGE.read_text() == matrix.page()


def test_what_was_tried_with_real_qemus(capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(["matrix", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {(r["from"], r["to"]): r for machine in found for r in found[machine]}
    assert rows["QEMU 10.0", "QEMU 7.2"]["verdict"] == "no"  # MIG_CMD 0xb unknown
    assert rows["QEMU 10.0", "QEMU 11.1"]["verdict"] == "whole"
    assert "0.25 times" in str(rows["QEMU 7.2", "QEMU 10.0"]["notes"])  # mac99's is the last
    for machine in matrix.MACHINES:
        ours = [p for p in matrix.peers(machine) if p.version]
        for n, old in enumerate(ours):
            for new in ours[n:]:
                assert matrix.cell(machine, old, new).word == "whole", "an older one loads"


def test_a_loss_that_is_declared_is_on_the_page() -> None:
    text = matrix.page()
    assert "| mac99 | `openpic/gossamer` | its timers, which count" in text
    assert "what the guest keeps in parameter RAM" in text, "out of a method, too"
