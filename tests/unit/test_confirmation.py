"""What reactions say, when who is asked again, and which messages can be answered."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from speakerbot.domain.confirmation import (
    AGAIN,
    DECLINED,
    ESCALATED,
    KIND,
    NO,
    YES,
    Answer,
    Confirmation,
    Question,
    answers_of,
    in_words,
    note,
    question,
    said,
)
from speakerbot.domain.delivery import Delivery, DeliveryState
from speakerbot.domain.service_request import (
    NOT_ASKED,
    NoResponse,
    PutReaction,
    Reactions,
    ReadReactions,
)
from speakerbot.domain.talk import Speaker, Talk

AT = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
FOUR = 4 * HOUR
ASKED = Question(AT, "77", "1001", "7", direct=True)
SENT = Delivery(
    "reminder.day_of/talk:t1/user:7/2026-11-21T16:00", "reminder.day_of", "user:7",
    DeliveryState.SENT, "r", "run", AT, AT + 9 * HOUR, AT, AT, route="dm", target="7",
    channel_id="77", message_id="1001", note=note(AT),
)  # fmt: skip


def put(*theirs: str, ours: str = YES + NO) -> Reactions:
    return Reactions(frozenset(ours), frozenset(theirs))


@pytest.mark.parametrize(
    ("found", "word"),
    [
        ([], None),
        ([put()], None),
        ([NOT_ASKED, NoResponse("gone"), put()], None),
        ([put(YES)], "yes"),
        ([put(NO)], "no"),
        ([put(YES, NO)], "no"),
        ([put(YES), put(NO)], "no"),
        ([put(NO), put(YES)], "no"),
        ([put(YES), NoResponse("gone")], "yes"),
    ],
)
def test_a_no_under_any_message_counts_whatever_else_there_is(
    found: list[Reactions | NoResponse], word: str | None
) -> None:
    assert said(found) == word


def test_a_message_that_was_sent_and_asked_can_be_answered() -> None:
    assert question(SENT, "7") == ASKED
    assert question(SENT._replace(route="thread"), "7") == replace(ASKED, direct=False)
    assert ASKED.read == ReadReactions("77", "1001", "7", (YES, NO), direct=True)


@pytest.mark.parametrize(
    "record",
    [
        None,
        SENT._replace(state=DeliveryState.CLAIMED),
        SENT._replace(state=DeliveryState.FAILED),
        SENT._replace(route="inbox"),
        SENT._replace(note=""),
        SENT._replace(note="[]"),
        SENT._replace(note='{"asked_at": "soon"}'),
        SENT._replace(note='{"asked_at": 5}'),
    ],
)
def test_no_other_can_be(record: Delivery | None) -> None:
    assert question(record, "7") is None


def test_of_our_reactions_those_are_put_that_are_missing_yes_first() -> None:
    assert ASKED.missing(put(ours=YES + NO)) == []
    assert ASKED.missing(put(ours=YES)) == [PutReaction("77", "1001", NO)]
    both = [PutReaction("77", "1001", YES), PutReaction("77", "1001", NO)]
    assert ASKED.missing(NOT_ASKED) == ASKED.missing(put(ours="")) == both


def follow_ups(confirmed: Confirmation) -> list[tuple[str, datetime]]:
    return list(confirmed.follow_ups(FOUR))


def test_the_second_question_counts_from_the_first_and_the_organisers_from_the_second() -> None:
    later = replace(ASKED, at=AT + 2 * HOUR)
    assert follow_ups(Confirmation()) == []
    assert follow_ups(Confirmation([ASKED, later])) == [
        (AGAIN, AT + FOUR),
        (ESCALATED, AT + 2 * FOUR),
    ]
    again = replace(ASKED, at=AT + 6 * HOUR)
    assert follow_ups(Confirmation([ASKED], again)) == [
        (AGAIN, AT + FOUR),
        (ESCALATED, AT + 10 * HOUR),
    ]


def test_an_answer_ends_it_and_a_no_is_told_from_when_it_was_read() -> None:
    yes = Answer(KIND, "t1", "7", date(2026, 11, 21), "yes", AT + HOUR)
    no = replace(yes, answer="no")
    assert follow_ups(Confirmation([ASKED], answer=yes)) == []
    assert follow_ups(Confirmation([ASKED], said="yes")) == []
    assert follow_ups(Confirmation([ASKED], answer=no)) == [(DECLINED, AT + HOUR)]
    assert follow_ups(Confirmation([ASKED], said="no")) == [(DECLINED, AT)]


@pytest.mark.parametrize(
    ("hours", "again", "escalated", "due"),
    [
        (3.9, False, False, False),
        (4, False, False, True),
        (4, True, False, False),
        (8, True, False, True),
        (8, True, True, False),
    ],
)
def test_a_run_that_stays_reads_again_what_it_is_to_write_about(
    hours: float, again: bool, escalated: bool, due: bool
) -> None:
    second = replace(ASKED, at=AT + FOUR) if again else None
    confirmed = Confirmation([ASKED], second, escalated=escalated)
    assert confirmed.falls_due(AT + hours * HOUR, FOUR) == due


def test_what_is_not_known_of_a_message_cannot_be_read() -> None:
    lost = replace(ASKED, channel_id="", message_id="")
    assert list(Confirmation([ASKED, lost], lost).questions) == [ASKED]
    assert follow_ups(Confirmation([lost]))[0] == (AGAIN, AT + FOUR)


def test_answers_in_words() -> None:
    talk = Talk("t1", "7", "ada", "Kites", date(2026, 11, 21))
    both = replace(talk, co_speakers=(Speaker("8", "grace"), Speaker("9", "edsger")))
    yes = Answer(KIND, "t1", "7", talk.date, "yes", AT)
    no = replace(yes, user_id="8", answer="no")
    earlier = replace(yes, user_id="9", date=date(2026, 11, 20))
    answers = {each.key: each for each in (yes, no, earlier)}
    assert in_words(talk, answers) == "confirmed"
    assert in_words(talk, {}) == in_words(both, {}) == ""
    assert in_words(both, answers) == "ada confirmed, grace can't make it"
    assert answers_of(both, answers) == {"7": "yes", "8": "no"}
