"""The jobs, and the schedules of ``schedules.json`` they have: for commands that look at all."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from speakerbot.runs.job import Job
    from speakerbot.schedules import Schedule


def job_named(name: str) -> Job | None:
    """None for a job that a schedule may name, but that this version does not have."""
    if importlib.util.find_spec(f"jobs.{name}") is None:
        return None
    job: Job = importlib.import_module(f"jobs.{name}").JOB
    return job


def every_job() -> Iterator[Job]:
    """Scheduled or not."""
    import jobs

    for module in pkgutil.iter_modules(jobs.__path__):
        if job := job_named(module.name):
            yield job


def with_jobs(schedules: Iterable[Schedule]) -> Iterator[tuple[Schedule, Job]]:
    """Each schedule with its job; those without one are named in the log."""
    from speakerbot import logs

    for schedule in schedules:
        if job := job_named(schedule.job):
            yield schedule, job
        else:
            logs.get_logger().warning("job_unknown", schedule=schedule.name, job=schedule.job)
