"""The mutants of `tests.mutants` fit the sources that there are; running them takes minutes."""

from __future__ import annotations

import pytest

from tests.mutants import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_mutant_changes_one_place_and_names_tests_that_are_there(mutant: Mutant) -> None:
    for name, old, new in mutant.edits:
        assert (ROOT / name).read_text(encoding="utf-8").count(old) == 1, name
        assert old != new
    assert all((ROOT / test).exists() for test in mutant.tests)
