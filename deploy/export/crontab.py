"""A crontab for supercronic, cronie and Debian's cron."""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Iterator, Sequence

from deploy.export.triggers import catch_up, exact
from speakerbot.errors import ConfigError
from speakerbot.schedules.schedule import Schedule

_HEAD = """\
# Written by `speakerbot cron export crontab`. Needs speakerbot on PATH; secrets come from the
# environment or from a .env file in the folder cron starts in.
# CRON_TZ is read by cronie and supercronic (which takes the last one for the whole file). Where it
# is ignored the hourly lines serve each occurrence: runs decide by themselves whether one is due.
"""
_PRINTED_AS_IS = frozenset((string.ascii_letters + string.digits + " ,-./:=@_").encode())
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


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


def command_line(schedule: Schedule) -> str:
    """For sh, on one line and with nothing in it that any cron replaces."""
    variables = [f"{name}={value}" for name, value in schedule.env.items()]
    words = [*(["env", *variables] if variables else []), "speakerbot", *schedule.command()]
    return " ".join(_word(schedule, word) for word in words)


def _word(schedule: Schedule, word: str) -> str:
    if _CONTROL.search(word):
        return _printed(schedule, word)
    # Cron turns a bare % into a line break and \% into %; supercronic leaves both as they are.
    # Outside quotes sh reads % and \% alike.
    return "\\%".join(shlex.quote(part) if part else "" for part in word.split("%")) or "''"


def _printed(schedule: Schedule, word: str) -> str:
    """A word with line breaks, which no crontab can hold, written by printf when cron runs it."""
    if word.endswith("\n"):
        raise ConfigError(
            f"schedule {schedule.name!r}: a crontab cannot hold a value that ends with a line "
            "break; remove it, or put the value into the environment cron gives"
        )
    text = "".join(
        chr(byte) if byte in _PRINTED_AS_IS else f"\\{byte:03o}" for byte in word.encode()
    )
    return f"\"$(printf '{text}')\""
