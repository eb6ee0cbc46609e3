"""Machines in threads of their own, each with a folder, ended when the test is."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tests.front.qmp.client import Host

H = TypeVar("H", bound=Host)


def each_in_a_folder(kind: Callable[..., H]) -> Iterator[Callable[..., H]]:
    """For a fixture: gives what makes them, and ends what was made; each must end well."""
    made: list[tuple[H | None, Path]] = []

    def make(*words: str, **given: Any) -> H:
        folder = Path(tempfile.mkdtemp(prefix="gsm-"))
        made.append((None, folder))
        host = kind(folder, *words, **given)
        made[-1] = host, folder
        return host

    yield make
    for host, folder in made:
        if host is not None:
            assert host.end() == 0
        shutil.rmtree(folder)
