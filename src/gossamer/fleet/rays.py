"""Nodes as actors of Ray: one `Node` pinned to each computer of a cluster, detached and named.

Ray gives placement, finding, and the news that a computer is gone.  What travels is JSON and files;
machines move from process to process by migration and never through Ray.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any, Final

from gossamer.base.errors import ConfigError
from gossamer.fleet.errors import FleetError, NodeLostError
from gossamer.fleet.node import Node

NAMESPACE: Final = "gossamer"
ANSWER_S: Final = 300.0
END_S: Final = 60.0
THREADS: Final = 64
"""Calls that a node serves at once."""


def library() -> Any:  # noqa: ANN401 - a module that need not be there
    """Ray; ConfigError when it is not installed."""
    try:
        import ray
    except ImportError:
        raise ConfigError("a fleet over Ray needs ray: pip install 'gossamer[fleet]'") from None
    return ray


class RayNode:
    """A node on a computer of a Ray cluster."""

    #: Ray says that an actor is gone also when its computer can merely not be reached.
    certain = False

    def __init__(self, ray: Any, name: str, actor: Any) -> None:  # noqa: ANN401
        self.name, self._ray, self._actor = name, ray, actor
        self.facts = self.call("facts")

    def call(self, method: str, *arguments: Any) -> Any:  # noqa: ANN401 - JSON
        """Call a method of the node; FleetError with its line, NodeLostError when it is gone."""
        errors = self._ray.exceptions
        try:
            answer: dict[str, Any] = self._ray.get(
                self._actor.call.remote(method, list(arguments)), timeout=ANSWER_S
            )
        except (errors.RayActorError, errors.GetTimeoutError, errors.NodeDiedError) as fault:
            why = str(fault).strip().splitlines()
            raise NodeLostError(self.name, why[0] if why else type(fault).__name__) from None
        if "error" in answer:
            raise FleetError(answer["error"])
        return answer["result"]

    @property
    def gone(self) -> bool:
        """Whether Ray calls the actor dead."""
        try:
            self.call("facts")
        except NodeLostError:
            return True
        return False

    def kill(self) -> None:
        """What a power failure does to it; Ray ends an actor a while after it was asked to."""
        self._ray.kill(self._actor)
        end = time.monotonic() + END_S
        while not self.gone and time.monotonic() < end:
            time.sleep(0.02)

    def close(self) -> None:
        """End the node and its machines."""
        with contextlib.suppress(FleetError):
            for row in self.call("listing"):
                self.call("release", row["name"], False)
        self._ray.kill(self._actor)


def join(address: str) -> list[RayNode]:
    """The nodes of the cluster at `address` ("auto": the one of this computer)."""
    ray = library()
    if not ray.is_initialized():
        try:
            ray.init(address=address, namespace=NAMESPACE, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as fault:
            raise FleetError(f"no Ray cluster at {address}: {fault}") from None
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    made = []
    alive = sorted((one for one in ray.nodes() if one["Alive"]), key=lambda one: one["NodeID"])
    for number, one in enumerate(alive, 1):
        name = f"node{number}"
        kind = ray.remote(Node)
        actor = kind.options(
            name=f"gossamer-{one['NodeID']}", namespace=NAMESPACE, lifetime="detached",
            get_if_exists=True, num_cpus=0, max_concurrency=THREADS,
            scheduling_strategy=NodeAffinitySchedulingStrategy(one["NodeID"], soft=False),
        ).remote(name)  # fmt: skip
        made.append(RayNode(ray, name, actor))
    return made
