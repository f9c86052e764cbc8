"""A crontab for supercronic, cronie and Debian's cron."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deploy.export.command_line import command_line
from deploy.export.triggers import catch_up, exact, hourly_in_utc
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


def utc_lines(schedules: Sequence[Schedule]) -> Iterator[str]:
    """The same lines for every cron. One with zones would do worse: supercronic takes one zone for
    the whole file, and in one whose clocks go forward, 0.2.48 spins until the gap is over."""
    yield "CRON_TZ=UTC"
    for schedule in schedules:
        off = "" if schedule.enabled else "# disabled: "
        if len(schedule.regions) > 1:
            yield f"# {schedule.name} asks for {len(schedule.regions)} machines: install on as many"
        if schedule.cron.zone.key in ("UTC", "Etc/UTC"):
            ticks = [exact(schedule), *filter(None, [catch_up(schedule)])]
        else:
            ticks = [hourly_in_utc(schedule)]
        for tick in ticks:
            yield f"{off}{tick} {command_line(schedule)}"
