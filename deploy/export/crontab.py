"""A crontab for supercronic, cronie and Debian's cron."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.export.crontab_lines import utc_lines
from speakerbot.schedules.schedule import Schedule

_HEAD = """\
# Written by `speakerbot cron export crontab`. Needs speakerbot on PATH; secrets come from the
# environment or from a .env file in the folder cron starts in.
# The lines tick in UTC, also for other zones, in each minute that may hold an occurrence: runs
# decide by themselves whether one is due. A cron that ignores CRON_TZ, as Debian's does, serves
# it within the hour.
"""


def export(schedules: Sequence[Schedule], _image: str, _app: str) -> dict[str, str]:
    """One file."""
    return {"crontab": _HEAD + "\n" + "\n".join(utc_lines(schedules)) + "\n"}
