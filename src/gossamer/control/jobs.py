"""Work that a client begins and asks about afterwards, in QEMU's words."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Final

from gossamer.base.data import Data, field
from gossamer.base.errors import ConfigError
from gossamer.control.events import (
    BlockJobCancelled,
    BlockJobCompleted,
    BlockJobReady,
    JobStatusChanged,
    Observers,
)
from gossamer.control.steps import Steps, Wait

MOST_JOBS: Final = 256
COMPLETE: Final = "complete"
CANCEL: Final = "cancel"


class Job:
    """One job; `status` created, running, ready, waiting, pending, aborting, concluded.

    `device`: the name of the disk that a block job is about, which can be cancelled; `wish`: how it
    is to end; `progress`: bytes done and in all; `speed`: bytes a second, 0 for no limit.
    """

    def __init__(self, events: Observers, name: str, kind: str, device: str = "") -> None:
        self._events = events
        self.id, self.type, self.device = name, kind, device
        self.status, self.error, self.wish = "", "", ""
        self.progress: tuple[int, int] | None = None
        self.speed = 0
        self.auto_dismiss = False
        self.enter("created")

    def enter(self, status: str) -> None:
        self.status = status
        self._events.report(JobStatusChanged(status, self.id))

    def ready(self) -> None:
        """What it does is done but for its end, which waits for a wish."""
        self.enter("ready")
        self._events.report(BlockJobReady(*self.figures))

    @property
    def figures(self) -> tuple[str, str, int, int, int]:
        """Type, device, bytes in all and done, speed: as events have them."""
        done, total = self.progress or (0, 0)
        return self.type, self.device, total, done, self.speed

    def complete(self) -> None:
        """Let it come to its end."""
        if self.status != "ready":
            raise self.refused("complete")
        self.wish = COMPLETE

    def cancel(self) -> None:
        """Let it end where it is."""
        if not self.device or self.status not in ("running", "ready"):
            raise self.refused("cancel")
        self.wish = CANCEL

    def refused(self, verb: str) -> ConfigError:
        return ConfigError(
            f"Job '{self.id}' in state '{self.status}' cannot accept command verb '{verb}'"
        )


class Jobs(Data, frozen=False):
    """The jobs that no client has dismissed yet."""

    events: Observers
    all: dict[str, Job] = field(default_factory=dict)

    def check_new(self, name: str) -> None:
        """ConfigError where no job can have that name."""
        if name in self.all:
            raise ConfigError(f"Job ID '{name}' already in use")
        if len(self.all) >= MOST_JOBS:
            raise ConfigError(f"{MOST_JOBS} jobs have not been dismissed")

    def begin(self, name: str, kind: str, work: Callable[[], object]) -> Steps[None]:
        """A new job: the steps that do `work` (or its steps); how it ends is the job's `error`."""
        self.check_new(name)
        job = self.all[name] = Job(self.events, name, kind)
        return self._run(job, work)

    def begin_block(
        self,
        name: str,
        kind: str,
        device: str,
        work: Callable[[Job], Steps[None]],
        *,
        speed: int = 0,
        auto_dismiss: bool = True,
    ) -> Steps[None]:
        """A new job on a disk, which may be ended by a wish."""
        self.check_new(name)
        job = self.all[name] = Job(self.events, name, kind, device)
        job.speed, job.auto_dismiss = speed, auto_dismiss
        return self._run(job, lambda: work(job))

    def find(self, name: str) -> Job:
        if name not in self.all:
            raise ConfigError("Job not found")
        return self.all[name]

    def dismiss(self, name: str) -> None:
        """Forget a job that is over."""
        job = self.find(name)
        if job.status != "concluded":
            raise job.refused("dismiss")
        del self.all[name]
        job.enter("null")

    def on(self, device: str) -> Job:
        """The block job that is called so, or is on that disk."""
        for job in self.all.values():
            if job.device and device in (job.id, job.device) and job.status != "concluded":
                return job
        raise ConfigError(f"Block job '{device}' not found")

    def _run(self, job: Job, work: Callable[[], object]) -> Steps[None]:
        job.enter("running")
        yield Wait(until_ns=0)  # the command that began it is answered first
        try:
            made = work()
            if isinstance(made, Generator):
                yield from made
        except Exception as fault:
            from_host = f"{fault}" or type(fault).__name__
            job.error = " ".join(from_host.split())
        if job.wish == CANCEL and not job.error:
            job.error = "Operation canceled"
        if job.error:
            job.enter("aborting")
        else:
            job.enter("waiting")
            job.enter("pending")
        if job.device and job.wish == CANCEL:
            self.events.report(BlockJobCancelled(*job.figures))
        elif job.device:
            self.events.report(BlockJobCompleted(*job.figures, job.error or None))
        job.enter("concluded")
        if job.auto_dismiss:
            self.dismiss(job.id)
