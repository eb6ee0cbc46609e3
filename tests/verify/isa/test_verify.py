"""The comparison with independent peers, small here; `gossamer verify isa` runs it large."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError, HostError
from gossamer.cpu.model import MODELS
from gossamer.isa.decimal import rounding
from gossamer.isa.insn import Decoder
from gossamer.verify.isa import command as verify_isa
from gossamer.verify.isa.command import NOT_RUN, compare, known_forms, verify
from gossamer.verify.isa.decimal_excuses import DECIMAL_EXCUSES
from gossamer.verify.isa.excuses import EXCUSES, markdown
from gossamer.verify.isa.local import LocalCpu
from gossamer.verify.isa.qemu import QemuUser
from gossamer.verify.isa.record import Record
from gossamer.verify.isa.wide import WideCpu

DOCS = Path(__file__).parents[3] / "docs"


def test_record_packs_and_unpacks():
    scalars = range(1, 15)
    r = Record(*scalars, gpr=list(range(32)), fpr=list(range(100, 132)), memory=bytes(512))
    assert Record.unpack(r.pack()) == r
    assert len(r.pack()) == 1024
    other = dataclasses.replace(r, gpr=[0, 9, *range(2, 32)], memory=b"\1" + bytes(511))
    assert r.differences(other) == {"gpr1": (1, 9), "memory+0x0": (0, 1)}


@pytest.mark.interop
@pytest.mark.slow
def test_qemu_agrees_on_every_form(qemu_user, qemu, capsys):
    assert verify("qemu", 6, 1) == 0
    out, err = capsys.readouterr()
    assert "mismatches=0" in out
    assert err == "forms of the list not run: none\n"


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.parametrize("model", ["604e", "750fx", "7447a", "7455"])
def test_qemu_agrees_on_every_model(model, qemu_user, qemu, capsys):
    assert verify("qemu", 3, 1, model) == 0
    assert "mismatches=0" in capsys.readouterr().out


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-ppc64"), reason="needs qemu-ppc64")
def test_qemu_agrees_on_64_bits(capsys):
    assert verify("qemu", 3, 1, "970mp_v1.1") == 0
    out, err = capsys.readouterr()
    assert "mismatches=0" in out
    assert err == "forms of the list not run: dcbz, sc\n"


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-ppc64"), reason="needs qemu-ppc64")
def test_qemu_agrees_on_a_power8(capsys):
    assert verify("qemu", 3, 1, "power8_v2.0") == 0
    out, err = capsys.readouterr()
    assert out.startswith("forms=972 ")
    assert "mismatches=0" in out
    assert err == "forms of the list not run: dcbz, rfebb, sc\n"


@pytest.mark.interop
@pytest.mark.skipif(not shutil.which("qemu-ppc64"), reason="needs qemu-ppc64")
def test_a_wrong_rounding_of_decimals_is_a_mismatch(capsys, monkeypatch):
    right = rounding.increments
    monkeypatch.setattr(
        rounding, "increments", lambda mode, *rest: right(rounding.Mode(mode & 6), *rest)
    )
    assert verify("qemu", 60, 1, "power8_v2.0", only=["dmul"]) == 1
    assert "mismatches=0" not in capsys.readouterr().out


@pytest.mark.interop
@pytest.mark.skipif(not shutil.which("qemu-ppc64"), reason="needs qemu-ppc64")
def test_a_wrong_body_of_64_bits_is_a_mismatch(capsys, monkeypatch):
    rows = {r.name: r for r in Decoder(MODELS["970mp_v1.1"].architecture).rows}
    mutant = dataclasses.replace(rows["srad"], body=rows["srd"].body)
    original = Decoder.decode
    monkeypatch.setattr(
        WideCpu, "row", lambda self, word: _swapped(original(self.decoder, word), mutant)
    )
    assert verify("qemu", 8, 1, "970mp_v1.1", only=["srad"]) == 1
    assert "mismatches=0" not in capsys.readouterr().out


def _swapped(row, mutant):
    return mutant if row is not None and row.name == mutant.name else row


@pytest.mark.interop
def test_unicorn_agrees_on_integer_forms(capsys):
    pytest.importorskip("unicorn")
    assert verify("unicorn", 6, 1) == 0
    assert "mismatches=0" in capsys.readouterr().out


@pytest.mark.interop
def test_a_wrong_body_is_a_mismatch(qemu_user, capsys, monkeypatch):
    rows = Decoder(()).rows
    add = next(r for r in rows if r.name == "add")
    subf = next(r for r in rows if r.name == "subf")
    mutant = dataclasses.replace(add, body=subf.body)
    original = Decoder.decode

    def decode(self, word):
        row = original(self, word)
        return mutant if row is add else row

    monkeypatch.setattr(LocalCpu, "step", lambda self, word, cia: _step(self, decode, word, cia))
    assert verify("qemu", 5, 1, only=["add"]) == 1
    out, err = capsys.readouterr()
    assert "forms=4 vectors=5 mismatches=5" in out or "mismatches=5" in out or "mismatches=4" in out
    assert err.startswith("add 0x7")


@pytest.mark.interop
def test_case_2_an_instruction_that_is_excused_in_every_vector_fails(
    qemu_user, capsys, monkeypatch
):
    monkeypatch.setattr(Record, "differences", lambda self, theirs: {"outcome": (0, 1)})
    monkeypatch.setattr(verify_isa, "masks", lambda *_: {"outcome": 1})
    assert verify("qemu", 5, 1, only=["add"]) == 1
    out, err = capsys.readouterr()
    assert "mismatches=0 excused=5" in out
    assert err.endswith("excused in every vector: add\n")


def _step(cpu, decode, word, cia):
    from gossamer.isa.evaluate import execute
    from gossamer.isa.insn import trace_word

    cpu.cia, cpu.word = cia, word
    return execute(trace_word(decode(cpu.decoder, word), word), cpu)


def test_an_excuse_hides_its_bits_and_nothing_else():
    before = Record(0x7C22_1BD6)  # divw r1,r2,r3 by zero
    ours, theirs = Record(before.word), Record(before.word)
    theirs.gpr[1] = 5
    assert compare("divw", "qemu", before, ours, theirs) == ({}, True)
    theirs.gpr[4] = 1
    assert compare("divw", "qemu", before, ours, theirs) == ({"gpr4": (0, 1)}, True)
    before.gpr[3] = 1
    left, excused = compare("divw", "qemu", before, ours, theirs)
    assert set(left) == {"gpr1", "gpr4"}
    assert not excused


def test_documented_deviations_are_the_excuses():
    text = (DOCS / "isa-deviations.md").read_text()
    assert markdown() in text
    for name, reason in NOT_RUN.items():
        assert f"- `{name}`: {reason}." in text


def test_documented_deviations_of_decimals_are_the_excuses():
    assert markdown(DECIMAL_EXCUSES) in (DOCS / "isa.md").read_text()


def test_excuses_name_instructions_that_exist():
    architectures = [model.architecture for model in MODELS.values() if not model.lacking]
    names = {r.name for a in architectures for r in Decoder(a).rows}
    assert {n for e in (*EXCUSES, *DECIMAL_EXCUSES) for n in e.family} <= names
    assert set(NOT_RUN) <= names


def test_unknown_peer_and_model_are_refused():
    with pytest.raises(ConfigError, match="peer 'bochs': expected qemu or unicorn"):
        verify("bochs", 1, 1)
    with pytest.raises(ConfigError, match="--count 0: expected at least 1"):
        verify("qemu", 0, 1)
    with pytest.raises(ConfigError, match="no instruction of the 750 is called 'vaddfp'"):
        verify("qemu", 1, 1, only=["vaddfp"])
    with pytest.raises(ConfigError, match="model '601': expected one of 603e, 604e, 750"):
        known_forms("601")


@pytest.mark.interop
def test_a_peer_that_dies_is_an_error(qemu_user):
    peer = QemuUser(program=shutil.which("false"))
    with pytest.raises(HostError, match="ended with status 1 after 0 of 1 vectors"):
        peer.run([Record(0x6000_0000)])


@pytest.mark.slow
def test_forms_not_run_must_be_few(qemu_user, monkeypatch, capsys):
    monkeypatch.setattr(verify_isa, "known_forms", lambda _: {f"x{n}": 0 for n in range(100)})
    monkeypatch.setattr(verify_isa, "absent", lambda *_: [])
    monkeypatch.setattr(verify_isa, "check_supervisor", lambda *_: None)
    assert verify("qemu", 1, 1) == 1
    assert "forms=0" in capsys.readouterr().out
