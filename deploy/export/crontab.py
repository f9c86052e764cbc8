"""A crontab for supercronic, cronie and Debian's cron."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deploy.export.command_line import command_line
from deploy.export.triggers import catch_up, exact
from speakerbot.schedules.schedule import Schedule

_HEAD = """\
# Written by `speakerbot cron export crontab`. Needs speakerbot on PATH; secrets come from the
# environment or from a .env file in the folder cron starts in.
# CRON_TZ is read by cronie and supercronic (which takes the last one for the whole file). Where it
# is ignored the hourly lines serve each occurrence: runs decide by themselves whether one is due.
"""


def export(schedules: Sequence[Schedule], _image: str, _app: str) -> dict[str, str]:
    """One file; schedules of one time zone stand together."""
    zones = dict.fromkeys(schedule.cron.zone.key for schedule in schedules)
    blocks = ["\n".join(zone_lines(zone, schedules)) for zone in zones]
    return {"crontab": _HEAD + "\n" + "\n\n".join(blocks) + "\n"}


def zone_lines(zone: str, schedules: Sequence[Schedule]) -> Iterator[str]:
    """The crontab of those schedules that are in the zone."""
    yield f"CRON_TZ={zone}"
    for schedule in schedules:
        if schedule.cron.zone.key != zone:
            continue
        off = "" if schedule.enabled else "# disabled: "
        if len(schedule.regions) > 1:
            yield f"# {schedule.name} asks for {len(schedule.regions)} machines: install on as many"
        yield f"{off}{exact(schedule)} {command_line(schedule)}"
        if tick := catch_up(schedule):
            yield f"{off}{tick} {command_line(schedule)}"
