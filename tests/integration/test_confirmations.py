"""``SPEAKERBOT_CONFIRM=reactions``: what speakers are asked, how they answer, who is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from jobs.reminders import JOB
from speakerbot.domain.job_registry import RunOptions
from speakerbot.domain.person import Person
from speakerbot.domain.reminder_offsets import parse_offsets
from speakerbot.domain.talk import Talk
from speakerbot.errors import Unreachable
from speakerbot.testing.discord import BOT_ID, DiscordMessage, Fault
from speakerbot.testing.run_harness import NOW, Ended, RunHarness

YES, NO = "✅", "❌"
HOUR = timedelta(hours=1)
TODAY = NOW.date()
TALK = Talk("t1", "7", "ada", "Kites", TODAY + timedelta(days=1), thread_id="900")
ORGANISERS = "500"
READ, USERS, PUT, SENT = (
    "get_message",
    "list_message_reactions_by_emoji",
    "add_my_message_reaction",
    "create_message",
)


@dataclass
class Community:
    """One talk tomorrow, whose speaker, user 7, the bot has written to before."""

    harness: RunHarness

    def run(self, options: RunOptions | None = None) -> Ended:
        return self.harness.run(job=JOB, options=options)

    def later(self, hours: float) -> Ended:
        self.harness.later(hours * HOUR)
        return self.run()

    @contextmanager
    def requests(self, **expected: int) -> Iterator[None]:
        """Exactly these requests are made inside, by operation."""
        before = self._counts()
        yield
        after = self._counts()
        made = {name: after[name] - before.get(name, 0) for name in after}
        assert {name: count for name, count in made.items() if count} == expected

    def _counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for (operation, _), count in self.harness.discord.counts.items():
            counts[operation] = counts.get(operation, 0) + count
        return counts

    def react(self, emoji: str, user: str = "7", which: int = 0) -> None:
        self.harness.discord.world.react(self.asking()[which].id, user, emoji)

    def asking(self) -> list[DiscordMessage]:
        """The messages that ask, in the order they were sent."""
        return [m for m in self.harness.discord.messages if "Will you be there" in m.content]

    def reactions(self, which: int = 0) -> dict[str, tuple[str, ...]]:
        return dict(self.asking()[which].reactions)

    def told(self) -> list[str]:
        """What the organisers have read."""
        return [m.content for m in self.harness.discord.messages if m.channel_id == ORGANISERS]

    def answer(self) -> str | None:
        found = [each.answer for each in self.harness.store.answers.about(["t1"]).values()]
        return found[0] if found else None

    def kinds(self) -> list[str]:
        """Of what was sent, in order."""
        records = sorted(self.harness.store.ledger.list(), key=lambda each: each.created_at)
        return [record.kind for record in records if record.state == "sent"]


@pytest.fixture
def community(harness: RunHarness) -> Community:
    harness.settings = replace(
        harness.settings,
        confirm="reactions",
        logs_channel_id=ORGANISERS,
        reminder_offsets=parse_offsets("1d@16:00,0d@16:00"),
        node_bot_coexist=False,
    )
    harness.discord.world.add_channel(ORGANISERS)
    harness.known("7", "77")
    harness.store.talks.put([TALK])
    return Community(harness)


@pytest.fixture
def in_thread(community: Community) -> Community:
    """The speaker takes no direct messages."""
    community.harness.discord.world.close_dms("7")
    community.harness.discord.world.add_thread("900", "1")
    return community


def test_a_reminder_asks_and_two_reactions_are_put_under_it(community: Community) -> None:
    with community.requests(create_message=1, add_my_message_reaction=2):
        ended = community.run()
    assert ended.states == ["sent"]
    [message] = community.asking()
    assert message.content.startswith("Hi ada! This is a reminder that you're scheduled to speak")
    assert list(message.reactions.items()) == [(YES, (BOT_ID,)), (NO, (BOT_ID,))]


def test_switched_off_nothing_is_asked_and_nothing_more_is_requested(community: Community) -> None:
    community.harness.settings = replace(community.harness.settings, confirm="off")
    with community.requests(create_message=1):
        community.run()
    assert community.asking() == []
    with community.requests():
        community.later(5)


def test_a_second_run_reads_once_and_sends_nothing(community: Community) -> None:
    community.run()
    with community.requests(get_message=1):
        ended = community.run()
    assert ended.states == ["already_sent"]


@pytest.mark.parametrize(("emoji", "answer"), [(YES, "yes"), (NO, "no")])
def test_in_a_direct_message_a_count_of_two_is_the_speaker(
    community: Community, emoji: str, answer: str
) -> None:
    community.run()
    community.react(emoji)
    with community.requests(get_message=1, **({SENT: 1} if answer == "no" else {})):
        community.run()
    assert community.answer() == answer
    with community.requests():
        community.run()


def test_a_no_counts_whatever_else_there_is(community: Community) -> None:
    community.run()
    community.react(YES)
    community.react(NO)
    community.run()
    assert community.answer() == "no"


def test_what_somebody_else_puts_in_a_thread_counts_nothing(in_thread: Community) -> None:
    in_thread.run()
    for emoji in (YES, NO, "🎉"):
        in_thread.react(emoji, user="8")
    with in_thread.requests(get_message=1, list_message_reactions_by_emoji=2):
        in_thread.run()
    assert in_thread.answer() is None
    in_thread.react(YES)
    with in_thread.requests(get_message=1, list_message_reactions_by_emoji=2):
        in_thread.run()
    assert in_thread.answer() == "yes"


def test_in_a_thread_users_are_read_only_where_somebody_else_has_put_one(
    in_thread: Community,
) -> None:
    in_thread.run()
    with in_thread.requests(get_message=1):
        in_thread.run()
    in_thread.react(NO)
    with in_thread.requests(get_message=1, list_message_reactions_by_emoji=1, create_message=1):
        in_thread.run()
    assert in_thread.answer() == "no"


def test_the_speaker_is_found_among_many(in_thread: Community) -> None:
    in_thread.run()
    for user in range(1000, 1150):
        in_thread.react(YES, user=str(user))
    in_thread.react(YES)
    with in_thread.requests(get_message=1, list_message_reactions_by_emoji=1):
        in_thread.run()
    assert in_thread.answer() == "yes"


def test_other_emoji_count_nothing(community: Community) -> None:
    community.run()
    community.react("👍")
    community.react("white_check_mark:1234567890123456789")
    community.run()
    assert community.answer() is None


def test_missing_reactions_are_put_again(community: Community) -> None:
    community.run()
    message = community.asking()[0]
    message.reactions.pop(YES)
    with community.requests(get_message=1, add_my_message_reaction=1):
        community.run()
    assert set(community.reactions()) == {YES, NO}


def test_the_speaker_counts_where_our_reaction_is_gone(community: Community) -> None:
    community.run()
    community.asking()[0].reactions.clear()
    community.react(YES)
    community.run()
    assert community.answer() == "yes"


def test_who_does_not_answer_is_asked_again_and_then_the_organisers_are_told_once_each(
    community: Community,
) -> None:
    community.run()
    assert community.later(3.9).states == ["already_sent"]
    community.later(0.2)
    assert community.kinds() == ["reminder.day_before", "confirm.again"]
    assert set(community.reactions(1)) == {YES, NO}
    with community.requests(get_message=2):
        community.later(3.8)
    community.later(0.3)
    assert community.kinds() == ["reminder.day_before", "confirm.again", "confirm.escalated"]
    about = f'for their talk about "Kites" on {TALK.date}.'
    assert community.told() == [f"ada has not said yet whether they will be there {about}"]
    with community.requests(get_message=2):
        community.later(1)
    assert len(community.told()) == 1


def test_an_answer_under_the_second_message_counts_as_well(community: Community) -> None:
    community.run()
    community.later(4.1)
    community.react(YES, which=1)
    with community.requests(get_message=2):
        community.later(5)
    assert community.answer() == "yes"
    assert community.told() == []


def test_who_has_confirmed_is_reminded_without_a_question(community: Community) -> None:
    community.run()
    community.react(YES)
    community.later(5)
    community.harness.later(19 * HOUR)
    with community.requests(create_message=1):
        community.run()
    assert community.kinds() == ["reminder.day_before", "reminder.day_of"]
    assert len(community.asking()) == 1


def test_who_cant_make_it_is_asked_for_nothing_more_and_the_organisers_are_told_at_once(
    community: Community,
) -> None:
    community.run()
    community.react(NO)
    community.run()
    [told] = community.told()
    assert told.startswith(f'ada can\'t make it to their talk about "Kites" on {TALK.date}. ')
    for hours in (5, 5, 14):
        with community.requests():
            community.later(hours)
    assert community.kinds() == ["reminder.day_before", "confirm.declined"]


def test_an_answer_holds_for_that_date_only(community: Community) -> None:
    community.run()
    community.react(NO)
    community.run()
    community.harness.store.talks.reschedule("t1", TALK.date + timedelta(days=1))
    community.harness.later(24 * HOUR)
    with community.requests(create_message=1, add_my_message_reaction=2):
        community.run()
    assert len(community.asking()) == 2
    community.react(YES, which=1)
    community.run()
    answers = community.harness.store.answers.about(["t1"])
    assert {key.date: each.answer for key, each in answers.items()} == {
        TALK.date: "no",
        TALK.date + timedelta(days=1): "yes",
    }


def test_whoever_takes_a_talk_over_answers_for_themselves(community: Community) -> None:
    community.run()
    community.react(NO)
    community.harness.known("8", "88")
    community.harness.store.talks.put([replace(TALK, user_id="8", username="bob")])
    with community.requests(create_message=1, add_my_message_reaction=2):
        community.run()
    assert community.told() == []
    community.react(YES, user="8", which=1)
    community.run()
    assert [key.user_id for key in community.harness.store.answers.about(["t1"])] == ["8"]


def test_nothing_is_read_once_the_talk_is_over(community: Community) -> None:
    community.run()
    community.harness.store.talks.put([replace(TALK, starts_at=NOW.time())])
    with community.requests(get_message=1):
        community.run()
    community.harness.later(24 * HOUR)
    with community.requests():
        community.run()


def test_a_cancelled_or_completed_talk_is_not_read(community: Community) -> None:
    community.run()
    community.harness.store.talks.put([replace(TALK, completed=True)])
    with community.requests():
        community.later(5)


def test_an_inbox_cannot_be_answered(community: Community) -> None:
    settings = replace(community.harness.settings, reminder_routes=("dm", "inbox"))
    community.harness.settings = settings
    community.harness.discord.world.close_dms("7")
    assert community.run().states == ["sent"]
    [text] = [each.text for each in community.harness.store.inbox.of(["user:7"])]
    assert "Will you be there" not in text
    with community.requests():
        community.later(5)
    assert community.told() == []


def test_without_a_channel_for_the_organisers_nothing_is_lost(community: Community) -> None:
    settings = community.harness.settings
    community.harness.settings = replace(settings, logs_channel_id=None)
    community.run()
    community.react(NO)
    ended = community.run()
    assert ended.summary is not None
    assert ended.summary.counts.skipped["no_organisers_channel"] == 1
    assert ended.error is None
    community.harness.settings = settings
    community.later(1)
    assert len(community.told()) == 1


class TestTrouble:
    @pytest.mark.parametrize("boundary", ["before discord.put_reaction", "after discord.send"])
    def test_a_run_that_dies_before_it_has_put_its_reactions_is_completed(
        self, community: Community, boundary: str
    ) -> None:
        community.harness.die(boundary, job=JOB)
        community.harness.later(timedelta(minutes=10))
        community.run()
        community.run()
        assert set(community.reactions()) == {YES, NO}
        assert len(community.asking()) == 1

    @pytest.mark.parametrize("boundary", ["before answers.put", "after answers.put"])
    def test_a_run_that_dies_over_an_answer_is_completed(
        self, community: Community, boundary: str
    ) -> None:
        community.run()
        community.react(NO)
        community.harness.die(boundary, job=JOB)
        community.run()
        assert community.answer() == "no"
        assert len(community.told()) == 1

    def test_what_could_not_be_read_is_asked_again_by_no_one(self, community: Community) -> None:
        community.run()
        community.react(YES)
        fault = Fault(kind="error", status=503, on="get_message", times=None)
        community.harness.discord.inject(fault)
        ended = community.later(4.1)
        assert ended.summary is not None
        assert ended.summary.counts.skipped["unread"] == 1
        assert ended.error is None
        assert community.kinds() == ["reminder.day_before"]
        community.harness.discord.clear_faults()
        community.run()
        assert community.answer() == "yes"

    def test_what_can_never_be_read_is_asked_again(self, in_thread: Community) -> None:
        in_thread.run()
        in_thread.harness.discord.world.delete_message(in_thread.asking()[0].id)
        in_thread.later(4.1)
        assert in_thread.kinds() == ["reminder.day_before", "confirm.again"]

    def test_an_outage_loses_nothing(self, community: Community) -> None:
        community.run()
        community.react(NO)
        community.harness.discord.inject(Fault(kind="error", status=503, times=None))
        assert isinstance(community.later(1).error, Unreachable)
        community.harness.discord.clear_faults()
        community.later(1)
        assert len(community.told()) == 1

    def test_reactions_that_may_not_be_put_fail_nobody(self, in_thread: Community) -> None:
        in_thread.harness.discord.world.forbid("900", react=True)
        ended = in_thread.run()
        assert (ended.states, ended.error) == (["sent"], None)
        in_thread.harness.discord.world.forbid("900")
        in_thread.run()
        assert set(in_thread.reactions()) == {YES, NO}

    def test_a_speaker_who_has_blocked_the_bot_stops_nobody(self, community: Community) -> None:
        community.run()
        community.asking()[0].reactions.clear()
        community.harness.discord.world.block_bot("7")
        assert community.run().error is None


def test_who_opted_out_is_not_asked_again_and_the_organisers_are_told(
    community: Community,
) -> None:
    community.run()
    community.harness.store.people.put([Person("p", "7", opted_out=frozenset({"reminders"}))])
    community.later(4.1)
    assert community.kinds() == ["reminder.day_before"]
    community.later(4)
    assert community.kinds() == ["reminder.day_before", "confirm.escalated"]


def test_a_run_that_stays_reads_again_before_it_asks_again(community: Community) -> None:
    with community.requests(create_message=3, add_my_message_reaction=4, get_message=1 + 2):
        community.run(RunOptions(horizon=5 * HOUR))
    assert community.kinds() == ["reminder.day_before", "confirm.again", "confirm.escalated"]


def test_an_answer_that_comes_while_a_run_stays_counts(community: Community) -> None:
    def answer(boundary: str) -> None:
        if boundary == "before discord.reactions":
            community.react(YES)

    community.harness.run_with(answer, job=JOB, options=RunOptions(horizon=9 * HOUR))
    assert community.kinds() == ["reminder.day_before"]
    assert community.answer() == "yes"


def test_a_run_for_one_person_reads_what_that_one_has_answered(community: Community) -> None:
    community.run()
    with community.requests():
        community.run(RunOptions(only="8"))
    with community.requests(get_message=1):
        community.run(RunOptions(only="7"))


def test_a_dry_run_looks_at_nothing_and_says_so(community: Community) -> None:
    community.run()
    community.react(YES)
    community.harness.later(4.1 * HOUR)
    with community.requests():
        ended = community.run(RunOptions(dry_run=True))
    [again] = [each for each in ended.outcomes if each.message.kind == "confirm.again"]
    assert again.state == "planned"
    assert "a dry run does not look" in again.reason
    assert community.answer() is None


def test_a_reminder_that_comes_later_than_the_second_question_stands_for_it(
    community: Community,
) -> None:
    community.run()
    ended = community.later(24)
    sent = sorted(community.kinds())
    assert sent == ["confirm.escalated", "reminder.day_before", "reminder.day_of"]
    assert ended.summary is not None
    assert ended.summary.counts.skipped["overtaken"] == 1
