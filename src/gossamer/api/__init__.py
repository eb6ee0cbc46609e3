"""The machine as a Python object: the front for programs and notebooks (docs/python.md)."""

from gossamer.api.console import Console, ExpectError
from gossamer.api.past import ForkError
from gossamer.api.stopped import Stopped
from gossamer.api.vm import Vm
from gossamer.base.errors import GossamerError

__all__ = ["Console", "ExpectError", "ForkError", "GossamerError", "Stopped", "Vm"]
