"""Pseudo-terminals for tests, which a bare chroot (no /dev/pts) does not have."""

from __future__ import annotations

import os
import pty

import pytest


def there() -> bool:
    """Whether this host gives any."""
    try:
        for end in pty.openpty():
            os.close(end)
    except OSError:
        return False
    return True


def opened() -> tuple[int, int]:
    """Our end of one and the end a program has; the test is skipped where there are none."""
    if not there():
        pytest.skip("this host has no pseudo-terminals (no devpts at /dev/pts)")
    return pty.openpty()
