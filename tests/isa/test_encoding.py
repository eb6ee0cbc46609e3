"""The table: every word of every row decodes to it, reads as text and comes back."""

from __future__ import annotations

import random

import pytest

from gossamer.isa.expr import Expr, const
from gossamer.isa.insn import SPLIT, TABLE, Decoder
from gossamer.isa.text import assemble, disassemble
from gossamer.verify.isa.command import known_forms
from gossamer.verify.isa.vectors import Vectors

DECODER = Decoder(())
ALL = Decoder(("7400",))


@pytest.mark.parametrize("row", DECODER.rows, ids=lambda r: r.name)
def test_row_round_trips_through_text(row):
    rng = random.Random(row.name)
    vectors = Vectors(row, rng)
    for _ in range(12):
        word = row.match | rng.getrandbits(32) & vectors.used & ~row.mask
        if DECODER.decode(word) is not row:
            continue
        text = disassemble(word, 0x2000)
        assert assemble(text, 0x2000) == word.to_bytes(4, "big"), text


def test_every_row_traces_for_known_and_unknown_words():
    for row in TABLE:
        assert row.trace(const(row.match, 32), width=row.width or 32) is not None
        row.trace(Expr("word", 32), width=row.width or 32)


def test_names_are_unique():
    names = [row.name for row in TABLE]
    assert len(names) == len(set(names))


def test_handler_count_stays_in_bounds():
    total = 0
    for row in ALL.rows:
        flags = [f for f in SPLIT if row.form.has(f) and f not in row.fixed]
        total += 2 ** len(flags)
        total += sum(2 ** len([f for f in flags if f not in s]) for s in row.special)
    assert 300 < total <= 700


def test_models_differ_where_they_must():
    assert DECODER.decode(0x7C00_0124).name == "mtmsr"
    assert ALL.decode(0x7C00_0124).name == "mtmsr_7400"
    assert DECODER.decode(0x7C00_05EC) is None  # dcba
    assert ALL.decode(0x7C00_05EC).name == "dcba"


@pytest.mark.parametrize(
    "word",
    [0, 0x0400_0000, 0x1000_0000, 0x7C00_02E4, 0x7C00_07A4, 0xFC00_002C, 0xE800_0000],
)
def test_illegal_words_are_no_instruction(word):
    assert DECODER.decode(word) is None
    assert disassemble(word) == f".long {word:#x}"


@pytest.mark.parametrize(("word", "name"), [(0x7C22_1A15, "add"), (0x7C00_04AC, "sync")])
def test_reserved_bits_are_ignored(word, name):
    assert DECODER.decode(word).name == name
    assert DECODER.decode(0x7C20_04AC).name == "sync"  # lwsync of later parts
    assert DECODER.decode(0xFC6C_048E).name == "mffs"  # mffsl and its kin


def test_assembler_forms_of_the_model_are_known():
    lacking = {f for f, word in known_forms("750").items() if DECODER.decode(word) is None}
    assert lacking == {"fsqrt", "fsqrt.", "fsqrts", "fsqrts.", "tlbia", "tlbld", "tlbli"}
