"""``speakerbot run due``: every schedule of the file whose time has come, one after another."""

from __future__ import annotations

import sys
from datetime import datetime

from cli.running import Options, start
from cli.sinks import sink
from speakerbot import logs
from speakerbot.config import load
from speakerbot.errors import SpeakerbotError
from speakerbot.schedules import Schedule, read_schedules


def start_due(*, dry_run: bool, now: datetime | None, as_json: bool) -> None:
    """Ends the process with the highest exit code of the runs; one failure stops no other."""
    exit_code = 0
    if as_json:
        sys.stdout.write('{"runs": [\n')
    for number, schedule in enumerate(read_schedules(load().schedules)):
        if as_json and number:
            sys.stdout.write(",\n")
        try:
            start(_run(schedule, dry_run=dry_run, now=now), sink(as_json=as_json))
        except SpeakerbotError as error:
            logs.report(error)
            exit_code = max(exit_code, error.exit_code)
    if as_json:
        sys.stdout.write("]}\n")
    if exit_code:
        sys.exit(exit_code)


def _run(schedule: Schedule, *, dry_run: bool, now: datetime | None) -> Options:
    return Options(
        job=schedule.job,
        dry_run=dry_run,
        now=now,
        schedule=schedule.name,
        timeout=schedule.timeout,
        edit_only="--edit-only" in schedule.args,
    )
