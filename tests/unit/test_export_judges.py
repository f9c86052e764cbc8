"""Every export is read by the tools it is for, or by their own schema; skipped where absent."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from deploy.export import exporter
from jobs import JOBS
from speakerbot.domain.occurrence import Due, OccurrenceRecord, OccurrenceStanding
from speakerbot.schedules.reading import parse_schedules
from speakerbot.schedules.schedule import Schedule

EVIL = """a b'c"d%$HOME $(DISCORD_TOKEN) ${{ secrets.X }} \\ #;é\n."""
ENTRIES: list[dict[str, Any]] = [
    {"name": "weekly", "job": "weekly", "cron": "5/15 17 * * MON", "env": {"A": EVIL},
     "timezone": "America/Los_Angeles"},
    {"name": "hourly", "job": "reminders", "cron": "@hourly"},
    {"name": "rare", "job": "digest", "cron": "*/90 9 1-7 * *", "timezone": "Europe/Berlin"},
    {"name": "shared", "job": "digest", "cron": "0 9 L * *", "share": True, "machines": 3},
    {"name": "off", "job": "digest", "cron": "@daily", "enabled": False},
]  # fmt: skip


def exported(kind: str, *entries: dict[str, Any]) -> dict[str, str]:
    text = json.dumps({"schedules": entries or ENTRIES})
    schedules = parse_schedules(text, "s.json", JOBS).schedules
    return exporter(kind)(schedules, "registry.example/x:1", "community")


def judged(name: str, *words: str | Path, folder: Path) -> str:
    """What the tool says; fails where it refuses, skips by name where it is not installed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    tool = shutil.which(name, path=path)
    if tool is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run(
        [tool, *words], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def written(kind: str, folder: Path) -> Path:
    ((name, text),) = exported(kind).items()
    (folder / name).write_text(text, "utf-8")
    return folder / name


def test_supercronic_takes_the_crontab(tmp_path: Path) -> None:
    said = judged("supercronic", "-test", written("crontab", tmp_path), folder=tmp_path)
    assert "crontab is valid" in said


def test_supercronic_takes_the_crontab_of_compose(tmp_path: Path) -> None:
    document = yaml.safe_load(exported("compose")["compose.yaml"])
    crontab = tmp_path / "crontab"
    crontab.write_text(document["configs"]["crontab"]["content"].replace("$$", "$"), "utf-8")
    judged("supercronic", "-passthrough-logs", "-test", crontab, folder=tmp_path)


def test_debians_cron_takes_the_crontab(tmp_path: Path) -> None:
    if not Path("/var/spool/cron").is_dir():
        pytest.skip("cron is not installed")  # its crontab would make that folder, and fail
    said = judged("crontab", "-n", written("crontab", tmp_path), folder=tmp_path)
    assert "successfully" in said


def test_actionlint_takes_the_workflow(tmp_path: Path) -> None:
    judged("actionlint", "-no-color", written("github-actions", tmp_path), folder=tmp_path)


def test_zizmor_finds_nothing_in_the_workflow(tmp_path: Path) -> None:
    file = written("github-actions", tmp_path)
    said = judged("zizmor", "--offline", "--no-progress", "--color=never", file, folder=tmp_path)
    assert "No findings to report" in said


def test_githubs_schema_takes_the_workflow(tmp_path: Path) -> None:
    file = written("github-actions", tmp_path)
    words = ("--builtin-schema", "vendor.github-workflows", file)
    judged("check-jsonschema", *words, folder=tmp_path)


def test_composes_schema_takes_the_export(tmp_path: Path) -> None:
    file = written("compose", tmp_path)
    words = ("--builtin-schema", "vendor.compose-spec", file)
    judged("check-jsonschema", *words, folder=tmp_path)


def test_kubernetes_takes_the_cron_jobs_strictly(tmp_path: Path) -> None:
    judged("kubernetes-validate", "--strict", written("kubernetes", tmp_path), folder=tmp_path)


ZONES = ("UTC", "America/Los_Angeles", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata",
         "America/Santiago")  # fmt: skip
TIMES = ("0 17 * * MON", "30 2 * * *", "15 0 * * *", "40 23 1,15 * *", "10 1-3 * * *")


class Line:
    """One line of a cron table, as cron matches it: each minute, by the zone's wall clock."""

    def __init__(self, fields: str, zone: str) -> None:
        self.zone = ZoneInfo(zone)
        minute, hour, day, month, weekday = fields.split()
        self.sets = [self.read(minute, 0, 59), self.read(hour, 0, 23), self.read(day, 1, 31),
                     self.read(month, 1, 12), self.read(weekday, 0, 6)]  # fmt: skip
        assert day == "*" or weekday == "*"

    @staticmethod
    def read(text: str, low: int, high: int) -> set[int]:
        found: set[int] = set()
        for part in text.split(","):
            span, _, step = part.partition("/")
            first, _, last = span.partition("-")
            start, end = (low, high) if span == "*" else (int(first), int(last or first))
            found.update(range(start, end + 1, int(step or 1)))
        return found

    def ticks(self, start: datetime, days: int) -> Iterator[datetime]:
        for moment, parts in wall_clock(self.zone, start, days):
            if all(part in known for part, known in zip(parts, self.sets, strict=True)):
                yield moment


class Timer:
    """One line of a systemd timer, as systemd itself says when it elapses."""

    def __init__(self, event: str) -> None:
        self.event = event

    def ticks(self, start: datetime, days: int) -> Iterator[datetime]:
        most = days * 24 * (1 + self.event.count(","))
        said = judged(
            "systemd-analyze", "calendar", f"--iterations={most}",
            f"--base-time={start - timedelta(seconds=1):%F %T} UTC", self.event, folder=Path(),
        )  # fmt: skip
        end = start + timedelta(days=days)
        for found in re.findall(r"(?:Next elapse|Iter\. #\d+|\(in UTC\)): (.*) UTC", said):
            at = datetime.strptime(found, "%a %Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
            if at < end:
                yield at


@cache
def wall_clock(zone: ZoneInfo, start: datetime, days: int) -> list[tuple[datetime, list[int]]]:
    """Each minute, and what a clock in the zone shows: minute, hour, day, month, weekday."""
    moments = (start + timedelta(minutes=minute) for minute in range(days * 24 * 60))
    both = ((moment, moment.astimezone(zone)) for moment in moments)
    return [
        (moment, [at.minute, at.hour, at.day, at.month, at.isoweekday() % 7]) for moment, at in both
    ]


def table(kind: str, schedule: Schedule) -> Sequence[Line | Timer]:
    """The lines of the export, in the zone in which that scheduler reads them."""
    zone = schedule.cron.zone.key
    if kind == "systemd":
        timer = exporter(kind)([schedule], "", "")[f"speakerbot-{schedule.name}.timer"]
        return [Timer(event) for event in re.findall(r"^OnCalendar=(.*)$", timer, re.MULTILINE)]
    ((_, text),) = exporter(kind)([schedule], "", "").items()
    if kind == "kubernetes":
        jobs = yaml.safe_load_all(text)
        return [Line(job["spec"]["schedule"], job["spec"]["timeZone"]) for job in jobs]
    if kind == "fly-cron-manager":
        return [Line(item["schedule"], "UTC") for item in json.loads(text)]
    if kind == "github-actions":
        events = yaml.load(text, Loader=yaml.BaseLoader)["on"]["schedule"]  # noqa: S506
        return [Line(event["cron"], "UTC") for event in events]
    if kind == "compose":
        zone, text = "UTC", yaml.safe_load(text)["configs"]["crontab"]["content"]
    lines = [line for line in text.splitlines() if line[:1].isdigit() or line[:1] == "*"]
    # Debian's cron ignores CRON_TZ: the machine is in UTC.
    where = "UTC" if kind == "crontab" else zone
    return [Line(" ".join(line.split()[:5]), where) for line in lines]


def check_ticks(kind: str, zone: str, cron: str, start: datetime, days: int) -> None:
    entry = {"name": "x", "job": "digest", "cron": cron, "timezone": zone, "grace": "6h"}
    (schedule,) = parse_schedules(json.dumps({"schedules": [entry]}), "s", JOBS).schedules
    end = start + timedelta(days=days)
    ticks = sorted({tick for line in table(kind, schedule) for tick in line.ticks(start, days)})
    served: dict[datetime, datetime] = {}
    rules = schedule.rules
    for now in ticks:
        occurrence = rules.occurrence(now)
        done = occurrence in served
        record = (
            OccurrenceRecord(occurrence, OccurrenceStanding.FINISHED)
            if done and occurrence
            else None
        )
        decision = rules.decide(occurrence, record, now=now, real=now)
        if isinstance(decision, Due):
            assert decision.occurrence not in served
            served[decision.occurrence] = now
    expected = list(schedule.cron.between(start, end - timedelta(hours=1)))
    latest = timedelta(minutes=60) if kind == "github-actions" else timedelta()
    # Where a gap brings two occurrences closer than the ticks, the later supersedes the earlier.
    overtaken = {at for at, later in pairwise(expected) if later - at < latest}
    late = {
        at: served.get(at)
        for at in expected
        if not at <= served.get(at, end) <= at + latest and at not in overtaken
    }
    assert late == {}


KINDS = ("crontab", "systemd", "kubernetes", "github-actions", "fly-cron-manager", "compose")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "start", [datetime(2026, 3, 7, tzinfo=UTC), datetime(2026, 10, 31, tzinfo=UTC)]
)
def test_ticks_across_a_change_of_clocks_serve_each_occurrence(kind: str, start: datetime) -> None:
    check_ticks(kind, "America/Los_Angeles", "30 2 * * *", start, 3)


@pytest.mark.slow_suite
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_years_ticks_serve_each_occurrence_once(kind: str, zone: str) -> None:
    for cron in TIMES:
        check_ticks(kind, zone, cron, datetime(2026, 1, 1, tzinfo=UTC), 365)
