"""What a programme changes among the talks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from speakerbot import booking
from speakerbot.domain.person import Person, linked
from speakerbot.domain.talk import Speaker, Talk
from speakerbot.errors import InputRefused, SourceRefused
from speakerbot.formats.problems import ImportProblems
from speakerbot.formats.programme_plan import SyncPlan, SyncState, plan, talk_id_of
from speakerbot.formats.sessions import Guest, Programme, Session
from speakerbot.ports.store import Store
from speakerbot.stores import open_store

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 20, 16, tzinfo=UTC)
SOURCE = "pretalx:programme.example/evenings:"
DAY = date(2026, 11, 27)
ADA, KAZ = "802345678901234561", "802345678901234562"
KITES = Session(
    "KX7P2A", "Kites", (Guest("Ada", ADA, key="A"),), DAY, time(19), 30, "Main Hall", "https://x/1"
)
BY_HAND = Talk("hand", ADA, "ada", "Kites", DAY, starts_at=time(18))


def programme(*sessions: Session, stable_ids: bool = True) -> Programme:
    return Programme(SOURCE, sessions, stable_ids)


def planned(
    *sessions: Session,
    stored: list[Talk] | None = None,
    people: list[Person] | None = None,
    prune: bool = False,
    one_a_date: bool = False,
    stable_ids: bool = True,
) -> SyncPlan:
    problems = ImportProblems("p.json")
    found = plan(
        programme(*sessions, stable_ids=stable_ids), stored or [], people or [], NOW, BERLIN,
        problems, prune=prune, one_a_date=one_a_date,
    )  # fmt: skip
    problems.refuse()
    return found


def booked(session: Session = KITES) -> Talk:
    """The talk that a session becomes."""
    [row] = planned(session).rows
    assert row.after is not None
    return row.after


def states(found: SyncPlan) -> list[str]:
    return [row.state.value for row in found.rows]


def test_a_session_is_booked_with_all_that_the_programme_says() -> None:
    assert booked() == Talk(
        id=talk_id_of(f"{SOURCE}KX7P2A"), user_id=ADA, username="Ada", topic="Kites", date=DAY,
        booked_at=NOW, starts_at=time(19), length=30, room="Main Hall", link="https://x/1",
        source_id=f"{SOURCE}KX7P2A",
    )  # fmt: skip


def test_the_same_again_changes_nothing() -> None:
    found = planned(KITES, stored=[booked()])
    assert states(found) == ["unchanged"]
    assert (found.to_put, found.to_cancel) == ([], [])


def test_two_syncs_at_once_make_one_talk_of_a_session() -> None:
    assert booked().id == booked().id
    assert len(booked().id) == 24


@pytest.mark.parametrize(
    ("change", "state", "difference"),
    [
        ({"day": date(2026, 12, 4)}, "moved", ("date", "2026-11-27", "2026-12-04")),
        ({"starts_at": time(20, 15)}, "moved", ("starts_at", "19:00", "20:15")),
        ({"topic": "Kites II"}, "changed", ("topic", "Kites", "Kites II")),
        ({"length": 45}, "changed", ("length", "30m", "45m")),
        ({"room": "Side"}, "changed", ("room", "Main Hall", "Side")),
        ({"link": "https://x/2"}, "changed", ("link", "https://x/1", "https://x/2")),
        (
            {"guests": (Guest("Kaz", KAZ),)},
            "changed",
            ("speakers", f"Ada ({ADA})", f"Kaz ({KAZ})"),
        ),
    ],
)
def test_what_changed_there_changes_here(
    change: dict[str, object], state: str, difference: tuple[str, str, str]
) -> None:
    after = replace(KITES, **change)  # type: ignore[arg-type]
    [row] = planned(after, stored=[booked()]).rows
    assert (row.state, row.differences) == (state, [difference])
    assert row.after
    assert row.after.id == booked().id


def test_what_the_programme_does_not_say_stays() -> None:
    silent = replace(KITES, length=None, room=None, link=None, starts_at=None)
    assert states(planned(silent, stored=[booked()])) == ["unchanged"]


def test_what_a_person_changed_gives_way_to_the_programme_and_the_plan_says_so() -> None:
    edited = replace(booked(), topic="Dragons", thread_id="70")
    [row] = planned(KITES, stored=[edited]).rows
    assert row.differences == [("topic", "Dragons", "Kites")]
    assert row.after
    assert row.after.thread_id == "70"


def test_a_name_that_the_community_uses_stays() -> None:
    person = Person("p", ADA, "Countess")
    [row] = planned(KITES, people=[person]).rows
    assert row.after
    assert row.after.username == "Countess"
    renamed = replace(KITES, guests=(Guest("Augusta Ada", ADA, key="A"),))
    assert states(planned(renamed, stored=[row.after])) == ["unchanged"]


# --- speakers


def test_several_guests_are_co_speakers() -> None:
    both = replace(KITES, guests=(Guest("Kaz", KAZ), Guest("Ada", ADA), Guest("Kaz", KAZ)))
    talk = booked(both)
    assert (talk.user_id, talk.co_speakers) == (KAZ, (Speaker(ADA, "Ada"),))


def test_the_main_speaker_stays_when_the_programme_lists_them_in_another_order() -> None:
    talk = booked(replace(KITES, guests=(Guest("Ada", ADA), Guest("Kaz", KAZ))))
    other = replace(KITES, guests=(Guest("Kaz", KAZ), Guest("Ada", ADA)))
    assert states(planned(other, stored=[talk])) == ["unchanged"]


def test_nobody_is_booked_whose_id_is_not_known_and_how_to_link_them_is_said() -> None:
    unknown = replace(KITES, guests=(Guest("Ada", handle="ada#1", key="A"),))
    found = planned(unknown, replace(unknown, id="TWO", topic="Dragons"))
    assert states(found) == ["unlinked", "unlinked"]
    assert found.to_put == []
    [ada] = found.unlinked
    assert (ada.name, ada.handle, ada.topics) == ("Ada", "ada#1", ("Kites", "Dragons"))


def test_a_session_is_booked_for_those_who_are_known_and_the_others_join_later() -> None:
    two = replace(KITES, guests=(Guest("Ada"), Guest("Kaz", KAZ)))
    talk = booked(two)
    assert talk.user_id == KAZ
    linked = Person("discord-1", ADA, "ada")
    [row] = planned(two, stored=[talk], people=[linked]).rows
    assert row.after
    assert (row.after.user_id, row.after.co_speakers) == (KAZ, (Speaker(ADA, "ada"),))


@pytest.mark.parametrize(
    "guest", [Guest("ada LOVELACE "), Guest("A. L.", handle="Ada Lovelace"), Guest("X", key="K")]
)
def test_people_are_known_by_name_by_what_they_answered_and_by_another_session(
    guest: Guest,
) -> None:
    told = replace(KITES, id="OTHER", guests=(Guest("X", ADA, key="K"),))
    people = [Person("p", ADA, "Ada  Lovelace")] if guest.key is None else []
    found = planned(replace(KITES, guests=(guest,)), told, people=people)
    assert states(found) == ["new", "new"]


def test_what_somebody_linked_goes_before_a_name_that_happens_to_be_the_same() -> None:
    people = [linked(Person("p", KAZ), "Ada"), Person("q", ADA, "ada")]
    [row] = planned(replace(KITES, guests=(Guest("Ada"),)), people=people).rows
    assert row.after
    assert row.after.user_id == KAZ


def test_an_id_that_one_row_tells_is_known_in_the_others_too() -> None:
    """Else the next sync would know it from the talk that this one books."""
    again = replace(KITES, id="TWO", topic="Dragons", guests=(Guest("ada"),))
    assert states(planned(replace(KITES, guests=(Guest("Ada", ADA),)), again)) == ["new", "new"]


def test_a_speaker_of_a_stored_talk_is_known_by_that_name() -> None:
    earlier = Talk("old", ADA, "Ada", "Dragons", date(2026, 1, 9))
    found = planned(replace(KITES, guests=(Guest("ada"),)), stored=[earlier])
    assert states(found) == ["new"]


def test_of_two_people_of_one_name_nobody_is_guessed() -> None:
    people = [Person("p", ADA, "Ada"), Person("q", KAZ, "Ada")]
    found = planned(replace(KITES, guests=(Guest("Ada"),)), people=people)
    assert states(found) == ["unlinked"]
    told = [people[0], linked(people[1], "ADA")]
    [row] = planned(replace(KITES, guests=(Guest("Ada"),)), people=told).rows
    assert row.after
    assert row.after.user_id == KAZ


def test_two_guests_of_one_name_are_not_one_person() -> None:
    first = replace(KITES, guests=(Guest("Ada", key="A"),))
    second = replace(KITES, id="TWO", guests=(Guest("Ada", key="B"),))
    found = planned(first, second, people=[Person("p", ADA, "Ada")])
    assert states(found) == ["unlinked", "unlinked"]
    assert [each.ambiguous for each in found.unlinked] == [True, True]


def test_as_long_as_a_guest_is_unknown_nobody_is_taken_off_the_talk() -> None:
    """A speaker who was linked by name and has changed it in the programme is still on it."""
    talk = booked(replace(KITES, guests=(Guest("Ada", ADA), Guest("Kaz", KAZ))))
    renamed = replace(KITES, guests=(Guest("Ada", ADA), Guest("Kasimir")))
    assert states(planned(renamed, stored=[talk])) == ["unchanged"]


# --- talks that were booked by hand


@pytest.mark.parametrize(
    "talk",
    [
        BY_HAND,
        replace(BY_HAND, topic="About kites"),  # same date
        replace(BY_HAND, date=date(2026, 12, 4)),  # same topic
        replace(BY_HAND, user_id=KAZ, username="kaz", co_speakers=(Speaker(ADA, "ada"),)),
    ],
)
def test_a_talk_booked_by_hand_is_taken_over(talk: Talk) -> None:
    [row] = planned(KITES, stored=[talk]).rows
    assert row.before == talk
    assert row.after
    assert (row.after.id, row.after.source_id) == ("hand", f"{SOURCE}KX7P2A")
    assert ("source_id", "", f"{SOURCE}KX7P2A") in row.differences


def test_the_topic_tells_which_of_a_speakers_talks_of_a_day_it_is() -> None:
    other = replace(BY_HAND, id="other", topic="Dragons")
    dragons = replace(KITES, id="DRAGON", topic="Dragons")
    found = planned(KITES, dragons, stored=[other, BY_HAND])
    assert [row.before.id for row in found.rows if row.before] == ["hand", "other"]


@pytest.mark.parametrize(
    "talk",
    [
        replace(BY_HAND, user_id=KAZ),
        replace(BY_HAND, topic="Dragons", date=date(2026, 12, 4)),
        replace(BY_HAND, date=date(2026, 11, 13)),
        replace(BY_HAND, completed=True),
    ],
)
def test_another_talk_is_not_taken_over(talk: Talk) -> None:
    assert states(planned(KITES, stored=[talk])) == ["new"]


def test_a_session_that_could_be_either_of_two_talks_is_refused_naming_both() -> None:
    talks = [replace(BY_HAND, id=name, topic=name) for name in ("one", "two")]
    with pytest.raises(InputRefused) as caught:
        planned(KITES, stored=talks)
    assert "talk one (2026-11-27, 'one') or talk two (2026-11-27, 'two')" in str(caught.value)


def test_two_sessions_that_could_be_one_talk_are_refused() -> None:
    with pytest.raises(InputRefused, match="and so can another session"):
        planned(replace(KITES, topic="A"), replace(KITES, id="TWO", topic="B"), stored=[BY_HAND])


def test_a_talk_of_another_programme_is_the_same_only_where_all_agrees() -> None:
    """Whoever changes from a calendar to pretalx has every talk once."""
    theirs = replace(BY_HAND, source_id="ics:calendar.example/1:x")
    assert states(planned(KITES, stored=[theirs])) == ["moved"]
    assert states(planned(KITES, stored=[replace(theirs, topic="Dragons")])) == ["new"]


def test_where_ids_may_change_a_session_with_a_new_id_is_the_talk_of_the_old_one() -> None:
    talk = booked()
    again = replace(KITES, id="NEW-ID", day=date(2026, 12, 4))
    [row] = planned(again, stored=[talk], stable_ids=False).rows
    assert (row.state, row.before) == (SyncState.MOVED, talk)
    assert states(planned(again, stored=[talk])) == ["new", "gone"]


# --- a talk that is given several times


def slots(*days: int) -> list[Session]:
    """As the reader numbers them, by their time."""
    return [
        replace(KITES, id="KX" if number == 1 else f"KX-{number}", day=date(2026, 12, day),
                series="KX")
        for number, day in enumerate(days, 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ((2, 4), {"unchanged": ["KX", "KX-2"]}),
        ((4, 7), {"unchanged": ["KX-2"], "moved": ["KX"]}),  # the first one moved past the other
        ((4,), {"unchanged": ["KX-2"], "gone": ["KX"]}),
        ((1, 2, 4), {"unchanged": ["KX", "KX-2"], "new": ["KX-3"]}),
        ((9,), {"moved": ["KX"], "gone": ["KX-2"]}),
    ],
)
def test_of_several_times_each_is_still_the_one_it_was(
    now: tuple[int, ...], expected: dict[str, list[str]]
) -> None:
    stored = [booked(each) for each in slots(2, 4)]
    found: dict[str, list[str]] = {}
    for row in planned(*slots(*now), stored=stored).rows:
        talk = row.before or row.after
        assert talk
        found.setdefault(row.state, []).append(str(talk.source_id).removeprefix(SOURCE))
    assert {state: sorted(ids) for state, ids in found.items()} == expected


# --- what is gone


def test_what_is_gone_is_shown_and_stays() -> None:
    other = booked(replace(KITES, id="TWO", topic="Dragons"))
    found = planned(KITES, stored=[booked(), other])
    assert states(found) == ["unchanged", "gone"]
    assert found.to_cancel == []


def test_with_prune_it_is_cancelled() -> None:
    other = booked(replace(KITES, id="TWO", topic="Dragons"))
    assert planned(KITES, stored=[booked(), other], prune=True).to_cancel == [other]


@pytest.mark.parametrize(
    ("change", "state"), [({"cancelled": True}, "called off"), ({"day": None}, "gone")]
)
def test_what_is_called_off_or_has_no_time_any_more_is_treated_so(
    change: dict[str, object], state: str
) -> None:
    off = replace(KITES, **change)  # type: ignore[arg-type]
    assert states(planned(off, stored=[booked()])) == [state]
    assert planned(off, stored=[booked()]).to_cancel == []
    assert planned(off, stored=[booked()], prune=True).to_cancel == [booked()]


def test_talks_of_other_programmes_by_hand_and_past_ones_are_never_gone() -> None:
    talks = [
        replace(BY_HAND, user_id=KAZ),
        replace(booked(), id="b", source_id="ics:x/1:y", user_id=KAZ),
        replace(booked(), id="c", source_id=f"{SOURCE}OLD", date=date(2026, 11, 19)),
        replace(booked(), id="d", source_id=f"{SOURCE}DONE", completed=True),
    ]
    assert states(planned(stored=talks, prune=True)) == []


@pytest.mark.parametrize(("left", "refused"), [(0, True), (1, True), (2, False), (4, False)])
def test_losing_more_than_half_at_once_is_refused(left: int, *, refused: bool) -> None:
    sessions = [replace(KITES, id=f"S{n}", topic=f"Kites {n}") for n in range(4)]
    talks = [booked(each) for each in sessions]
    found = planned(*sessions[:left], stored=talks, prune=True)
    if refused:
        with pytest.raises(SourceRefused, match="--allow-mass-change"):
            found.refuse_mass_change("p.json")
    else:
        found.refuse_mass_change("p.json")
    planned(*sessions[:left], stored=talks).refuse_mass_change("p.json")


def test_talks_that_are_over_do_not_make_a_loss_look_smaller() -> None:
    past = [
        replace(booked(), id=str(n), source_id=f"{SOURCE}P{n}", date=date(2026, 11, 13))
        for n in range(10)
    ]
    sessions = [replace(KITES, id=f"P{n}", day=date(2026, 11, 13)) for n in range(10)]
    found = planned(*sessions, stored=[booked(), *past], prune=True)
    assert found.counts["gone"] == 1
    with pytest.raises(SourceRefused, match="1 of 1 coming talks"):
        found.refuse_mass_change("p.json")


def test_a_talk_booked_by_hand_is_not_cancelled_for_a_session_that_was_called_off() -> None:
    found = planned(replace(KITES, cancelled=True), stored=[BY_HAND], prune=True)
    assert found.to_cancel == []


def test_what_is_called_off_is_no_loss() -> None:
    planned(replace(KITES, cancelled=True), stored=[booked()], prune=True).refuse_mass_change(
        "p.json"
    )


# --- time


def test_sessions_that_are_over_or_have_no_time_are_not_booked() -> None:
    found = planned(replace(KITES, day=date(2026, 11, 19)), replace(KITES, id="TWO", day=None))
    assert states(found) == ["over", "unscheduled"]


def test_todays_session_is_booked_until_its_day_ends_in_the_communitys_zone() -> None:
    assert states(planned(replace(KITES, day=date(2026, 11, 20)))) == ["new"]


def test_a_talk_that_is_over_stays_as_it_was_unless_it_is_postponed() -> None:
    past = replace(booked(), date=date(2026, 11, 13))
    assert states(planned(replace(KITES, day=past.date, topic="X"), stored=[past])) == ["unchanged"]
    assert states(planned(KITES, stored=[past])) == ["moved"]


# --- one talk a date


def test_one_talk_a_date_is_refused_naming_all() -> None:
    two = replace(KITES, id="TWO", topic="Dragons")
    other = Talk("x", KAZ, "kaz", "Owls", date(2026, 12, 4))
    moved = replace(KITES, id="THREE", topic="Newts", day=date(2026, 12, 4))
    with pytest.raises(InputRefused) as caught:
        planned(KITES, two, moved, stored=[other], one_a_date=True)
    assert "2026-11-27 is taken by Ada ('Kites')" in str(caught.value)
    assert "2026-12-04 is taken by kaz ('Owls')" in str(caught.value)
    assert "NODE_BOT_COEXIST=false" in str(caught.value)


def test_two_talks_may_change_dates_with_each_other() -> None:
    two = replace(KITES, id="TWO", topic="Dragons", day=date(2026, 12, 4))
    stored = [booked(KITES), booked(two)]
    swapped = (replace(KITES, day=two.day), replace(two, day=DAY))
    assert states(planned(*swapped, stored=stored, one_a_date=True)) == ["moved", "moved"]


# --- written down


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store("sqlite:///:memory:")
    opened.prepare()
    yield opened
    opened.close()


def test_what_is_planned_is_written_and_calendars_are_told(store: Store) -> None:
    two = replace(KITES, id="TWO", topic="Dragons")
    booking.synchronise(store, planned(KITES, two), NOW)
    later = NOW + timedelta(hours=1)
    moved = replace(KITES, day=date(2026, 12, 4))
    change = planned(moved, stored=list(store.talks.all()), prune=True)
    booking.synchronise(store, change, later)
    [talk] = store.talks.all()
    assert (talk.date, talk.topic) == (date(2026, 12, 4), "Kites")
    entries = {entry.topic: entry for entry in store.calendar.all()}
    assert (entries["Kites"].sequence, entries["Dragons"].cancelled) == (1, True)
