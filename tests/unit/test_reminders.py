"""Which reminder a talk has due at an instant: windows, lateness, routes, keys, the Node bot."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import settings as drawing
from hypothesis import strategies as st

from jobs.reminders import JOB, of_talk, slots
from speakerbot.bootstrap import templates as templates_of
from speakerbot.config import Settings
from speakerbot.delivery.planning import MessagePlan, Moment, weigh
from speakerbot.domain.delivery import DeliveryChange, SkipReason
from speakerbot.domain.message import Decision, Message, Route, Skip
from speakerbot.domain.reminder_offsets import parse_offsets
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Store
from speakerbot.runs.job import JobContext
from speakerbot.stores import open_store
from tests.unit.conftest import sent_record

TEXTS = templates_of()
DEFAULTS = Settings(database_url="", reminder_offsets=parse_offsets("1d@16:00,0d@16:00"))
TALK = Talk("t1", "42", "ada", "Engines", date(2026, 11, 21), thread_id="900")
MINUTE = timedelta(minutes=1)


def at(text: str) -> datetime:
    """``2026-11-20 16:00`` in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def clock(text: str) -> time:
    return time.fromisoformat(text)


def settings(offsets: str = "1d@16:00,0d@16:00", zone: str = "UTC") -> Settings:
    return replace(DEFAULTS, reminder_offsets=parse_offsets(offsets), timezone=ZoneInfo(zone))


def messages(decisions: Iterator[Decision]) -> list[Message]:
    return [each for each in decisions if isinstance(each, Message)]


def due(talk: Talk, now: str | datetime, using: Settings = DEFAULTS) -> Message | None:
    """The one message of the talk that is due; there are never two."""
    when = at(now) if isinstance(now, str) else now
    found = messages(of_talk(talk, using, when))
    assert len(found) <= 1
    return found[0] if found else None


def kind_due(talk: Talk, now: str | datetime, using: Settings = DEFAULTS) -> str | None:
    message = due(talk, now, using)
    return message.kind if message else None


def text_due(talk: Talk, now: str, using: Settings = DEFAULTS) -> str:
    message = due(talk, now, using)
    assert message is not None
    return TEXTS.of(message)


@pytest.mark.parametrize(
    ("now", "kind"),
    [
        ("2026-11-19 16:00", None),
        ("2026-11-20 15:59:59.999", None),
        ("2026-11-20 16:00", "reminder.day_before"),
        ("2026-11-20 23:59:59.999", "reminder.day_before"),
        ("2026-11-21 00:00", None),
        ("2026-11-21 15:59:59.999", None),
        ("2026-11-21 16:00", "reminder.day_of"),
        ("2026-11-21 23:59:59.999", "reminder.day_of"),
        ("2026-11-22 00:00", None),
    ],
)
def test_the_day_before_until_midnight_the_day_of_until_the_day_ends(
    now: str, kind: str | None
) -> None:
    assert kind_due(TALK, now) == kind


@pytest.mark.parametrize(
    ("start", "now", "kind"),
    [
        ("18:00", "2026-11-21 17:59:59.999", "reminder.day_of"),
        ("18:00", "2026-11-21 18:00", None),
        ("16:00", "2026-11-21 16:00", None),
        ("15:00", "2026-11-21 16:30", None),
        ("00:00", "2026-11-20 23:59", "reminder.day_before"),
    ],
)
def test_a_talk_with_a_start_has_no_day_of_reminder_from_its_start_on(
    start: str, now: str, kind: str | None
) -> None:
    assert kind_due(replace(TALK, starts_at=clock(start)), now) == kind


@pytest.mark.parametrize(
    ("now", "kind"),
    [
        ("2026-11-20 17:59", None),
        ("2026-11-20 18:00", "reminder.24h"),
        ("2026-11-21 16:59", "reminder.24h"),
        ("2026-11-21 17:00", "reminder.1h"),
        ("2026-11-21 17:59:59.999", "reminder.1h"),
        ("2026-11-21 18:00", None),
    ],
)
def test_hours_count_back_from_the_start_and_the_nearest_one_is_sent(
    now: str, kind: str | None
) -> None:
    assert kind_due(replace(TALK, starts_at=clock("18:00")), now, settings("24h,1h")) == kind


def test_hours_do_not_apply_to_a_talk_without_a_start() -> None:
    assert slots(TALK, parse_offsets("24h,1h,2d@10:00"), ZoneInfo("UTC"))[0].due_at == at(
        "2026-11-19 10:00"
    )
    assert kind_due(TALK, "2026-11-21 17:00", settings("24h,1h")) is None


@pytest.mark.parametrize(
    ("now", "left"),
    [
        ("2026-11-20 18:00", "1 day"),
        ("2026-11-20 18:05", "23 hours and 55 minutes"),
        ("2026-11-21 16:00", "2 hours"),
        ("2026-11-21 17:00", "1 hour"),
        ("2026-11-21 17:41", "19 minutes"),
        ("2026-11-21 17:59:50", "1 minute"),
    ],
)
def test_an_hours_reminder_names_the_time_really_left(now: str, left: str) -> None:
    text = text_due(replace(TALK, starts_at=clock("18:00")), now, settings("24h,1h"))
    assert f"scheduled to speak in {left} (Saturday 2026-11-21, 18:00)" in text


def test_the_texts_are_the_node_bots() -> None:
    assert text_due(TALK, "2026-11-20 16:05") == (
        "Hi ada! This is a reminder that you're scheduled to speak tomorrow (2026-11-21) "
        'about "Engines". Looking forward to your talk!'
    )
    assert text_due(TALK, "2026-11-21 16:05") == (
        "Hi ada! This is a reminder that you're speaking today (2026-11-21) "
        'about "Engines". See you soon!'
    )
    assert "in 7 days (2026-11-21)" in text_due(TALK, "2026-11-14 10:00", settings("7d@09:00"))


def test_a_talk_booked_after_the_slot_still_gets_it_the_same_evening() -> None:
    booked = replace(TALK, booked_at=at("2026-11-20 21:17"))
    assert kind_due(booked, "2026-11-20 22:00") == "reminder.day_before"


def test_of_several_missed_only_the_nearest_goes_and_the_others_are_counted() -> None:
    missed = list(of_talk(TALK, settings("1d@09:00,1d@12:00,1d@15:00"), at("2026-11-20 20:00")))
    assert missed[:2] == [Skip(SkipReason.OVERTAKEN, "talk:t1")] * 2
    assert isinstance(missed[2], Message)
    assert missed[2].due_at == at("2026-11-20 15:00")


def test_one_that_was_overtaken_does_not_come_back_when_the_nearer_ones_time_is_over() -> None:
    """Its hours run to the start, ``tomorrow`` only to midnight: who was told in the afternoon
    is not woken at night."""
    talk = replace(TALK, starts_at=clock("10:00"))
    using = settings("24h,1d@16:00")
    assert kind_due(talk, "2026-11-20 15:59", using) == "reminder.24h"
    assert kind_due(talk, "2026-11-20 16:05", using) == "reminder.day_before"
    assert kind_due(talk, "2026-11-21 00:05", using) is None


def test_a_completed_talk_is_counted_and_not_reminded_of() -> None:
    done = replace(TALK, completed=True)
    assert list(of_talk(done, DEFAULTS, at("2026-11-20 16:05"))) == [
        Skip(SkipReason.COMPLETED, "talk:t1")
    ]
    assert list(of_talk(done, DEFAULTS, at("2026-11-19 16:05"))) == []


BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
SAO_PAULO, AUCKLAND, APIA = "America/Sao_Paulo", "Pacific/Auckland", "Pacific/Apia"


@pytest.mark.parametrize(
    ("zone", "day", "offset", "due_at", "expires_at"),
    [
        # Clocks go forward: what does not exist is the next minute that does.
        (BERLIN, "2026-03-29", "1d@16:00", "2026-03-28 15:00", "2026-03-28 23:00"),
        (BERLIN, "2026-03-29", "0d@02:30", "2026-03-29 01:00", "2026-03-29 22:00"),
        (BERLIN, "2026-03-29", "0d@16:00", "2026-03-29 14:00", "2026-03-29 22:00"),
        (NEW_YORK, "2026-03-08", "0d@02:30", "2026-03-08 07:00", "2026-03-09 04:00"),
        (NEW_YORK, "2026-03-09", "1d@16:00", "2026-03-08 20:00", "2026-03-09 04:00"),
        (LORD_HOWE, "2026-10-04", "0d@02:15", "2026-10-03 15:30", "2026-10-04 13:00"),
        (AUCKLAND, "2026-09-27", "0d@02:30", "2026-09-26 14:00", "2026-09-27 11:00"),
        (AUCKLAND, "2026-09-28", "1d@16:00", "2026-09-27 03:00", "2026-09-27 11:00"),
        # Clocks go back: of two equal times the first.
        (BERLIN, "2026-10-25", "0d@02:30", "2026-10-25 00:30", "2026-10-25 23:00"),
        (NEW_YORK, "2026-11-01", "0d@01:30", "2026-11-01 05:30", "2026-11-02 05:00"),
        (LORD_HOWE, "2026-04-05", "0d@01:45", "2026-04-04 14:45", "2026-04-05 13:30"),
        (AUCKLAND, "2026-04-05", "0d@02:30", "2026-04-04 13:30", "2026-04-05 12:00"),
        # Clocks change at midnight: the day begins at 01:00, or ends at its second midnight.
        (SAO_PAULO, "2018-11-04", "1d@16:00", "2018-11-03 19:00", "2018-11-04 03:00"),
        (SAO_PAULO, "2018-11-04", "0d@00:00", "2018-11-04 03:00", "2018-11-05 02:00"),
        (SAO_PAULO, "2018-02-17", "0d@23:30", "2018-02-18 01:30", "2018-02-18 03:00"),
        # A whole day is left out: Samoa went from 29 to 31 December.
        (APIA, "2011-12-31", "0d@16:00", "2011-12-31 02:00", "2011-12-31 10:00"),
        (APIA, "2011-12-31", "2d@16:00", "2011-12-30 02:00", "2011-12-30 10:00"),
        (APIA, "2011-12-30", "1d@16:00", "2011-12-30 02:00", "2011-12-30 10:00"),
    ],
)
def test_clock_times_are_the_communitys_right_across_dst(
    zone: str, day: str, offset: str, due_at: str, expires_at: str
) -> None:
    talk = replace(TALK, date=date.fromisoformat(day))
    [slot] = slots(talk, parse_offsets(offset), ZoneInfo(zone))
    assert (slot.due_at, slot.expires_at) == (at(due_at), at(expires_at))


@pytest.mark.parametrize(("day", "offset"), [(31, "1d@16:00"), (30, "0d@16:00")])
def test_a_reminder_whose_day_does_not_exist_is_dropped(day: int, offset: str) -> None:
    talk = replace(TALK, date=date(2011, 12, day))
    assert slots(talk, parse_offsets(offset), ZoneInfo(APIA)) == []


def test_24_hours_are_24_hours_on_the_night_the_clocks_change() -> None:
    talk = replace(TALK, date=date(2026, 10, 25), starts_at=clock("12:00"))
    [slot] = slots(talk, parse_offsets("24h"), ZoneInfo(BERLIN))
    assert (slot.due_at, slot.expires_at) == (at("2026-10-24 11:00"), at("2026-10-25 11:00"))


def test_the_key_names_the_talk_the_speaker_and_the_date() -> None:
    message = due(TALK, "2026-11-20 16:05")
    assert message is not None
    assert message.key == "reminder.day_before/talk:t1/user:42/2026-11-21T16:00"
    assert message.opt_out == "reminders"
    assert message.waits_past_expiry, "a late reminder in quiet hours is better than none"


def test_of_two_offsets_on_a_day_each_has_a_key_of_its_own() -> None:
    using = settings("1d@09:00,1d@18:00,0d@09:00")
    keys = [m.key for now in ("09:05", "18:05") if (m := due(TALK, f"2026-11-20 {now}", using))]
    assert keys == [
        "reminder.day_before/talk:t1/user:42/2026-11-21T09:00",
        "reminder.day_before/talk:t1/user:42/2026-11-21T18:00",
    ]
    day_of = due(TALK, "2026-11-21 09:05", using)
    assert day_of is not None
    assert day_of.occasion == "2026-11-21T09:00"


def test_a_clock_time_added_to_a_day_or_removed_leaves_the_keys_of_the_others_alone() -> None:
    keys = {
        message.key
        for offsets in ("0d@16:00", "0d@09:00,0d@16:00", "1d@16:00,0d@16:00")
        if (message := due(TALK, "2026-11-21 16:05", settings(offsets)))
    }
    assert keys == {"reminder.day_of/talk:t1/user:42/2026-11-21T16:00"}


def test_an_hours_key_has_the_date_alone() -> None:
    message = due(replace(TALK, starts_at=clock("18:00")), "2026-11-21 17:05", settings("1h"))
    assert message is not None
    assert message.occasion == "2026-11-21"


def test_a_rescheduled_talk_has_its_own_reminders_again() -> None:
    moved = replace(TALK, date=date(2026, 11, 22))
    assert kind_due(moved, "2026-11-20 16:05") is None
    before, after = due(TALK, "2026-11-20 16:05"), due(moved, "2026-11-21 16:05")
    assert before is not None
    assert after is not None
    assert before.key != after.key


DM, THREAD = Route("dm", "42"), Route("thread", "900", mention="42")
CHANNEL = Route("channel", "7", mention="42", configured=True)


@pytest.mark.parametrize(
    ("order", "thread", "routes"),
    [
        (("dm", "thread"), "900", (DM, THREAD)),
        (("thread", "dm"), "900", (THREAD, DM)),
        (("dm", "thread"), None, (DM,)),
        (("thread",), None, ()),
        (("dm", "thread", "channel"), "900", (DM, THREAD, CHANNEL)),
        (("channel",), "900", (CHANNEL,)),
    ],
)
def test_routes_are_in_the_communitys_order_and_mention_where_others_read(
    order: tuple[str, ...], thread: str | None, routes: tuple[Route, ...]
) -> None:
    using = replace(DEFAULTS, reminder_routes=order, fallback_channel_id="7")
    message = due(replace(TALK, thread_id=thread), "2026-11-20 16:05", using)
    assert message is not None
    assert message.routes == routes


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store("sqlite:///:memory:")
    opened.prepare()
    yield opened
    opened.close()


def test_the_job_reads_every_talk_an_offset_can_reach(store: Store) -> None:
    days = [date(2026, 11, day) for day in (20, 21, 22, 27, 28)]
    store.talks.put(
        [replace(TALK, id=str(day), date=day, starts_at=clock("16:00")) for day in days]
    )
    using = settings("7d@16:00,1d@16:00,0d@15:00,48h")
    found = messages(
        JOB.decide(JobContext(store, using, at("2026-11-20 16:00"), templates=templates_of()))
    )
    assert [(m.kind, m.occasion) for m in found] == [
        ("reminder.day_before", "2026-11-21T16:00"),
        ("reminder.48h", "2026-11-22"),
        ("reminder.7d", "2026-11-27T16:00"),
    ]


def weighed(store: Store, now: str, using: Settings = DEFAULTS) -> list[MessagePlan]:
    context = JobContext(store, using, at(now), templates=templates_of())
    moment = Moment(context.now, context.now, DEFAULTS.timezone)
    return [
        each for each in weigh(JOB.decide(context), store, moment) if isinstance(each, MessagePlan)
    ]


def test_what_the_ledger_says_was_sent_is_not_sent_again(store: Store) -> None:
    store.talks.put([TALK])
    [plan] = weighed(store, "2026-11-20 16:05")
    assert plan.state == "planned"
    sent = sent_record(plan.message, at("2026-11-20 16:05"))
    store.ledger.swap([DeliveryChange(None, sent)])
    assert [plan.state for plan in weighed(store, "2026-11-20 17:05")] == ["already_sent"]


ZONES = ("UTC", BERLIN, NEW_YORK, LORD_HOWE, SAO_PAULO, AUCKLAND, APIA)
DAYS = (
    date(2026, 11, 21),
    date(2026, 3, 29),
    date(2026, 10, 25),
    date(2026, 10, 4),
    date(2018, 11, 4),
    date(2018, 2, 18),
    date(2011, 12, 31),
    date(2011, 12, 30),
)
CLOCKS = st.integers(0, 24 * 60 - 1).map(lambda minute: time(minute // 60, minute % 60))
OFFSETS = st.one_of(
    st.tuples(st.integers(0, 3), CLOCKS).map(lambda pair: f"{pair[0]}d@{pair[1]:%H:%M}"),
    st.integers(1, 80).map(lambda hours: f"{hours}h"),
)


@drawing(deadline=None)
@example(APIA, date(2011, 12, 31), 0, time(0, 30), ["23h"], 11 * 60 + 30 - 2 * 24 * 60)
@given(
    zone=st.sampled_from(ZONES),
    day=st.sampled_from(DAYS),
    shift=st.integers(-1, 1),
    start=st.none() | CLOCKS,
    offsets=st.lists(OFFSETS, min_size=1, max_size=4, unique=True),
    minutes=st.integers(-5 * 24 * 60, 2 * 24 * 60),
)
def test_at_any_instant_at_most_one_message_and_what_it_says_is_true(
    zone: str, day: date, shift: int, start: time | None, offsets: list[str], minutes: int
) -> None:
    talk = replace(TALK, date=day + timedelta(days=shift), starts_at=start)
    using = settings(",".join(offsets), zone)
    now = datetime(talk.date.year, talk.date.month, talk.date.day, tzinfo=UTC) + minutes * MINUTE
    message = due(talk, now, using)
    assert decided_with_a_store(talk, using, now) == ([message] if message else [])
    if message is None:
        return
    assert message.due_at <= now < message.expires_at
    first = due(talk, message.due_at, using)
    assert first is None or first.reason != message.reason or first.key == message.key
    assert_true(TEXTS.of(message), talk, now, ZoneInfo(zone))


def decided_with_a_store(talk: Talk, using: Settings, now: datetime) -> list[Message]:
    with closing(open_store("sqlite:///:memory:")) as opened:
        opened.prepare()
        opened.talks.put([talk])
        return messages(JOB.decide(JobContext(opened, using, now, templates=templates_of())))


def assert_true(text: str, talk: Talk, now: datetime, zone: ZoneInfo) -> None:
    """What it says of the day or of the time left holds at ``now``."""
    today = now.astimezone(zone).date()
    clock = f", {talk.starts_at:%H:%M}" if talk.starts_at else ""
    assert f"{talk.date}{clock})" in text
    if "tomorrow" in text:
        assert today == talk.date - timedelta(days=1)
    elif "today" in text:
        assert today == talk.date
    elif named := re.search(r"speak in (\d+) days \(", text):
        assert today == talk.date - timedelta(days=int(named[1]))
    else:
        start = talk.start(zone)
        assert start is not None
        assert now < start
