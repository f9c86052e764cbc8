"""Runs that belong to a schedule: each occurrence once, whoever ticks, and ``run due``."""

from __future__ import annotations

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from speakerbot.domain.person import Person, parse_quiet_hours
from speakerbot.ports.store import Store
from speakerbot.testing.discord import LoopbackDiscord

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

NOW = "2026-11-20T16:05:00Z"
HOURLY = ("--cron", "@hourly")
SOFIA, KAZ = "802345678901234563", "802345678901234564"


def tick(cli: Cli, *args: str, now: str = NOW, **env: str) -> Any:
    return cli.json("run", "reminders", "--now", now, *args, **env)


def skipped(document: Any) -> tuple[str | None, str | None]:
    """The occurrence a tick was about, and why it did nothing."""
    assert document["messages"] == []
    return document["occurrence"], document["skipped_because"]


def states(document: Any) -> list[str]:
    return sorted(message["state"] for message in document["messages"])


def write_schedules(cli: Cli, *entries: dict[str, Any]) -> None:
    schedules = {"defaults": {"grace": "6h"}, "schedules": list(entries)}
    cli.env["SPEAKERBOT_SCHEDULES"] = cli.file("own.json", json.dumps(schedules))


REMINDERS = {"name": "reminders", "job": "reminders", "cron": "@hourly"}
WEEKLY = {"name": "weekly", "job": "weekly", "cron": "0 17 * * MON", "timezone": "Europe/Berlin"}


def test_a_tick_serves_its_occurrence_and_the_next_tick_finds_it_done(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    first = tick(cli, *HOURLY)
    assert first["occurrence"] == "2026-11-20T16:00:00Z"
    assert states(first) == ["sent", "sent"]
    done = cli.run("run", "reminders", "--now", "2026-11-20T16:50:00Z", "--json", *HOURLY)
    assert done.returncode == 0
    assert skipped(json.loads(done.stdout)) == ("2026-11-20T16:00:00Z", "already_done")
    line = json.loads(done.stderr.splitlines()[-1])
    assert (line["event"], line["reason"]) == ("run_skipped", "already_done")
    assert line["occurrence"] == "2026-11-20T16:00:00Z"
    assert states(tick(cli, *HOURLY, now="2026-11-20T17:00:00Z")) == ["already_sent"] * 2


def test_an_occurrence_is_named_by_its_cron_in_its_time_zone(cli: Cli) -> None:
    schedule = ("--cron", "0 8 * * *", "--timezone", "America/Los_Angeles")
    assert tick(cli, *schedule, "--dry-run")["occurrence"] == "2026-11-20T16:00:00Z"


def test_beyond_its_grace_an_occurrence_is_missed_and_listed(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    schedule = ("--schedule", "nightly", "--cron", "0 3 * * *", "--grace", "1h")
    assert skipped(tick(cli, *schedule)) == ("2026-11-20T03:00:00Z", "missed")
    [run] = cli.json("runs", "list")["runs"]
    assert (run["outcome"], run["schedule"]) == ("missed", "nightly")
    assert run["occurrence"] == "2026-11-20T03:00:00Z"
    assert discord.messages == []


def test_with_wait_an_early_tick_serves_what_is_about_to_come(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    document = tick(cli, "--cron", "0 17 * * *", "--wait", "60m", now="2026-11-20T16:20:00Z")
    assert document["occurrence"] == document["now"] == "2026-11-20T17:00:00Z"
    assert states(document) == ["sent", "sent"]


def test_with_cron_no_file_is_read_and_the_name_only_names_the_occurrences(
    cli: Cli, discord: LoopbackDiscord
) -> None:
    """A stale schedules.json in an image does no harm."""
    cli.env["SPEAKERBOT_SCHEDULES"] = cli.file("broken.json", "{")
    tick(cli, "--schedule", "mine", *HOURLY)
    assert skipped(tick(cli, "--schedule", "mine", *HOURLY))[1] == "already_done"
    assert "skipped_because" not in tick(cli, "--schedule", "another", *HOURLY)


def test_a_schedule_alone_is_looked_up_in_the_file(cli: Cli, discord: LoopbackDiscord) -> None:
    write_schedules(cli, REMINDERS | {"cron": "0 7 * * *", "timezone": "Asia/Tokyo", "grace": "1d"})
    assert tick(cli, "--schedule", "reminders")["occurrence"] == "2026-11-19T22:00:00Z"


def test_a_schedule_nobody_knows_is_named_with_those_there_are(cli: Cli) -> None:
    write_schedules(cli, REMINDERS)
    error = cli.error("run", "reminders", "--schedule", "remind", "--dry-run", exit_code=78)
    assert "own.json: there is no schedule 'remind'; there are reminders" in error


def test_a_schedule_of_another_job_is_a_mistake(cli: Cli) -> None:
    write_schedules(cli, REMINDERS)
    said = cli.misused("run", "weekly", "--schedule", "reminders", "--dry-run")
    assert "runs reminders, not weekly" in said


def test_a_file_with_a_mistake_is_refused_with_its_place(cli: Cli) -> None:
    write_schedules(cli, REMINDERS | {"cron": "0 0 30 2 *"})
    error = cli.error("run", "reminders", "--schedule", "reminders", "--dry-run", exit_code=78)
    assert 'own.json: schedules[0] "reminders": cron' in error


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--cron", "whenever", "has 1 of a cron expression's 5 fields"),
        ("--cron", "0 0 30 2 *", "never fires"),
        ("--timezone", "Mars/Olympus", "is not a time zone"),
        ("--grace", "soon", "is not a duration"),
        ("--timeout", "0s", "is not a length of time"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(
    cli: Cli, option: str, value: str, said: str
) -> None:
    assert said in cli.misused("run", "reminders", "--dry-run", *HOURLY, option, value)


def test_a_disabled_schedule_says_so_loudly(cli: Cli) -> None:
    write_schedules(cli, REMINDERS | {"enabled": False})
    done = cli.run("run", "reminders", "--schedule", "reminders", "--now", NOW, "--json")
    assert done.returncode == 0
    assert skipped(json.loads(done.stdout)) == ("2026-11-20T16:00:00Z", "disabled")
    assert json.loads(done.stderr)["level"] == "warning"


def test_a_deferred_message_keeps_its_occurrence_open_until_it_may_go(
    cli: Cli, samples: Path, discord: LoopbackDiscord, store: Store
) -> None:
    store.people.put([Person("p", KAZ, quiet_hours=parse_quiet_hours("12:00-18:00"))])
    daily = ("--cron", "0 16 * * *")
    assert states(tick(cli, *daily)) == ["held_back", "sent"]
    early = tick(cli, *daily, now="2026-11-20T17:05:00Z")
    assert skipped(early) == ("2026-11-20T16:00:00Z", "not_due")
    assert states(tick(cli, *daily, now="2026-11-20T18:05:00Z")) == ["already_sent", "sent"]
    assert skipped(tick(cli, *daily, now="2026-11-20T19:05:00Z"))[1] == "already_done"


def test_two_machines_that_start_together_do_not_both_run_it(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    with ThreadPoolExecutor(2) as both:
        documents = list(both.map(lambda _: tick(cli, *HOURLY), range(2)))
    why = sorted(document.get("skipped_because", "") for document in documents)
    assert why in (["", "already_running"], ["", "already_done"])
    assert len(discord.messages) == 2


def test_a_run_that_takes_too_long_ends_in_order_and_is_gone_on_with(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    """The second new DM has to wait for its turn, which would come after the timeout."""
    schedule = (*HOURLY, "--timeout", "2s")
    document = tick(cli, *schedule, SPEAKERBOT_NEW_DM_EVERY="1m")
    assert states(document) == ["held_back", "sent"]
    assert document["counts"]["skipped"] == {"new_dm_pace": 1}
    [run] = cli.json("runs", "list")["runs"]
    assert (run["outcome"], run["error"]) == ("stopped", "timeout")
    assert states(tick(cli, *HOURLY)) == ["already_sent", "sent"]
    assert len(discord.messages) == 2


def test_on_a_fly_machines_own_disk_nothing_is_run(cli: Cli) -> None:
    """It is thrown away after each run, and with it what was sent."""
    error = cli.error(
        "run",
        "reminders",
        exit_code=78,
        FLY_MACHINE_ID="148e",
        DATABASE_URL="sqlite:////speakerbot-on-no-volume.db",
        DISCORD_TOKEN="token",
    )
    assert "/speakerbot-on-no-volume.db" in error
    assert "MongoDB" in error
    assert "volume" in error
    assert not Path("/speakerbot-on-no-volume.db").exists()


def test_run_due_runs_each_schedule_whose_time_has_come(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    write_schedules(cli, WEEKLY, REMINDERS, REMINDERS | {"name": "off", "enabled": False})
    weekly, reminders, off = cli.json("run", "due", "--now", NOW)["runs"]
    assert skipped(weekly) == ("2026-11-16T16:00:00Z", "missed")
    assert (reminders["job"], reminders["occurrence"]) == ("reminders", "2026-11-20T16:00:00Z")
    assert states(reminders) == ["sent", "sent"]
    assert skipped(off)[1] == "disabled"
    again = cli.json("run", "due", "--now", NOW)["runs"]
    assert [each["skipped_because"] for each in again] == ["missed", "already_done", "disabled"]


def test_run_due_honours_what_a_schedule_says_of_its_run(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    own = {"args": ["--only", KAZ], "timeout": "30s"}
    write_schedules(cli, REMINDERS | own, REMINDERS | {"name": "all", "args": ["--limit", "1"]})
    first, second = cli.json("run", "due", "--now", NOW)["runs"]
    assert [message["recipient"] for message in first["messages"]] == [f"user:{KAZ}"]
    assert [m["recipient"] for m in second["messages"] if m["state"] == "sent"] == [f"user:{SOFIA}"]


def test_run_due_goes_on_after_a_failure_and_ends_with_the_highest_exit_code(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    wrong = REMINDERS | {"name": "wrong", "args": ["--only", "nobody"]}
    write_schedules(cli, wrong, REMINDERS)
    done = cli.run("run", "due", "--now", NOW, "--json")
    assert done.returncode == 2
    first, second = json.loads(done.stdout)["runs"]
    assert (first["messages"], states(second)) == ([], ["sent", "sent"])
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    [error] = [line["error"] for line in lines if line["event"] == "command_failed"]
    assert "'nobody' is not a person we know" in error


def test_a_job_or_an_option_that_does_not_exist_is_refused_with_the_whole_file(cli: Cli) -> None:
    timers = {"name": "timers", "job": "timers", "cron": "@hourly"}
    odd = REMINDERS | {"name": "odd", "args": ["--limt", "1"]}
    write_schedules(cli, timers, odd, REMINDERS)
    done = cli.run("run", "due", "--now", NOW, "--json")
    assert (done.returncode, done.stdout) == (78, "")
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert "'timers' is not a job" in error
    assert "args: '--limt' is not an option of reminders; did you mean '--limit'?" in error


def test_run_due_is_silent_where_nothing_is_due(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    edit = WEEKLY | {"name": "edit", "cron": "@hourly", "args": ["--edit-only"]}
    write_schedules(cli, REMINDERS, edit)
    first = cli.out("run", "due", "--now", NOW)
    assert "2 sent" in first
    assert "weekly" not in first, "it would edit, and that is switched off"
    done = cli.run("run", "due", "--now", NOW)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "already_done" in cli.run("run", "due", "--now", NOW, "--debug").stderr


@pytest.mark.parametrize("job", ["weekly", "engagement", "digest"])
def test_a_scheduled_job_whose_channel_is_not_set_is_skipped_and_does_not_fail(
    cli: Cli, samples: Path, discord: LoopbackDiscord, store: Store, job: str
) -> None:
    scheduled = ("run", job, "--now", NOW, "--cron", "@hourly", "--json")
    done = cli.run(*scheduled)
    assert done.returncode == 0
    occurrence = "2026-11-20T16:00:00Z"
    assert skipped(json.loads(done.stdout)) == (occurrence, "not_configured")
    line = json.loads(done.stderr.splitlines()[-1])
    assert (line["event"], line["reason"]) == ("run_skipped", "not_configured")
    assert line["level"] == "warning"
    assert store.occurrences.get(job, datetime.fromisoformat(occurrence)) is None
    assert list(store.runs.list()) == []
    error = cli.error("run", job, "--now", NOW, exit_code=78)
    assert "_CHANNEL_ID" in error
    channels = {"PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID": "77", "DISCORD_LOGS_CHANNEL_ID": "77"}
    discord.world.add_channel("77", "posts")
    assert "skipped_because" not in cli.json(*scheduled[:-1], **channels)


def test_preview_and_explain_obey_a_schedules_own_options(cli: Cli, samples: Path) -> None:
    write_schedules(cli, REMINDERS | {"args": ["--limit", "1"]})
    day = json.loads(cli.out("preview", "--days", "0", "--now", NOW, "--json"))["days"][0]
    assert len({message["at"] for message in day["messages"]}) == 2, "one message a tick"
    write_schedules(cli, REMINDERS | {"args": ["--dry-run"]})
    day = json.loads(cli.out("preview", "--days", "0", "--now", NOW, "--json"))["days"][0]
    assert day["messages"] == []


def test_run_due_without_a_token_says_so_once(cli: Cli) -> None:
    write_schedules(cli, REMINDERS, WEEKLY)
    done = cli.run("run", "due", "--json")
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.count("DISCORD_TOKEN is not set") == 1


def test_all_that_a_run_lacks_is_said_at_once(cli: Cli) -> None:
    wrong = {
        "SPEAKERBOT_TIMEZONE": "Mars/Olympus",
        "DATABASE_URL": "postgres://example/db",
        "SPEAKERBOT_SCHEDULES": cli.file("own.json", "{"),
    }
    for command in (("run", "due"), ("run", "reminders", "--schedule", "reminders")):
        error = cli.error(*command, exit_code=78, **wrong)
        for name in ("SPEAKERBOT_TIMEZONE", "DATABASE_URL", "own.json", "DISCORD_TOKEN"):
            assert name in error
    error = cli.error("run", "reminders", "--dry-run", exit_code=78, **wrong)
    assert "DATABASE_URL" in error
    assert "DISCORD_TOKEN" not in error, "a dry run needs none"
    assert "own.json" not in error, "nobody asked for a schedule"
    encoded = {**wrong, "DATABASE_URL": "mongodb://bot:p@ss@host/db"}
    assert "percent-encoded" in cli.error("run", "reminders", exit_code=78, **encoded)


def test_a_misspelt_setting_is_named_with_what_may_be_meant(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    for command in (("run", "reminders", "--now", NOW), ("talks", "list")):
        done = cli.run(*command, SPEAKERBOT_TIMEZON="Europe/Berlin", SPEAKERBOT_XYZ="1")
        assert done.returncode == 0
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        said = {
            line["setting"]: line["hint"] for line in lines if line["event"] == "setting_unknown"
        }
        assert said["SPEAKERBOT_TIMEZON"] == "did you mean SPEAKERBOT_TIMEZONE?"
        assert set(said) == {"SPEAKERBOT_TIMEZON", "SPEAKERBOT_XYZ"}


def test_run_due_with_a_broken_file_prints_nothing_but_what_is_wrong(cli: Cli) -> None:
    cli.env["SPEAKERBOT_SCHEDULES"] = cli.file("own.json", '{"schedules": []}')
    done = cli.run("run", "due", "--json")
    assert (done.returncode, done.stdout) == (78, "")
    assert "the list is empty" in done.stderr


def test_asked_to_stop_run_due_begins_no_further_schedule(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    write_schedules(cli, REMINDERS, REMINDERS | {"name": "second"})
    arguments = ("run", "due", "--now", NOW, "--json")
    with cli.start(*arguments, SPEAKERBOT_NEW_DM_EVERY="1m") as process:
        deadline = time.monotonic() + 30
        while not discord.messages and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 143, err
    [document] = json.loads(out)["runs"]
    assert states(document) == ["held_back", "sent"]


def test_a_message_between_two_ticks_goes_at_its_own_time_and_preview_says_so(
    cli: Cli, samples: Path, discord: LoopbackDiscord
) -> None:
    """Half an hour before midnight it falls due, at midnight it is over."""
    write_schedules(cli, REMINDERS)
    cli.env["SPEAKERBOT_REMINDER_OFFSETS"] = "1d@23:30"
    days = json.loads(cli.out("preview", "--days", "0", "--now", NOW, "--json"))["days"]
    assert [message["at"] for day in days for message in day["messages"]] == [
        "2026-11-20T23:30:00Z"
    ]
    document = tick(cli, *HOURLY, now="2026-11-20T23:20:00Z")
    assert states(document) == ["sent"]
    assert document["messages"][0]["due_at"] == "2026-11-20T23:30:00Z"
    assert len(discord.messages) == 1


def test_a_misspelt_job_is_named_with_the_one_that_may_be_meant(cli: Cli) -> None:
    assert "'remnders' is not a job; did you mean 'reminders'?" in cli.misused("run", "remnders")
