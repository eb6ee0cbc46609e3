"""The comparison of AltiVec with a peer: records, excuses, and that a wrong body shows."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError, HostError
from gossamer.isa.insn import Decoder
from gossamer.verify.isa.command import known_forms, make_peer, verify
from gossamer.verify.isa.packed_excuses import PACKED_EXCUSES
from gossamer.verify.isa.vector import SIZE, LocalVector, QemuVector, VectorRecord
from gossamer.verify.isa.vector_excuses import VECTOR_EXCUSES, compare_vectors, vector_markdown
from gossamer.verify.isa.vsx_excuses import VSX_EXCUSES

DOCS = Path(__file__).parents[3] / "docs"
DECODER = Decoder(("7400",))
NAMES = {row.name for row in DECODER.rows}


def test_record_packs_and_unpacks() -> None:
    r = VectorRecord(1, 2, 3, 4, 5, list(range(32)), list(range(100, 132)), bytes(512))
    assert VectorRecord.unpack(r.pack()) == r
    assert len(r.pack()) == SIZE
    other = dataclasses.replace(r, vr=[0, *range(101, 132)], memory=b"\1" + bytes(511))
    assert r.differences(other) == {"vr0": (100, 0), "memory+0x0": (0, 1)}


def test_every_form_of_the_assembler_is_there() -> None:
    lacking = {f for f, word in known_forms("7400").items() if DECODER.decode(word) is None}
    assert lacking == {"fsqrt", "fsqrt.", "fsqrts", "fsqrts.", "tlbia", "tlbld", "tlbli"}


@pytest.mark.interop
@pytest.mark.slow
def test_qemu_agrees(qemu_user: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify("qemu", 4, 3, "7400") == 0
    out, err = capsys.readouterr()
    assert "mismatches=0" in out
    assert err == "forms of the list not run: fsqrt, fsqrt., fsqrts, fsqrts.\n"


@pytest.mark.interop
def test_a_wrong_body_is_a_mismatch(
    qemu_user: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {row.name: row for row in DECODER.rows}
    mutant = dataclasses.replace(rows["vavgub"], body=rows["vadduhm"].body)
    original = Decoder.decode

    def decode(self: Decoder, word: int) -> object:
        row = original(self, word)
        return mutant if row and row.name == "vavgub" else row

    def run(self: LocalVector, before: VectorRecord) -> VectorRecord:
        with monkeypatch.context() as m:
            m.setattr(Decoder, "decode", decode)
            return right(self, before)

    right = LocalVector.run
    monkeypatch.setattr(LocalVector, "run", run)
    assert verify("qemu", 5, 1, "7400", ["vavgub"]) == 1
    out, err = capsys.readouterr()
    assert "forms=1 vectors=5 mismatches=5" in out
    assert err.startswith("vavgub 0x1")


def test_an_estimate_outside_its_bound_is_not_excused() -> None:
    before = VectorRecord(0x1020_198A, vr=[0x3F80_0000] * 32)  # vexptefp v1,v3: 2**1, three 2**0
    ours = VectorRecord(before.word, vr=[*before.vr])
    theirs = VectorRecord(before.word, vr=[*before.vr])
    ones = 0x3F80_0000_3F80_0000_3F80_0000 << 32
    ours.vr[1], theirs.vr[1] = ones | 0x4000_0001, ones | 0x3FFF_FFF0
    assert compare_vectors("vexptefp", before, ours, theirs) == ({}, True)
    ours.vr[1] = ones | 0x4000_1000
    left, excused = compare_vectors("vexptefp", before, ours, theirs)
    assert (set(left), excused) == ({"vr1"}, False)
    ours.vr[1], theirs.vr[2] = theirs.vr[1], 7
    left, _ = compare_vectors("vexptefp", before, ours, theirs)
    assert set(left) == {"vr2"}


def test_documented_deviations_are_the_excuses() -> None:
    assert vector_markdown() in (DOCS / "altivec.md").read_text()
    assert {n for e in VECTOR_EXCUSES for n in e.family} <= NAMES
    assert vector_markdown(VSX_EXCUSES) in (DOCS / "isa.md").read_text()
    assert vector_markdown(PACKED_EXCUSES) in (DOCS / "isa.md").read_text()


def test_a_peer_that_dies_is_an_error() -> None:
    if (program := shutil.which("false")) is None:
        pytest.skip("no program called false")
    with pytest.raises(HostError, match="ended with status 1 after 0 of 1 vectors"):
        QemuVector(program=program).run([VectorRecord(0x1000_0000)])


def test_unicorn_has_no_7400_here() -> None:
    with pytest.raises(ConfigError, match="peer unicorn: compares the 750 only, not the 7400"):
        make_peer("unicorn", "7400")
