"""How options are refused: in one line."""

from __future__ import annotations

import pytest

from gossamer.base.errors import ConfigError
from gossamer.machines.options import parse


def assert_refused(options: str, start: str) -> None:
    """The options are refused with one line that begins with `start`."""
    with pytest.raises(ConfigError) as caught:
        parse(options.split())
    text = str(caught.value)
    assert text.startswith(start)
    assert "\n" not in text
