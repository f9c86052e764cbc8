"""The same schedules for other schedulers. Each run still decides by itself whether it is due, so
a scheduler only has to tick; what it cannot express is replaced by an hourly tick."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from deploy.export.crontab import crontab
from deploy.export.fly_cron_manager import fly_cron_manager
from deploy.export.github_actions import github_actions
from deploy.export.kubernetes import kubernetes
from deploy.export.systemd import systemd
from speakerbot.schedules import Schedule

Exporter = Callable[[Sequence[Schedule], str, str], dict[str, str]]
"""From schedules, image and Fly app to the text of each file, by its name."""

EXPORTERS: Final[dict[str, Exporter]] = {
    "crontab": crontab,
    "systemd": systemd,
    "kubernetes": kubernetes,
    "github-actions": github_actions,
    "fly-cron-manager": fly_cron_manager,
}
