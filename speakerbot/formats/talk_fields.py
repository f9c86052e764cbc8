"""The fields of a talk in files: their names, which are the Node bot's, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, time
from typing import Any, NamedTuple

from speakerbot.clock import parse_clock_time
from speakerbot.domain.talk import Speaker, talk_length, talk_link
from speakerbot.formats.dates import midnight, read_clock, read_length
from speakerbot.formats.extended import instant_of, iso, parse_instant, relaxed
from speakerbot.formats.ids import discord_id, talk_id
from speakerbot.formats.spreadsheet import Column, Columns

TRUE, FALSE = ("true", "1", "yes"), ("false", "0", "no")


@dataclass(frozen=True, slots=True)
class TalkEntry:
    """One talk as a file gives it; what the file leaves out or empty is not among ``values``."""

    place: str
    values: Mapping[str, Any]
    """By the names of ``Talk``'s fields; always with user_id, username, topic and date."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    """What the file calls its fields, where it does not use their names."""

    def title(self, name: str) -> str:
        return self.titles.get(name, name)


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    """In a document; dotted inside a subdocument."""
    attribute: str
    """Of :class:`speakerbot.domain.talk.Talk`."""
    from_json: Callable[[Any], Any]
    from_cell: Callable[[str], Any]
    to_cell: Callable[[Any], str] = str
    required: bool = False
    title: str = ""
    """How people call its column in a sheet."""
    spellings: tuple[str, ...] = ()

    @property
    def column(self) -> Column:
        return Column(self.name, self.title or self.name, self.spellings, self.required)


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a text, not {_kind(value)}")
    if "\0" in value:
        raise ValueError("holds a zero byte")
    return value


def day(value: Any) -> date:
    """The day of a date that must be midnight in UTC."""
    return midnight(instant_of(value))


def clock(value: Any) -> time:
    return parse_clock_time(text(value))


def minutes(value: Any) -> int:
    if isinstance(value, dict):
        value = relaxed(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"must be a whole number of minutes, not {_kind(value)}")
    return talk_length(value)


def link(value: Any) -> str:
    return talk_link(text(value))


def speakers(value: Any) -> tuple[Speaker, ...]:
    """Of a list of documents with ``userId`` and ``username``."""
    if not isinstance(value, list):
        raise ValueError(f"must be a list, not {_kind(value)}")
    return tuple(_speaker(number, each) for number, each in enumerate(value, 1))


def _speaker(number: int, value: Any) -> Speaker:
    if not isinstance(value, dict) or not {"userId", "username"} <= value.keys():
        raise ValueError(f"speaker {number}: must be a document with userId and username")
    try:
        return Speaker(discord_id(value["userId"]), text(value["username"]))
    except ValueError as problem:
        raise ValueError(f"speaker {number}: {problem}") from problem


def truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {_kind(value)}")
    return value


def truth_cell(cell: str) -> bool:
    word = cell.strip().lower()
    if word not in TRUE + FALSE:
        raise ValueError(f"{cell!r} is neither true nor false")
    return word in TRUE


def talk_id_cell(cell: str) -> str:
    return talk_id(cell.strip())


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return "a text"
        case dict() | list():
            return "a document" if isinstance(value, dict) else "a list"
    return "a number"


def _instant(name: str, attribute: str) -> Field:
    return Field(name, attribute, instant_of, parse_instant, iso)


FIELDS = (
    Field("_id", "id", talk_id, talk_id_cell, title="Talk ID"),
    Field(
        "discordUserId", "user_id", discord_id, discord_id, required=True,
        title="Discord ID",
        spellings=(
            "user id", "discord user id", "discord", "speaker id", "speaker discord id",
            "speaker 1 id",
        ),
    ),
    Field(
        "discordUsername", "username", text, text, required=True,
        title="Speaker",
        spellings=(
            "speaker 1", "speaker name", "name", "username", "discord name", "discord username",
            "presenter",
        ),
    ),
    Field(
        "topic", "topic", text, text, required=True,
        title="Title",
        spellings=("talk", "talk title", "session", "session title", "subject"),
    ),
    Field(
        "scheduledDate", "date", day, text, date.isoformat, required=True,
        title="Date",
        spellings=("day", "talk date", "when"),
    ),
    Field(
        "speakerbot.startsAt", "starts_at", clock, read_clock, lambda at: f"{at:%H:%M}",
        title="Start time",
        spellings=("startsAt", "starts_at", "start", "starts", "time", "begin", "begins"),
    ),
    Field(
        "speakerbot.length", "length", minutes, read_length,
        title="Length",
        spellings=("duration", "minutes", "length in minutes", "length min", "duration min"),
    ),
    Field(
        "speakerbot.room", "room", text, text,
        title="Room",
        spellings=("place", "location", "venue", "stage"),
    ),
    Field(
        "speakerbot.link", "link", link, link,
        title="Link",
        spellings=("url", "address", "stream", "video", "meeting link"),
    ),
    Field("speakerbot.sourceId", "source_id", text, text, title="Source ID"),
    _instant("bookingTimestamp", "booked_at"),
    Field(
        "talkCompleted", "completed", truth, truth_cell, lambda done: str(done).lower(),
        title="Completed",
        spellings=("done",),
    ),
    Field("threadId", "thread_id", discord_id, discord_id, title="Thread ID"),
    Field("schedulerUserId", "scheduler_user_id", discord_id, discord_id),
    Field("schedulerUsername", "scheduler_username", text, text),
    _instant("reminders.sentTminus1At", "sent_tminus1_at"),
    _instant("reminders.sentDayOfAt", "sent_day_of_at"),
)  # fmt: skip
"""Those that are one cell each. A date's is read as a text here, and by its whole column in the
end."""
CO_SPEAKERS = Field(
    "speakerbot.speakers",
    "co_speakers",
    speakers,
    text,
    lambda found: ", ".join(f"{each.username} ({each.user_id})" for each in found),
)
"""In a document; in a sheet each has two columns."""
ALL_FIELDS = (*FIELDS, CO_SPEAKERS)
BY_NAME = {field.name: field for field in ALL_FIELDS}
REQUIRED = tuple(field.name for field in FIELDS if field.required)
SUBDOCUMENTS = ("reminders", "speakerbot")
DATE, STARTS_AT = "scheduledDate", "speakerbot.startsAt"


class SpeakerColumns(NamedTuple):
    """The two columns of a co-speaker, by the names of their fields."""

    name: str
    id: str


MOST_SPEAKERS = 9
SPEAKER_COLUMNS = tuple(
    SpeakerColumns(f"speaker{number}", f"speaker{number}_id")
    for number in range(2, MOST_SPEAKERS + 1)
)


def columns_of_speakers() -> Iterator[Column]:
    for number, (name, identifier) in enumerate(SPEAKER_COLUMNS, 2):
        yield Column(name, f"Speaker {number}", (f"speaker {number} name",))
        yield Column(
            identifier,
            f"Speaker {number} ID",
            (f"speaker {number} discord id", f"discord id {number}", f"user id {number}"),
        )


COLUMNS = Columns(
    [*(field.column for field in FIELDS), *columns_of_speakers()],
    reserved=SUBDOCUMENTS,
)
ID_COLUMNS = (
    *(field.name for field in FIELDS if field.from_cell is discord_id),
    *(pair.id for pair in SPEAKER_COLUMNS),
)
