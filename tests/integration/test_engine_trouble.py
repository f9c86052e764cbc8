"""Discord in trouble, met by the installed command: nothing lost, nothing burned, and told."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from speakerbot.channels.discord.access import bot_of
from speakerbot.clock import real_now
from speakerbot.testing.discord import NO_LIMITS, Bucket, Fault

if TYPE_CHECKING:
    from tests.integration.conftest import Command

pytestmark = pytest.mark.slow


def test_a_refused_token_burns_nothing(command: Command) -> None:
    command.book(40)
    command.discord.settings = replace(NO_LIMITS, token="another")
    report = command.run(exit_code=77)
    assert "DISCORD_TOKEN was refused" in report.stderr
    assert set(report.states) == {"held_back"}
    assert command.records() == {}
    assert command.store.limits.breakers(bot_of("harness")) == {}
    assert len(command.discord.requests) <= 16
    command.discord.settings = NO_LIMITS
    assert command.run().counts["sent"] == 40


def test_a_discord_that_is_down_burns_nothing(command: Command) -> None:
    command.book(40)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/api/v10"
    report = command.run(exit_code=69, DISCORD_API_BASE=nobody)
    assert "cannot be reached" in report.stderr
    assert {(record.state, record.attempts) for record in command.records().values()} == {
        ("failed", 0)
    }
    command.retry_now()
    assert command.run().counts["sent"] == 40


def test_a_base_address_without_discord_is_refused_before_anything_is_sent(
    command: Command,
) -> None:
    command.book(3)
    wrong = command.discord.base_url.replace("/api/v10", "/api/v10/v10")
    report = command.run(exit_code=78, DISCORD_API_BASE=wrong)
    assert "DISCORD_API_BASE" in report.stderr
    assert command.records() == {}


def test_a_slow_discord_is_waited_for(command: Command) -> None:
    command.book(20)
    command.discord.settings = replace(NO_LIMITS, latency=1.5)
    assert command.run().counts["sent"] == 20


def test_rate_limits_are_obeyed(command: Command) -> None:
    command.book(30)
    command.discord.settings = replace(NO_LIMITS, global_limit=10)
    report = command.run()
    assert report.counts["sent"] == 30
    assert '"rate_limited": 0' not in report.stderr
    assert command.sent_to() == [str(200 + n) for n in range(30)]


def test_a_rate_limit_that_is_too_long_ends_the_run(command: Command) -> None:
    command.book(30)
    command.discord.inject(
        Fault(kind="rate_limit", retry_after=600, on="create_message", html=True)
    )
    report = command.run()
    assert "rate limited for 600 s" in report.stderr
    failed = [record for record in command.records().values() if record.state == "failed"]
    assert len(failed) == 1
    requests = len(command.discord.requests)
    again = command.run()
    assert "nothing is tried before" in again.stderr
    assert len(command.discord.requests) == requests, "the next run honours it too"


@pytest.mark.slow_suite  # waits for the retry; test_run_reminders reads the log of another one
def test_errors_of_the_server_fail_their_own_message_only(command: Command) -> None:
    command.book(5)
    command.discord.inject(Fault(kind="error", status=503, on="create_message", channel_id="202"))
    begin = monotonic()
    report = command.run()
    assert (report.counts["sent"], report.counts["failed"]) == (5, {})
    assert monotonic() - begin > 10, "the retry was made by the same run"
    assert command.sent_to() == [str(200 + n) for n in range(5)]


def test_errors_that_discord_py_survives_are_not_even_seen(command: Command) -> None:
    command.book(5)
    command.discord.inject(Fault(kind="error", status=502, on="create_message", accepted=True))
    assert command.run().counts["sent"] == 5
    assert command.sent_to() == [str(200 + n) for n in range(5)]


def test_pages_instead_of_answers_stop_the_run(command: Command) -> None:
    command.book(60)
    command.discord.inject(Fault(kind="html", times=None))
    report = command.run(exit_code=69)
    failed = report.counts["failed"]["service"]
    assert 5 <= failed <= 36
    assert report.counts["skipped"]["given_back"] == 60 - failed


def test_closed_dms_fall_back_to_the_thread_and_then_to_the_channel(command: Command) -> None:
    command.book(3)
    command.discord.world.close_dms("101")
    command.discord.world.close_dms("102")
    command.discord.world.forbid("302", send=True)
    report = command.run(
        SPEAKERBOT_REMINDER_ROUTES="dm,thread,channel", SPEAKERBOT_FALLBACK_CHANNEL_ID="400"
    )
    assert [message["route"] for message in report.document["messages"]].count("thread") == 1
    assert command.sent_to() == ["200", "301", "400"]
    told = {m.channel_id: (m.content, m.users_notified) for m in command.discord.messages}
    assert told["301"][0].startswith("<@101> Hi user 1!")
    assert told["301"][1] == ("101",)
    assert told["400"][1] == ("102",)
    assert command.run().counts["already_sent"] == 3


def test_a_deleted_user_without_a_thread_is_undeliverable(command: Command) -> None:
    command.book(2, known=False)
    command.discord.world.delete_user("100")
    report = command.run(SPEAKERBOT_REMINDER_ROUTES="dm", SPEAKERBOT_NEW_DM_EVERY="0s")
    assert (report.counts["sent"], report.counts["undeliverable"]) == (1, 1)
    assert "does not exist" in command.records()["t0"].error
    requests = len(command.discord.requests)
    assert command.run().counts["undeliverable"] == 1
    assert len(command.discord.requests) == requests, "it is not tried again"


def test_a_thread_that_sleeps_is_woken_once(command: Command) -> None:
    command.book(2)
    command.discord.world.archive("300", sends_unarchive=False)
    assert command.run(SPEAKERBOT_REMINDER_ROUTES="thread").counts["sent"] == 2
    operations = [request.operation for request in command.discord.requests]
    assert operations.count("update_channel") == 1
    assert operations.count("create_message") == 3


def test_a_thread_we_may_not_write_in_fails_its_own_message_only(command: Command) -> None:
    command.book(2)
    command.discord.world.forbid("300", send=True)
    report = command.run(SPEAKERBOT_REMINDER_ROUTES="thread")
    assert (report.counts["sent"], report.counts["undeliverable"]) == (1, 1)
    assert "may not write" in command.records()["t0"].error


def test_a_forbidden_channel_of_the_settings_is_told_loudly_and_keeps_its_messages(
    command: Command,
) -> None:
    command.book(5)
    command.env |= {
        "SPEAKERBOT_REMINDER_ROUTES": "dm,channel",
        "SPEAKERBOT_FALLBACK_CHANNEL_ID": "400",
    }
    for n in range(3):
        command.discord.world.close_dms(str(100 + n))
    command.discord.world.forbid("400", send=True)
    report = command.run(exit_code=78)
    assert report.counts["sent"] == 2
    assert "channel 400" in report.stderr
    kept = [command.records()[f"t{n}"] for n in range(3)]
    assert {(record.state, record.error_class, record.attempts) for record in kept} == {
        ("failed", "config", 0)
    }
    refused = sum(r.path.endswith("/400/messages") for r in command.discord.requests)
    assert refused <= 3
    command.discord.world.forbid("400")
    assert command.run().counts["sent"] == 3


def test_a_quarantined_bot_rests_for_an_hour(command: Command) -> None:
    command.book(5, known=False)
    command.discord.world.set_new_dms("quarantined")
    report = command.run(exit_code=78)
    assert "quarantined" in report.stderr
    assert command.records() == {}
    requests = len(command.discord.requests)
    breaker = command.store.limits.breakers(bot_of("harness"))["bot"]
    assert timedelta(minutes=58) < breaker.until - real_now() < timedelta(minutes=61)
    again = command.run(exit_code=78)
    assert "nothing is tried before" in again.stderr
    assert len(command.discord.requests) == requests
    kept = command.store.limits.breakers(bot_of("harness"))["bot"]
    assert kept == breaker, "a run that was forbidden does not prolong the rest"


def test_refused_new_dms_do_not_hold_up_known_ones_and_count_no_try(command: Command) -> None:
    command.book(6)
    command.discord.world.set_new_dms("too_fast")
    new = {str(100 + n): None for n in range(3)}
    command.store.limits.remember_dms(bot_of("harness"), new)
    for n in range(3):
        command.discord.world.delete_channel(str(200 + n))
    report = command.run(SPEAKERBOT_NEW_DM_EVERY="1s")
    assert (report.counts["sent"], report.counts["failed"]) == (3, {"service": 3})
    opened = sum(r.operation == "create_dm" for r in command.discord.requests)
    assert opened == 1
    assert {record.attempts for record in command.records().values()} == {0, 1}
    assert command.records()["t0"].attempts == 0
    assert "new_dms" in command.store.limits.breakers(bot_of("harness"))


def test_twenty_refused_recipients_in_a_row_stop_the_run(command: Command) -> None:
    command.book(60)
    for n in range(60):
        command.discord.world.close_dms(str(100 + n))
    report = command.run(SPEAKERBOT_REMINDER_ROUTES="dm")
    assert 20 <= report.counts["undeliverable"] <= 36
    given_back = report.counts["skipped"]["given_back"]
    assert given_back == 60 - report.counts["undeliverable"]
    assert "failed alike" in report.stderr


def test_two_runs_at_once_share_the_work(command: Command) -> None:
    command.book(40)
    command.discord.settings = replace(NO_LIMITS, latency=0.1)
    both = [command.start(), command.start()]
    reports = [command.ended(process) for process in both]
    assert sum(report.counts["sent"] for report in reports) == 40
    assert command.sent_to() == [str(200 + n) for n in range(40)]


def test_an_emptied_bucket_does_not_delay_the_record(command: Command) -> None:
    command.book(5)
    command.discord.settings = replace(NO_LIMITS, message_bucket=Bucket(5, 30.0))
    begin = monotonic()
    report = command.run(SPEAKERBOT_REMINDER_ROUTES="channel", SPEAKERBOT_FALLBACK_CHANNEL_ID="400")
    assert report.counts["sent"] == 5
    assert monotonic() - begin < 15
    assert {record.state for record in command.records().values()} == {"sent"}
