"""Work that a client begins and asks about afterwards, in QEMU's words."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Final

from gossamer.base.data import Data, field
from gossamer.base.errors import ConfigError
from gossamer.control.events import JobStatusChanged, Observers
from gossamer.control.steps import Steps, Wait

MOST_JOBS: Final = 256


class Job:
    """One job; `status` created, running, waiting, pending, aborting, concluded."""

    def __init__(self, events: Observers, name: str, kind: str) -> None:
        self._events = events
        self.id, self.type = name, kind
        self.status, self.error = "", ""
        self.enter("created")

    def enter(self, status: str) -> None:
        self.status = status
        self._events.report(JobStatusChanged(status, self.id))


class Jobs(Data, frozen=False):
    """The jobs that no client has dismissed yet."""

    events: Observers
    all: dict[str, Job] = field(default_factory=dict)

    def begin(self, name: str, kind: str, work: Callable[[], object]) -> Steps[None]:
        """A new job: the steps that do `work` (or its steps); how it ends is the job's `error`."""
        if name in self.all:
            raise ConfigError(f"Job ID '{name}' already in use")
        if len(self.all) >= MOST_JOBS:
            raise ConfigError(f"{MOST_JOBS} jobs have not been dismissed")
        job = self.all[name] = Job(self.events, name, kind)
        return _run(job, work)

    def find(self, name: str) -> Job:
        if name not in self.all:
            raise ConfigError("Job not found")
        return self.all[name]

    def dismiss(self, name: str) -> None:
        """Forget a job that is over."""
        job = self.find(name)
        if job.status != "concluded":
            raise ConfigError(
                f"Job '{name}' in state '{job.status}' cannot accept command verb 'dismiss'"
            )
        del self.all[name]
        job.enter("null")


def _run(job: Job, work: Callable[[], object]) -> Steps[None]:
    job.enter("running")
    yield Wait(until_ns=0)  # the command that began it is answered first
    try:
        made = work()
        if isinstance(made, Generator):
            yield from made
    except Exception as fault:
        from_host = f"{fault}" or type(fault).__name__
        job.error = " ".join(from_host.split())
        job.enter("aborting")
    else:
        job.enter("waiting")
        job.enter("pending")
    job.enter("concluded")
