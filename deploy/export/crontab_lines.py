"""The lines of a crontab that every cron reads alike: when they tick, and what they run."""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Iterator, Sequence

from deploy.export.triggers import catch_up, exact, hourly_in_utc
from speakerbot.errors import ConfigError
from speakerbot.schedules.schedule import Schedule

_PRINTED_AS_IS = frozenset((string.ascii_letters + string.digits + " ,-./:=@_").encode())
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


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
