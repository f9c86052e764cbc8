"""``speakerbot run due``: every schedule of the file whose time has come, one after another."""

from __future__ import annotations

import sys
from datetime import datetime

from cli.run import JOBS, read_options
from cli.running import Options, start
from cli.sinks import JsonListSink, sink, write
from speakerbot import logs
from speakerbot.config import load
from speakerbot.errors import ConfigError, SpeakerbotError
from speakerbot.schedules import Schedule, read_schedules

ASKED_TO_STOP = ("sigterm", "sigint")


def start_due(*, dry_run: bool, now: datetime | None, as_json: bool) -> None:
    """Ends the process with the highest exit code of the runs; one failure stops no other."""
    schedules = read_schedules(load().schedules)
    documents = JsonListSink() if as_json else None
    if as_json:
        write('{"runs": [\n')
    exit_code = 0
    for schedule in schedules:
        try:
            options = _options(schedule, dry_run=dry_run, now=now)
            if start(options, documents or sink(as_json=False)) in ASKED_TO_STOP:
                break
        except SpeakerbotError as error:
            logs.report(error)
            exit_code = max(exit_code, error.exit_code)
        except Exception as error:
            logs.report_bug(error)
            exit_code = max(exit_code, SpeakerbotError.exit_code)
    if as_json:
        write("]}\n", flush=True)
    if exit_code:
        sys.exit(exit_code)


def _options(schedule: Schedule, *, dry_run: bool, now: datetime | None) -> Options:
    """The schedule's own arguments, read as ``run`` reads them, as a run in turn with others."""
    place = f"schedule {schedule.name!r}"
    if schedule.job not in JOBS:
        raise ConfigError(f"{place}: this version of speakerbot has no job {schedule.job}")
    try:
        own = read_options(schedule.job, schedule.args)
    except Exception as error:
        raise ConfigError(f"{place}: args: {error}") from error
    own |= {"schedule": schedule.name, "now": now, "dry_run": dry_run or own["dry_run"]}
    return Options(job=schedule.job, **own, may_sleep=False)
