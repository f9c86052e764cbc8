"""Whatever is stored and whatever a programme says: a second sync has nothing to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from speakerbot.domain.person import Person, linked
from speakerbot.domain.talk import Speaker, Talk
from speakerbot.formats.problems import ImportProblems
from speakerbot.formats.programme_plan import SyncPlan, plan
from speakerbot.formats.sessions import Guest, Programme, Session

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 20, 16, tzinfo=UTC)
SOURCES = ("pretalx:h/e:", "ics:h/1:")
IDS = ("1", "2", "3")

days = st.sampled_from([date(2026, 11, 13), date(2026, 11, 27), date(2026, 12, 4)])
starts = st.sampled_from([None, time(18), time(19)])
names = st.sampled_from(["ada", "Ada", "kaz"])
topics = st.sampled_from(["Kites", "Dragons"])
guests = st.builds(
    Guest,
    names,
    st.sampled_from([None, *IDS]),
    st.sampled_from([None, "liv"]),
    st.sampled_from([None, "A", "B"]),
)
sessions = st.builds(
    Session,
    st.sampled_from(["S", "S-2", "S-3", "T", "U"]),
    topics,
    st.lists(guests, max_size=3).map(tuple),
    st.none() | days,
    starts,
    st.sampled_from([None, 30]),
    cancelled=st.sampled_from([False, False, True]),
)
speakers = st.builds(Speaker, st.sampled_from(IDS), names)
talks = st.builds(
    Talk,
    st.sampled_from(["a", "b", "c", "d"]),
    st.sampled_from(IDS),
    names,
    topics,
    days,
    starts_at=starts,
    completed=st.sampled_from([False, False, True]),
    co_speakers=st.lists(speakers, max_size=2, unique_by=lambda one: one.user_id).map(tuple),
    source_id=st.none() | st.builds(str.__add__, st.sampled_from(SOURCES), st.sampled_from("ST")),
)
people = st.lists(
    st.builds(
        lambda user, name, other: (
            linked(Person(f"p{user}", user, name), other)
            if other
            else Person(f"p{user}", user, name)
        ),
        st.sampled_from(IDS),
        st.none() | names,
        st.none() | names,
    ),
    max_size=2,
    unique_by=lambda one: one.id,
)


def numbered(found: list[Session]) -> list[Session]:
    """As the reader of pretalx has them: S, S-2 and S-3 are one that is given several times."""
    distinct = {session.id: session for session in found}.values()
    return [replace(each, series="S") if each.id.startswith("S") else each for each in distinct]


def planned(programme: Programme, stored: list[Talk], known: list[Person], prune: bool) -> SyncPlan:
    problems = ImportProblems("p")
    found = plan(programme, stored, known, NOW, BERLIN, problems, prune=prune, one_a_date=False)
    assume(not problems.found)
    return found


def written(stored: list[Talk], change: SyncPlan) -> list[Talk]:
    after = {talk.id: talk for talk in stored}
    for talk in change.to_cancel:
        del after[talk.id]
    return list((after | {talk.id: talk for talk in change.to_put}).values())


@given(
    st.lists(sessions, max_size=4).map(numbered),
    st.lists(talks, max_size=4, unique_by=lambda talk: talk.id),
    people,
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_a_second_sync_has_nothing_to_do(
    found: list[Session], stored: list[Talk], known: list[Person], prune: bool, stable: bool
) -> None:
    programme = Programme(SOURCES[0], tuple(found), stable)
    change = planned(programme, stored, known, prune)
    ids = [talk.id for talk in (*change.to_put, *change.to_cancel)]
    assert len(ids) == len(set(ids))
    after = written(stored, change)
    again = planned(programme, after, known, prune)
    assert (again.to_put, again.to_cancel) == ([], [])
