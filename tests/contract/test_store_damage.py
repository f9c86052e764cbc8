"""Documents that people's hands or other programs have spoilt: only what cannot be read is lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import bson
import pytest
from bson import Binary, Decimal128, Int64, ObjectId
from bson.raw_bson import RawBSONDocument
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient
from pymongo.errors import WriteError
from structlog.testing import capture_logs

from speakerbot.domain.calendar_entry import CalendarEntry
from speakerbot.domain.confirmation import Answer
from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState, standing
from speakerbot.domain.inbox import InboxMessage
from speakerbot.domain.occurrence import OccurrenceRecord, OccurrenceStanding
from speakerbot.domain.person import Person, QuietHours
from speakerbot.domain.run import Run
from speakerbot.domain.server_event import EventChange, EventDetails, EventRecord
from speakerbot.domain.talk import Speaker, Talk
from speakerbot.domain.talk_changes import ChangeRules, step
from speakerbot.ports.store import Breaker, FlagWrite, Store
from speakerbot.stores import open_store
from speakerbot.stores.reading import kind_of

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
DAY = NOW.date()
OID = ObjectId("f861ce589fa43569bb7c3f1a")
SPOILT = Talk(
    str(OID), "1", "ada", "Engines", DAY, NOW, "77", starts_at=time(19, 30), extra={"note": "x"}
)
SOUND = Talk("5f0000000000000000000001", "2", "bob", "Bots", DAY + timedelta(days=1), NOW)
ADA = Person(
    "p1", "1", "Ada", "Europe/Berlin", frozenset({"reminders"}), QuietHours(time(22), time(7))
)
BOB = Person("p2", "2", "Bob", opted_out=frozenset({"changes"}))


def delivery(name: str, **values: Any) -> Delivery:
    key = f"reminder/talk:{name}/user:1/2026"
    made = Delivery(
        key, "reminder", "user:1", DeliveryState.CLAIMED, f"{name}1", "run", NOW, LATER, NOW, NOW,
        lease_until=LATER, unconfirmed_since=NOW, text="Hi",
    )  # fmt: skip
    return made._replace(**values)


def message(name: str) -> InboxMessage:
    return InboxMessage(f"reminder/{name}/user:1/2026", "user:1", "Hi", NOW)


GRACE = {"userId": "2", "username": "grace"}
WITH_GRACE = replace(SPOILT, co_speakers=(Speaker("2", "grace"),))


def event(name: str) -> EventRecord:
    shown = EventDetails("name", "text", "Hall", NOW, LATER)
    return EventRecord(name, "1", NOW, "55", shown, shown, shown, "refused")


def entry_of(talk: Talk) -> CalendarEntry:
    shown = talk.date, talk.starts_at, talk.topic, talk.username
    return CalendarEntry(talk.id, 0, *shown, False, NOW)


def answer(talk_id: str) -> Answer:
    return Answer("confirm", talk_id, "1", DAY, "yes", NOW)


def fill(store: Store) -> None:
    """One noun of each kind that will be spoilt, and one that stays sound."""
    store.talks.put([SPOILT, SOUND])
    store.people.put([ADA, BOB])
    store.ledger.swap(
        [DeliveryChange(None, delivery("spoilt")), DeliveryChange(None, delivery("sound"))]
    )
    store.inbox.put(message("spoilt"))
    store.inbox.put(message("sound"))
    store.answers.put([answer("spoilt"), answer("sound")])
    for name in ("spoilt", "sound"):
        store.server_events.swap([EventChange(name, None, event(name))])
    store.runs.put(Run("r1", "weekly", NOW, NOW))
    store.runs.put(Run("r2", "weekly", NOW, LATER))
    for at in (NOW, LATER):
        store.occurrences.swap(
            "hourly",
            None,
            OccurrenceRecord(at, OccurrenceStanding.RUNNING, LATER, revision=f"{at}"),
        )
    store.snapshots.take(NOW)
    store.calendar.advance([(None, entry_of(SPOILT)), (None, entry_of(SOUND))])
    store.limits.reserve("b", "all", NOW, 1.0, 1, ahead=0)
    store.limits.set_breaker("b", "spoilt", Breaker(LATER, "why"))
    store.limits.set_breaker("b", "sound", Breaker(LATER, "why"))
    store.limits.remember_dms("b", {"1": "11", "2": "22"})
    store.guilds.set_channel("g1", "1", "by", NOW)
    store.guilds.set_channel("g2", "2", "by", NOW)


def ask_everything(store: Store) -> None:
    """Whatever is spoilt elsewhere, what is sound is found, and nothing raises."""
    for talks in (store.talks.all(), store.talks.between(DAY, DAY + timedelta(days=7))):
        assert SOUND in list(talks)
    store.talks.get(SPOILT.id)
    list(store.talks.by_source(""))
    assert BOB in list(store.people.all())
    assert store.people.by_users(["1", "2"])["2"] == BOB
    store.people.get("1")
    sound = delivery("sound")
    for found in (
        store.ledger.list(),
        store.ledger.list(state="claimed"),
        store.ledger.find("user:1"),
        store.ledger.find("talk:sound"),
        store.ledger.get([sound.key, delivery("spoilt").key]).values(),
    ):
        assert sound in list(found)
    assert store.ledger.counts(since=NOW)["claimed"] >= 1
    store.ledger.prune(NOW - timedelta(days=900))
    for unread_only in (False, True):
        assert message("sound") in list(store.inbox.of(["user:1"], unread_only=unread_only))
    both = store.inbox.get([message("sound").key, message("spoilt").key])
    assert message("sound") in both.values()
    store.inbox.put(message("spoilt"))
    assert store.inbox.mark_read(["user:1"], message("sound").id, NOW) == 1
    assert store.inbox.forget_before(NOW) in (0, 1)
    assert answer("sound") in store.answers.about(["spoilt", "sound"]).values()
    store.answers.put([answer("spoilt")])
    assert event("sound") in list(store.server_events.all())
    store.server_events.swap([EventChange("spoilt", None, event("spoilt"))])
    assert store.answers.forget_before(DAY) in (0, 1)
    for runs in (store.runs.list(), store.runs.list(job="weekly")):
        assert "r2" in [run.id for run in runs]
    store.runs.get("r1")
    store.occurrences.get("hourly", NOW)
    assert SOUND.id in [entry.talk_id for entry in store.snapshots.all()]
    for pairs in (store.snapshots.differing(), store.snapshots.pending()):
        assert SOUND.id not in [pair.key[0] for pair in pairs]
    assert entry_of(SOUND) in list(store.calendar.all())
    assert SOUND not in [talk for talk, _ in store.calendar.differing()]
    store.calendar.get(SPOILT.id)
    assert store.limits.breakers("b")["sound"] == Breaker(LATER, "why")
    assert store.limits.dm_channels("b", ["1", "2"])["2"] == "22"
    store.limits.reserve("b", "all", NOW, 1.0, 1, ahead=0)
    assert "g2" in [guild["guildId"] for guild in store.guilds.all()]
    store.guilds.channel("g1")
    claim = FlagWrite(SPOILT.id, "sentDayOfAt", None, NOW)
    store.talks.write_flags([claim])


GARBAGE: Sequence[Any] = (
    None, "", 0, [], {}, "soon", "https://discord.com/channels/1/2", True, -1, 1.5, float("nan"),
    ["x", 5], {"a": {"b": 1}}, datetime(9999, 12, 31, tzinfo=UTC), [NOW], Int64(2**62),
)  # fmt: skip
garbage = st.recursive(
    st.sampled_from(GARBAGE)
    | st.text(max_size=20)
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.datetimes(timezones=st.just(UTC)).map(lambda at: at.replace(microsecond=0))
    # No regular expressions: the stand-in for MongoDB cannot compare them.
    | st.sampled_from([ObjectId(), Binary(b"\x00\xff"), Decimal128("1.5")]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["sentDayOfAt", "startsAt", "date", "x"]), inner)
    ),
    max_leaves=5,
)
SPOILT_DOCUMENTS = {
    "scheduledspeakers": {"_id": OID},
    "speakerbot_people": {"_id": "p1"},
    "speakerbot_deliveries": {"_id": delivery("spoilt").key},
    "speakerbot_inbox": {"_id": message("spoilt").key},
    "speakerbot_answers": {"talk_id": "spoilt"},
    "speakerbot_server_events": {"_id": "spoilt"},
    "speakerbot_runs": {"_id": "r1"},
    "speakerbot_occurrences": {"_id": "hourly/2026-11-20T16:05Z"},
    "speakerbot_snapshot": {"talk_id": SPOILT.id},
    "speakerbot_calendar": {"_id": SPOILT.id},
    "speakerbot_limits": {"_id": {"$in": ["breaker/b/spoilt", "slot/b/all"]}},
    "speakerbot_dm_channels": {"_id": "b/1"},
    "guildsettings": {"guildId": "g1"},
}
FIELDS = {
    "scheduledspeakers": (
        "discordUserId", "discordUsername", "topic", "scheduledDate", "bookingTimestamp",
        "threadId", "talkCompleted", "schedulerUserId", "schedulerUsername", "reminders",
        "reminders.sentDayOfAt", "reminders.sentTminus1At", "speakerbot", "speakerbot.startsAt",
        "__v", "note",
    ),
    "speakerbot_people": (
        "discord_user_id", "name", "timezone", "opted_out", "quiet_hours", "routes", "extra",
        "revision",
    ),
    "speakerbot_deliveries": (*Delivery._fields[1:], "subject"),
    "speakerbot_inbox": (
        "id", "recipient", "text", "created_at", "read_at", "put_by", "read_by",
    ),
    "speakerbot_answers": ("kind", "talk_id", "user_id", "date", "answer", "at"),
    "speakerbot_server_events": (
        "revision", "at", "event_id", "written", "stands", "writing", "refused", "written.name",
        "stands.starts_at",
    ),
    "speakerbot_runs": (
        "job", "now", "started_at", "finished_at", "outcome", "schedule", "occurrence", "counts",
        "error",
    ),
    "speakerbot_occurrences": (
        "schedule", "occurrence", "standing", "lease_until", "retry_at", "resume_at", "revision",
    ),
    "speakerbot_snapshot": (
        "talk_id", "user_id", "pending", "sequence", "at", "username", "thread_id", "told", "seen",
        "seen.date", "told.topic",
    ),
    "speakerbot_calendar": (
        "sequence", "date", "starts_at", "topic", "username", "cancelled", "changed_at",
    ),
    "speakerbot_limits": ("until", "reason", "count", "next_free"),
    "speakerbot_dm_channels": ("channel_id",),
    "guildsettings": ("guildId", "proactiveAnnouncementsChannelId", "updatedAt", "updatedBy"),
}  # fmt: skip
many = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
spoilt_field = st.sampled_from([(name, field) for name in FIELDS for field in FIELDS[name]])
FORGOTTEN = object()


@pytest.mark.mongodb_server
@given(spoilt=st.lists(st.tuples(spoilt_field, st.just(FORGOTTEN) | garbage), max_size=3))
@many
def test_whatever_stands_in_any_field_of_a_document_stops_nobody(
    server_url: str, spoilt: Sequence[tuple[tuple[str, str], Any]]
) -> None:
    with (
        MongoClient[dict[str, Any]](server_url) as client,
        closing(open_store(server_url)) as store,
    ):
        database = client.get_default_database()
        for name in FIELDS:
            database[name].delete_many({})
        fill(store)
        for (collection, field), value in spoilt:
            _set(database[collection], collection, field, value)
        with capture_logs():
            ask_everything(store)


def _set(collection: Any, name: str, field: str, value: Any) -> None:
    update = {"$unset": {field: ""}} if value is FORGOTTEN else {"$set": {field: value}}
    with suppress(WriteError):  # inside something that an earlier one has spoilt
        collection.update_many(SPOILT_DOCUMENTS[name], update)


TABLES = {
    "talks": f"id = '{SPOILT.id}'",
    "people": "id = 'p1'",
    "deliveries": "key LIKE '%spoilt%'",
    "inbox": "key LIKE '%spoilt%'",
    "answers": "talk_id = 'spoilt'",
    "server_events": "talk_id = 'spoilt'",
    "runs": "id = 'r1'",
    "occurrences": "occurrence < (SELECT max(occurrence) FROM occurrences)",
    "snapshot": f"talk_id = '{SPOILT.id}'",
    "calendar": f"talk_id = '{SPOILT.id}'",
    "breakers": "name = 'spoilt'",
    "slots": "TRUE",
    "dm_channels": "user_id = '1'",
    "guilds": "guild_id = 'g1'",
}
cells = (
    st.none()
    | st.text(max_size=20)
    | st.sampled_from(["", "soon", "[", "null", "5", "2026-13-45", "9999-12-31", "[[]]", "{}"])
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=5)
)


@given(
    spoilt=st.lists(
        st.tuples(st.sampled_from(sorted(TABLES)), st.integers(0, 30), cells), max_size=3
    )
)
@many
def test_whatever_stands_in_any_column_of_a_row_stops_nobody(
    tmp_path: Path, spoilt: Sequence[tuple[str, int, Any]]
) -> None:
    path = tmp_path / "store.db"
    path.unlink(missing_ok=True)
    with closing(open_store(f"sqlite:///{path}")) as store:
        store.prepare()
        fill(store)
        with closing(sqlite3.connect(path)) as hands, hands:
            for table, number, value in spoilt:
                columns = [row[1] for row in hands.execute(f"PRAGMA table_info({table})")]
                column = columns[number % len(columns)]
                with suppress(sqlite3.IntegrityError):
                    sql = f"UPDATE {table} SET {column} = ? WHERE {TABLES[table]}"  # noqa: S608
                    hands.execute(sql, (value,))
        with capture_logs():
            ask_everything(store)


def named(warnings: Sequence[Any]) -> list[tuple[str, str]]:
    """The documents and fields that were warned about."""
    assert {each["event"] for each in warnings} <= {"stored_field_unreadable"}
    return [(each["id"], each["field"]) for each in warnings]


@pytest.fixture
def spoil(mongo: Store, documents: Any) -> Callable[..., None]:
    """Puts the talk SPOILT there with fields as somebody wrote them, beside SOUND."""

    def put(**fields: Any) -> None:
        mongo.talks.put([SPOILT, SOUND])
        documents.scheduledspeakers.update_one({"_id": OID}, {"$set": fields})

    return put


@pytest.mark.parametrize(
    ("fields", "field", "expected"),
    [
        ({"reminders": ""}, "reminders", SPOILT),
        ({"reminders": 0}, "reminders", SPOILT),
        ({"reminders": []}, "reminders", SPOILT),
        ({"reminders": [{"sentDayOfAt": NOW}]}, "reminders", SPOILT),
        ({"reminders": {"sentDayOfAt": "yes"}}, "reminders.sentDayOfAt", SPOILT),
        ({"reminders": {"sentDayOfAt": [NOW]}}, "reminders.sentDayOfAt", SPOILT),
        ({"speakerbot": "19:30"}, "speakerbot", replace(SPOILT, starts_at=None)),
        (
            {"speakerbot": {"startsAt": "7pm"}},
            "speakerbot.startsAt",
            replace(SPOILT, starts_at=None),
        ),
        (
            {"speakerbot": {"startsAt": "19:30+02:00"}},
            "speakerbot.startsAt",
            replace(SPOILT, starts_at=None),
        ),
        (
            {"threadId": "https://discord.com/channels/1/77"},
            "threadId",
            replace(SPOILT, thread_id=None),
        ),
        ({"threadId": ""}, "threadId", replace(SPOILT, thread_id=None)),
        ({"threadId": 9.25e17}, "threadId", replace(SPOILT, thread_id=None)),
        ({"threadId": {"id": "77"}}, "threadId", replace(SPOILT, thread_id=None)),
        ({"talkCompleted": "no"}, "talkCompleted", SPOILT),
        ({"talkCompleted": []}, "talkCompleted", SPOILT),
        ({"topic": {"en": "Engines"}}, "topic", replace(SPOILT, topic="")),
        ({"bookingTimestamp": "today"}, "bookingTimestamp", replace(SPOILT, booked_at=None)),
        ({"discordUserId": ["1"]}, "discordUserId", replace(SPOILT, user_id="")),
        ({"speakerbot.length": "45 minutes"}, "speakerbot.length", SPOILT),
        ({"speakerbot.length": 0}, "speakerbot.length", SPOILT),
        ({"speakerbot.room": ["Hall 2"]}, "speakerbot.room", SPOILT),
        ({"speakerbot.link": "talks.example"}, "speakerbot.link", SPOILT),
        ({"speakerbot.speakers": "grace"}, "speakerbot.speakers", SPOILT),
        ({"speakerbot.sourceId": 7}, "speakerbot.sourceId", SPOILT),
        ({"speakerbot.speakers": [GRACE, "kaz"]}, "speakerbot.speakers[1]", WITH_GRACE),
        (
            {"speakerbot.speakers": [{"username": "kaz"}, GRACE]},
            "speakerbot.speakers[0].userId",
            WITH_GRACE,
        ),
    ],
)  # fmt: skip
def test_only_the_field_that_cannot_be_read_is_dropped_with_one_warning(
    mongo: Store, spoil: Callable[..., None], fields: Any, field: str, expected: Talk
) -> None:
    spoil(**fields)
    with capture_logs() as warnings:
        for _ in range(2):
            assert mongo.talks.get(SPOILT.id) == expected
            assert list(mongo.talks.all()) == [expected, SOUND]
    assert named(warnings) == [(SPOILT.id, field)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"reminders": None, "speakerbot": None}, replace(SPOILT, starts_at=None)),
        ({"threadId": Int64(925000000000000001)}, replace(SPOILT, thread_id="925000000000000001")),
        ({"discordUserId": Int64(92500000000000001)}, replace(SPOILT, user_id="92500000000000001")),
        ({"talkCompleted": "false"}, SPOILT),
        ({"talkCompleted": "true"}, replace(SPOILT, completed=True)),
        ({"talkCompleted": 1.0}, replace(SPOILT, completed=True)),
        ({"talkCompleted": None}, SPOILT),
        ({"topic": 42}, replace(SPOILT, topic="42")),
    ],
)  # fmt: skip
def test_what_can_be_read_all_the_same_is_read_without_a_warning(
    mongo: Store, spoil: Callable[..., None], fields: Any, expected: Talk
) -> None:
    spoil(**fields)
    with capture_logs() as warnings:
        assert list(mongo.talks.all()) == [expected, SOUND]
    assert warnings == []


@pytest.mark.parametrize(
    "value",
    ["2026-11-20", "soon", "", None, 20261120, [NOW], {"$date": 1}, True,
     datetime(1900, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)],
)  # fmt: skip
def test_a_talk_whose_date_cannot_be_read_is_hidden_and_named(
    mongo: Store, spoil: Callable[..., None], value: Any
) -> None:
    spoil(scheduledDate=value)
    with capture_logs() as warnings:
        for _ in range(2):
            assert list(mongo.talks.between(DAY, DAY + timedelta(days=7))) == [SOUND]
            assert list(mongo.talks.all()) == [SOUND]
            assert mongo.talks.get(SPOILT.id) is None
            assert (why := mongo.talks.why_hidden(SPOILT.id))
    assert why == f"its scheduledDate is {kind_of(value)}, not a date from 1970 to 2999"
    assert [mongo.talks.why_hidden(name) for name in (SOUND.id, "never")] == [None, None]
    assert named(warnings) == [(SPOILT.id, "scheduledDate")]
    assert warnings[0]["consequence"] == "the talk is hidden"


@pytest.mark.parametrize(
    "reminders",
    ["", 0, [], False, None, "sent", [{"sentDayOfAt": NOW}], {}, {"sentDayOfAt": "yes"},
     {"sentDayOfAt": 0}, {"sentDayOfAt": [NOW]}, {"sentDayOfAt": None},
     {"sentDayOfAt": datetime(9999, 1, 1, tzinfo=UTC)}],
)  # fmt: skip
def test_a_flag_can_be_written_whatever_stood_there(
    mongo: Store, documents: Any, spoil: Callable[..., None], reminders: Any
) -> None:
    """Who cannot write the flag takes it that the Node bot has sent."""
    spoil(reminders=reminders)
    claim = FlagWrite(SPOILT.id, "sentDayOfAt", seen=None, to=LATER)
    assert mongo.talks.write_flags([claim]) == {SPOILT.id}
    assert documents.scheduledspeakers.find_one({"_id": OID})["reminders"] == {"sentDayOfAt": LATER}
    theirs = FlagWrite(SPOILT.id, "sentDayOfAt", seen=None, to=NOW)
    assert mongo.talks.write_flags([theirs]) == set()
    assert mongo.talks.write_flags([claim._replace(seen=LATER, to=None)]) == {SPOILT.id}
    assert documents.scheduledspeakers.find_one({"_id": OID})["reminders"] == {}


@pytest.mark.parametrize("value", ["", 0, [], None, "x", [{}]])
def test_a_talk_can_be_put_whatever_stood_in_its_subdocuments(
    mongo: Store, documents: Any, spoil: Callable[..., None], value: Any
) -> None:
    spoil(reminders=value, speakerbot=value)
    mongo.talks.put([SPOILT])
    assert mongo.talks.get(SPOILT.id) == SPOILT
    stored = documents.scheduledspeakers.find_one({"_id": OID})
    assert stored["speakerbot"] == {"startsAt": "19:30"}
    assert "reminders" not in stored


@pytest.mark.parametrize("own", [Int64(5), "5f00000000000000000000aa", "by hand"])
def test_a_talk_with_an_id_of_another_type_is_worked_with_like_any(
    mongo: Store, documents: Any, own: Any
) -> None:
    mongo.prepare()
    midnight = datetime(2026, 11, 20, tzinfo=UTC)
    documents.scheduledspeakers.insert_one({"_id": own, "scheduledDate": midnight, "topic": "x"})
    [talk] = mongo.talks.all()
    assert mongo.talks.get(talk.id) == talk
    assert mongo.talks.write_flags([FlagWrite(talk.id, "sentDayOfAt", None, NOW)]) == {talk.id}
    mongo.talks.put([replace(talk, topic="y")])
    assert mongo.talks.reschedule(talk.id, DAY + timedelta(days=2))
    mongo.snapshots.take(NOW)
    assert list(mongo.snapshots.differing()) == []
    [stored] = documents.scheduledspeakers.find()
    assert (stored["_id"], stored["topic"]) == (own, "y")
    assert mongo.talks.delete(talk.id)
    assert [pair.talk for pair in mongo.snapshots.differing()] == [None]


@pytest.mark.parametrize(
    ("stored", "kinds"),
    [
        (["reminders", 5, None], {"reminders"}),
        ("reminders, changes", {"reminders", "changes"}),
        ("all", {"all"}),
        ([5], {"all"}),
        ({"reminders": True}, {"all"}),
        (True, {"all"}),
        ("yes", {"all"}),
        ([], set()),
        ("", set()),
        (False, set()),
        (None, set()),
    ],
)
def test_no_opt_out_is_lost(mongo: Store, documents: Any, stored: Any, kinds: set[str]) -> None:
    mongo.people.put([ADA, BOB])
    documents.speakerbot_people.update_one({"_id": "p1"}, {"$set": {"opted_out": stored}})
    expected = replace(ADA, opted_out=frozenset(kinds))
    assert mongo.people.get("p1") == mongo.people.by_users(["1"])["1"] == expected
    assert list(mongo.people.all()) == [expected, BOB]


def test_a_person_keeps_an_opt_out_when_all_else_is_spoilt(mongo: Store, documents: Any) -> None:
    mongo.people.put([ADA])
    spoilt = {
        "discord_user_id": Int64(1), "name": [], "timezone": 1, "quiet_hours": "at night",
        "routes": "dm", "extra": 0, "revision": 7,
    }  # fmt: skip
    documents.speakerbot_people.update_one({"_id": "p1"}, {"$set": spoilt})
    with capture_logs() as warnings:
        found = mongo.people.by_users(["1"])
    assert found == {"1": Person("p1", "1", opted_out=frozenset({"reminders"}))}
    fields = ["name", "timezone", "quiet_hours", "routes", "extra"]
    assert named(warnings) == [("p1", field) for field in fields]
    mongo.people.change("1", lambda who: replace(who, name="Ada"), lambda: BOB)
    assert mongo.people.get("1") == replace(found["1"], name="Ada")


@pytest.mark.parametrize(
    "fields",
    [
        {"state": "gone"},
        {"state": None},
        {"revision": 5},
        {"unconfirmed_since": "yesterday"},
        {"lease_until": {}},
        {"attempts": "many"},
        {"expires_at": datetime(9999, 12, 31, tzinfo=UTC)},
        {"updated_at": "now"},
        {"text": ["Hi"]},
    ],
)
def test_a_damaged_delivery_is_left_out_of_lists_and_never_claimed(
    mongo: Store, documents: Any, fields: Any
) -> None:
    mongo.prepare()
    spoilt, sound = delivery("spoilt", flag_at=NOW), delivery("sound", flag_at=NOW)
    mongo.ledger.swap([DeliveryChange(None, spoilt), DeliveryChange(None, sound)])
    documents.speakerbot_deliveries.update_one({"_id": spoilt.key}, {"$set": fields})
    with capture_logs() as warnings:
        assert list(mongo.ledger.list()) == list(mongo.ledger.find("user:1")) == [sound]
        assert mongo.ledger.flagged(["talk:spoilt", "talk:sound"]) == [sound]
        assert list(mongo.ledger.unsettled(LATER)) == [sound]
        found = mongo.ledger.get([spoilt.key, sound.key])
    assert named(warnings) == [(spoilt.key, next(iter(fields)))]
    assert warnings[0]["kind"] == "delivery"
    assert found[sound.key] == sound
    assert standing(found[spoilt.key], LATER + timedelta(days=1)) == "unknown"
    again = spoilt._replace(revision="again")
    assert mongo.ledger.swap([DeliveryChange(None, again)]) == set()


@pytest.mark.parametrize("state", ["lost", 5, {"a": 1}, None])
def test_a_state_that_there_is_not_is_not_counted(
    mongo: Store, documents: Any, state: object
) -> None:
    mongo.prepare()
    for name in ("spoilt", "sound"):
        mongo.ledger.swap([DeliveryChange(None, delivery(name))])
    documents.speakerbot_deliveries.update_one(
        {"_id": delivery("spoilt").key}, {"$set": {"state": state}}
    )
    assert mongo.ledger.counts(since=NOW) == {"claimed": 1}


def test_a_delivery_whose_id_is_not_a_text_is_left_out(mongo: Store, documents: Any) -> None:
    mongo.prepare()
    sound = delivery("sound")
    mongo.ledger.swap([DeliveryChange(None, sound)])
    [document] = documents.speakerbot_deliveries.find()
    documents.speakerbot_deliveries.insert_one({**document, "_id": OID})
    with capture_logs() as warnings:
        assert list(mongo.ledger.list()) == [sound]
    assert named(warnings) == [(str(OID), "_id")]


def test_a_list_goes_on_past_a_page_of_damaged_records(mongo: Store, documents: Any) -> None:
    mongo.prepare()
    records = [delivery(f"{n}", updated_at=NOW + timedelta(seconds=n)) for n in range(1200)]
    mongo.ledger.swap([DeliveryChange(None, record) for record in records])
    newest = {"updated_at": {"$gte": NOW + timedelta(seconds=500)}}
    documents.speakerbot_deliveries.update_many(newest, {"$set": {"attempts": "x"}})
    with capture_logs():
        assert list(mongo.ledger.list(limit=2000)) == records[:500][::-1]


@pytest.mark.parametrize("value", ["soon", None, [], {}, True])
def test_send_slots_go_on_past_a_value_that_is_none(
    mongo: Store, documents: Any, value: Any
) -> None:
    mongo.prepare()
    mongo.limits.reserve("b", "all", NOW, 1.0, 1, ahead=0)
    documents.speakerbot_limits.update_one({"_id": "slot/b/all"}, {"$set": {"next_free": value}})
    firsts = [mongo.limits.reserve("b", "all", NOW, 1.0, 1, ahead=0) for _ in range(2)]
    assert firsts == [NOW, NOW + timedelta(seconds=1)]


@pytest.mark.parametrize("fields", [{"standing": "odd"}, {"revision": 5}, {"revision": None}])
def test_an_occurrence_that_cannot_be_read_can_be_worked_on_again(
    mongo: Store, documents: Any, fields: Any
) -> None:
    mongo.prepare()
    mongo.occurrences.swap(
        "hourly", None, OccurrenceRecord(NOW, OccurrenceStanding.RUNNING, LATER, revision="1")
    )
    documents.speakerbot_occurrences.update_one({}, {"$set": fields})
    with capture_logs():
        found = mongo.occurrences.get("hourly", NOW)
    assert found is not None
    assert mongo.occurrences.swap(
        "hourly", found, OccurrenceRecord(NOW, OccurrenceStanding.FINISHED, revision="2")
    )
    assert not mongo.occurrences.swap(
        "hourly", found, OccurrenceRecord(NOW, OccurrenceStanding.RUNNING, revision="3")
    )


def test_a_first_snapshot_that_cannot_be_found_is_taken_again(mongo: Store, documents: Any) -> None:
    mongo.prepare()
    mongo.talks.put([SOUND])
    mongo.snapshots.take(NOW)
    documents.speakerbot_snapshot.update_one({"_id": "taken"}, {"$set": {"first": None}})
    fresh = type(mongo)(mongo._db)  # type: ignore[attr-defined,call-arg]
    assert not fresh.snapshots.taken()
    fresh.snapshots.take(NOW)
    assert [entry.talk_id for entry in fresh.snapshots.all()] == [SOUND.id]
    assert list(fresh.snapshots.differing()) == []


@pytest.mark.mongodb_server
def test_a_text_that_is_not_utf_8_spoils_only_itself(server_url: str) -> None:
    document = bson.encode(
        {"_id": OID, "scheduledDate": datetime(2026, 11, 20, tzinfo=UTC), "topic": "XX"}
    )
    with (
        MongoClient[dict[str, Any]](server_url) as client,
        closing(open_store(server_url)) as store,
    ):
        raw: Any = RawBSONDocument(document.replace(b"XX", b"\xff\xfe"))
        client.get_default_database().scheduledspeakers.insert_one(raw)
        assert [talk.topic for talk in store.talks.all()] == ["\ufffd\ufffd"]


FIELDS_SPOILT = (
    "sent_day_of_at", "thread_id", "extra", "speakers[0]", "length", "room", "link", "sourceId",
)  # fmt: skip


def test_a_row_by_hand_loses_only_the_column_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(open_store(f"sqlite:///{path}")) as store:
        store.prepare()
        store.talks.put([SPOILT, SOUND])
        store.people.put([ADA])
        with closing(sqlite3.connect(path)) as hands, hands:
            hands.execute(
                "UPDATE talks SET thread_id = 'https://x/77', sent_day_of_at = 'yes', extra = '{'"
                " WHERE user_id = '1'"
            )
            hands.execute(
                "UPDATE talks SET length = 'long', room = X'00', link = 'x', co_speakers = '[7]',"
                " source_id = X'00' WHERE user_id = '1'"
            )
            hands.execute("UPDATE people SET opted_out = 'reminders', extra = '[]'")
        with capture_logs() as warnings:
            spoilt, sound = store.talks.all()
            [person] = store.people.all()
        assert spoilt == replace(SPOILT, thread_id=None, extra={})
        assert sound == SOUND
        assert person == ADA
        assert named(warnings) == [
            *((SPOILT.id, field) for field in FIELDS_SPOILT),
            *(("p1", field) for field in ("opted_out", "extra")),
        ]
        claim = FlagWrite(SPOILT.id, "sentDayOfAt", seen=None, to=NOW)
        assert store.talks.write_flags([claim]) == {SPOILT.id}
        assert store.talks.write_flags([claim._replace(to=LATER)]) == set()


def test_co_speakers_who_cannot_be_read_in_a_row_have_not_left(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(open_store(f"sqlite:///{path}")) as store:
        store.prepare()
        store.talks.put([WITH_GRACE, SOUND])
        store.snapshots.take(NOW)
        for damage in ("{", "[7]", "7", '[{"userId": [2]}]'):
            with closing(sqlite3.connect(path)) as hands, hands:
                hands.execute("UPDATE talks SET co_speakers = ? WHERE user_id = '1'", (damage,))
            assert list(store.snapshots.differing()) == []


@pytest.mark.parametrize("speakers", ["grace", 7, [7], [{"userId": [2]}], {"userId": "2"}])
def test_co_speakers_who_cannot_be_read_in_a_document_have_not_left(
    mongo: Store, documents: Any, speakers: Any
) -> None:
    mongo.talks.put([WITH_GRACE, SOUND])
    mongo.snapshots.take(NOW)
    spoilt = {"$set": {"speakerbot.speakers": speakers}}
    documents.scheduledspeakers.update_one({"_id": OID}, spoilt)
    assert list(mongo.snapshots.differing()) == []


@pytest.mark.parametrize("user", [["1"], None, {"id": "1"}])
def test_a_speaker_whose_id_cannot_be_read_has_not_left(
    mongo: Store, documents: Any, user: Any
) -> None:
    mongo.talks.put([WITH_GRACE, SOUND])
    mongo.snapshots.take(NOW)
    documents.scheduledspeakers.update_one({"_id": OID}, {"$set": {"discordUserId": user}})
    assert [pair.key for pair in mongo.snapshots.differing() if pair.talk is None] == []


def test_an_edit_puts_a_field_where_no_subdocument_was(mongo: Store, documents: Any) -> None:
    mongo.talks.put([SPOILT])
    documents.scheduledspeakers.update_one({"_id": OID}, {"$set": {"speakerbot": "19:30"}})
    [read] = mongo.talks.all()
    assert mongo.talks.edit(read, replace(read, room="Hall 2"))
    assert list(mongo.talks.all()) == [replace(read, room="Hall 2")]


def test_entries_of_an_older_program_know_of_no_start(mongo: Store, documents: Any) -> None:
    """What the talk says is taken as known: no one is told of a move."""
    mongo.talks.put([SPOILT, SOUND])
    mongo.snapshots.take(NOW)
    for name in ("told", "seen"):
        documents.speakerbot_snapshot.update_many(
            {name: {"$ne": None}}, {"$unset": {f"{name}.start": ""}}
        )
    rules = ChangeRules(NOW, ZoneInfo("UTC"), topics=True)
    steps = [
        (pair.entry, step(pair, None, opted_out=False, rules=rules))
        for pair in mongo.snapshots.differing()
    ]
    assert len(steps) == 2
    assert [after.entry.pending for _, after in steps] == [False, False]
    mongo.snapshots.advance([(before, after.entry) for before, after in steps])
    assert list(mongo.snapshots.differing()) == []


@contextmanager
def one_delivery_spoilt(
    folder: Path, change: str, **values: Any
) -> Iterator[tuple[Store, Delivery, Delivery]]:
    """A SQLite store, the delivery in it that somebody has changed by hand, and a sound one."""
    path = folder / "store.db"
    spoilt, sound = delivery("spoilt", **values), delivery("sound", **values)
    with closing(open_store(f"sqlite:///{path}")) as store:
        store.prepare()
        store.ledger.swap([DeliveryChange(None, each) for each in (spoilt, sound)])
        with closing(sqlite3.connect(path)) as hands, hands:
            hands.execute(f"UPDATE deliveries SET {change} WHERE key = ?", (spoilt.key,))  # noqa: S608
        yield store, spoilt, sound


def test_a_delivery_changed_by_hand_is_left_out_of_lists_and_never_claimed(tmp_path: Path) -> None:
    changed = one_delivery_spoilt(tmp_path, "attempts = 'many'", flag_at=NOW, expires_at=NOW)
    with changed as (store, spoilt, sound):
        with capture_logs() as warnings:
            assert list(store.ledger.list()) == list(store.ledger.find("user:1")) == [sound]
            assert store.ledger.flagged(["talk:spoilt", "talk:sound"]) == [sound]
            assert list(store.ledger.unsettled(NOW)) == [sound]
            found = store.ledger.get([spoilt.key])
        assert named(warnings) == [(spoilt.key, "attempts")]
        assert warnings[0]["kind"] == "delivery"
        assert standing(found[spoilt.key], LATER + timedelta(days=1)) == "unknown"


def test_an_unknown_state_is_not_counted(tmp_path: Path) -> None:
    with one_delivery_spoilt(tmp_path, "state = 'lost'") as (store, _, _):
        assert store.ledger.counts(since=NOW) == {"claimed": 1}


def test_a_delivery_whose_key_is_not_a_text_is_left_out(tmp_path: Path) -> None:
    with one_delivery_spoilt(tmp_path, "key = x'ff'") as (store, _, sound):
        with capture_logs() as warnings:
            assert list(store.ledger.list()) == [sound]
        assert named(warnings) == [("b'\\xff'", "key")]


def test_a_row_whose_date_cannot_be_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(open_store(f"sqlite:///{path}")) as store:
        store.prepare()
        store.talks.put([SPOILT, SOUND])
        with closing(sqlite3.connect(path)) as hands, hands:
            hands.execute("UPDATE talks SET date = 'soon' WHERE id = ?", (SPOILT.id,))
        assert store.talks.get(SPOILT.id) is None
        assert store.talks.why_hidden(SPOILT.id) == (
            "its date is the text 'soon', not a date from 1970-01-01 to 2999-12-31"
        )
        assert [store.talks.why_hidden(name) for name in (SOUND.id, "never")] == [None, None]


def test_a_damaged_inbox_message_is_left_out_where_it_must_be_and_never_put_again(
    mongo: Store, documents: Any
) -> None:
    mongo.prepare()
    for name in ("lost", "empty", "read", "sound"):
        mongo.inbox.put(message(name))
    spoilt = {"lost": {"created_at": "today"}, "empty": {"text": 5}, "read": {"read_at": "yes"}}
    for name, fields in spoilt.items():
        documents.speakerbot_inbox.update_one({"_id": message(name).key}, {"$set": fields})
    with capture_logs() as warnings:
        found = mongo.inbox.get([message(name).key for name in ("lost", "empty", "read", "sound")])
        assert not mongo.inbox.put(message("lost"))
        unread = list(mongo.inbox.of(["user:1"], unread_only=True))
    empty = replace(message("empty"), text="")
    read = replace(message("read"), read_at=NOW)
    assert found == {each.key: each for each in (empty, read, message("sound"))}
    assert sorted(each.text for each in unread) == ["", "Hi"]
    assert sorted(named(warnings)) == [
        (message("empty").key, "text"),
        (message("lost").key, "created_at"),
        (message("read").key, "read_at"),
    ]


@pytest.mark.parametrize("said", ["maybe", "", None, 5])
def test_a_damaged_answer_counts_as_none_and_the_next_one_replaces_it(
    mongo: Store, documents: Any, said: object
) -> None:
    mongo.answers.put([answer("a")])
    documents.speakerbot_answers.update_one({}, {"$set": {"answer": said}})
    with capture_logs() as logs:
        assert mongo.answers.about(["a"]) == {}
    [warning] = logs
    assert (warning["kind"], warning["field"]) == ("answer", "answer")
    mongo.answers.put([answer("a")])
    assert mongo.answers.about(["a"]) == {answer("a").key: answer("a")}
