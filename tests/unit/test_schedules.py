"""schedules.json is read whole, or refused with every problem named by file, entry and field."""

from __future__ import annotations

import importlib.util
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from jobs import JOBS
from speakerbot.errors import ConfigError
from speakerbot.schedules.model import json_schema
from speakerbot.schedules.reading import Schedules, parse_schedules, read_schedules
from speakerbot.schedules.schedule import Guest, Schedule

DEPLOY = Path(__file__).parents[2] / "deploy"
WEEKLY = {"name": "weekly", "job": "weekly", "cron": "0 17 * * MON"}


def parse(*entries: Any, **top: Any) -> Schedules:
    return parse_schedules(json.dumps({**top, "schedules": list(entries)}), "s.json", JOBS)


def only(*entries: Any, **top: Any) -> Schedule:
    (schedule,) = parse(*entries, **top)
    return schedule


def problems(*entries: Any, **top: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as refused:
        parse(*entries, **top)
    return refused.value.problems


def test_what_is_not_said_has_a_sensible_default() -> None:
    schedule = only(WEEKLY)
    assert schedule.cron.zone.key == "UTC"
    assert (schedule.grace, schedule.wait) == (timedelta(hours=6), timedelta())
    assert schedule.timeout == timedelta(minutes=10)
    assert schedule.regions == ("iad",)
    assert schedule.guest == Guest("shared", 1, 256)
    assert schedule.enabled
    assert not schedule.share


def test_a_schedule_overrides_any_default_and_the_guest_field_by_field() -> None:
    defaults = {
        "region": "ams", "guest": {"cpus": 2, "memory_mb": 1024}, "grace": "1h", "wait": "5m",
        "timeout": "1m", "share": True, "machines": 3, "env": {"A": "1", "B": "2"},
    }  # fmt: skip
    own = {**WEEKLY, "guest": {"memory_mb": 512}, "wait": "0s", "env": {"B": "3"}, "share": False}
    schedule, other = parse(own, {**WEEKLY, "name": "other"}, defaults=defaults)
    assert schedule.guest == Guest("shared", 2, 512)
    assert schedule.env == {"A": "1", "B": "3"}
    assert (schedule.wait, schedule.grace) == (timedelta(), timedelta(hours=1))
    assert schedule.regions == ("ams", "ams", "ams")
    assert not schedule.share
    assert other.env == {"A": "1", "B": "2"}
    assert other.share


@pytest.mark.parametrize(
    ("said", "regions"),
    [
        ({"machines": 3}, ("iad",) * 3),
        ({"regions": ["iad", "ams"]}, ("iad", "ams")),
        ({"regions": ["iad", "ams"], "machines": 3}, ("iad", "ams", "iad")),
    ],
)
def test_machines_are_spread_over_their_regions(
    said: dict[str, Any], regions: tuple[str, ...]
) -> None:
    schedule = only({**WEEKLY, **said})
    assert schedule.regions == regions
    assert schedule.machine_names[:2] == ("cron-weekly", "cron-weekly-2")
    assert len(schedule.machine_names) == len(regions)


def test_the_command_carries_the_schedule_so_that_no_file_is_read() -> None:
    schedule = only(
        {**WEEKLY, "timezone": "America/Los_Angeles", "grace": "24h", "wait": "60m", "share": True,
         "args": ["--limit", "5"]}
    )  # fmt: skip
    assert " ".join(schedule.command()) == (
        "run weekly --schedule weekly --cron 0 17 * * MON --timezone America/Los_Angeles "
        "--grace 1d --wait 1h --timeout 10m --share --limit 5"
    )


@pytest.mark.parametrize(
    ("cron", "interval"),
    [("0 17 * * MON", "hourly"), ("@hourly", "hourly"), ("@daily", "daily"),
     ("@weekly", "weekly"), ("@monthly", "monthly")],
)  # fmt: skip
def test_fly_serves_macros_itself_and_everything_else_hourly(cron: str, interval: str) -> None:
    assert only({**WEEKLY, "cron": cron}).interval == interval


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"crn": "x"}, "unknown key 'crn'; did you mean 'cron'?"),
        ({"cron": "0 0 30 2 *"}, "cron: '0 0 30 2 *' never fires"),
        ({"cron": "61 * * * *"}, "cron: '61 * * * *' is not a cron expression: bad minute"),
        ({"job": "reminder"}, "job: 'reminder' is not a job; did you mean 'reminders'?"),
        ({"job": 3}, "job: expected str, got int"),
        ({"name": "Weekly!"}, "name: 'Weekly!' is not a name"),
        ({"name": "w" * 33}, "is 33 characters long: 32 at most"),
        ({"timezone": "PST8"}, "timezone: 'PST8' is not a time zone"),
        ({"region": "xyz"}, "region: 'xyz' is not a region of Fly"),
        ({"regions": []}, "regions: expected array of length >= 1"),
        ({"regions": ["iad", "ams"], "machines": 1}, "regions: names 2 regions for 1 machines"),
        ({"regions": ["iad"], "region": "iad"}, "region and regions are both given"),
        ({"machines": 0}, "machines: expected int >= 1"),
        ({"grace": "6 hours"}, "grace: '6 hours' is not a duration"),
        ({"timeout": "0s"}, "timeout: a run needs some time"),
        ({"guest": {"memory_mb": 300}}, "guest: memory_mb 300 is not a multiple of 256"),
        ({"guest": {"memory_mb": 2304}}, "memory_mb 2304 does not fit 1 shared CPU: from 256 to"),
        ({"guest": {"cpus": 4}}, "memory_mb 256 does not fit 4 shared CPUs: from 1024 to 8192"),
        ({"guest": {"cpus": 3, "memory_mb": 768}}, "cpus 3: Fly has shared machines of 1, 2, 4, 6"),
        ({"guest": {"cpus": 16, "memory_mb": 4096}}, "cpus 16: Fly has shared machines of 1, 2, 4"),
        (
            {"guest": {"cpu_kind": "performance", "cpus": 5, "memory_mb": 10240}},
            "cpus 5: Fly has performance machines of 1, 2, 4, 6, 8, 10, 12, 14, 16 CPUs",
        ),
        ({"guest": {"cpu_kind": "performance"}}, "memory_mb 256 is not a multiple of 1024"),
        ({"guest": {"memory": 256}}, "guest: unknown key 'memory'; did you mean 'memory_mb'?"),
        ({"args": ["--cron=@daily"]}, "args: --cron is given by the schedule itself"),
        ({"env": {"A B": "x"}}, "env: 'A B' is not a variable's name"),
        ({"enabled": "yes"}, "enabled: expected bool, got str"),
    ],
)
def test_each_problem_names_file_entry_and_field(change: dict[str, Any], problem: str) -> None:
    (found,) = problems({**WEEKLY, **change})
    assert found.startswith(f's.json: schedules[0] "{change.get("name", "weekly")}": ')
    assert problem in found


def test_everything_that_is_wrong_is_said_at_once() -> None:
    bad = {"name": "a", "job": "x", "cron": "y"}
    found = problems(bad, {"job": "weekly"}, 7, defaults={"grace": "1"}, timezone="Mars")
    assert [problem.split(": ")[1] for problem in found] == [
        "timezone", "defaults", 'schedules[0] "a"', 'schedules[0] "a"', "schedules[1]",
        "schedules[1]", "schedules[2]",
    ]  # fmt: skip


def test_a_name_is_used_once_and_machines_never_share_theirs() -> None:
    assert 'schedules[1] "weekly": name: schedules[0]' in problems(WEEKLY, WEEKLY)[0]
    pair = {**WEEKLY, "machines": 2}
    clash = problems(pair, {**WEEKLY, "name": "weekly-2"})
    assert "its machine would be called cron-weekly-2" in clash[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file is empty"),
        ("  \n", "the file is empty"),
        ('{"schedules": [{"name": "wee', "no JSON at line 1, column 25"),
        ("[]", "must be an object, not a list"),
        ("null", "must be an object, not null"),
        ("{}", "schedules is missing"),
        ('{"schedules": []}', "the list is empty"),
        ('{"schedules": {}}', "schedules: must be a list"),
        ('{"schedules": [], "schedules": []}', "the key 'schedules' is written twice"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_holds_no_schedules_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as refused:
        parse_schedules(text, "s.json", JOBS)
    assert refused.value.exit_code == 78


def test_a_missing_file_says_how_to_name_another(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file; --schedules or SPEAKERBOT_SCHEDULES"):
        read_schedules(tmp_path / "none.json", JOBS)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_schedules(tmp_path / "binary", JOBS)


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"cron": "*/30 * * * *"}, "fires more often than its machine's hourly tick"),
        ({"grace": "30m"}, "less than the hour between two ticks"),
        ({"env": {"DISCORD_TOKEN": "x"}}, "use `fly secrets set DISCORD_TOKEN=…`"),
    ],
)
def test_what_works_but_is_unwise_is_a_warning(change: dict[str, Any], warning: str) -> None:
    (found,) = parse({**WEEKLY, **change}).warnings
    assert warning in found


def test_nothing_usual_is_warned_of() -> None:
    daily = {**WEEKLY, "name": "daily", "cron": "@daily", "env": {"LLM_MODEL": "m"}}
    assert parse({**WEEKLY, "grace": "30m", "wait": "30m"}, daily).warnings == ()


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="no schedule 'x'; there are weekly"):
        parse(WEEKLY).get("x")


def test_the_products_own_file_names_jobs_that_exist_and_has_no_warnings() -> None:
    schedules = read_schedules(DEPLOY / "schedules.json", JOBS)
    assert schedules.warnings == ()
    for schedule in schedules:
        assert importlib.util.find_spec(f"jobs.{schedule.job}"), schedule.name


def test_the_shipped_json_schema_is_current_and_fits_the_shipped_file() -> None:
    shipped = json.loads((DEPLOY / "schedules.schema.json").read_text("utf-8"))
    assert shipped == json_schema(JOBS), "run: make schema"
    validator = jsonschema.Draft202012Validator(shipped)
    validator.check_schema(shipped)
    validator.validate(json.loads((DEPLOY / "schedules.json").read_text("utf-8")))


@pytest.mark.parametrize(
    "change", [{"crn": 1}, {"job": "x"}, {"grace": "6"}, {"name": "A"}, {"region": "xyz"}]
)
def test_the_json_schema_refuses_what_we_refuse(change: dict[str, Any]) -> None:
    document = {"schedules": [{**WEEKLY, **change}]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, json_schema(JOBS))


SOON = {"name": "soon", "job": "starting", "cron": "@hourly", "args": ["--horizon", "75m"]}


class TestATimedJob:
    def test_is_known_by_its_declaration(self) -> None:
        soon, weekly = parse(SOON, WEEKLY)
        assert (soon.timed, weekly.timed) == (True, False)

    def test_has_nothing_about_occurrences_in_its_command(self) -> None:
        """Defaults are for all schedules of a file: here they mean the others."""
        defaults = {"grace": "1h", "wait": "5m", "share": True}
        assert only(SOON, defaults=defaults).command() == [
            "run", "starting", "--schedule", "soon", "--cron", "@hourly", "--timezone", "UTC",
            "--timeout", "10m", "--horizon", "75m",
        ]  # fmt: skip
        assert parse(SOON, defaults=defaults).warnings == ()

    @pytest.mark.parametrize(("field", "value"), [("grace", "1h"), ("wait", "1m"), ("share", True)])
    def test_is_warned_of_what_has_no_effect_on_it(self, field: str, value: Any) -> None:
        [warning] = parse({**SOON, field: value}).warnings
        assert warning == (
            f's.json: schedules[0] "soon": {field}: has no effect: starting has no occurrences, '
            "it looks at every tick; leave it out"
        )

    @pytest.mark.parametrize(
        ("cron", "args", "says", "least"),
        [
            ("@hourly", ["--horizon", "74m"], "--horizon 74m", "75m"),
            ("*/10 * * * *", ["--horizon", "1h"], "--horizon 1h", "75m"),
            ("@hourly", [], "no --horizon", "75m"),
            ("@daily", ["--horizon", "24h"], "--horizon 1d", "1455m"),
        ],
    )
    def test_must_see_further_than_to_its_next_tick(
        self, cron: str, args: list[str], says: str, least: str
    ) -> None:
        [warning] = parse({**SOON, "cron": cron, "args": args}).warnings
        assert warning.startswith(f's.json: schedules[0] "soon": args: {says}: its machine ticks')
        assert warning.endswith(f"write at least --horizon {least}")

    def test_of_which_a_longer_horizon_is_well(self) -> None:
        assert parse({**SOON, "args": ["--horizon=2h"]}).warnings == ()
