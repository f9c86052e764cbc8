"""What is remembered of the server's events: one record a talk, changed only from what was seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from speakerbot.domain.server_event import EventChange, EventDetails, EventRecord
from speakerbot.ports.store import Store

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
DETAILS = EventDetails(
    "On engines", "ada\n\nspeakerbot:a", "Hall", NOW + timedelta(days=1), NOW + timedelta(days=2)
)
CLAIM = EventRecord("a", "1", NOW, None, writing=DETAILS)
MADE = EventRecord("a", "2", NOW, "55", DETAILS, DETAILS._replace(name="on engines"))
REFUSED = MADE._replace(revision="3", writing=DETAILS, refused="Invalid Form Body")


def change(before: EventRecord | None, after: EventRecord | None) -> EventChange:
    record = before or after
    assert record is not None
    return EventChange(record.talk_id, before, after)


def test_records_come_back_as_they_were_put(store: Store) -> None:
    others = [MADE._replace(talk_id=f"t{number:04}") for number in range(1200)]
    assert list(store.server_events.all()) == []
    for record in (CLAIM._replace(talk_id="x"), REFUSED._replace(talk_id="y")):
        assert store.server_events.swap([change(None, record)]) == {record.talk_id}
    won = store.server_events.swap([change(None, record) for record in others])
    assert won == {record.talk_id for record in others}
    found = list(store.server_events.all())
    assert found == [*others, CLAIM._replace(talk_id="x"), REFUSED._replace(talk_id="y")]


def test_a_record_moves_on_from_exactly_what_was_seen(store: Store) -> None:
    events = store.server_events
    assert events.swap([change(None, CLAIM)]) == {"a"}
    assert events.swap([change(None, CLAIM._replace(revision="9"))]) == set()
    assert events.swap([change(MADE, REFUSED)]) == set()
    assert events.swap([change(CLAIM, MADE)]) == {"a"}
    assert list(events.all()) == [MADE]
    assert events.swap([change(CLAIM, REFUSED)]) == set()
    assert list(events.all()) == [MADE]


def test_a_record_is_forgotten_only_if_it_is_what_was_seen(store: Store) -> None:
    events = store.server_events
    events.swap([change(None, MADE)])
    assert events.swap([change(CLAIM, None)]) == set()
    assert list(events.all()) == [MADE]
    assert events.swap([change(MADE, None)]) == {"a"}
    assert list(events.all()) == []
    assert events.swap([change(MADE, REFUSED)]) == set()
    assert list(events.all()) == [], "what is forgotten is not written again"


def test_one_that_loses_stops_no_other(store: Store) -> None:
    events = store.server_events
    events.swap([change(None, MADE)])
    second = CLAIM._replace(talk_id="b")
    assert events.swap([change(CLAIM, REFUSED), change(None, second)]) == {"b"}
    assert list(events.all()) == [MADE, second]
    assert events.swap([]) == set()
