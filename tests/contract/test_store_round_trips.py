"""Whatever the types allow comes back from every store as it was put."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.inbox import InboxMessage
from speakerbot.domain.occurrence import OccurrenceRecord
from speakerbot.domain.person import Person, QuietHours
from speakerbot.domain.run import Run, RunOutcome
from speakerbot.domain.server_event import EventChange, EventDetails, EventRecord
from speakerbot.domain.talk import LONGEST, Speaker, Talk
from speakerbot.ports.store import Store

# One store for all examples of a test: each example brings an id of its own.
on_one_store = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NUMBERS = count()

texts = st.text(max_size=200)
optional_texts = st.none() | texts
names = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,20}", fullmatch=True)
instants = st.integers(0, 4_102_444_800_000).map(
    lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
)
optional_instants = st.none() | instants
snowflakes = st.from_regex(r"[0-9]{1,20}", fullmatch=True)
links = st.from_regex(r"https?://[a-z.]{3,20}/[a-z_*()%?&=#~!;:,.@-]{0,20}", fullmatch=True)
minutes = st.builds(time, st.integers(0, 23), st.integers(0, 59))
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
unknown_fields = st.dictionaries(names.map(lambda name: f"x{name}"), values, max_size=4)


@st.composite
def talks(draw: st.DrawFn) -> Talk:
    number = next(NUMBERS)
    return Talk(
        id=draw(st.sampled_from([f"{number:024x}", f"talk {number}"])),
        user_id=draw(texts),
        username=draw(texts),
        topic=draw(texts),
        date=date(1970, 1, 1) + timedelta(days=number),
        booked_at=draw(instants),
        thread_id=draw(st.none() | snowflakes),
        completed=draw(st.booleans()),
        scheduler_user_id=draw(optional_texts),
        scheduler_username=draw(optional_texts),
        starts_at=draw(st.none() | minutes),
        sent_tminus1_at=draw(optional_instants),
        sent_day_of_at=draw(optional_instants),
        extra=draw(unknown_fields),
        length=draw(st.none() | st.integers(1, LONGEST)),
        room=draw(st.none() | st.text(min_size=1, max_size=200)),
        link=draw(st.none() | links),
        co_speakers=tuple(draw(st.lists(st.builds(Speaker, snowflakes, texts), max_size=3))),
        source_id=draw(st.none() | st.text(min_size=1, max_size=80)),
    )


@st.composite
def event_records(draw: st.DrawFn) -> EventRecord:
    shown = st.builds(EventDetails, texts, texts, texts, instants, instants)
    return EventRecord(
        talk_id=f"talk {next(NUMBERS)}",
        revision=draw(texts),
        at=draw(instants),
        event_id=draw(st.none() | snowflakes),
        written=draw(st.none() | shown),
        stands=draw(st.none() | shown),
        writing=draw(st.none() | shown),
        refused=draw(texts),
    )


@given(record=event_records())
@on_one_store
def test_what_is_remembered_of_an_event_comes_back(store: Store, record: EventRecord) -> None:
    assert store.server_events.swap([EventChange(record.talk_id, None, record)])
    assert record in list(store.server_events.all())


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    kind, recipient = draw(names), f"user:{draw(names)}"
    given_texts: dict[str, Any] = {
        name: draw(texts)
        for name in ("route", "target", "text", "error_class", "error", "message_id", "channel_id")
    }
    given_instants: dict[str, Any] = {
        name: draw(optional_instants)
        for name in (
            "lease_until",
            "unconfirmed_since",
            "retry_at",
            "sent_at",
            "flag_at",
            "flag_was",
        )
    }
    return Delivery(
        key=f"{kind}/{draw(texts)}/{recipient}/{next(NUMBERS)}",
        kind=kind,
        recipient=recipient,
        state=draw(
            st.sampled_from(
                [
                    DeliveryState.CLAIMED,
                    DeliveryState.SENT,
                    DeliveryState.FAILED,
                    DeliveryState.UNKNOWN,
                ]
            )
        ),
        revision=draw(names),
        run_id=draw(texts),
        due_at=draw(instants),
        expires_at=draw(instants),
        created_at=draw(instants),
        updated_at=draw(instants),
        attempts=draw(st.integers(0, 8)),
        **given_texts,
        **given_instants,
    )


people = st.builds(
    Person,
    id=st.builds(lambda: f"p{next(NUMBERS)}"),
    discord_user_id=st.none() | st.builds(lambda: f"{next(NUMBERS)}"),
    name=optional_texts,
    timezone=optional_texts,
    opted_out=st.frozensets(names, max_size=4),
    quiet_hours=st.none() | st.builds(QuietHours, minutes, minutes),
    routes=st.lists(names, max_size=3).map(tuple),
    extra=unknown_fields,
)
runs = st.builds(
    Run,
    id=st.builds(lambda: f"r{next(NUMBERS)}"),
    job=texts,
    now=instants,
    started_at=instants,
    finished_at=optional_instants,
    outcome=st.sampled_from(RunOutcome),
    schedule=optional_texts,
    occurrence=optional_instants,
    counts=unknown_fields,
    error=texts,
)
messages = st.builds(
    InboxMessage,
    key=st.builds(lambda text: f"{text}/{next(NUMBERS)}", texts),
    recipient=texts,
    text=texts,
    created_at=instants,
    read_at=optional_instants,
)
records = st.builds(
    OccurrenceRecord,
    occurrence=st.builds(lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=next(NUMBERS))),
    standing=st.sampled_from(["running", "open", "finished", "missed", "superseded"]),
    lease_until=optional_instants,
    retry_at=optional_instants,
    resume_at=optional_instants,
    revision=texts,
)


@given(talk=talks())
@on_one_store
def test_talks(store: Store, talk: Talk) -> None:
    store.talks.put([talk])
    assert store.talks.get(talk.id) == talk


@given(person=people)
@on_one_store
def test_people(store: Store, person: Person) -> None:
    store.people.put([person])
    assert store.people.get(person.id) == person


@given(delivery=deliveries())
@on_one_store
def test_deliveries(store: Store, delivery: Delivery) -> None:
    store.ledger.swap([DeliveryChange(None, delivery)])
    assert store.ledger.get([delivery.key]) == {delivery.key: delivery}


@given(message=messages)
@on_one_store
def test_inbox_messages(store: Store, message: InboxMessage) -> None:
    assert store.inbox.put(message)
    assert store.inbox.get([message.key]) == {message.key: message}


@given(run=runs)
@on_one_store
def test_runs(store: Store, run: Run) -> None:
    store.runs.put(run)
    assert store.runs.get(run.id) == run


@given(record=records)
@on_one_store
def test_occurrences(store: Store, record: OccurrenceRecord) -> None:
    assert store.occurrences.swap("hourly", None, record)
    assert store.occurrences.get("hourly", record.occurrence) == record


def test_whoever_has_an_odd_id_is_found_among_others(store: Store) -> None:
    odd = "1\x002"
    store.people.put([Person(id="odd", discord_user_id=odd)])
    store.limits.remember_dms("bot", {odd: "77"})
    assert set(store.people.by_users([odd, "1"])) == {odd}
    assert store.limits.dm_channels("bot", [odd, "1"]) == {odd: "77"}
