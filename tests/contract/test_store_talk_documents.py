"""The documents shared with the Node bot: read however they are, written as it writes them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from speakerbot.domain.talk import Talk
from speakerbot.errors import ConfigError, DateTaken, InputRefused
from speakerbot.ports.store import FlagWrite, Store
from speakerbot.stores import open_store
from speakerbot.stores.mongo import MongoStore
from speakerbot.stores.mongo.connection import Database

OID = ObjectId("f861ce589fa43569bb7c3f1a")
DAY = date(2026, 11, 20)
MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)
SENT = datetime(2026, 11, 19, 16, 0, 2, 101000, tzinfo=UTC)
TALK = Talk(str(OID), "802345678901234563", "sofia-dev", "MCP servers", DAY, booked_at=SENT)


def _document(**fields: Any) -> dict[str, Any]:
    return {
        "_id": OID,
        "discordUserId": "802345678901234563",
        "discordUsername": "sofia-dev",
        "topic": "MCP servers",
        "scheduledDate": MIDNIGHT,
        "bookingTimestamp": SENT,
        "talkCompleted": False,
        "__v": 0,
        **fields,
    }


def _stored(documents: Any) -> dict[str, Any]:
    found: dict[str, Any] = documents.scheduledspeakers.find_one({"_id": OID})
    return found


def test_a_new_talk_is_the_document_the_bot_would_write(mongo: Store, documents: Any) -> None:
    mongo.talks.put([TALK])
    assert _stored(documents) == _document()


def test_every_field_has_the_bots_name(mongo: Store, documents: Any) -> None:
    full = replace(
        TALK, thread_id="7", scheduler_user_id="8", scheduler_username="mira", completed=True,
        starts_at=time(18, 30), sent_tminus1_at=SENT, sent_day_of_at=MIDNIGHT,
    )  # fmt: skip
    mongo.talks.put([full])
    assert _stored(documents) == _document(
        threadId="7", schedulerUserId="8", schedulerUsername="mira", talkCompleted=True,
        speakerbot={"startsAt": "18:30"},
        reminders={"sentTminus1At": SENT, "sentDayOfAt": MIDNIGHT},
    )  # fmt: skip
    assert mongo.talks.get(str(OID)) == full


def test_a_new_talk_always_has_a_booking_time(mongo: Store, documents: Any) -> None:
    mongo.talks.put([replace(TALK, booked_at=None)])
    assert datetime.now(UTC) - _stored(documents)["bookingTimestamp"] < timedelta(minutes=1)


def test_an_id_that_is_not_an_object_id_stays_a_string(mongo: Store, documents: Any) -> None:
    mongo.talks.put([replace(TALK, id="by-hand")])
    assert documents.scheduledspeakers.find_one()["_id"] == "by-hand"
    assert mongo.talks.delete("by-hand")


def test_a_sloppy_document_is_read_without_failing(mongo: Store, documents: Any) -> None:
    documents.scheduledspeakers.insert_one(
        {
            "_id": OID,
            "discordUserId": 802345678901234563,
            "scheduledDate": MIDNIGHT + timedelta(hours=23, minutes=59),
            "reminders": None,
            "threadId": None,
            "speakerbot": {"startsAt": "half past six"},
        }
    )
    expected = Talk(str(OID), "802345678901234563", "", "", DAY)
    assert mongo.talks.get(str(OID)) == expected
    assert list(mongo.talks.between(DAY, DAY)) == [expected]
    assert list(mongo.talks.between(DAY, DAY)) == [expected]
    with pytest.raises(DateTaken):
        mongo.talks.put([replace(TALK, id="another")])


def test_a_document_without_a_date_is_not_a_talk(mongo: Store, documents: Any) -> None:
    documents.scheduledspeakers.insert_many([{"_id": 1}, {"_id": "2", "scheduledDate": "soon"}])
    assert list(mongo.talks.all()) == []
    assert mongo.talks.get("2") is None


def test_unknown_fields_come_as_extended_json_and_stay(mongo: Store, documents: Any) -> None:
    room, at = ObjectId(), datetime(2026, 1, 1, tzinfo=UTC)
    unknown = {"customNote": "hi", "room": {"id": room, "since": at}, "seats": [1, 2.5, None]}
    ours = {"startsAt": "18:00", "confirmed": True}
    document = _document(
        **unknown, speakerbot=ours, reminders={"sentDayOfAt": SENT, "sentEarly": at}, __v=3
    )
    documents.scheduledspeakers.insert_one(document)
    talk = mongo.talks.get(str(OID))
    assert talk is not None
    assert talk.extra == {
        "customNote": "hi",
        "room": {"id": {"$oid": str(room)}, "since": {"$date": "2026-01-01T00:00:00Z"}},
        "seats": [1, 2.5, None],
        "reminders": {"sentEarly": {"$date": "2026-01-01T00:00:00Z"}},
        "speakerbot": {"confirmed": True},
        "__v": 3,
    }
    mongo.talks.put([replace(talk, topic="new")])
    assert _stored(documents) == {**document, "topic": "new"}


def test_fields_that_the_talk_does_not_name_stay(mongo: Store, documents: Any) -> None:
    documents.scheduledspeakers.insert_one(_document(customNote="hi", room={"a": 1}))
    mongo.talks.put([replace(TALK, extra={"room": {"b": 2}})])
    assert _stored(documents) == _document(customNote="hi", room={"b": 2})


def test_a_date_beyond_our_calendar_stays_what_it_is(several: Store) -> None:
    """In a field that we do not use it is none of our business."""
    extra = {"until": {"$date": {"$numberLong": "999999999999999"}}}
    several.talks.put([replace(TALK, extra=extra)])
    found = several.talks.get(TALK.id)
    assert found is not None
    assert found.extra == extra


def test_a_field_that_cannot_be_set_is_refused_before_anything_is_written(
    mongo: Store, documents: Any
) -> None:
    for extra in ({"a.b": 1}, {"$set": 1}, {"when": {"$date": "yesterday"}}):
        with pytest.raises(InputRefused, match=str(OID)):
            mongo.talks.put([replace(TALK, id="ok"), replace(TALK, extra=extra, date=date.max)])
    assert documents.scheduledspeakers.count_documents({}) == 0


def test_null_reminders_take_a_flag(mongo: Store, documents: Any) -> None:
    documents.scheduledspeakers.insert_one(_document(reminders=None))
    write = FlagWrite(str(OID), "sentDayOfAt", seen=None, to=SENT)
    assert mongo.talks.write_flags([write]) == {str(OID)}
    assert _stored(documents)["reminders"] == {"sentDayOfAt": SENT}


def test_null_reminders_take_a_put(mongo: Store, documents: Any) -> None:
    documents.scheduledspeakers.insert_one(_document(reminders=None))
    mongo.talks.put([replace(TALK, extra={"reminders": {"note": "x"}})])
    assert _stored(documents) == _document(reminders={"note": "x"})


def test_a_null_flag_counts_as_unsent(mongo: Store, documents: Any) -> None:
    documents.scheduledspeakers.insert_one(
        _document(reminders={"sentDayOfAt": None, "sentTminus1At": SENT})
    )
    write = FlagWrite(str(OID), "sentDayOfAt", seen=None, to=MIDNIGHT)
    assert mongo.talks.write_flags([write]) == {str(OID)}
    assert _stored(documents)["reminders"] == {"sentDayOfAt": MIDNIGHT, "sentTminus1At": SENT}


def test_a_flag_put_back_is_gone_from_the_document(mongo: Store, documents: Any) -> None:
    documents.scheduledspeakers.insert_one(_document(reminders={"sentDayOfAt": SENT}))
    assert mongo.talks.write_flags([FlagWrite(str(OID), "sentDayOfAt", seen=SENT, to=None)])
    assert _stored(documents)["reminders"] == {}


def test_the_guilds_document_is_the_bots(mongo: Store, documents: Any) -> None:
    documents.guildsettings.insert_one({"guildId": "g1", "prefix": "!", "__v": 2})
    mongo.guilds.set_channel("g1", "c1", by="u1", at=SENT)
    mongo.guilds.set_channel("g2", "c2", by="u1", at=SENT)
    first, second = documents.guildsettings.find({}, {"_id": 0}).sort("guildId", 1)
    settings = {"updatedAt": SENT, "updatedBy": "u1"}
    assert first == {
        "guildId": "g1", "prefix": "!", "__v": 2, "proactiveAnnouncementsChannelId": "c1",
    } | settings  # fmt: skip
    assert second == {
        "guildId": "g2", "__v": 0, "proactiveAnnouncementsChannelId": "c2",
    } | settings  # fmt: skip


def test_a_guild_without_a_channel_has_none(mongo: Store, documents: Any) -> None:
    documents.guildsettings.insert_one({"guildId": "g1", "proactiveAnnouncementsChannelId": None})
    assert mongo.guilds.channel("g1") is None
    assert list(mongo.guilds.all()) == []


BY_SOURCE = "speakerbot.sourceId_1__id_1"


@pytest.mark.mongodb_server
def test_the_bots_own_indexes_are_taken_as_they_are(server_url: str) -> None:
    """In either order."""
    with MongoClient[dict[str, Any]](server_url) as client:
        documents = client.get_default_database()
        documents.scheduledspeakers.create_index("scheduledDate", unique=True)
        with closing(open_store(server_url)) as store:
            store.prepare()
        assert set(documents.scheduledspeakers.index_information()) == {
            "_id_", "scheduledDate_1", BY_SOURCE,
        }  # fmt: skip
        documents.scheduledspeakers.create_index("scheduledDate", unique=True)
        documents.guildsettings.create_index("guildId", unique=True)


@pytest.mark.mongodb_server
@pytest.mark.parametrize(
    "options", [{"name": "one_talk_a_date"}, {"sparse": True, "name": "x"}, {"sparse": True}]
)
def test_a_unique_index_of_another_name_serves(server_url: str, options: Any) -> None:
    with MongoClient[dict[str, Any]](server_url) as client:
        documents = client.get_default_database()
        documents.scheduledspeakers.create_index("scheduledDate", unique=True, **options)
        with closing(open_store(server_url)) as store:
            store.prepare()
        name = options.get("name", "scheduledDate_1")
        assert set(documents.scheduledspeakers.index_information()) == {
            "_id_", name, BY_SOURCE,
        }  # fmt: skip


@pytest.mark.mongodb_server
def test_an_index_of_the_same_name_that_is_not_unique_is_named(server_url: str) -> None:
    with MongoClient[dict[str, Any]](server_url) as client:
        client.get_default_database().scheduledspeakers.create_index("scheduledDate")
    refused = pytest.raises(ConfigError, match=r"scheduledDate_1.*Drop that index")
    with closing(open_store(server_url)) as store, refused:
        store.prepare()


def test_talks_that_would_change_dates_in_a_circle_are_refused(
    mongo: Store, documents: Any
) -> None:
    """One document changes at a time, and a date has one talk: none of them can go first."""
    other = replace(TALK, id="other", date=DAY + timedelta(days=1))
    mongo.talks.put([TALK, other])
    with pytest.raises(DateTaken):
        mongo.talks.put([replace(TALK, date=other.date), replace(other, date=DAY)])
    assert list(mongo.talks.all()) == [TALK, other]


def test_two_talks_on_one_date_keep_the_store_from_being_prepared(
    mongo: Store, documents: Any
) -> None:
    other = _document(_id=ObjectId())
    documents.scheduledspeakers.insert_many([_document(), other])
    with pytest.raises(ConfigError, match="scheduledspeakers have the same scheduledDate"):
        mongo.prepare()
    documents.scheduledspeakers.delete_one({"_id": other["_id"]})
    mongo.prepare()


def _shared(documents: Any) -> Store:
    """A store of the same database for those without a Node bot."""
    where = f"MongoDB {documents.name}"
    return MongoStore(Database(documents.client, documents.name, where, one_talk_a_date=False))


def _keys(documents: Any) -> list[list[str]]:
    indexes = documents.scheduledspeakers.index_information().values()
    return [[field for field, _ in each["key"]] for each in indexes if each.get("unique")]


def test_without_the_node_bot_there_is_no_index_that_allows_one_talk_a_date(
    mongo: Store, documents: Any
) -> None:
    store = _shared(documents)
    store.prepare()
    other = replace(TALK, id="other")
    store.talks.put([TALK, other])
    assert list(store.talks.all()) == [TALK, other]
    assert ["scheduledDate"] not in _keys(documents)
    with pytest.raises(ConfigError, match=r"same scheduledDate.*NODE_BOT_COEXIST=false"):
        mongo.prepare()
    store.talks.delete("other")
    mongo.prepare()
    assert ["scheduledDate"] in _keys(documents)


@pytest.mark.parametrize("name", ["scheduledDate_1", "one_talk_a_date"])
def test_an_index_from_before_is_named_with_the_command_that_drops_it(
    mongo: Store, documents: Any, name: str
) -> None:
    documents.scheduledspeakers.create_index("scheduledDate", unique=True, name=name)
    mongo.prepare()
    store, other = _shared(documents), replace(TALK, id="other")
    store.prepare()
    store.talks.put([TALK, replace(other, date=DAY + timedelta(days=1))])
    command = f'db.getSiblingDB("{documents.name}").scheduledspeakers.dropIndex("{name}")'
    for attempt in (
        lambda: store.talks.put([other]),
        lambda: store.talks.reschedule("other", DAY),
        lambda: store.talks.put([replace(TALK, id="third"), replace(TALK, id="fourth")]),
    ):
        with pytest.raises(ConfigError) as refused:
            attempt()
        assert command in str(refused.value)
        assert str(DAY) in str(refused.value)
    documents.scheduledspeakers.drop_index(name)
    store.prepare()
    assert store.talks.reschedule("other", DAY)
    assert [talk.id for talk in store.talks.between(DAY, DAY)] == [TALK.id, "other"]
    indexed = [
        [field for field, _ in each["key"]]
        for each in documents.scheduledspeakers.index_information().values()
    ]
    assert ["scheduledDate", "_id"] in indexed
