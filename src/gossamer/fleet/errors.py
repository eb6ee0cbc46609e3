"""What can go wrong with a fleet."""

from __future__ import annotations

from gossamer.base.errors import GossamerError


class FleetError(GossamerError):
    """Something asked of a fleet cannot be done; every machine is where it was."""


class NodeLostError(FleetError):
    """A node does not answer any more."""

    def __init__(self, node: str, why: str) -> None:
        super().__init__(f"node {node} is lost: {why}")
        self.node = node
