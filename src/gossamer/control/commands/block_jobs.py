"""Commands for jobs: what they do, how they end; and block-commit, the one job on a disk."""

from __future__ import annotations

from pathlib import Path

from gossamer.base.data import Data
from gossamer.base.errors import ConfigError
from gossamer.control.commands.nodes import disk_of
from gossamer.control.commands.table import InactiveDeviceError, command
from gossamer.control.commit import Commit
from gossamer.control.jobs import Job
from gossamer.control.session import Session
from gossamer.control.shapes import Size


class JobInfo(Data):
    """A job; `error`: why it failed."""

    id: str
    type: str
    status: str
    current_progress: int
    total_progress: int
    error: str | None = None


@command("query-jobs", held=True)
def query_jobs(session: Session) -> tuple[JobInfo, ...]:
    """The jobs that have not been dismissed."""
    return tuple(
        JobInfo(job.id, job.type, job.status, *_progress(job), job.error or None)
        for job in session.jobs.all.values()
    )


def _progress(job: Job) -> tuple[int, int]:
    return job.progress or (int(job.status == "concluded"), 1)


@command("job-dismiss", held=True)
def job_dismiss(session: Session, id_: str) -> None:
    """Forget a job that is over."""
    session.jobs.dismiss(id_)


@command("job-complete", held=True)
def job_complete(session: Session, id_: str) -> None:
    """Let a job that is ready come to its end."""
    session.jobs.find(id_).complete()


@command("job-cancel", held=True)
def job_cancel(session: Session, id_: str) -> None:
    """Let a job on a disk end where it is."""
    session.jobs.find(id_).cancel()


# --- of a disk ------------------------------------------------------------------------------------


class BlockJobInfo(Data):
    """A job on a disk; `len` and `offset` in bytes, `speed` in bytes a second."""

    type: str
    device: str
    len: int
    offset: int
    speed: int
    busy: bool
    paused: bool
    ready: bool
    status: str
    io_status: str
    auto_finalize: bool
    auto_dismiss: bool
    error: str | None = None


@command("query-block-jobs", held=True)
def query_block_jobs(session: Session) -> tuple[BlockJobInfo, ...]:
    """The jobs on disks; `device` is the id of the job."""
    found = []
    for job in session.jobs.all.values():
        if job.device:
            kind, _, length, offset, speed = job.figures
            found.append(
                BlockJobInfo(
                    kind, job.id, length, offset, speed, busy=job.status == "running",
                    paused=False, ready=job.status == "ready", status=job.status, io_status="ok",
                    auto_finalize=True, auto_dismiss=job.auto_dismiss, error=job.error or None,
                )
            )  # fmt: skip
    return tuple(found)


@command("block-commit")
def block_commit(
    session: Session,
    device: str,
    job_id: str | None = None,
    base_node: str | None = None,
    base: str | None = None,
    top_node: str | None = None,
    top: str | None = None,
    backing_file: str | None = None,
    speed: Size = Size(0),  # noqa: B008 - a number
    auto_finalize: bool = True,
    auto_dismiss: bool = True,
) -> None:
    """Begin a job that brings what a disk's image holds into one below, where the disk goes on."""
    session.check_idle()
    vm, disk = session.vm, disk_of(session, device, None)
    if not auto_finalize:
        raise ConfigError("auto-finalize: the end of a job waits for job-complete alone")
    if backing_file is not None:
        raise ConfigError("backing-file: there is no image above the disk's own")
    if (base is not None and base_node is not None) or (top is not None and top_node is not None):
        raise ConfigError("'base-node' and 'base', 'top-node' and 'top' exclude each other")
    if top_node not in (None, disk.name) or (top and not _same(Path(top), disk.image.path)):
        raise ConfigError(f"top: only the image that the disk has, {disk.name}, can be committed")
    below = None if base is None else Path(base)
    if base_node is not None:
        if base_node not in vm.disks.below:
            raise ConfigError(f"Cannot find device='' nor node-name='{base_node}'")
        below = vm.disks.below[base_node]
    if below is not None and not below.exists():
        raise ConfigError(f"{below}: there is no such file")
    name = device if job_id is None else job_id
    session.jobs.check_new(name)
    work = Commit(vm, disk, below).steps
    session.spawn(
        session.jobs.begin_block(
            name, "commit", disk.name, work, speed=speed, auto_dismiss=auto_dismiss
        )
    )


def _same(one: Path, other: Path) -> bool:
    return one.exists() and one.samefile(other)


def _on(session: Session, device: str) -> Job:
    try:
        return session.jobs.on(device)
    except ConfigError as fault:
        raise InactiveDeviceError(str(fault)) from None


@command("block-job-complete", held=True)
def block_job_complete(session: Session, device: str) -> None:
    """Let the disk of a job that is ready go on in the other image."""
    _on(session, device).complete()


@command("block-job-cancel", held=True)
def block_job_cancel(session: Session, device: str, force: bool = False) -> None:
    """Give up the job on a disk, which stays as it is."""
    del force  # nothing is waited for
    _on(session, device).cancel()


@command("block-job-set-speed", held=True)
def block_job_set_speed(session: Session, device: str, speed: Size) -> None:
    """How many bytes a second a job may copy; 0: no limit."""
    _on(session, device).speed = speed
