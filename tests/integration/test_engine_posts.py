"""What the engine does for posts in channels: parts in order, the Node bot's own, edits."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from speakerbot.delivery.planning import CHUNK
from speakerbot.domain.message import Edit, LookBack, Message
from speakerbot.errors import ConfigError
from speakerbot.runs.routes import only_route
from speakerbot.testing.discord import Fault
from speakerbot.testing.run_harness import RunHarness

CHANNEL = "500"
BOT = "1400000000000000000"
HEADING = "## Upcoming Talks"
SINCE = timedelta(hours=1)


def _post(
    harness: RunHarness, part: int = 1, *, topic: str = "Kites", channel: str = CHANNEL
) -> Message:
    message = harness.message("7", *only_route(channel), topic=f"{topic} {part}")
    return replace(
        message,
        recipient=f"channel:{channel}",
        occasion=f"part {part}",
        opt_out=None,
        follows=part > 1,
    )


def _looking(harness: RunHarness, message: Message) -> Message:
    return replace(message, look_back=LookBack(HEADING, harness.discord.clock.now() - SINCE))


def _parts(harness: RunHarness, last: int) -> list[Message]:
    return [_post(harness, part) for part in range(1, last + 1)]


def test_parts_arrive_in_order_however_many_there_are(harness: RunHarness) -> None:
    harness.run(*_parts(harness, CHUNK + 20))
    topics = [text.partition('"')[2].partition('"')[0] for _, text in harness.sent()]
    assert topics == [f"Kites {part}" for part in range(1, CHUNK + 21)]


def test_what_follows_a_failure_waits_for_the_run_that_mends_it(harness: RunHarness) -> None:
    parts = _parts(harness, 3)
    harness.discord.inject(Fault(kind="error", on="create_message", status=503))
    assert sorted(harness.run(*parts).states) == ["failed", "held_back", "held_back"]
    harness.later(timedelta(minutes=31))
    assert sorted(harness.run(*parts).states) == ["sent"] * 3
    assert [text for _, text in harness.sent()] == [harness.text(part) for part in parts]


def test_posts_of_two_channels_do_not_wait_for_one_another(harness: RunHarness) -> None:
    here, there = _parts(harness, 2), [_post(harness, part, channel="600") for part in (1, 2)]
    harness.discord.world.forbid(CHANNEL, read=True)
    ended = harness.run(*here, *there)
    assert isinstance(ended.error, ConfigError)
    assert [channel for channel, _ in harness.sent()] == ["600", "600"]
    harness.discord.world.forbid(CHANNEL)
    assert harness.run(*here, *there).states.count("sent") == 2


def test_the_node_bots_post_is_taken_for_the_first_part_and_stands_for_all(
    harness: RunHarness,
) -> None:
    theirs = harness.discord.world.post(CHANNEL, BOT, f"{HEADING}\n\n1. …")
    first, second = _parts(harness, 2)
    first = _looking(harness, first)
    assert harness.run(first, second).states == ["held_back", "already_sent"]
    record = harness.record(first)
    assert (record.found, record.message_id, record.text) == (True, theirs.id, theirs.content)
    assert record.sent_at == theirs.at
    assert harness.sent() == [(CHANNEL, theirs.content)]


def test_an_older_post_another_text_and_another_author_do_not_count(harness: RunHarness) -> None:
    harness.discord.world.post(CHANNEL, BOT, f"{HEADING}\n\nlast week's")
    harness.later(2 * SINCE)
    harness.discord.world.post(CHANNEL, BOT, "something else")
    harness.discord.world.post(CHANNEL, "42", HEADING)
    assert harness.run(_looking(harness, _post(harness))).states == ["sent"]


def test_a_lookup_that_fails_for_now_is_retried(harness: RunHarness) -> None:
    message = _looking(harness, _post(harness))
    harness.discord.inject(Fault(kind="error", on="list_messages", status=503))
    assert harness.run(message).states == ["failed"]
    assert harness.record(message).unconfirmed_since is None
    harness.later(timedelta(minutes=31))
    assert harness.run(message).states == ["sent"]


def test_a_channel_whose_past_is_hidden_from_us_is_posted_in(harness: RunHarness) -> None:
    harness.discord.world.forbid(CHANNEL, history=True)
    assert harness.run(_looking(harness, _post(harness))).states == ["sent"]


def test_an_edit_changes_the_text_without_a_notification(harness: RunHarness) -> None:
    before = _post(harness)
    harness.run(before)
    sent_at = harness.record(before).sent_at
    after = replace(_post(harness, topic="@everyone <@42>"), edit=Edit())
    assert harness.run(after).states == ["sent"]
    [shown] = harness.discord.messages
    assert shown.content == harness.text(after) == harness.record(after).text
    assert (shown.everyone_notified, shown.users_notified) == (False, ())
    assert harness.record(after).sent_at == sent_at


def test_an_edit_wakes_a_thread_that_sleeps(harness: RunHarness) -> None:
    harness.discord.world.add_thread(CHANNEL, "1")
    harness.run(_post(harness))
    harness.discord.world.archive(CHANNEL)
    edit = replace(_post(harness, topic="Balloons"), edit=Edit())
    assert harness.run(edit).states == ["sent"]
    assert "Balloons" in harness.discord.messages[0].content


def test_an_edit_of_what_was_never_posted_posts_nothing(harness: RunHarness) -> None:
    assert harness.run(replace(_post(harness), edit=Edit(again="again"))).states == ["held_back"]
    assert harness.sent() == []


def test_an_edit_that_is_refused_leaves_the_post_sent_and_its_text_as_it_was(
    harness: RunHarness,
) -> None:
    before = _post(harness)
    harness.run(before)
    harness.discord.inject(Fault(kind="error", on="update_message", status=503))
    edit = replace(_post(harness, topic="Balloons"), edit=Edit())
    assert harness.run(edit).states == ["failed"]
    record = harness.record(before)
    assert (record.state, record.error_class) == ("sent", "service")
    assert record.text == harness.text(before)
    assert (record.edit_failures, record.attempts) == (1, 1)
    assert harness.run(edit).states == ["failed"], "it waits"
    harness.later(timedelta(minutes=1))
    assert harness.run(edit).states == ["sent"]
    assert harness.record(before).error_class == ""


def test_an_edit_in_a_channel_that_refuses_us_is_an_error_of_the_settings(
    harness: RunHarness,
) -> None:
    before = _post(harness)
    harness.run(before)
    harness.discord.world.forbid(CHANNEL, read=True)
    ended = harness.run(replace(_post(harness, topic="Balloons"), edit=Edit()))
    assert isinstance(ended.error, ConfigError)
    assert harness.record(before).text == harness.text(before)


def test_two_runs_that_find_it_deleted_post_it_again_once(harness: RunHarness) -> None:
    before = _post(harness)
    harness.run(before)
    harness.discord.world.delete_message(harness.discord.messages[0].id)
    edit = replace(_post(harness, topic="Balloons"), edit=Edit(again="again"))
    assert harness.run(edit).states == ["held_back", "sent"]
    assert harness.run(edit).states.count("sent") == 0
    assert [message.deleted for message in harness.discord.messages] == [True, False]
