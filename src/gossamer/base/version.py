"""The version of gossamer, once."""

from typing import Final

VERSION: Final = "0.1.0"
