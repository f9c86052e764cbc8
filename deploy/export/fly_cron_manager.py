"""schedules.json of Fly's Cron Manager app: an array; its cron runs in UTC."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from deploy.export.triggers import catch_up, exact, hourly_in_utc, time_limit
from speakerbot.domain.job_registry import LONGEST_HORIZON
from speakerbot.schedules.schedule import Schedule


def export(schedules: Sequence[Schedule], image: str, app: str) -> dict[str, str]:
    """One file. ``command`` is one string, and an entry without ``enabled`` is off."""
    entries = []
    for schedule in schedules:
        in_utc = schedule.cron.zone.key in ("UTC", "Etc/UTC")
        cron = exact(schedule) if in_utc else hourly_in_utc(schedule)
        for name, region in zip(schedule.machine_names, schedule.regions, strict=True):
            entries.append(_entry(schedule, name, cron, region) | _where(schedule, image, app))
            if in_utc and (tick := catch_up(schedule)):
                entry = _entry(schedule, f"{name}-catch-up", tick, region)
                entries.append(entry | _where(schedule, image, app))
    return {"schedules.json": json.dumps(entries, indent=2, ensure_ascii=False) + "\n"}


def _entry(schedule: Schedule, name: str, cron: str, region: str) -> dict[str, Any]:
    limit = time_limit(schedule) or LONGEST_HORIZON
    return {
        "name": name,
        "schedule": cron,
        "region": region,
        "command": shlex.join(schedule.command()),  # becomes init.cmd, after the image's ENTRYPOINT
        "command_timeout": int(limit.total_seconds()),  # without one it is 30 s
        "enabled": schedule.enabled,
    }


def _where(schedule: Schedule, image: str, app: str) -> dict[str, Any]:
    guest = schedule.guest
    config = {
        "image": image,
        "env": dict(schedule.env),
        "guest": {"cpu_kind": guest.cpu_kind, "cpus": guest.cpus, "memory_mb": guest.memory_mb},
        "restart": {"policy": "no"},
        "auto_destroy": True,
        "disable_machine_autostart": True,
        "dns": {"skip_registration": True},
    }
    return {"app_name": app, "config": config}
