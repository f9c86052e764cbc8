"""Plans are pure: what differs, what it is called, and what is never shown."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from deploy.api_errors import (
    Conflict,
    FlyAnswer,
    FlyRefused,
    Gone,
    ImageMissing,
    NameTaken,
    NoCapacity,
)
from deploy.diff import changed_fields, same_image
from deploy.fly import RateLimit
from deploy.machines import Machine, WantedMachine, read_machine, wanted_machines
from deploy.plan import (
    lost_databases,
    make_plan,
    open_occurrence,
    served_at_once,
    short_windows,
)
from deploy.render import plan_lines
from jobs import JOBS
from speakerbot.errors import ConfigError, SpeakerbotError, TokenRefused, Unreachable
from speakerbot.schedules.reading import parse_schedules

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


def wanted(**more: Any) -> WantedMachine:
    entry = {"name": "weekly", "job": "weekly", "cron": "0 17 * * MON", **more}
    schedules = parse_schedules(json.dumps({"schedules": [entry]}), "s.json", JOBS)
    return next(iter(wanted_machines(schedules, {})))


def machine(config: Any, **more: Any) -> Machine:
    raw = {"id": "abc", "name": "cron-weekly", "state": "stopped", "region": "iad", "version": "1"}
    return read_machine({**raw, "config": config, **more})


@pytest.mark.parametrize(
    ("want", "live", "digest", "same"),
    [
        (f"r/a:1@{DIGEST}", "r/a:1", DIGEST, True),
        (f"r/a:1@{DIGEST}", f"r/a@{DIGEST}", "", True),
        (f"r/a:1@{DIGEST}", "r/a:1", OTHER, False),
        (f"r/a:1@{DIGEST}", "r/a:1", "", False),
        (f"r/a:1@{DIGEST}", f"r/b:1@{DIGEST}", "", False),
        ("r/a:1", f"r/a:1@{DIGEST}", "", True),
        ("r/a:1", "r/a:1", DIGEST, True),
        ("r/a:1", "r/a:2", DIGEST, False),
        ("r/a", "r/a:latest", "", True),
        ("localhost:5000/a", "localhost:5000/a:latest", "", True),
    ],
)
def test_images_are_compared_by_digest_where_there_is_one(
    want: str, live: str, digest: str, same: bool
) -> None:
    found = machine({"image": live}, image_ref={"digest": digest})
    assert same_image(want, found) is same


def test_what_fly_adds_is_not_a_difference() -> None:
    want = wanted().with_image("r/a:1")
    stored = json.loads(json.dumps(want.config))
    stored["guest"] |= {"kernel_args": [], "host_dedication_id": ""}
    stored["init"] |= {"tty": False, "swap_size_mb": None}
    stored["stop_config"]["timeout"] = 30_000_000_000
    stored |= {"services": [], "checks": None, "env": {**stored["env"]}}
    assert changed_fields(want.config, machine(stored)) == ()


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"schedule": None}, "schedule: (none) → hourly"),
        ({"restart": {"policy": "on-failure"}}, "restart: on-failure → no"),
        ({"auto_destroy": True}, "auto_destroy: True → False"),
        ({"guest": {"cpu_kind": "shared", "cpus": 1, "memory_mb": 512}},
         "guest.memory_mb: 512 → 256"),
        ({"env": {"X_TOKEN": "hush"}}, "env.X_TOKEN: ******** → (none)"),
        ({"env": {"LLM_BASE_URL": "https://me:hush@host"}}, "env.LLM_BASE_URL: ******** → (none)"),
        ({"env": {"LLM_MODEL": "m"}}, "env.LLM_MODEL: m → (none)"),
        ({"services": [{"internal_port": 80}]}, "services: [{'internal_port': 80}] → (none)"),
    ],
)  # fmt: skip
def test_each_field_of_ours_that_differs_is_one_line(change: dict[str, Any], shown: str) -> None:
    want = wanted().with_image("r/a:1")
    found = machine({**want.config, **change})
    assert [str(field) for field in changed_fields(want.config, found)] == [shown]


def test_a_field_nobody_compares_is_found_by_the_spec() -> None:
    want = wanted().with_image("r/a:1")
    metadata = {**want.config["metadata"], "speakerbot_spec": "old"}
    (change,) = changed_fields(want.config, machine({**want.config, "metadata": metadata}))
    assert change.field == "metadata.speakerbot_spec"


def test_a_machine_fly_deploy_would_adopt_is_taken_back() -> None:
    want = wanted().with_image("r/a:1")
    metadata = {**want.config["metadata"], "fly_platform_version": "v2"}
    (change,) = changed_fields(want.config, machine({**want.config, "metadata": metadata}))
    assert str(change) == "metadata.fly_platform_version: v2 → (none)"


def test_a_new_machine_gets_the_image_of_the_others_or_of_the_app() -> None:
    web = machine({"image": "r/web:1"}, name="web", state="started", image_ref={"digest": DIGEST})
    (create,) = make_plan([wanted()], [web]).actions
    assert create.wanted is not None
    assert create.wanted.config["image"] == f"r/web:1@{DIGEST}"
    sibling = machine(wanted(name="other").with_image("r/cron:1").config, name="cron-other")
    (create,) = make_plan([wanted()], [web, sibling]).actions
    assert create.wanted is not None
    assert create.wanted.config["image"] == "r/cron:1"
    with pytest.raises(ConfigError, match="no image is known"):
        make_plan([wanted()], [])


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ("x", "not an object"),
        ({}, "without id"),
        ({"id": "a", "name": "n", "state": "stopped"}, "without region"),
        ({"id": "../x", "name": "n", "state": "s", "region": "r"}, "invalid id"),
        ({"id": "a", "name": "n", "state": "s", "region": "r", "config": [1]}, "invalid config"),
    ],
)
def test_a_machine_that_lacks_something_is_refused(raw: object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_machine(raw)


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (401, "unauthorized", TokenRefused, 77),
        (403, "{}", TokenRefused, 77),
        (404, '{"error":"machine not found"}', Gone, 69),
        (409, '{"error":"taken","status":"name_taken"}', NameTaken, 69),
        (409, '{"error":"aborted"}', Conflict, 69),
        (412, "failed_precondition", Conflict, 69),
        (400, "MANIFEST_UNKNOWN", ImageMissing, 78),
        (422, '{"error":"invalid config"}', FlyRefused, 78),
        (503, '{"status":"insufficient_capacity"}', NoCapacity, 69),
        (408, "", Unreachable, 69),
        (302, "", FlyRefused, 78),
        (599, "?", Unreachable, 69),
    ],
)
def test_answers_become_errors_with_their_exit_code(
    status: int, body: str, kind: type[SpeakerbotError], code: int
) -> None:
    error = FlyAnswer("GET /x", "community", status, body, "req-1").error()
    assert type(error) is kind
    assert error.exit_code == code
    assert "request req-1" in str(error)


def test_whatever_shape_an_answer_has_its_words_are_short_and_on_one_line() -> None:
    html = "<html><style>x{}</style><body><h1>Bad\n gateway</h1></body></html>"
    assert FlyAnswer("", "", 502, html).message() == "Bad gateway"
    assert len(FlyAnswer("", "", 502, "x" * 9999).message()) == 300
    assert FlyAnswer("", "", 500, '{"error": {"a": 1}}').message() == "{'a': 1}"
    assert FlyAnswer("", "", 500, "[1]").message() == "[1]"


def test_requests_keep_to_the_rate_and_may_burst_one_less_than_fly_allows() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def take(action: str, times: int) -> list[float]:
        slept.clear()
        rate_limit = RateLimit(lambda: 100.0, sleep)
        for _ in range(times):
            await rate_limit.take(action)
        return [round(seconds, 3) for seconds in slept if seconds > 0.001]

    assert asyncio.run(take("create", 5)) == [1.0, 2.0, 3.0]
    assert asyncio.run(take("get", 12)) == [0.2, 0.4, 0.6]


def test_of_a_command_only_what_differs_is_shown() -> None:
    live = machine(wanted(args=["--only", "1"]).with_image("r/a:1").config)
    for more, shown in (
        ({"grace": "1d", "args": ["--only", "1"]}, "… --grace 6h … → … --grace 1d …"),
        ({"cron": "0 9 * * TUE"}, "… --cron '0 17 * * MON' … --only 1 → … --cron '0 9 * * TUE' …"),
        ({"args": ["--only", "1"], "env": {"A": "1"}}, "(none) → 1"),
    ):
        plan = make_plan([wanted(**more)], [live], image="r/a:1")
        lines = [text.strip() for text, _ in plan_lines(plan, ()) if ": " in text]
        assert lines[0].partition(": ")[2] == shown


MONDAY = datetime(2026, 11, 23, 18, tzinfo=UTC)


def test_what_a_new_machine_serves_at_once_is_said() -> None:
    plan = make_plan([wanted()], [], image="r/a:1")
    (note,) = served_at_once(plan, MONDAY)
    assert "serves the occurrence of Mon 23 Nov 17:00 UTC" in note.text
    late = MONDAY.replace(day=25)
    assert list(served_at_once(plan, late)) == []
    assert open_occurrence(wanted(enabled=False).schedule, MONDAY) is None


@pytest.mark.parametrize(
    ("cron", "offsets", "said"),
    [
        ("@hourly", "1d@16:00,0d@23:00", []),
        ("@hourly", "1d@23:30,0d@16:00,1h", ["1d@23:30 is 30m before that day is over"]),
        ("0 9 * * *", "0d@23:01", ["0d@23:01 is 59m before"]),
        ("@daily", "1d@16:00", ["1d@16:00 is 8h before that day is over; it is missed where no"]),
        ("@hourly", "tomorrow", []),
    ],
)
def test_reminders_whose_time_may_hold_no_tick_are_named(
    cron: str, offsets: str, said: list[str]
) -> None:
    want = wanted(name="r", job="reminders", cron=cron, regions=["iad", "ams"], machines=2)
    env = {"SPEAKERBOT_REMINDER_OFFSETS": offsets}
    notes = list(short_windows([want], JOBS, env))
    assert len(notes) == len(said)
    for note, text in zip(notes, said, strict=True):
        assert text in note.text
        assert not note.left


def test_a_machines_own_reminder_times_count_and_other_jobs_have_none() -> None:
    env = {"SPEAKERBOT_REMINDER_OFFSETS": "0d@23:59"}
    own = wanted(name="r", job="reminders", env={"SPEAKERBOT_REMINDER_OFFSETS": "0d@08:00"})
    assert list(short_windows([own, wanted()], JOBS, env)) == []


def test_a_database_on_a_disk_that_is_not_kept_is_warned_of() -> None:
    want = wanted(env={"DATABASE_URL": "sqlite:////data/x.db"})
    (note,) = lost_databases([want], [])
    assert "disk is not kept" in note.text
    mounted = machine({"mounts": [{"volume": "v", "path": "/data"}]})
    assert list(lost_databases([want], [mounted])) == []
    assert list(lost_databases([wanted(env={"DATABASE_URL": "mongodb://db"})], [])) == []
