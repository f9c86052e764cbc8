"""The same schedules for other schedulers. Each run still decides by itself whether it is due, so
a scheduler only has to tick; what it cannot express is replaced by an hourly tick."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Final

from speakerbot.errors import UsageError
from speakerbot.schedules.schedule import Schedule

Exporter = Callable[[Sequence[Schedule], str, str], dict[str, str]]
"""From schedules, image and Fly app to the text of each file, by its name."""

KINDS: Final = ("crontab", "systemd", "kubernetes", "github-actions", "fly-cron-manager", "compose")
"""Each is a module here, with ``_`` for ``-``, whose ``export`` is an Exporter."""


def exporter(kind: str) -> Exporter:
    """Imports the module of that kind, and no other. Raises UsageError for an unknown kind."""
    if kind not in KINDS:
        raise UsageError(f"there is no export {kind!r}; there are {', '.join(KINDS)}")
    found: Exporter = importlib.import_module(f"deploy.export.{kind.replace('-', '_')}").export
    return found
