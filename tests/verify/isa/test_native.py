"""`verify isa --engine regions` and `blocks`: every vector translated, and a fault is noticed."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gossamer.engine.regions import compiling, regions, values
from gossamer.engine.stencils import made, sheet
from gossamer.verify.isa.command import verify

ONLY = ["add", "cmp", "rlwinm", "lwzu", "fadd", "bc"]


@pytest.mark.interop
@pytest.mark.parametrize("engine", ["regions", "blocks"])
def test_translated_code_gives_what_the_peer_gives(
    engine: str, qemu_user: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify("qemu", 4, 1, only=ONLY, engine=engine) == 0
    assert "mismatches=0" in capsys.readouterr().out


@pytest.mark.interop
def test_wrong_immediate_in_a_stencil_is_noticed(
    qemu_user: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = sheet._value

    def wrong(number: int, name: str, intrinsics: set[str]) -> str:
        text = real(number, name, intrinsics)
        if "sext.32" not in name:
            return text
        fault = (
            "%op = lshr i32 %word, 26\n%addi = icmp eq i32 %op, 14\n"
            "%more = select i1 %addi, i64 4, i64 0\n%sum = add i64 %more, "
        )
        return re.sub("ret i64 (.+)", rf"{fault}\1\nret i64 %sum", text)

    monkeypatch.setattr(sheet, "_value", wrong)
    monkeypatch.setattr(made, "stencils_for", lambda of, unit=0: sheet.sheet(of, unit))
    monkeypatch.setattr(regions, "stencils", made.made.__wrapped__)
    assert verify("qemu", 8, 1, only=["addi"], engine="blocks") == 1
    assert "mismatches=0" not in capsys.readouterr().out


@pytest.mark.interop
def test_wrong_field_of_cr_is_noticed(
    qemu_user: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = values.Values._make

    def wrong(self: values.Values, d: values.Difference) -> str:
        return real(self, values.Difference(d.value, d.other, d.so, d.equal, d.less))

    monkeypatch.setattr(values.Values, "_make", wrong)
    monkeypatch.setattr(compiling, "_objects", {})
    assert verify("qemu", 8, 1, only=["cmp"], engine="regions") == 1
    assert "mismatches=0" not in capsys.readouterr().out


def test_engine_that_does_not_exist(capsys: Any) -> None:
    from gossamer.base.errors import ConfigError

    with pytest.raises(ConfigError, match="--engine 'tier9': expected reference, regions, blocks"):
        verify("unicorn", 1, 1, only=["add"], engine="tier9")
