"""The same schedules for other schedulers, checked by what reads them where that is at hand."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.export import exporter
from deploy.export.triggers import catch_up, exact, portable
from deploy.export.yaml import to_yaml
from jobs import JOBS
from speakerbot.domain.cron import Cron
from speakerbot.errors import ConfigError
from speakerbot.schedules.reading import parse_schedules, read_schedules
from speakerbot.schedules.schedule import Schedule

EVIL = """a b'c"d%$HOME ${{ secrets.X }} \\ #;é"""


def entry(cron: str = "0 17 * * MON", name: str = "weekly", **more: Any) -> dict[str, Any]:
    return {"name": name, "job": "weekly", "cron": cron, **more}


def read(*entries: dict[str, Any]) -> tuple[Schedule, ...]:
    return parse_schedules(json.dumps({"schedules": entries}), "s.json", JOBS).schedules


def exported(kind: str, *entries: dict[str, Any]) -> dict[str, str]:
    return exporter(kind)(read(*entries), "registry/x:1", "community")


LOS_ANGELES = entry(timezone="America/Los_Angeles", wait="30m", env={"A": EVIL}, grace="1d")
HOURLY = entry("@hourly", "hourly")
OFF = entry("@daily", "off", enabled=False)
SHARED = entry("*/20 9-10 1,15 * FRI", "shared", share=True, machines=3)


@pytest.mark.parametrize(
    ("cron", "plain"),
    [
        ("0 17 * * MON", "0 17 * * 1"),
        ("@daily", "0 0 * * *"),
        ("5 9 * JAN-MAR 5-7", "5 9 * 1,2,3 0,5,6"),
        ("*/20 9-17/2 1,15 * *", "*/20 9,11,13,15,17 1,15 * *"),
        ("5/15 9 * * *", "5,20,35,50 9 * * *"),
        ("*/90 9 * * *", "0 9 * * *"),
        ("0 */30 * * *", "0 0 * * *"),
        ("0 9 * * 0-7", "0 9 * * 0,1,2,3,4,5,6"),
        ("0 9 L * *", "0 * * * *"),
        ("0 9 * * FRI#2", "0 * * * *"),
        ("0 9 * * 5L", "0 * * * *"),
        ("0 9 LW * *", "0 * * * *"),
        ("0 9 */2 * 1", "0 * * * *"),
    ],
)
def test_what_others_cannot_read_becomes_an_hourly_tick(cron: str, plain: str) -> None:
    (schedule,) = read(entry(cron))
    assert exact(schedule) == plain


@pytest.mark.parametrize(
    ("cron", "tick"),
    [("0 17 * * *", "20 * * * *"), ("45 9 1 * *", "5 * * * *"), ("@hourly", None),
     ("*/5 * * * *", None), ("0 9 L * *", None)],
)  # fmt: skip
def test_an_hourly_tick_goes_on_with_what_was_left_open(cron: str, tick: str | None) -> None:
    (schedule,) = read(entry(cron))
    assert catch_up(schedule) == tick


days = st.sampled_from(["*", "1,15", "1-7", "*/10"])
weekdays = st.sampled_from(["*", "MON", "MON-FRI", "0,7", "SAT,SUN"])
months = st.sampled_from(["*", "JAN", "2-11/3", "DEC,MAR"])


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.sampled_from(["0", "*/20", "5,35"]), st.just("9-17/4"), days, months, weekdays))
def test_the_plain_expression_means_the_same(parts: tuple[str, ...]) -> None:
    (schedule,) = read(entry(" ".join(parts)))
    if portable(schedule) is not None:
        start = datetime(2026, 1, 1, tzinfo=UTC)
        span = (start, start + timedelta(days=120))
        plain = Cron(exact(schedule), schedule.cron.zone)
        assert list(plain.between(*span)) == list(schedule.cron.between(*span))


def crontab_lines(text: str) -> list[tuple[str, list[str]]]:
    """Expression and words of each active line, as cron and sh take them apart."""
    lines = []
    for line in text.splitlines():
        if line and not line.startswith("#") and "=" not in line.split()[0]:
            fields, command = line.split(None, 5)[:5], line.split(None, 5)[5]
            assert "%" not in command.replace("\\%", "")
            done = subprocess.run(
                ["/bin/sh", "-c", "printf '%s\\0' " + command.replace("\\%", "%")],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            lines.append((" ".join(fields), done.stdout.split("\0")[:-1]))
    return lines


def test_a_crontab_runs_the_very_command_at_the_right_times() -> None:
    text = exported("crontab", LOS_ANGELES, HOURLY, OFF)["crontab"]
    (schedule, hourly, _off) = read(LOS_ANGELES, HOURLY, OFF)
    with_env = ["env", f"A={EVIL}", "speakerbot", *schedule.command()]
    assert crontab_lines(text) == [
        ("0,20 * * * *", with_env),
        ("0 * * * *", ["speakerbot", *hourly.command()]),
    ]
    assert text.count("CRON_TZ=") == text.count("CRON_TZ=UTC") == 1, "supercronic reads but one"
    assert "# disabled: 0 0 * * * speakerbot run" in text


def test_a_crontab_says_its_time_zone_also_where_that_is_utc() -> None:
    assert "\nCRON_TZ=UTC\n" in exported("crontab", HOURLY)["crontab"]


@pytest.mark.parametrize("value", ["a\nb", "\t'%\"\\$X`\n.", "é\r\n ", "%", "'%'", "100%\\%", ""])
def test_cron_and_supercronic_give_a_command_the_same_words(value: str, tmp_path: Path) -> None:
    program = tmp_path / "speakerbot"
    program.write_text("#!/bin/sh\nprintf '%s' \"$A\"\n")
    program.chmod(0o755)
    lines = exported("crontab", entry("@hourly", env={"A": value}))["crontab"].splitlines()
    command = lines[-1].split(None, 5)[5]
    for said in (command, command.replace("\\%", "%")):  # supercronic's, and cron's
        done = subprocess.run(
            ["/bin/sh", "-c", said], env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            capture_output=True, check=True,
        )  # fmt: skip
        assert done.stdout.decode() == value


def test_a_crontab_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(ConfigError, match=r"'weekly': a crontab cannot hold .* line break"):
        exported("crontab", entry(env={"A": "b\n"}))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    units = exported("systemd", LOS_ANGELES, HOURLY, OFF, SHARED)
    for name, text in units.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in units)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    assert complaints == []
    assert "speakerbot-off.timer" not in units


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
def test_a_systemd_timer_fires_at_the_schedules_times() -> None:
    (schedule,) = read(entry("30 9,17 1-7 * *", timezone="Europe/Berlin"))
    timer = exporter("systemd")([schedule], "", "")["speakerbot-weekly.timer"]
    event = next(line[11:] for line in timer.splitlines() if line.startswith("OnCalendar="))
    base = "2026-11-23 00:00:00 UTC"
    done = subprocess.run(
        ["systemd-analyze", "calendar", "--iterations=5", f"--base-time={base}", event],
        capture_output=True, text=True, check=True, env={"TZ": "UTC", "LC_ALL": "C"},
    )  # fmt: skip
    shown = [
        datetime.strptime(line.split(": ", 1)[1], "%a %Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
        for line in done.stdout.splitlines()
        if line.strip().startswith(("Next elapse", "Iter. #"))
    ]
    start = datetime(2026, 11, 23, tzinfo=UTC)
    expected = list(schedule.cron.between(start, start + timedelta(days=60)))[:5]
    assert sorted(set(shown)) == expected


def test_systemd_quotes_what_it_would_replace() -> None:
    service = exported("systemd", LOS_ANGELES)["speakerbot-weekly.service"]
    (line,) = [line for line in service.splitlines() if line.startswith('Environment="A=')]
    assert "%%$HOME" in line
    assert '--cron "0 17 * * MON"' in service
    assert "TimeoutStartSec=6600" in service


def cron_jobs(*entries: dict[str, Any]) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(exported("kubernetes", *entries)["speakerbot.yaml"]))


def test_kubernetes_gets_a_cron_job_with_zone_and_limits() -> None:
    job, later = cron_jobs(LOS_ANGELES)
    spec = job["spec"]
    assert job["metadata"]["name"] == "speakerbot-weekly"
    assert later["metadata"]["name"] == "speakerbot-weekly-catch-up"
    assert (spec["schedule"], spec["timeZone"]) == ("0 17 * * 1", "America/Los_Angeles")
    assert spec["startingDeadlineSeconds"] == 86_400
    assert spec["concurrencyPolicy"] == "Forbid"
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (1, 3)
    run = spec["jobTemplate"]["spec"]
    assert run["activeDeadlineSeconds"] == 110 * 60
    (container,) = run["template"]["spec"]["containers"]
    assert container["args"] == read(LOS_ANGELES)[0].command()
    assert container["env"] == [{"name": "A", "value": EVIL.replace("$", "$$")}]
    assert container["resources"]["limits"] == {"memory": "256Mi"}


def test_a_shared_schedule_is_parallel_and_a_disabled_one_suspended() -> None:
    shared = cron_jobs(SHARED)[0]["spec"]["jobTemplate"]["spec"]
    assert (shared["parallelism"], shared["completions"]) == (3, 3)
    redundant = cron_jobs(entry(machines=2))[0]["spec"]["jobTemplate"]["spec"]
    assert redundant["parallelism"] == 1
    assert cron_jobs(OFF)[0]["spec"]["suspend"] is True


def test_the_longest_name_fits_kubernetes() -> None:
    names = [job["metadata"]["name"] for job in cron_jobs(entry(name="w" * 32))]
    assert max(map(len, names)) <= 52


def test_a_github_workflow_ticks_hourly_and_runs_the_command() -> None:
    text = exported("github-actions", LOS_ANGELES, OFF, SHARED)["speakerbot.yml"]
    workflow = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - all scalars as strings
    assert workflow["on"]["schedule"] == [{"cron": "7 * * * *"}]
    job = workflow["jobs"]["weekly"]
    step = job["steps"][-1]
    assert shlex.split(step["run"]) == ["speakerbot", *read(LOS_ANGELES)[0].command()]
    assert step["env"]["DISCORD_TOKEN"] == "${{ secrets.DISCORD_TOKEN }}"
    assert step["env"]["A"] == EVIL.replace("${{", "${{ '${{' }}")
    assert int(job["timeout-minutes"]) == 110
    assert "if" not in job
    assert workflow["jobs"]["off"]["if"] == "github.event_name == 'workflow_dispatch'"
    assert all(re.search(r"@[0-9a-f]{40}$", step["uses"]) for step in job["steps"][:2])
    assert job["steps"][0]["with"] == {"persist-credentials": "false"}
    assert workflow["jobs"]["shared"]["strategy"]["matrix"]["hand"] == ["1", "2", "3"]


def test_cron_manager_gets_an_array_with_one_string_and_enabled_said() -> None:
    entries = json.loads(exported("fly-cron-manager", LOS_ANGELES, HOURLY, OFF)["schedules.json"])
    fields = {"name", "app_name", "schedule", "region", "command", "command_timeout", "enabled",
              "config"}  # fmt: skip
    assert all(set(item) == fields for item in entries)
    assert [(item["name"], item["schedule"], item["enabled"]) for item in entries] == [
        ("cron-weekly", "0,20 * * * *", True),
        ("cron-hourly", "0 * * * *", True),
        ("cron-off", "0 0 * * *", False),
        ("cron-off-catch-up", "20 * * * *", False),
    ]
    # Cron Manager puts the words into init.cmd, which follow the image's own ENTRYPOINT.
    assert shlex.split(entries[0]["command"]) == read(LOS_ANGELES)[0].command()
    assert "init" not in entries[0]["config"]
    assert entries[0]["command_timeout"] == 110 * 60
    assert entries[0]["config"]["image"] == "registry/x:1"


def test_the_ready_compose_file_is_the_export_of_the_ready_schedules() -> None:
    root = Path(__file__).parents[2] / "deploy"
    schedules = read_schedules(root / "schedules.json", JOBS).schedules
    (text,) = exporter("compose")(schedules, "speakerbot:latest", "").values()
    assert (root / "compose.yaml").read_text("utf-8") == text


def test_compose_ticks_in_utc_and_builds_no_foreign_image() -> None:
    kolkata = entry("0 9 * * *", "kolkata", timezone="Asia/Kolkata")
    document = yaml.safe_load(
        exported("compose", LOS_ANGELES, kolkata, HOURLY, OFF)["compose.yaml"]
    )
    assert list(document["services"]) == ["cron", "web"]
    lines = document["configs"]["crontab"]["content"].splitlines()
    assert lines[0] == "CRON_TZ=UTC"
    assert [line.split(" * * * * ")[0] for line in lines[1:4]] == ["0,20", "30,50", "0"]
    assert "build" not in document["services"]["web"]
    assert "$" not in "".join(lines).replace("$$", "")


def test_a_run_with_a_horizon_is_given_all_its_time() -> None:
    long = entry("@hourly", "long", args=["--horizon", "75m"])
    assert "TimeoutStartSec=infinity" in exported("systemd", long)["speakerbot-long.service"]
    assert "activeDeadlineSeconds" not in exported("kubernetes", long)["speakerbot.yaml"]
    assert "timeout-minutes: 360" in exported("github-actions", long)["speakerbot.yml"]


def test_a_timed_job_has_no_limit_and_a_line_of_its_own() -> None:
    soon = entry("@hourly", "soon", job="starting")
    assert "TimeoutStartSec=infinity" in exported("systemd", soon)["speakerbot-soon.service"]
    assert "activeDeadlineSeconds" not in exported("kubernetes", soon)["speakerbot.yaml"]
    assert "timeout-minutes: 360" in exported("github-actions", soon)["speakerbot.yml"]
    for kind, file in (("crontab", "crontab"), ("compose", "compose.yaml")):
        lines = exported(kind, HOURLY, soon)[file].splitlines()
        [own] = [line.strip() for line in lines if "run starting" in line]
        command = "speakerbot run starting --schedule soon --cron @hourly --timezone UTC"
        assert own == f"0 * * * * {command} --timeout 10m"


scalars = st.one_of(st.text(), st.booleans(), st.integers(), st.none(), st.just("no"))
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values, min_size=1, max_size=4))
def test_yaml_is_read_back_as_it_was(document: dict[str, Any]) -> None:
    document.pop("on", None)
    if document:
        assert yaml.safe_load(to_yaml(document)) == document
