"""The server's events follow the talks: made, updated and removed, once each, whatever happens."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from threading import Thread
from time import sleep
from zoneinfo import ZoneInfo

import pytest

from jobs.events import JOB
from speakerbot.domain.job_registry import RunOptions
from speakerbot.domain.server_event import EventChange
from speakerbot.domain.talk import Speaker, Talk
from speakerbot.errors import ConfigError, TokenRefused, Unreachable
from speakerbot.ports.store import Talks
from speakerbot.stores import open_store
from speakerbot.testing.discord import (
    BOT_ID,
    NO_LIMITS,
    Fault,
    FaultKind,
    LoopbackClock,
    LoopbackDiscord,
    LoopbackSettings,
    Operation,
    ScheduledEvent,
)
from speakerbot.testing.run_harness import NOW, Ended, RunHarness

GUILD = "900"
HOUR = timedelta(hours=1)
TOKEN = f"{base64.b64encode(BOT_ID.encode()).decode()}.x.y"
ENGINES = Talk(
    "a", "1", "ada", "On engines", date(2026, 11, 21), starts_at=time(18), length=45, room="Hall"
)
KITES = Talk("b", "2", "kaz", "On kites", date(2026, 11, 28), starts_at=time(19))
LISTS: Operation = "list_guild_scheduled_events"
MAKES: Operation = "create_guild_scheduled_event"
UPDATES: Operation = "update_guild_scheduled_event"
REMOVES: Operation = "delete_guild_scheduled_event"


class Community(RunHarness):
    """One with a server, whose talks are those given; a run is one of the events job."""

    def has(self, *talks: Talk) -> None:
        """These talks and no others."""
        for talk in list(self.store.talks.all()):
            if talk.id not in [each.id for each in talks]:
                self.store.talks.delete(talk.id)
        self.store.talks.put(list(talks))

    def keep(self, **options: object) -> Ended:
        return self.run(job=JOB, options=RunOptions(**options))  # type: ignore[arg-type]

    def keep_later(self) -> Ended:
        """Once no claim of an earlier run holds any more."""
        self.later(self.settings.lease + timedelta(seconds=1))
        return self.keep()

    @property
    def events(self) -> list[ScheduledEvent]:
        """Those that people see."""
        return [event for event in self.discord.events if event.is_open]

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]

    def asked(self) -> list[str]:
        """What was asked of Discord since the last time."""
        found = [request.operation for request in self.discord.requests[self._read :]]
        self._read += len(found)
        return found

    _read = 0


@pytest.fixture
def community() -> Iterator[Community]:
    server = LoopbackDiscord(NO_LIMITS, clock=LoopbackClock(NOW))
    with server.running_in_thread() as discord:
        discord.world.use_guild(GUILD)
        store = open_store("sqlite:///:memory:")
        store.prepare()
        community = Community(discord, store)
        community.settings = replace(
            community.settings, guild_id=GUILD, discord_token=TOKEN, node_bot_coexist=False
        )
        yield community
        store.close()


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return NOW.replace(day=day, hour=hour, minute=minute, second=0)


def told(ended: Ended) -> list[tuple[str, str]]:
    return [(change.state, change.text) for change in ended.changes]


def test_each_talk_that_comes_gets_an_event(community: Community) -> None:
    community.has(ENGINES, replace(KITES, link="https://kites.example"))
    ended = community.keep()
    assert told(ended) == [
        ("done", "create event “On engines”"),
        ("done", "create event “On kites”"),
    ]
    first, second = community.events
    assert first.name == "On engines"
    assert first.description == 'ada: "On engines"\n\nspeakerbot:a'
    assert (first.location, first.starts_at, first.ends_at) == ("Hall", at(21, 18), at(21, 18, 45))
    assert second.description == 'kaz: "On kites"\nhttps://kites.example\n\nspeakerbot:b'
    assert second.location == "https://kites.example"
    assert (second.starts_at, second.ends_at) == (at(28, 19), at(28, 20))
    assert community.asked() == [LISTS, MAKES, MAKES]
    assert ended.summary is not None
    assert ended.summary.counts.as_dict()["changes"] == {"created": 2}


def test_a_second_run_does_nothing_and_asks_once(community: Community) -> None:
    community.has(ENGINES, KITES)
    community.keep()
    community.asked()
    for _ in range(2):
        ended = community.keep()
        assert (ended.changes, ended.error) == ([], None)
        assert community.asked() == [LISTS]
    assert len(community.discord.events) == 2


def test_where_nothing_of_ours_can_be_nothing_is_asked(community: Community) -> None:
    started = replace(ENGINES, date=date(2026, 11, 20), starts_at=time(12))
    community.has(started, replace(KITES, starts_at=None))
    ended = community.keep()
    assert (ended.changes, ended.error) == ([], None)
    assert community.asked() == []


def test_the_clock_time_is_that_of_the_community(community: Community) -> None:
    community.settings = replace(community.settings, timezone=ZoneInfo("Europe/Madrid"))
    community.has(ENGINES)
    community.keep()
    assert community.events[0].starts_at == at(21, 17)


MOVED = replace(ENGINES, date=date(2026, 11, 22), starts_at=time(20))
CHANGES = [
    (replace(ENGINES, topic="On looms"), "name, description"),
    (MOVED, "time"),
    (replace(ENGINES, room="Attic"), "place"),
    (replace(ENGINES, length=90), "time"),
    (replace(ENGINES, co_speakers=(Speaker("7", "charles"),)), "description"),
]


@pytest.mark.parametrize(("changed", "fields"), CHANGES)
def test_the_event_follows_its_talk(community: Community, changed: Talk, fields: str) -> None:
    community.has(ENGINES)
    community.keep()
    made = community.events[0].id
    community.has(changed)
    community.asked()
    ended = community.keep()
    assert [change.reason for change in ended.changes] == [f"the talk has another {fields}"]
    assert community.asked() == [LISTS, UPDATES]
    community.keep()
    assert community.asked() == [LISTS]
    (event,) = community.events
    assert event.id == made
    length = timedelta(minutes=changed.length or 60)
    start = changed.start(community.settings.timezone)
    assert start is not None
    assert (event.name, event.location) == (changed.topic, changed.room)
    assert (event.starts_at, event.ends_at) == (start, start + length)


GONE = [
    ([], "the talk was cancelled"),
    ([replace(ENGINES, starts_at=None)], "the talk has no start any more"),
    ([replace(ENGINES, completed=True)], "the talk is marked as completed"),
    ([replace(ENGINES, date=date(2026, 11, 19))], "the talk was moved to the past"),
]


@pytest.mark.parametrize(("talks", "why"), GONE)
def test_the_event_goes_with_its_talk(community: Community, talks: list[Talk], why: str) -> None:
    community.has(ENGINES)
    community.keep()
    community.has(*talks)
    ended = community.keep()
    assert [(c.text, c.state, c.reason) for c in ended.changes] == [
        ("delete event “On engines”", "done", why)
    ]
    assert community.events == []
    community.asked()
    community.keep()
    assert community.asked() == []
    assert list(community.store.server_events.all()) == []


EDITS = [
    {"name": "Engines!"},
    {"description": "Come all."},
    {"location": "Garden"},
    {"starts_at": at(21, 17), "ends_at": at(21, 20)},
]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: next(iter(edit)))
def test_what_a_person_has_edited_stays_and_is_said(
    community: Community, edit: dict[str, object]
) -> None:
    community.has(ENGINES)
    community.keep()
    (event,) = community.events
    community.discord.world.edit_event(event.id, **edit)  # type: ignore[arg-type]
    edited = community.events
    everything = replace(MOVED, topic="On looms", room="Attic", length=90)
    for _ in range(2):
        ended = community.keep()
        assert [change.state for change in ended.changes] == ["left"]
        assert "was edited on the server, and stays" in ended.changes[0].reason
        assert community.events == edited
    community.has(everything)
    community.keep()
    (event,) = community.events
    for name, value in edit.items():
        assert getattr(event, name) == value
    assert (event.name == "On looms") == ("name" not in edit)
    assert (event.location == "Attic") == ("location" not in edit)
    assert (event.starts_at == at(22, 20)) == ("starts_at" not in edit)
    community.asked()
    community.keep()
    assert community.asked() == [LISTS]


def test_an_edit_that_is_undone_is_ours_again(community: Community) -> None:
    community.has(ENGINES)
    community.keep()
    event_id = community.events[0].id
    community.discord.world.edit_event(event_id, location="Garden")
    community.keep()
    community.discord.world.edit_event(event_id, location="Hall")
    assert community.keep().changes == []
    community.has(replace(ENGINES, room="Attic"))
    community.keep()
    assert community.events[0].location == "Attic"


def test_who_edits_the_event_as_the_talk_is_leaves_it_ours(community: Community) -> None:
    community.has(ENGINES)
    community.keep()
    community.discord.world.edit_event(community.events[0].id, location="Attic")
    community.has(replace(ENGINES, room="Attic"))
    assert community.keep().changes == []
    community.has(replace(ENGINES, room="Cellar"))
    community.keep()
    assert community.events[0].location == "Cellar"


def test_an_event_that_a_person_deleted_comes_back_only_when_the_talk_moves(
    community: Community,
) -> None:
    community.has(ENGINES)
    community.keep()
    community.discord.world.delete_event(community.events[0].id)
    ended = community.keep_later()
    assert [change.state for change in ended.changes] == ["left"]
    community.has(replace(ENGINES, room="Attic", topic="On looms"))
    community.keep()
    assert community.events == []
    community.has(MOVED)
    community.keep()
    assert [event.starts_at for event in community.events] == [at(22, 20)]


def test_an_event_that_runs_or_is_over_is_left_alone(community: Community) -> None:
    community.has(ENGINES, KITES)
    community.keep()
    first, second = community.events
    community.discord.world.set_event_status(first.id, "active")
    community.has(replace(MOVED, topic="On looms"), KITES)
    ended = community.keep()
    assert [(change.state, change.reason) for change in ended.changes] == [
        ("left", "it is running")
    ]
    assert community.events[0].name == "On engines"
    community.later(timedelta(days=1, hours=3))
    assert [event.name for event in community.events] == ["On kites"], "the first is over"
    community.keep()
    assert community.names == ["On kites", "On looms"], "it was moved: that is another evening"
    assert community.events[0].id == second.id


def test_a_talk_that_has_begun_keeps_its_event(community: Community) -> None:
    community.has(ENGINES)
    community.keep()
    community.later(timedelta(days=1, hours=2))
    assert [event.status for event in community.events] == ["active"]
    assert community.keep().changes == []
    community.later(timedelta(hours=2))
    assert community.keep().changes == []
    community.asked()
    community.later(timedelta(days=1))
    community.keep()
    assert community.asked() == []
    assert list(community.store.server_events.all()) == []


def test_a_person_who_postponed_the_event_is_not_overruled_when_the_talk_begins(
    community: Community,
) -> None:
    community.has(ENGINES)
    community.keep()
    event_id = community.events[0].id
    community.discord.world.edit_event(event_id, starts_at=at(21, 21), ends_at=at(21, 22))
    community.later(timedelta(days=1, hours=3))
    ended = community.keep()
    assert [(c.state, c.reason) for c in ended.changes] == [
        ("left", "its time was edited on the server")
    ]
    assert community.names == ["On engines"]


def test_events_of_others_are_never_touched(community: Community) -> None:
    world = community.discord.world
    theirs = world.add_event("42", "Party", at(21, 18), at(21, 19), description="speakerbot:a")
    ours = world.add_event(BOT_ID, "By another program", at(21, 18), at(21, 19))
    lost = world.add_event(
        BOT_ID, "Of another store", at(21, 18), at(21, 19), description="Hi\n\nspeakerbot:zzz"
    )
    community.has(ENGINES)
    ended = community.keep()
    assert sorted(told(ended)) == [
        ("done", "create event “On engines”"),
        ("left", "leave event “Of another store”"),
    ]
    kept = [event.id for event in community.events]
    assert {theirs.id, ours.id, lost.id} < set(kept)
    community.has()
    community.keep()
    assert {event.id for event in community.events} == {theirs.id, ours.id, lost.id}


def test_duplicates_are_folded_into_the_oldest(community: Community) -> None:
    community.has(ENGINES)
    community.keep()
    (first,) = community.events
    again = community.discord.world.add_event(
        BOT_ID, "On engines", first.starts_at, first.ends_at, description=first.description
    )
    ended = community.keep()
    assert [(c.text, c.reason) for c in ended.changes] == [
        ("delete event “On engines”", "the talk has an older one")
    ]
    assert [event.id for event in community.events] == [first.id]
    assert again.id != first.id


def test_a_store_that_has_lost_its_memory_takes_up_the_events_there_are(
    community: Community,
) -> None:
    community.has(ENGINES)
    community.keep()
    records = list(community.store.server_events.all())
    community.store.server_events.swap([EventChange("a", records[0], None)])
    assert community.keep().changes == []
    community.has(replace(ENGINES, room="Attic"))
    community.keep()
    (event,) = community.events
    assert event.location == "Attic"


LOST = [
    Fault(kind="lost_response", on=MAKES),
    Fault(kind="error", status=500, on=MAKES, accepted=True),
    Fault(kind="error", status=502, body="html", on=MAKES, accepted=True),
    Fault(kind="error", status=200, body="empty", on=MAKES, accepted=True),
    Fault(kind="error", status=200, body="truncated", on=MAKES, accepted=True),
    Fault(kind="error", status=403, body="html", on=MAKES, accepted=True),
]


@pytest.mark.parametrize("fault", LOST)
def test_a_creation_whose_answer_was_lost_is_looked_for_and_never_made_blindly(
    community: Community, fault: Fault
) -> None:
    community.has(ENGINES)
    community.discord.inject(fault)
    ended = community.keep()
    assert [change.state for change in ended.changes] == ["unknown"]
    assert community.asked().count(MAKES) == 1
    assert community.keep().changes[0].reason == "another run is at it"
    assert community.asked() == [LISTS]
    assert community.keep_later().changes == []
    assert community.asked() == [LISTS]
    assert community.names == ["On engines"]
    community.has(replace(ENGINES, room="Attic"))
    community.keep()
    assert [event.location for event in community.events] == ["Attic"]


@pytest.mark.parametrize("fault", LOST)
def test_one_that_was_not_made_is_made_by_a_later_run(community: Community, fault: Fault) -> None:
    community.has(ENGINES)
    kind = "reset" if fault.kind == "lost_response" else fault.kind
    community.discord.inject(replace(fault, kind=kind, accepted=False))
    community.keep()
    assert community.events == []
    community.keep_later()
    assert community.names == ["On engines"]
    assert len(community.discord.events) == 1


@pytest.mark.parametrize("accepted", [True, False])
def test_an_update_whose_answer_was_lost_is_told_by_the_list(
    community: Community, accepted: bool
) -> None:
    community.has(ENGINES)
    community.keep()
    community.has(replace(ENGINES, room="Attic", topic="On looms"))
    kind: FaultKind = "lost_response" if accepted else "reset"
    community.discord.inject(Fault(kind=kind, on=UPDATES, times=None))
    assert [change.state for change in community.keep().changes] == ["unknown"]
    community.discord.clear_faults()
    community.keep_later()
    (event,) = community.events
    assert (event.location, event.name) == ("Attic", "On looms")
    community.has(replace(ENGINES, room="Cellar", topic="On looms"))
    assert [change.state for change in community.keep().changes] == ["done"], "it is still ours"
    assert community.events[0].location == "Cellar"


def test_nothing_is_written_once_the_claim_may_be_another_runs(community: Community) -> None:
    community.has(ENGINES)
    community.settings = replace(community.settings, lease=timedelta(seconds=1))

    def dawdle(boundary: str) -> None:
        if boundary == "before discord.make_event":
            sleep(1.1)

    ended = community.run_with(dawdle, job=JOB)
    assert [(c.state, c.reason) for c in ended.changes] == [("unknown", "no time was left for it")]
    assert community.asked() == [LISTS]
    community.keep_later()
    assert community.names == ["On engines"]


def test_a_removal_whose_answer_was_lost_is_made_again(community: Community) -> None:
    community.has(ENGINES)
    community.keep()
    community.has()
    community.discord.inject(Fault(kind="lost_response", on=REMOVES))
    community.keep()
    assert community.events == []
    assert community.keep_later().changes == []
    assert list(community.store.server_events.all()) == []


def test_a_list_that_cannot_be_read_leaves_all_as_it_is(community: Community) -> None:
    community.has(ENGINES)
    community.discord.inject(Fault(kind="error", status=503, on=LISTS))
    ended = community.keep()
    assert [(c.state, c.action) for c in ended.changes] == [("failed", "list")]
    assert ended.error is None, "Discord answered another question"
    assert community.events == []
    community.keep()
    assert community.names == ["On engines"]


def test_an_outage_ends_the_run_as_unreachable(community: Community) -> None:
    community.has(ENGINES)
    community.discord.inject(Fault(kind="error", status=503, times=None))
    assert isinstance(community.keep().error, Unreachable)


def test_a_refused_token_ends_the_run(community: Community) -> None:
    community.has(ENGINES)
    community.discord.settings = LoopbackSettings(token="another")
    assert isinstance(community.keep().error, TokenRefused)


def test_a_missing_permission_is_one_loud_line_and_one_request_of_a_kind(
    community: Community,
) -> None:
    community.has(ENGINES)
    community.keep()
    community.discord.world.forbid_events(create=True, manage=True)
    more = [replace(KITES, id=f"k{n}", date=date(2026, 12, n)) for n in range(1, 9)]
    community.has(replace(ENGINES, room="Attic"), *more)
    community.asked()
    ended = community.keep()
    assert isinstance(ended.error, ConfigError)
    assert str(ended.error) == (
        "DISCORD_GUILD_ID 900: the bot may not manage events there: give its role the permissions "
        "Create Events and Manage Events"
    )
    assert community.asked() == [LISTS, UPDATES, MAKES]
    community.discord.world.forbid_events()
    ended = community.keep()
    assert ended.error is None
    assert len(community.events) == 9
    assert community.events[0].location == "Attic"


def test_a_server_that_the_bot_is_not_in_is_an_error_of_the_settings(
    community: Community,
) -> None:
    community.has(ENGINES)
    community.discord.settings = replace(NO_LIMITS, strict=True)
    community.settings = replace(community.settings, guild_id="901")
    ended = community.keep()
    assert isinstance(ended.error, ConfigError)
    assert "DISCORD_GUILD_ID 901: Discord answered 404 10004" in str(ended.error)


def test_without_a_server_there_is_nothing_to_keep(community: Community) -> None:
    community.has(ENGINES)
    community.settings = replace(community.settings, guild_id=None)
    ended = community.keep()
    assert isinstance(ended.error, ConfigError)
    assert "DISCORD_GUILD_ID" in str(ended.error)


def test_one_event_that_is_refused_stops_no_other_and_is_not_tried_again_as_it_is(
    community: Community,
) -> None:
    community.has(ENGINES, KITES)
    community.discord.inject(
        Fault(kind="error", status=400, code=50035, message="Invalid Form Body", on=MAKES)
    )
    ended = community.keep()
    assert [change.state for change in ended.changes] == ["failed", "done"]
    assert ended.error is None
    community.asked()
    ended = community.keep()
    assert [(change.state, change.name) for change in ended.changes] == [("left", "On engines")]
    assert "Invalid Form Body" in ended.changes[0].reason
    assert community.asked() == [LISTS]
    community.has(replace(ENGINES, topic="On looms"), KITES)
    community.keep()
    assert sorted(community.names) == ["On kites", "On looms"]


def test_an_update_that_is_refused_is_not_tried_again_as_it_is(community: Community) -> None:
    community.has(ENGINES)
    community.keep()
    community.has(MOVED)
    community.discord.inject(
        Fault(kind="error", status=400, code=50035, message="Invalid Form Body", on=UPDATES)
    )
    community.keep()
    community.asked()
    assert [change.state for change in community.keep().changes] == ["left"]
    assert community.asked() == [LISTS]
    community.has(replace(MOVED, room="Attic"))
    community.keep()
    assert [(e.starts_at, e.location) for e in community.events] == [(at(22, 20), "Attic")]


def test_an_event_that_is_deleted_while_it_is_updated_stays_deleted(community: Community) -> None:
    community.has(ENGINES)
    community.keep()
    community.has(replace(ENGINES, room="Attic"))
    community.discord.inject(Fault(kind="error", status=404, code=10070, on=UPDATES))
    assert [change.state for change in community.keep().changes] == ["failed"]
    community.discord.world.delete_event(community.events[0].id)
    community.keep_later()
    assert community.events == []


def test_a_server_holds_a_hundred_events_the_next_talks_first(community: Community) -> None:
    world = community.discord.world
    for number in range(5):
        world.add_event("42", f"Party {number}", at(21, 18), at(21, 19))
    first = date(2026, 12, 1)
    talks = [
        replace(KITES, id=f"k{n}", topic=f"Kite {n}", date=first + timedelta(days=n))
        for n in range(1000)
    ]
    community.has(*talks)
    community.settings = replace(community.settings, rate=10_000.0)
    ended = community.keep()
    assert community.asked() == [LISTS, *[MAKES] * 95]
    assert ended.changes[-1].text == "leave event “of 905 more talks”"
    assert ended.error is None
    kites = [event.name for event in community.events if event.creator_id == BOT_ID]
    assert kites == [f"Kite {n}" for n in range(95)]
    community.keep()
    assert community.asked() == [LISTS]
    community.has(*talks[2:])
    community.keep()
    community.keep()
    assert len(community.events) == 100
    assert "Kite 96" in community.names
    assert "Kite 97" not in community.names


def test_where_discord_counts_more_than_it_shows_it_is_asked_once(community: Community) -> None:
    community.has(ENGINES, KITES)
    community.discord.inject(Fault(kind="error", status=400, code=30038, on=MAKES))
    ended = community.keep()
    assert [change.state for change in ended.changes] == ["failed", "failed"]
    assert (community.asked(), ended.error) == ([LISTS, MAKES], None)
    community.keep()
    assert len(community.events) == 2


def test_a_limit_and_a_speaker_narrow_what_is_done(community: Community) -> None:
    community.has(ENGINES, replace(KITES, co_speakers=(Speaker("7", "charles"),)))
    community.keep(limit=0)
    assert community.events == []
    community.keep(only="7")
    assert community.names == ["On kites"]
    community.has(replace(ENGINES, room="Attic"))
    community.keep(limit=1)
    assert community.names == [], "what is removed comes first"
    community.keep(limit=1)
    assert community.names == ["On engines"]


def test_a_dry_run_says_what_would_be_done_from_what_is_remembered(community: Community) -> None:
    community.has(ENGINES, KITES)
    ended = community.keep(dry_run=True)
    assert told(ended) == [
        ("planned", "would create event “On engines”"),
        ("planned", "would create event “On kites”"),
    ]
    assert ended.summary is not None
    assert ended.summary.counts.as_dict()["changes"] == {"to_create": 2}
    community.keep()
    assert community.keep(dry_run=True).changes == []
    community.has(replace(ENGINES, room="Attic"))
    assert told(community.keep(dry_run=True)) == [
        ("planned", "would delete event “On kites”"),
        ("planned", "would update event “On engines”"),
    ]
    community.asked()
    assert community.names == ["On engines", "On kites"]


def test_long_and_strange_texts_fit(community: Community) -> None:
    strange = replace(
        ENGINES,
        id="id with spaces/ä",
        topic="Über *alles* @everyone <:party:1234567890123456789> " + "x" * 3000,
        username="ada" * 200,
        room=" \n" + "r" * 300,
        link="https://example.org/" + "y" * 500,
    )
    community.has(strange)
    assert [change.state for change in community.keep().changes] == ["done"]
    (event,) = community.events
    assert event.name.startswith("Über *alles* @everyone :party: xxx")
    assert len(event.name) <= 100
    assert event.description is not None
    assert len(event.description) <= 1000
    assert event.description.endswith("\n\nspeakerbot:id%20with%20spaces/%C3%A4")
    assert len(event.location) == 100
    assert community.keep().changes == []
    community.has(replace(strange, room=None))
    community.keep()
    assert community.events[0].location == "Discord", "a link that is cut leads nowhere"


def test_a_text_that_is_wrong_changes_no_event_and_ends_with_78(
    community: Community, tmp_path: Path
) -> None:
    community.has(ENGINES)
    community.keep()
    (tmp_path / "event.md").write_text("{{ nothing }}")
    community.settings = replace(community.settings, templates=tmp_path)
    community.has(replace(ENGINES, room="Attic"), KITES)
    ended = community.keep()
    assert isinstance(ended.error, ConfigError)
    assert "event.md, line 1: 'nothing' is unknown" in str(ended.error)
    assert [(change.state, change.name) for change in ended.changes] == [
        ("failed", "On engines"),
        ("failed", "On kites"),
    ]
    assert [event.location for event in community.events] == ["Hall"]
    (tmp_path / "event.md").write_text("{{ topic }} at {{ time }}")
    assert community.keep().error is None
    assert [event.description for event in community.events] == [
        "On engines at 18:00\n\nspeakerbot:a",
        "On kites at 19:00\n\nspeakerbot:b",
    ]


def test_a_talk_that_cannot_be_read_keeps_its_event(community: Community) -> None:
    community.has(ENGINES)
    community.keep()
    hidden = Hidden(community.store.talks)
    community.store.talks = hidden  # type: ignore[assignment]
    ended = community.keep()
    assert [(c.state, c.reason) for c in ended.changes] == [
        ("left", "its talk cannot be read: its date is a letter")
    ]
    assert community.names == ["On engines"]


def test_a_talk_that_one_look_did_not_find_keeps_its_event(community: Community) -> None:
    """Somebody was replacing its document at that moment."""
    community.has(ENGINES)
    community.keep()
    community.store.talks = Missed(community.store.talks)  # type: ignore[assignment]
    ended = community.keep()
    assert [(c.state, c.reason) for c in ended.changes] == [("left", "its talk was being changed")]
    assert community.names == ["On engines"]


class Missed:
    """Talks that are found one by one only."""

    def __init__(self, talks: Talks) -> None:
        self._talks = talks

    def by_ids(self, _ids: object) -> dict[str, Talk]:
        return {}

    def __getattr__(self, name: str) -> object:
        return getattr(self._talks, name)


class Hidden:
    """Talks, all of which somebody's hand has made unreadable."""

    def __init__(self, talks: object) -> None:
        self._talks = talks

    def between(self, *_: object) -> Iterator[Talk]:
        return iter(())

    def by_ids(self, _ids: object) -> dict[str, Talk]:
        return {}

    def why_hidden(self, _talk_id: str) -> str:
        return "its date is a letter"


def test_which_bot_we_are_is_asked_only_where_the_token_does_not_say(
    community: Community,
) -> None:
    community.settings = replace(community.settings, discord_token="another-shape")
    community.has(ENGINES)
    community.keep()
    community.asked()
    community.keep()
    assert community.asked() == [LISTS, "get_my_user"]


BETWEEN = [
    "before server_events.swap",
    "after server_events.swap",
    "before discord.make_event",
    "after discord.make_event",
    "before discord.update_event",
    "after discord.update_event",
    "before discord.remove_event",
    "after discord.remove_event",
]


@pytest.mark.parametrize("boundary", BETWEEN)
def test_of_two_runs_at_once_one_makes_each_change(community: Community, boundary: str) -> None:
    """Another run begins and ends while this one stands at the boundary."""
    gone = replace(KITES, id="c", topic="On looms")
    community.has(ENGINES, gone)
    community.keep()
    community.later(community.settings.lease * 2)
    community.has(replace(ENGINES, room="Attic"), KITES)
    beside: list[Ended] = []

    def reached(name: str) -> None:
        if name == boundary and not beside:
            other = Thread(target=lambda: beside.append(community.keep()))
            beside.append(Ended())
            other.start()
            other.join()

    community.run_with(reached, job=JOB)
    assert len(beside) == 2
    community.keep_later()
    assert sorted((event.name, event.location) for event in community.events) == [
        ("On engines", "Attic"),
        ("On kites", "Discord"),
    ]
    assert len(community.discord.events) == 3, "none was made twice"
    assert community.keep().changes == []


@pytest.mark.parametrize("boundary", BETWEEN)
def test_a_run_that_dies_anywhere_is_completed_by_a_later_one(
    community: Community, boundary: str
) -> None:
    community.has(ENGINES, replace(KITES, id="c"))
    community.keep()
    community.later(community.settings.lease * 2)
    community.has(replace(ENGINES, room="Attic"), KITES)
    community.die(boundary, job=JOB)
    community.keep_later()
    assert sorted((event.name, event.location) for event in community.events) == [
        ("On engines", "Attic"),
        ("On kites", "Discord"),
    ]
    assert len(community.discord.events) == 3, "none was made twice"
    community.asked()
    assert community.keep().changes == []
    assert community.asked() == [LISTS]
