"""What the tests of `verify isa` may ask for."""

from __future__ import annotations

import pytest

from tests.conftest import program


@pytest.fixture
def qemu_user() -> str:
    """Path of qemu-ppc; without it a test is skipped, or fails where interop is required."""
    return str(program("qemu-ppc", "qemu-user"))
