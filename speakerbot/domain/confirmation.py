"""Whether speakers will be there: what they answer to the question under a reminder.

An answer belongs to a talk, a speaker and a date: one who confirmed is asked again once the talk
has moved, and whoever takes it over has not answered yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

from speakerbot.domain.delivery import DeliveryState
from speakerbot.domain.message import DISCORDS_ROUTES
from speakerbot.domain.service_request import NoResponse, PutReaction, Reactions, ReadReactions

if TYPE_CHECKING:
    from speakerbot.domain.delivery import Delivery
    from speakerbot.domain.talk import Talk

YES, NO = "✅", "❌"
KIND = "confirm"
"""Of the answers to "will you be there?"; there may be other questions."""
AGAIN, ESCALATED, DECLINED = "confirm.again", "confirm.escalated", "confirm.declined"
"""The messages that an answer, or none, leads to: the question once more, and to the organisers
that somebody has not answered, or can't make it."""

Word = Literal["yes", "no"]


class AnswerKey(NamedTuple):
    """What was asked, about what, whom."""

    kind: str
    talk_id: str
    user_id: str
    """Their Discord id."""
    date: date
    """The talk's, when it was asked."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A speaker's answer. It stays, but for a yes that becomes a no."""

    kind: str
    talk_id: str
    user_id: str
    date: date
    answer: Word
    at: datetime
    """Decision time (UTC) of the run that has read it."""

    @property
    def key(self) -> AnswerKey:
        return AnswerKey(self.kind, self.talk_id, self.user_id, self.date)


Answers = Mapping[AnswerKey, Answer]


WORDS: Mapping[Word, str] = {"yes": "confirmed", "no": "can't make it"}


def answers_of(talk: Talk, answers: Answers) -> dict[str, Word]:
    """What its speakers have answered for its present date, by user id; who has not is left out."""
    keys = (AnswerKey(KIND, talk.id, each.user_id, talk.date) for each in talk.speakers)
    return {key.user_id: answers[key].answer for key in keys if key in answers}


def in_words(talk: Talk, answers: Answers) -> str:
    """The same for people: ``confirmed``, ``ada confirmed, grace can't make it``; empty where
    there is no answer yet."""
    given = answers_of(talk, answers)
    if len(talk.speakers) == 1:
        return "".join(WORDS[word] for word in given.values())
    named = {each.user_id: each.username for each in talk.speakers}
    return ", ".join(f"{named[user_id]} {WORDS[word]}" for user_id, word in given.items())


@dataclass(frozen=True, slots=True)
class Question:
    """A message that asks whether its reader will be there, where people can react to it."""

    at: datetime
    """Decision time of the run that has sent it, in UTC."""
    channel_id: str
    message_id: str
    """Both are empty where it is not known which message it is: in a preview, or where the answer
    to its sending was lost."""
    user_id: str
    direct: bool
    """Only we two can see it."""

    @property
    def read(self) -> ReadReactions:
        """What tells whether it is answered."""
        return ReadReactions(
            self.channel_id, self.message_id, self.user_id, (YES, NO), direct=self.direct
        )

    def missing(self, found: Reactions | NoResponse) -> list[PutReaction]:
        """Those of our reactions that are not there: both of a message that is new."""
        ours = found.ours if isinstance(found, Reactions) else frozenset()
        return [
            PutReaction(self.channel_id, self.message_id, emoji)
            for emoji in (YES, NO)
            if emoji not in ours
        ]


def note(at: datetime) -> str:
    """What the record of a message keeps of its asking, at this decision time."""
    return json.dumps({"asked_at": at.isoformat()})


def question(record: Delivery | None, user_id: str) -> Question | None:
    """The question that a message to this user has asked; None where it has not arrived, did not
    ask, or cannot be answered, as one in an inbox."""
    if record is None or record.state != DeliveryState.SENT:
        return None
    if record.route not in DISCORDS_ROUTES:
        return None
    try:
        at = datetime.fromisoformat(json.loads(record.note)["asked_at"]).astimezone(UTC)
    except (ValueError, TypeError, LookupError):
        return None
    direct = record.route == "dm"
    return Question(at, record.channel_id, record.message_id, user_id, direct)


def said(found: Sequence[Reactions | NoResponse]) -> Word | None:
    """What the reactions under all messages that ask say; a no counts whatever else there is."""
    theirs = {emoji for each in found if isinstance(each, Reactions) for emoji in each.theirs}
    return "no" if NO in theirs else "yes" if YES in theirs else None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """How far one speaker of one talk has come with the question, on its present date."""

    asked: Sequence[Question] = ()
    """By reminders, the first one first."""
    asked_again: Question | None = None
    escalated: bool = False
    """The organisers have been told that they have not answered."""
    answer: Answer | None = None
    """The one that is written down."""
    said: Word | None = None
    """What was read just now, and may not be written down yet."""
    unread: bool = False
    """What they have answered could not be read just now, and may be in a while."""
    looked: bool = True
    """False where the reactions were not read, as in a dry run."""

    @property
    def questions(self) -> Sequence[Question]:
        """All whose answers can be read."""
        everything = (*self.asked, self.asked_again)
        return [each for each in everything if each and each.channel_id and each.message_id]

    @property
    def word(self) -> Word | None:
        """Their answer, if they have given one."""
        return self.answer.answer if self.answer else self.said

    def again_at(self, after: timedelta) -> datetime | None:
        """When whoever has not answered is asked again; None where no question was sent."""
        return self.asked[0].at + after if self.asked else None

    def escalated_at(self, after: timedelta) -> datetime | None:
        """As long again after that."""
        again = self.asked_again.at if self.asked_again else self.again_at(after)
        return again + after if again else None

    def falls_due(self, now: datetime, after: timedelta) -> bool:
        """Whether something is to be sent now because they have not answered."""
        again_at, escalated_at = self.again_at(after), self.escalated_at(after)
        again = self.asked_again is None and again_at is not None and again_at <= now
        return again or (not self.escalated and escalated_at is not None and escalated_at <= now)

    def follow_ups(self, after: timedelta) -> Iterator[tuple[str, datetime]]:
        """What their answer, or none, leads to: kinds of messages, and when each is due."""
        if self.word == "no":
            at = self.answer.at if self.answer else self.asked[0].at
            yield DECLINED, at
            return
        again_at, escalated_at = self.again_at(after), self.escalated_at(after)
        if self.word is None and again_at and escalated_at:
            yield AGAIN, again_at
            yield ESCALATED, escalated_at

    def reason(self, kind: str) -> str:
        """Why a message of this kind is sent, for people."""
        if kind == DECLINED:
            return "the speaker has said that they can't make it"
        if not self.asked:
            return "the speaker has not answered"
        asked = f"the speaker was asked at {self.asked[0].at:%F %H:%M} UTC"
        if not self.looked:
            return f"{asked}, unless they have answered since (a dry run does not look)"
        return f"{asked} and has not answered"
