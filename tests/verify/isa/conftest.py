"""What the tests of `verify isa` may ask for."""

from __future__ import annotations

import pytest

from tests.conftest import program


@pytest.fixture
def qemu_user() -> None:
    """qemu-ppc, without which such a test is skipped, or fails where interop is required."""
    program("qemu-ppc", "qemu-user")
