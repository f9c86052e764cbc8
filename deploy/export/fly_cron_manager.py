"""schedules.json of Fly's Cron Manager app: an array; its cron runs in UTC."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from deploy.export.triggers import HOURLY, catch_up, exact
from speakerbot.schedules import Schedule


def fly_cron_manager(schedules: Sequence[Schedule], image: str, app: str) -> dict[str, str]:
    """One file. ``command`` is one string, and what ``enabled`` does not say is off."""
    entries = []
    for schedule in schedules:
        in_utc = schedule.cron.zone.key in ("UTC", "Etc/UTC")
        entries.append(_entry(schedule, "", exact(schedule) if in_utc else HOURLY, image, app))
        if in_utc and (tick := catch_up(schedule)):
            entries.append(_entry(schedule, "-catch-up", tick, image, app))
    return {"schedules.json": json.dumps(entries, indent=2, ensure_ascii=False) + "\n"}


def _entry(schedule: Schedule, suffix: str, cron: str, image: str, app: str) -> dict[str, Any]:
    guest = schedule.guest
    # Cron Manager takes anything on stderr for a failure, and our logs go there.
    command = f"exec {shlex.join(['speakerbot', *schedule.command()])} 2>&1"
    limit = schedule.wait + schedule.timeout
    return {
        "name": f"speakerbot-{schedule.name}{suffix}",
        "app_name": app,
        "schedule": cron,
        "region": schedule.regions[0],
        "command": shlex.join(["sh", "-c", command]),
        "command_timeout": int(limit.total_seconds()) + 60,
        "enabled": schedule.enabled,
        "config": {
            "image": image,
            "init": {"exec": ["sleep", "inf"]},  # the command is run beside it, then all is ended
            "env": dict(schedule.env),
            "guest": {
                "cpu_kind": guest.cpu_kind, "cpus": guest.cpus, "memory_mb": guest.memory_mb
            },
            "restart": {"policy": "no"},
            "auto_destroy": True,
            "disable_machine_autostart": True,
            "dns": {"skip_registration": True},
        },
    }  # fmt: skip
