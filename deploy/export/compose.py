"""Docker Compose: one small machine, SQLite on a volume, supercronic for the ticks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deploy.export.crontab_lines import utc_lines
from deploy.export.yaml import to_yaml
from speakerbot.schedules.schedule import Schedule

_HEAD = """\
# Written by `speakerbot cron export compose`. Needs Docker Compose 2.24 or newer.
# DISCORD_TOKEN and the other settings come from a .env file beside this one.
# The web process starts with `docker compose --profile web up -d`.
"""
_DATABASE = "sqlite:////data/speakerbot.db"
_CRONTAB = "/etc/speakerbot/crontab"


def export(schedules: Sequence[Schedule], image: str, _app: str) -> dict[str, str]:
    """One file. An image without a registry is built from the folder above, so the file belongs
    into a folder of the checkout."""
    crontab = "\n".join(utc_lines(schedules)) + "\n"
    document = {
        "name": "speakerbot",
        "services": {
            "cron": _cron(image),
            "web": {
                **_service(image),
                "profiles": ["web"],
                "command": ["serve"],
                "ports": ["127.0.0.1:3000:3000"],
            },
        },
        "configs": {"crontab": {"content": _literal(crontab)}},
        "volumes": {"data": {}},
    }
    return {"compose.yaml": _HEAD + to_yaml(document)}


def _service(image: str) -> dict[str, Any]:
    built = {"build": {"context": "..", "dockerfile": "Dockerfile"}, "pull_policy": "build"}
    return {
        "image": image,
        **({} if "/" in image else built),
        "env_file": [{"path": ".env", "required": True}],
        "environment": {"DATABASE_URL": _DATABASE},
        "volumes": ["data:/data"],
        "restart": "unless-stopped",
    }


def _cron(image: str) -> dict[str, Any]:
    return {
        **_service(image),
        "entrypoint": ["supercronic", "-passthrough-logs", _CRONTAB],
        "configs": [{"source": "crontab", "target": _CRONTAB}],
        "stop_grace_period": "1m",  # supercronic waits for its runs, and they end on SIGTERM
    }


def _literal(text: str) -> str:
    """Compose would replace ``$NAME``."""
    return text.replace("$", "$$")
