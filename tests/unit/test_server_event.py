"""What follows for one talk's event, from every state that runs, deaths and people leave."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speakerbot.domain.server_event import (
    FIELDS,
    EventChange,
    EventDetails,
    EventField,
    EventRecord,
    EventStatus,
    Leave,
    Make,
    Note,
    Remove,
    ServerEvent,
    Sight,
    Update,
    Verdict,
    Wanted,
    consider,
    made,
    marker,
    not_made,
)

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
LEASE = timedelta(minutes=5)
DAY = timedelta(days=1)


def details(number: int) -> EventDetails:
    """Another number differs in every field."""
    start = NOW + DAY * (number + 1)
    text = f"text {number}\n\n{marker('a')}"
    return EventDetails(
        f"name {number}", text, f"place {number}", start, start + timedelta(hours=1)
    )


@pytest.mark.parametrize(
    "talk_id", ["66f", "pretalx:host/event:CODE", "with space", "ä/🎉", "a%20b"]
)
def test_an_event_names_its_talk_whatever_its_id(talk_id: str) -> None:
    shown = details(0)._replace(description=f"About\n\n{marker(talk_id)} \n")
    assert ServerEvent("1", shown, EventStatus.SCHEDULED, ours=True).talk_id == talk_id


@pytest.mark.parametrize(
    "text", ["", "speakerbot:", "speakerbot:a, as we said", "about speakerbot"]
)
def test_other_texts_name_no_talk(text: str) -> None:
    shown = details(0)._replace(description=text)
    assert ServerEvent("1", shown, EventStatus.SCHEDULED, ours=True).talk_id is None


def test_the_server_may_trim_texts_and_name_custom_emoji() -> None:
    ours = details(0)._replace(name="<:party:1234567890123456789> engines ", place="Hall")
    theirs = ours._replace(name=":party: engines", place="Hall ")
    assert all(ours.same(name, theirs) for name in FIELDS)
    assert not ours.same("time", ours._replace(ends_at=NOW))


@dataclass
class World:
    """A server with the events of one talk, what we remember of it, and people who interfere."""

    record: EventRecord | None = None
    events: dict[str, ServerEvent] = field(default_factory=dict)
    wanted: Wanted = field(default_factory=lambda: Wanted(details(0)))
    now: datetime = NOW
    edited: set[EventField] = field(default_factory=set)
    """Fields that a person has edited since they were written."""
    made: int = 0
    numbers: count[int] = field(default_factory=lambda: count(1))

    def verdicts(self) -> list[Verdict]:
        sight = Sight(self.now, self.now, LEASE, f"r{next(self.numbers)}")
        return list(consider("a", self.wanted, self.record, list(self.events.values()), sight))

    def run(self, *, dies: bool = False, effective: bool = True, refused: str = "") -> None:
        """One run. ``dies`` after its first request, which was ``effective`` or not."""
        for verdict in self.verdicts():
            match verdict:
                case Note(change):
                    self.take(change)
                case Remove(event, record, _):
                    self.remove(event, record, effective=effective, dies=dies)
                case Make(claim, _) | Update(claim, _, _, _):
                    if isinstance(verdict, Update):
                        assert not self.edited & set(verdict.fields), "a person's edit stays"
                    self.write(verdict, claim, effective=effective, dies=dies, refused=refused)
                case Leave():
                    continue
            if dies:
                return

    def take(self, change: EventChange) -> None:
        assert change.before == self.record
        self.record = change.after

    def remove(
        self, event: ServerEvent, record: EventRecord | None, *, effective: bool, dies: bool
    ) -> None:
        if effective:
            del self.events[event.id]
        if effective and not dies and record:
            self.take(EventChange("a", record, None))

    def write(
        self,
        verdict: Make | Update,
        claim: EventChange,
        *,
        effective: bool,
        dies: bool,
        refused: str,
    ) -> None:
        self.take(claim)
        after = claim.after
        assert after is not None
        if refused:
            self.take(not_made(after, f"r{next(self.numbers)}", refused))
            return
        if not effective:
            return
        event = self.put(verdict)
        if not dies:
            self.take(made(after, event, f"r{next(self.numbers)}"))

    def put(self, verdict: Make | Update) -> ServerEvent:
        if isinstance(verdict, Make):
            self.made += 1
            self.edited.clear()
            return self.add(verdict.details)
        shown = self.events[verdict.event.id].details.taking(verdict.fields, verdict.details)
        event = self.events[verdict.event.id]._replace(details=shown)
        self.events[event.id] = event
        return event

    def add(self, shown: EventDetails) -> ServerEvent:
        event = ServerEvent(str(next(self.numbers)), shown, EventStatus.SCHEDULED, ours=True)
        self.events[event.id] = event
        return event

    def edit(self, name: EventField, number: int) -> None:
        """A person edits the oldest."""
        for event in list(self.events.values())[:1]:
            shown = event.details.taking([name], details(number))
            if not shown.same(name, event.details):
                self.edited.add(name)
            self.events[event.id] = event._replace(details=shown)


ACTIONS = st.one_of(
    st.tuples(st.just("want"), st.integers(0, 3)),
    st.just(("cancel", 0)),
    st.tuples(st.just("run"), st.just(0)),
    st.tuples(st.just("die"), st.booleans()),
    st.tuples(st.just("refuse"), st.just(0)),
    st.tuples(st.just("double"), st.just(0)),
    st.just(("delete", 0)),
)


@given(st.lists(ACTIONS, max_size=12))
@settings(max_examples=400, deadline=None)
def test_whatever_happened_two_undisturbed_runs_leave_nothing_to_do(
    actions: list[tuple[str, int]],
) -> None:
    world, deleted = World(), False
    for what, value in actions:
        world.now += LEASE * 2
        match what:
            case "want":
                world.wanted = Wanted(details(value))
            case "cancel":
                world.wanted = Wanted(None, "cancelled")
            case "run":
                world.run()
            case "die":
                world.run(dies=True, effective=bool(value))
            case "refuse":
                world.run(refused="no")
            case "double" if world.events:
                world.add(next(iter(world.events.values())).details)
            case "delete" if world.events:
                del world.events[next(iter(world.events))]
                deleted = True
    for _ in range(2):
        world.now += LEASE * 2
        world.run()
    world.now += LEASE * 2
    assert all(isinstance(verdict, Leave) for verdict in world.verdicts())
    wanted = world.wanted.details
    if wanted is None:
        assert (world.events, world.record) == ({}, None)
    elif not deleted and not (world.record and world.record.refused):
        (event,) = world.events.values()
        assert all(event.details.same(name, wanted) for name in FIELDS)
        assert world.record is not None
        assert (world.record.event_id, world.record.written) == (event.id, wanted)


EDITS = st.one_of(
    st.tuples(st.just("want"), st.integers(0, 3)),
    st.tuples(st.just("run"), st.just(0)),
    st.tuples(st.sampled_from(FIELDS), st.integers(4, 6)),
)


@given(st.lists(EDITS, max_size=12))
@settings(max_examples=400, deadline=None)
def test_what_a_person_has_edited_is_never_written_over(edits: list[tuple[str, int]]) -> None:
    """What people write here is never what a talk wants, so that every edit stays one."""
    world = World()
    world.run()
    for what, value in edits:
        world.now += LEASE * 2
        match what:
            case "want":
                world.wanted = Wanted(details(value))
            case "run":
                world.run()
            case "name" | "description" | "place" | "time":
                world.edit(what, value)
    before = next(iter(world.events.values())).details
    world.now += LEASE * 2
    world.run()
    (event,) = world.events.values()
    wanted = world.wanted.details
    assert wanted is not None
    for name in FIELDS:
        assert event.details.same(name, before if name in world.edited else wanted)


def test_what_another_run_has_claimed_is_left_until_its_lease_is_over() -> None:
    world = World()
    world.run(dies=True, effective=False)
    (left,) = world.verdicts()
    assert left == Leave("name 0", "another run is at it", until=NOW + LEASE)
    world.now += LEASE
    assert isinstance(world.verdicts()[0], Make)


def test_a_look_that_is_older_than_an_event_does_not_make_another_one() -> None:
    """Two runs at once: the other has made it since we looked, and then the talk moved."""
    world = World()
    world.run()
    world.wanted = Wanted(details(1))
    sight = Sight(NOW, NOW, LEASE, "r")
    (left,) = consider("a", world.wanted, world.record, [], sight)
    assert isinstance(left, Leave)
    (none,) = [list(consider("a", Wanted(None), world.record, [], sight))]
    assert none == [], "nor is it forgotten"


def test_what_is_refused_is_tried_again_once_it_is_another() -> None:
    world = World()
    world.run(refused="Invalid Form Body")
    world.now += LEASE * 2
    assert world.verdicts() == [Leave("name 0", "Invalid Form Body")]
    world.wanted = Wanted(details(1))
    world.run()
    assert [event.details for event in world.events.values()] == [details(1)]
