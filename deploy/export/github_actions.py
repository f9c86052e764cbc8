"""A workflow that ticks hourly: GitHub's cron is UTC and often late, so runs decide what is due."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from deploy.export.triggers import time_limit
from deploy.export.yaml import to_yaml
from speakerbot.schedules.schedule import Schedule

_TICK = "7 * * * *"
"""Off the full hour, when GitHub is busiest and drops ticks."""
_LONGEST = timedelta(hours=6)
"""GitHub's own maximum for a job."""
_SECRETS = (
    "DATABASE_URL", "DISCORD_TOKEN", "DISCORD_GUILD_ID", "DISCORD_LOGS_CHANNEL_ID",
    "PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID",
)  # fmt: skip
_HEAD = """\
# Written by `speakerbot cron export github-actions`. Every job ticks hourly and decides by itself
# whether an occurrence is due. The database must be one GitHub can reach: a file is not kept.
"""


def export(schedules: Sequence[Schedule], _image: str, _app: str) -> dict[str, str]:
    """One workflow with a job for each schedule; a disabled one runs only by hand."""
    document = {
        "name": "speakerbot",
        "on": {"schedule": [{"cron": _TICK}], "workflow_dispatch": {}},
        "permissions": {"contents": "read"},
        "jobs": {_job_id(schedule): _job(schedule) for schedule in schedules},
    }
    return {"speakerbot.yml": _HEAD + to_yaml(document)}


def _job(schedule: Schedule) -> dict[str, Any]:
    limit = time_limit(schedule) or _LONGEST
    command = shlex.join(["speakerbot", *schedule.command()])
    job: dict[str, Any] = {
        "name": schedule.name,
        "runs-on": "ubuntu-latest",
        "timeout-minutes": math.ceil(min(limit, _LONGEST).total_seconds() / 60),
        "steps": [
            {
                "uses": "actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8",  # v5.0.0
                "with": {"persist-credentials": False},
            },
            {
                "uses": "actions/setup-python@e797f83bcb11b83ae66e0230d6156d7c80228e7c",  # v6.0.0
                "with": {"python-version": "3.12"},
            },
            {"run": "pip install --require-hashes -r requirements/runtime.txt\n"
                    "pip install --no-deps .\n"},
            {
                "run": _literal(command),
                "env": {
                    **{name: f"${{{{ secrets.{name} }}}}" for name in _SECRETS},
                    **{name: _literal(value) for name, value in schedule.env.items()},
                },
            },
        ],
    }  # fmt: skip
    if schedule.share and len(schedule.regions) > 1:
        job["strategy"] = {"matrix": {"hand": list(range(1, len(schedule.regions) + 1))}}
    return job if schedule.enabled else {"if": "github.event_name == 'workflow_dispatch'", **job}


def _job_id(schedule: Schedule) -> str:
    return re.sub(r"[^a-z0-9-]", "-", schedule.name)


def _literal(text: str) -> str:
    """GitHub would evaluate ``${{ … }}`` in our texts."""
    return text.replace("${{", "${{ '${{' }}")
