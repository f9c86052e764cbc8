"""A schedule's command as one line of a crontab."""

from __future__ import annotations

import re
import shlex
import string

from speakerbot.errors import ConfigError
from speakerbot.schedules.schedule import Schedule

_PRINTED_AS_IS = frozenset((string.ascii_letters + string.digits + " ,-./:=@_").encode())
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


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
