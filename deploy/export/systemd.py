"""A timer and a service unit for each schedule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deploy.export.triggers import CronFields, catch_up, portable, time_limit
from speakerbot.schedules.schedule import Schedule

_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")

_SERVICE = """\
# Written by `speakerbot cron export systemd`.
[Unit]
Description=speakerbot {name}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
DynamicUser=yes
User=speakerbot
StateDirectory=speakerbot
Environment=HOME=/var/lib/speakerbot
EnvironmentFile=-/etc/speakerbot.env
{environment}ExecStart=/usr/bin/env {command}
TimeoutStartSec={timeout}
"""

_TIMER = """\
# Written by `speakerbot cron export systemd`.
[Unit]
Description=speakerbot {name}: {cron} in {zone}

[Timer]
{calendar}
Persistent=true
AccuracySec=1s

[Install]
WantedBy=timers.target
"""


def export(schedules: Sequence[Schedule], _image: str, _app: str) -> dict[str, str]:
    """Units by file name. A disabled schedule has its service only, to start by hand."""
    units = {}
    for schedule in schedules:
        unit = f"speakerbot-{schedule.name}"
        units[f"{unit}.service"] = _service(schedule)
        if schedule.enabled:
            units[f"{unit}.timer"] = _timer(schedule)
    return units


def _service(schedule: Schedule) -> str:
    environment = "".join(
        f"Environment={_quoted(f'{name}={value}', command=False)}\n"
        for name, value in schedule.env.items()
    )
    limit = time_limit(schedule)
    return _SERVICE.format(
        name=schedule.name,
        environment=environment,
        command=" ".join(_quoted(word) for word in ("speakerbot", *schedule.command())),
        timeout=int(limit.total_seconds()) if limit else "infinity",
    )


def _timer(schedule: Schedule) -> str:
    return _TIMER.format(
        name=schedule.name,
        cron=schedule.cron.expression,
        zone=schedule.cron.zone.key,
        calendar="\n".join(f"OnCalendar={event}" for event in _calendar(schedule)),
    )


def _calendar(schedule: Schedule) -> Iterator[str]:
    fields = portable(schedule) or CronFields([0], None, None, None, None)
    zone = schedule.cron.zone.key
    time = f"{_list(fields.hours)}:{_list(fields.minutes)}:00 {zone}"
    months = _list(fields.months)
    if fields.either_day:  # systemd knows only "and"; two lines are "or"
        yield f"*-{months}-{_list(fields.days)} {time}"
        yield f"{_weekdays(fields)}*-{months}-* {time}"
    else:
        yield f"{_weekdays(fields)}*-{months}-{_list(fields.days)} {time}"
    if tick := catch_up(schedule):
        minutes = _list([int(minute) for minute in tick.split()[0].split(",")])
        yield f"*-*-* *:{minutes}:00 {zone}"


def _weekdays(fields: CronFields) -> str:
    return "" if fields.weekdays is None else ",".join(_DAYS[d] for d in fields.weekdays) + " "


def _list(values: list[int] | None) -> str:
    return "*" if values is None else ",".join(f"{value:02}" for value in values)


def _quoted(word: str, *, command: bool = True) -> str:
    """One word of a unit file: % and, in commands, $ would be replaced."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if command:
        escaped = escaped.replace("$", "$$")
    plain = escaped == word and not set(word) & set(" \t'*?;")
    return word if plain and word else f'"{escaped}"'
