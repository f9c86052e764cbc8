"""A crontab for supercronic, cronie and Vixie cron."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from deploy.export.triggers import catch_up, exact
from speakerbot.schedules.schedule import Schedule

_HEAD = """\
# Written by `speakerbot cron export crontab`. Needs speakerbot on PATH; secrets come from the
# environment or from a .env file in the folder cron starts in.
# CRON_TZ is read by cronie and supercronic (which takes one for the whole file). Where it is
# ignored the hourly lines serve each occurrence: runs decide by themselves whether one is due.
"""


def export(schedules: Sequence[Schedule], _image: str, _app: str) -> dict[str, str]:
    """One file; schedules of one time zone stand together."""
    zones = dict.fromkeys(schedule.cron.zone.key for schedule in schedules)
    blocks = [
        "\n".join(_block(zone, [s for s in schedules if s.cron.zone.key == zone], len(zones) > 1))
        for zone in zones
    ]
    return {"crontab": _HEAD + "\n" + "\n\n".join(blocks) + "\n"}


def _block(zone: str, schedules: Sequence[Schedule], several: bool) -> Iterator[str]:
    if several or zone != "UTC":
        yield f"CRON_TZ={zone}"
    for schedule in schedules:
        off = "" if schedule.enabled else "# disabled: "
        if len(schedule.regions) > 1:
            yield f"# {schedule.name} asks for {len(schedule.regions)} machines: install on as many"
        yield f"{off}{exact(schedule)} {_command(schedule)}"
        if tick := catch_up(schedule):
            yield f"{off}{tick} {_command(schedule)}"


def _command(schedule: Schedule) -> str:
    """For sh; cron itself would turn a bare % into a new line."""
    variables = [f"{name}={value}" for name, value in schedule.env.items()]
    words = [*(["env", *variables] if variables else []), "speakerbot", *schedule.command()]
    return shlex.join(words).replace("%", "\\%")
