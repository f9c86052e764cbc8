"""What the engine does for posts in channels: parts in order, the Node bot's own, edits."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from speakerbot.delivery.planning import CHUNK
from speakerbot.domain.message import Edit, LookBack, Message
from speakerbot.errors import ConfigError
from speakerbot.runs.routes import only_route
from speakerbot.testing.discord import Fault
from speakerbot.testing.trial import Trial

CHANNEL = "500"
BOT = "1400000000000000000"
HEADING = "## Upcoming Talks"
SINCE = timedelta(hours=1)


def _post(trial: Trial, part: int = 1, *, topic: str = "Kites", channel: str = CHANNEL) -> Message:
    message = trial.message("7", *only_route(channel), topic=f"{topic} {part}")
    return replace(
        message,
        recipient=f"channel:{channel}",
        occasion=f"part {part}",
        opt_out=None,
        follows=part > 1,
    )


def _looking(trial: Trial, message: Message) -> Message:
    return replace(message, look_back=LookBack(HEADING, trial.discord.clock.now() - SINCE))


def _parts(trial: Trial, last: int) -> list[Message]:
    return [_post(trial, part) for part in range(1, last + 1)]


def test_parts_arrive_in_order_however_many_there_are(trial: Trial) -> None:
    trial.run(*_parts(trial, CHUNK + 20))
    topics = [text.partition('"')[2].partition('"')[0] for _, text in trial.sent()]
    assert topics == [f"Kites {part}" for part in range(1, CHUNK + 21)]


def test_what_follows_a_failure_waits_for_the_run_that_mends_it(trial: Trial) -> None:
    parts = _parts(trial, 3)
    trial.discord.inject(Fault(kind="error", on="create_message", status=503))
    assert sorted(trial.run(*parts).states) == ["failed", "held_back", "held_back"]
    trial.later(timedelta(minutes=31))
    assert sorted(trial.run(*parts).states) == ["sent"] * 3
    assert [text for _, text in trial.sent()] == [trial.text(part) for part in parts]


def test_posts_of_two_channels_do_not_wait_for_one_another(trial: Trial) -> None:
    here, there = _parts(trial, 2), [_post(trial, part, channel="600") for part in (1, 2)]
    trial.discord.world.forbid(CHANNEL, read=True)
    ended = trial.run(*here, *there)
    assert isinstance(ended.error, ConfigError)
    assert [channel for channel, _ in trial.sent()] == ["600", "600"]
    trial.discord.world.forbid(CHANNEL)
    assert trial.run(*here, *there).states.count("sent") == 2


def test_the_node_bots_post_is_taken_for_the_first_part_and_stands_for_all(trial: Trial) -> None:
    theirs = trial.discord.world.post(CHANNEL, BOT, f"{HEADING}\n\n1. …")
    first, second = _parts(trial, 2)
    first = _looking(trial, first)
    assert trial.run(first, second).states == ["held_back", "already_sent"]
    record = trial.record(first)
    assert (record.found, record.message_id, record.text) == (True, theirs.id, theirs.content)
    assert record.sent_at == theirs.at
    assert trial.sent() == [(CHANNEL, theirs.content)]


def test_an_older_post_another_text_and_another_author_do_not_count(trial: Trial) -> None:
    trial.discord.world.post(CHANNEL, BOT, f"{HEADING}\n\nlast week's")
    trial.later(2 * SINCE)
    trial.discord.world.post(CHANNEL, BOT, "something else")
    trial.discord.world.post(CHANNEL, "42", HEADING)
    assert trial.run(_looking(trial, _post(trial))).states == ["sent"]


def test_where_nobody_can_tell_now_it_is_tried_again_without_a_doubt(trial: Trial) -> None:
    message = _looking(trial, _post(trial))
    trial.discord.inject(Fault(kind="error", on="list_messages", status=503))
    assert trial.run(message).states == ["failed"]
    assert trial.record(message).unconfirmed_since is None
    trial.later(timedelta(minutes=31))
    assert trial.run(message).states == ["sent"]


def test_a_channel_whose_past_is_hidden_from_us_is_posted_in(trial: Trial) -> None:
    trial.discord.world.forbid(CHANNEL, history=True)
    assert trial.run(_looking(trial, _post(trial))).states == ["sent"]


def test_an_edit_changes_the_text_and_notifies_nobody(trial: Trial) -> None:
    before = _post(trial)
    trial.run(before)
    sent_at = trial.record(before).sent_at
    after = replace(_post(trial, topic="@everyone <@42>"), edit=Edit())
    assert trial.run(after).states == ["sent"]
    [shown] = trial.discord.messages
    assert shown.content == trial.text(after) == trial.record(after).text
    assert (shown.everyone_notified, shown.users_notified) == (False, ())
    assert trial.record(after).sent_at == sent_at


def test_an_edit_wakes_a_thread_that_sleeps(trial: Trial) -> None:
    trial.discord.world.add_thread(CHANNEL, "1")
    trial.run(_post(trial))
    trial.discord.world.archive(CHANNEL)
    edit = replace(_post(trial, topic="Balloons"), edit=Edit())
    assert trial.run(edit).states == ["sent"]
    assert "Balloons" in trial.discord.messages[0].content


def test_an_edit_of_what_was_never_posted_posts_nothing(trial: Trial) -> None:
    assert trial.run(replace(_post(trial), edit=Edit(again="again"))).states == ["held_back"]
    assert trial.sent() == []


def test_an_edit_that_is_refused_leaves_the_post_sent_and_its_text_as_it_was(trial: Trial) -> None:
    before = _post(trial)
    trial.run(before)
    trial.discord.inject(Fault(kind="error", on="update_message", status=503))
    edit = replace(_post(trial, topic="Balloons"), edit=Edit())
    assert trial.run(edit).states == ["failed"]
    record = trial.record(before)
    assert (record.state, record.error_class) == ("sent", "service")
    assert record.text == trial.text(before)
    assert (record.edit_failures, record.attempts) == (1, 1)
    assert trial.run(edit).states == ["failed"], "it waits"
    trial.later(timedelta(minutes=1))
    assert trial.run(edit).states == ["sent"]
    assert trial.record(before).error_class == ""


def test_an_edit_in_a_channel_that_refuses_us_is_an_error_of_the_settings(trial: Trial) -> None:
    before = _post(trial)
    trial.run(before)
    trial.discord.world.forbid(CHANNEL, read=True)
    ended = trial.run(replace(_post(trial, topic="Balloons"), edit=Edit()))
    assert isinstance(ended.error, ConfigError)
    assert trial.record(before).text == trial.text(before)


def test_two_runs_that_find_it_deleted_post_it_again_once(trial: Trial) -> None:
    before = _post(trial)
    trial.run(before)
    trial.discord.world.delete_message(trial.discord.messages[0].id)
    edit = replace(_post(trial, topic="Balloons"), edit=Edit(again="again"))
    assert trial.run(edit).states == ["held_back", "sent"]
    assert trial.run(edit).states.count("sent") == 0
    assert [message.deleted for message in trial.discord.messages] == [True, False]
