"""What the weekly job decides: which days, which parts, which key, which edits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from jobs.weekly import HEADING, JOB, split
from speakerbot.bootstrap import templates as templates_of
from speakerbot.channels.discord.access import CAPABILITIES, LIMIT
from speakerbot.config import Settings
from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.message import Edit, Message, Skip
from speakerbot.domain.talk import Talk
from speakerbot.errors import ConfigError
from speakerbot.ports.store import Store
from speakerbot.runs.job import JobContext
from speakerbot.runs.talk_values import talk_values
from speakerbot.stores import open_store
from speakerbot.text import length

MONDAY = datetime(2026, 11, 16, 17, 0, tzinfo=UTC)
SETTINGS = Settings(
    database_url="", announcements_channel_id="77", weekly_mode="edit", node_bot_coexist=False
)


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store("sqlite:///:memory:")
    opened.prepare()
    yield opened
    opened.close()


def _book(store: Store, *days: int, topic: str = "Topic", completed: bool = False) -> None:
    """Talks on these days of November 2026."""
    store.talks.put(
        [
            Talk(f"t{day}", str(day), f"user{day}", topic, date(2026, 11, day), completed=completed)
            for day in days
        ]
    )


def _decide(
    store: Store,
    now: datetime = MONDAY,
    *,
    settings: Settings = SETTINGS,
    occurrence: datetime | None = None,
    edit_only: bool = False,
) -> list[Message]:
    context = JobContext(store, settings, now, occurrence, edit_only, templates=templates_of())
    return [each for each in JOB.decide(context) if isinstance(each, Message)]


def _skipped(store: Store, now: datetime = MONDAY, *, settings: Settings = SETTINGS) -> list[str]:
    decided = list(
        JOB.decide(JobContext(store, settings, now, edit_only=True, templates=templates_of()))
    )
    return [each.reason for each in decided if isinstance(each, Skip)]


def _post(store: Store, message: Message, text: str | None = None, *, attempts: int = 1) -> None:
    """Notes in the ledger that it was sent."""
    record = Delivery(
        key=message.key,
        kind=message.kind,
        recipient=message.recipient,
        state=DeliveryState.SENT,
        revision=f"{message.key}.1",
        run_id="run",
        due_at=message.due_at,
        expires_at=message.expires_at,
        created_at=MONDAY,
        updated_at=MONDAY,
        text=templates_of().of(message) if text is None else text,
        attempts=attempts,
        message_id="1",
        note=message.note,
    )
    assert store.ledger.swap([DeliveryChange(None, record)])


def _note(store: Store, message: Message, **changes: object) -> None:
    [record] = store.ledger.get([message.key]).values()
    after = record._replace(revision=f"{record.revision}+", **changes)  # type: ignore[arg-type]
    assert store.ledger.swap([DeliveryChange(record, after)])


def _text(message: Message) -> str:
    return templates_of().of(message)


def test_talks_of_today_and_the_six_days_after_it_in_the_node_bots_words(store: Store) -> None:
    _book(store, 15, 16, 22, 23)
    _book(store, 18, completed=True)
    [message] = _decide(store)
    assert _text(message) == (
        "## Upcoming Talks\n\n"
        '1. **2026-11-16** - user16: "Topic"\n'
        '2. **2026-11-22** - user22: "Topic"'
    )


def test_an_empty_week_calls_for_speakers_under_the_same_heading(store: Store) -> None:
    [message] = _decide(store)
    assert message.template == "weekly_empty"
    assert _text(message).startswith(HEADING)


def test_one_key_and_one_end_for_the_whole_iso_week(store: Store) -> None:
    berlin = replace(SETTINGS, timezone=ZoneInfo("Europe/Berlin"))
    decided = [
        _decide(store, now, settings=berlin)[0]
        for now in (
            datetime(2026, 12, 27, 23, 0, tzinfo=UTC),  # Monday 00:00 in Berlin
            datetime(2027, 1, 3, 22, 59, tzinfo=UTC),
        )
    ]
    assert {message.key for message in decided} == {"weekly/schedule/channel:77/2026-W53"}
    assert {message.expires_at for message in decided} == {datetime(2027, 1, 3, 23, 0, tzinfo=UTC)}


def test_a_late_run_belongs_to_the_week_of_its_occurrence(store: Store) -> None:
    _book(store, 22, 23, 29)
    sunday = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)
    now = sunday + timedelta(hours=5)
    [message] = _decide(store, now, occurrence=sunday)
    assert message.occasion == "2026-W47"
    assert now < message.expires_at
    assert "2026-11-22" not in _text(message), "yesterday's talk is not upcoming"
    assert "2026-11-29" in _text(message)


def test_a_long_schedule_is_cut_between_talks_and_its_parts_stand_in_order(store: Store) -> None:
    _book(store, *range(16, 23), topic="x" * 900)
    parts = _decide(store)
    assert [part.occasion for part in parts] == [
        "2026-W47", "2026-W47/2", "2026-W47/3", "2026-W47/4"
    ]  # fmt: skip
    assert [part.follows for part in parts] == [False, True, True, True]
    lines = [line for part in parts for line in _text(part).splitlines() if line[:1].isdigit()]
    assert [line.partition(".")[0] for line in lines] == [str(n) for n in range(1, 8)]
    assert all(line.endswith("x" * 900 + '"') for line in lines)


def test_a_line_longer_than_a_message_stands_alone_and_is_shortened(store: Store) -> None:
    _book(store, 16)
    _book(store, 17, topic="*" * 2000)
    _book(store, 18)
    texts = [_text(part) for part in _decide(store)]
    assert len(texts) == 3
    assert length(texts[1]) <= LIMIT
    assert texts[1].endswith('…"')


def test_a_part_is_as_full_as_a_message_may_be() -> None:
    line = talk_values(Talk("a", "1", "ada", "", date(2026, 11, 16)), ZoneInfo("UTC"))
    line["number"] = 1
    room = LIMIT - length(templates_of().render("weekly", {"part": 1, "talks": [line, line]}))
    full = {**line, "topic": "x" * room}
    assert len(split([line, full], CAPABILITIES)) == 1
    text = templates_of().render("weekly", {"part": 1, "talks": [line, full]})
    assert length(text) == LIMIT
    assert len(split([line, {**line, "topic": "x" * (room + 1)}], CAPABILITIES)) == 2


def test_parts_that_go_later_show_the_days_of_the_first(store: Store) -> None:
    _book(store, *range(16, 23), topic="x" * 900)
    first, second, *_ = _decide(store, settings=POST_MODE)
    _post(store, first)
    on_tuesday = _decide(store, TUESDAY, settings=POST_MODE)
    assert [part.key for part in on_tuesday][:2] == [first.key, second.key]
    assert _text(on_tuesday[1]) == _text(second)


POST_MODE = replace(SETTINGS, weekly_mode="post")
TUESDAY = MONDAY + timedelta(days=1)


def _numbers_and_days(messages: list[Message]) -> list[list[tuple[int, str]]]:
    """What each message shows."""
    return [
        [(line["number"], line["date"][-2:]) for line in message.values.get("talks", ())]
        for message in messages
    ]


def test_the_first_part_stores_what_each_part_shows(store: Store) -> None:
    _book(store, *range(16, 21), topic="x" * 900)
    first, *_ = _decide(store)
    assert json.loads(first.note) == {"parts": [["t16", "t17"], ["t18", "t19"], ["t20"]]}


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ("cancel t16, posted", [[(3, "18"), (4, "19")], [(5, "20")]]),
        ("cancel t18, to come", [[(3, "19")], [(4, "20")]]),
        ("book the 21st", [[(3, "18"), (4, "19")], [(5, "20")]]),
        ("cancel t17, book the 21st", [[(3, "18"), (4, "19")], [(5, "20")]]),
        ("move t19 out", [[(3, "18")], [(4, "20")]]),
        ("move t20 to the 22nd", [[(3, "18"), (4, "19")], [(5, "22")]]),
        ("complete t18", [[(3, "19")], [(4, "20")]]),
        ("cancel t18 and t19", [[(3, "20")]]),
    ],
)
def test_after_a_crash_the_other_parts_show_what_is_left_of_the_first_list(
    store: Store, change: str, shown: list[list[tuple[int, str]]]
) -> None:
    _book(store, *range(16, 21), topic="x" * 900)
    _post(store, _decide(store, settings=POST_MODE)[0])
    if "book the 21st" in change:
        _book(store, 21, topic="x" * 900)
    for day in range(16, 21):
        if "cancel" in change and f"t{day}" in change:
            store.talks.delete(f"t{day}")
        if f"complete t{day}" in change:
            _book(store, day, topic="x" * 900, completed=True)
    if "move t19 out" in change:
        store.talks.reschedule("t19", date(2026, 12, 1))
    if "move t20" in change:
        store.talks.reschedule("t20", date(2026, 11, 22))
    for now in (MONDAY, TUESDAY):
        first, *rest = _decide(store, now, settings=POST_MODE)
        assert _numbers_and_days(rest) == shown
        assert first.key == "weekly/schedule/channel:77/2026-W47"


def test_the_numbers_go_on_after_what_was_posted(store: Store) -> None:
    """The second part was posted without a talk that had been cancelled by then."""
    _book(store, *range(16, 21), topic="x" * 900)
    _post(store, _decide(store, settings=POST_MODE)[0])
    store.talks.delete("t18")
    _post(store, _decide(store, settings=POST_MODE)[1])
    third = _decide(store, settings=POST_MODE)[2]
    assert _numbers_and_days([third]) == [[(4, "20")]]
    assert third.occasion == "2026-W47/3"


def test_in_post_mode_a_later_booking_changes_nothing(store: Store) -> None:
    _book(store, 17, 18, topic="x" * 900)
    for part in _decide(store, settings=POST_MODE):
        _post(store, part)
    _book(store, 16, 19, topic="x" * 900)
    again = _decide(store, TUESDAY, settings=POST_MODE)
    assert [message.occasion for message in again] == ["2026-W47"]


@pytest.mark.parametrize("state", ["claimed", "failed"])
def test_a_first_part_that_may_have_arrived_keeps_its_list(store: Store, state: str) -> None:
    _book(store, *range(16, 19), topic="x" * 900)
    first, _ = _decide(store, settings=POST_MODE)
    _post(store, first)
    _note(store, first, state=state, unconfirmed_since=MONDAY)
    store.talks.delete("t16")
    _book(store, 21, topic="x" * 900)
    again = _decide(store, TUESDAY, settings=POST_MODE)
    assert _numbers_and_days(again) == [[(1, "17")], [(3, "18")]]
    assert again[0].note == first.note, "what may stand there shows the talk that was cancelled"


def test_a_first_part_that_has_surely_not_arrived_is_made_from_what_there_is(store: Store) -> None:
    _book(store, 17, 18)
    [first] = _decide(store, settings=POST_MODE)
    _post(store, first)
    _note(store, first, state="failed")
    _book(store, 19)
    [again] = _decide(store, TUESDAY, settings=POST_MODE)
    assert _numbers_and_days([again]) == [[(1, "17"), (2, "18"), (3, "19")]]
    assert json.loads(again.note) == {"parts": [["t17", "t18", "t19"]]}


@pytest.mark.parametrize("note", ["", "{", "[]", '{"parts": 7}', '{"parts": [[1], 2]}', '{"x": 1}'])
def test_where_the_list_cannot_be_read_what_was_posted_stands_alone(
    store: Store, note: str
) -> None:
    _book(store, *range(16, 19), topic="x" * 900)
    first, _ = _decide(store, settings=POST_MODE)
    _post(store, first)
    _note(store, first, note=note)
    assert [message.key for message in _decide(store, settings=POST_MODE)] == [first.key]


def test_in_edit_mode_every_run_of_the_week_brings_the_posts_up_to_date(store: Store) -> None:
    _book(store, 17)
    _post(store, _decide(store)[0])
    _book(store, 18)
    for edit_only in (False, True):
        [edit] = _decide(store, TUESDAY, edit_only=edit_only)
        assert edit.edit is not None
        assert _numbers_and_days([edit]) == [[(1, "17"), (2, "18")]]


def test_in_edit_mode_a_run_after_a_crash_posts_the_other_parts_from_what_there_is(
    store: Store,
) -> None:
    _book(store, *range(16, 20), topic="x" * 900)
    _post(store, _decide(store)[0])
    store.talks.delete("t16")
    first, second = _decide(store, TUESDAY)
    assert (first.edit is not None, second.edit) == (True, None)
    assert _numbers_and_days([first, second]) == [[(1, "17"), (2, "18")], [(3, "19")]]


def test_in_edit_mode_the_first_run_of_a_week_posts_it(store: Store) -> None:
    _book(store, 17, 24)
    _post(store, _decide(store)[0])
    [next_week] = _decide(store, MONDAY + timedelta(days=7))
    assert (next_week.occasion, next_week.edit) == ("2026-W48", None)


def test_an_edit_that_cannot_be_rendered_is_still_decided(store: Store, tmp_path: Path) -> None:
    """What cannot be compared is tried: that it fails is then told of that post."""
    _book(store, 17)
    [first] = _decide(store)
    _post(store, first)
    (tmp_path / "weekly.md").write_text("{{ nothing_of_that_name }}")
    context = JobContext(store, SETTINGS, MONDAY, edit_only=True, templates=templates_of(tmp_path))
    [edit] = JOB.decide(context)
    assert isinstance(edit, Message)
    assert edit.edit is not None


def test_the_node_bots_own_post_stands_for_all_parts(store: Store) -> None:
    _book(store, *range(16, 23), topic="x" * 900)
    first = _decide(store, settings=POST_MODE)[0]
    _post(store, first, "## Upcoming Talks\n\n1. …", attempts=0)
    assert len(_decide(store, settings=POST_MODE)) == 1


def test_only_beside_the_node_bot_its_post_is_looked_for_from_monday_on(store: Store) -> None:
    _book(store, *range(16, 23), topic="x" * 900)
    beside = replace(SETTINGS, node_bot_coexist=True, timezone=ZoneInfo("Europe/Berlin"))
    first, *others = _decide(store, MONDAY + timedelta(days=3), settings=beside)
    assert first.look_back is not None
    assert first.look_back.since == datetime(2026, 11, 15, 23, 0, tzinfo=UTC)
    assert first.look_back.heading == HEADING
    assert {part.look_back for part in others} == {None}
    assert _decide(store)[0].look_back is None


def test_the_guilds_channel_comes_before_the_environments(store: Store) -> None:
    settings = replace(SETTINGS, guild_id="5")
    assert _decide(store, settings=settings)[0].recipient == "channel:77"
    store.guilds.set_channel("5", "88", "somebody", MONDAY)
    [message] = _decide(store, settings=settings)
    assert message.recipient == "channel:88"
    assert message.routes[0].target == "88"
    assert message.routes[0].configured


def test_without_a_channel_both_ways_to_set_one_are_named(store: Store) -> None:
    with pytest.raises(ConfigError) as error:
        _decide(store, settings=replace(SETTINGS, announcements_channel_id=None))
    assert "PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID" in str(error.value)
    assert "guild set-channel" in str(error.value)


def test_an_edit_run_posts_nothing_first_and_in_post_mode_does_nothing(store: Store) -> None:
    assert _skipped(store) == ["nothing_posted"]
    _post(store, _decide(store)[0])
    post_mode = replace(SETTINGS, weekly_mode="post")
    assert _skipped(store, settings=post_mode) == ["weekly_mode_is_post"]
    assert _decide(store, settings=post_mode, edit_only=True) == []


def test_an_edit_shows_the_same_days_as_the_post_did(store: Store) -> None:
    _book(store, 17)
    _post(store, _decide(store)[0])
    _book(store, 22, 23)
    [edit] = _decide(store, MONDAY + timedelta(days=4), edit_only=True)
    assert edit.edit == Edit(again="2026-W47/again")
    assert '1. **2026-11-17** - user17: "Topic"\n2. **2026-11-22**' in _text(edit)
    assert "2026-11-23" not in _text(edit)


def test_a_post_that_is_true_is_not_edited(store: Store) -> None:
    _book(store, 17)
    _post(store, _decide(store)[0])
    [message] = _decide(store, MONDAY + timedelta(days=4), edit_only=True)
    assert message.edit is None
    assert store.ledger.get([message.key]), "so it counts as already sent"


def test_a_post_is_kept_true_as_long_as_it_shows_today(store: Store) -> None:
    thursday = MONDAY + timedelta(days=3)
    _post(store, _decide(store, thursday, occurrence=thursday)[0])
    _book(store, 24, 25)
    [edit] = _decide(store, thursday + timedelta(days=6), edit_only=True)
    assert edit.edit is not None
    assert edit.occasion == "2026-W47"
    assert "2026-11-25" in _text(edit)
    assert _skipped(store, thursday + timedelta(days=7)) == ["nothing_posted"]


def test_the_newest_post_is_the_one_that_is_kept_true(store: Store) -> None:
    for start in (MONDAY + timedelta(days=4), MONDAY + timedelta(days=7)):
        _post(store, _decide(store, start, occurrence=start)[0])
    _book(store, 24)
    [edit] = _decide(store, MONDAY + timedelta(days=8), edit_only=True)
    assert edit.occasion == "2026-W48"


def test_a_schedule_that_grows_gets_new_parts_and_one_that_shrinks_says_so(store: Store) -> None:
    _book(store, 16, topic="x" * 1500)
    _post(store, _decide(store)[0])
    _book(store, 17, topic="y" * 1500)
    grown = _decide(store, edit_only=True)
    assert [(each.occasion, each.edit, each.follows) for each in grown] == [
        ("2026-W47", None, False),
        ("2026-W47/2", None, True),
    ]
    _post(store, grown[1])
    store.talks.delete("t17")
    shrunk = _decide(store, edit_only=True)
    assert shrunk[1].edit is not None
    assert _text(shrunk[1]) == "*Nothing more this week.*"


def test_a_deleted_post_is_posted_again_once(store: Store) -> None:
    [first] = _decide(store)
    _post(store, first)
    _note(store, first, error_class="deleted")
    [again] = _decide(store, edit_only=True)
    assert again.key == f"{first.key}/again"
    assert again.edit is None
    _post(store, again)
    _book(store, 17)
    [edit] = _decide(store, edit_only=True)
    assert edit.key == again.key
    assert edit.edit == Edit(again=None)
    _note(store, again, error_class="deleted")
    assert _decide(store, edit_only=True) == []
    assert _skipped(store) == ["deleted_twice"]


def test_a_crash_between_posting_again_and_noting_the_deletion_changes_nothing(
    store: Store,
) -> None:
    [first] = _decide(store)
    _post(store, first)
    _post(store, replace(first, occasion="2026-W47/again"))
    [again] = _decide(store, edit_only=True)
    assert again.key == f"{first.key}/again"
    assert again.edit is None


def test_nobody_knows_the_text_after_two_edits_at_once_so_it_is_edited(store: Store) -> None:
    _book(store, 17)
    [first] = _decide(store)
    _post(store, first, text="")
    [edit] = _decide(store, edit_only=True)
    assert edit.edit is not None


def test_a_first_post_that_still_waits_is_left_to_the_weekly_run(store: Store) -> None:
    [first] = _decide(store)
    _post(store, first)
    _note(store, first, state="failed")
    assert _skipped(store) == ["nothing_posted"]
