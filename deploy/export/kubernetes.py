"""CronJobs: one at the schedule's times, an hourly one that continues what was left open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deploy.export.triggers import catch_up, exact, time_limit
from deploy.export.yaml import to_yaml
from speakerbot.schedules.schedule import Schedule

_LEAST_DEADLINE = 60
"""Kubernetes looks every ten seconds: with less it may never start a job."""

_HEAD = """\
# Written by `speakerbot cron export kubernetes`. Secrets (DISCORD_TOKEN, DATABASE_URL, …) come from
# the Secret `speakerbot`.
"""


def export(schedules: Sequence[Schedule], image: str, _app: str) -> dict[str, str]:
    """One file of several documents."""
    documents = []
    for schedule in schedules:
        documents.append(_cron_job(schedule, schedule.name, exact(schedule), image))
        if tick := catch_up(schedule):
            documents.append(_cron_job(schedule, f"{schedule.name}-catch-up", tick, image))
    return {"speakerbot.yaml": _HEAD + "---\n".join(map(to_yaml, documents))}


def _cron_job(schedule: Schedule, name: str, cron: str, image: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "speakerbot", "speakerbot/schedule": schedule.name}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": f"speakerbot-{name}", "labels": labels},
        "spec": {
            "schedule": cron,
            "timeZone": schedule.cron.zone.key,
            "suspend": not schedule.enabled,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": max(
                int(schedule.rules.whole_grace.total_seconds()), _LEAST_DEADLINE
            ),
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"spec": _job(schedule, labels, image)},
        },
    }


def _job(schedule: Schedule, labels: dict[str, str], image: str) -> dict[str, Any]:
    machines = len(schedule.regions) if schedule.share else 1
    limit = time_limit(schedule)
    return {
        "parallelism": machines,
        "completions": machines,
        "backoffLimit": 0,  # the next tick continues; a retry at once would find the lease taken
        **({"activeDeadlineSeconds": int(limit.total_seconds())} if limit else {}),
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "restartPolicy": "Never",
                "securityContext": {"runAsNonRoot": True},
                "containers": [_container(schedule, image)],
            },
        },
    }


def _container(schedule: Schedule, image: str) -> dict[str, Any]:
    return {
        "name": "run",
        "image": image,
        "args": [_literal(word) for word in schedule.command()],
        "envFrom": [{"secretRef": {"name": "speakerbot", "optional": True}}],
        "env": [{"name": name, "value": _literal(value)} for name, value in schedule.env.items()],
        "resources": {
            "requests": {"cpu": "100m", "memory": f"{schedule.guest.memory_mb}Mi"},
            "limits": {"memory": f"{schedule.guest.memory_mb}Mi"},
        },
    }


def _literal(text: str) -> str:
    """Kubernetes would replace ``$(NAME)``, and reads ``$$`` as ``$``."""
    return text.replace("$", "$$")
