"""What the job `changes` decides and writes down, over a real store and the ledger's word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import pytest

from jobs.changes import JOB
from speakerbot.bootstrap import templates as templates_of
from speakerbot.config import Settings
from speakerbot.delivery.planning import MessagePlan, Moment, weigh
from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.message import Message, Skip
from speakerbot.domain.person import Person
from speakerbot.domain.talk import Speaker, Talk
from speakerbot.domain.talk_changes import TalkVersion
from speakerbot.ports.store import Store
from speakerbot.runs.job import JobContext
from speakerbot.runs.steps import carry_out
from speakerbot.stores import open_store
from speakerbot.testing.crash.boundaries import stepping_store

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
SETTINGS = Settings("sqlite:///:memory:")
DAY = date(2026, 11, 27)
ADA = Talk("a", "1", "ada", "Engines", DAY, thread_id="77")
BOB = Talk("b", "2", "bob", "Bots", date(2026, 11, 28))
MOVED = replace(ADA, date=date(2026, 11, 29))


class Community:
    """A store, and runs of the job on it without the sending."""

    def __init__(self, store: Store, settings: Settings = SETTINGS) -> None:
        self.store = store
        self.settings = settings
        self.now = NOW

    def dry_run(self) -> list[Message]:
        """What a dry run would show."""
        return [each for each in self._decide(settled=False) if isinstance(each, Message)]

    def run(self) -> list[Message]:
        """What a run would hand to the engine."""
        self.settle()
        return [each for each in self._decide(settled=True) if isinstance(each, Message)]

    def settle(self) -> None:
        assert JOB.steps
        carry_out(JOB.steps(self._context(settled=True)), self.store, self.now)

    def skips(self) -> list[str]:
        return [each.reason for each in self._decide(settled=False) if isinstance(each, Skip)]

    def plans(self) -> list[MessagePlan]:
        """What would be done about each, once people and the ledger are asked."""
        moment = Moment(self.now, self.now, self.settings.timezone)
        weighed = weigh(self._decide(settled=True), self.store, moment)
        return [plan for plan in weighed if isinstance(plan, MessagePlan)]

    def report(self, message: Message, state: DeliveryState, *, doubt: bool = False) -> None:
        """The ledger's word on a message, as the engine would leave it."""
        known = self.store.ledger.get([message.key]).get(message.key)
        after = Delivery(
            message.key, message.kind, message.recipient, state, f"{state} at {self.now}", "run",
            message.due_at, message.expires_at, self.now, self.now,
            unconfirmed_since=self.now if doubt else None,
        )  # fmt: skip
        assert self.store.ledger.swap([DeliveryChange(known, after)])

    def state(self, message: Message) -> str:
        return self.store.ledger.get([message.key])[message.key].state

    def _decide(self, *, settled: bool) -> Iterator[Message | Skip]:
        return JOB.decide(self._context(settled=settled))

    def _context(self, *, settled: bool) -> JobContext:
        return JobContext(
            self.store, self.settings, self.now, settled=settled, templates=templates_of()
        )


@pytest.fixture
def community() -> Iterator[Community]:
    """Two talks, which their speakers know of."""
    store = open_store("sqlite:///:memory:")
    store.prepare()
    store.talks.put([ADA, BOB])
    community = Community(store)
    community.settle()
    yield community
    store.close()


def reasons(messages: list[Message]) -> list[tuple[str, str]]:
    return [(message.recipient, message.reason) for message in messages]


def test_the_first_run_only_notes_what_there_is() -> None:
    store = open_store("sqlite:///:memory:")
    store.prepare()
    store.talks.put([ADA, BOB])
    community = Community(store)
    assert (community.dry_run(), community.skips()) == ([], ["first_snapshot"])
    assert not store.snapshots.taken()
    assert (community.run(), community.run()) == ([], [])
    store.close()


def test_each_speaker_hears_of_their_own_talk_only(community: Community) -> None:
    community.store.talks.put([MOVED, Talk("c", "3", "eve", "Evals", date(2026, 12, 4))])
    community.store.talks.delete(BOB.id)
    expected = [
        ("user:1", "moved from 2026-11-27 to 2026-11-29"),
        ("user:3", "booked for 2026-12-04"),
        ("user:2", "the talk on 2026-11-28 was cancelled"),
    ]
    assert sorted(reasons(community.dry_run())) == sorted(expected)
    assert sorted(reasons(community.run())) == sorted(expected)


def test_a_cancelled_talk_whose_date_another_took_is_two_notices(community: Community) -> None:
    community.store.talks.delete(ADA.id)
    community.store.talks.put([Talk("c", "3", "eve", "Evals", DAY)])
    assert sorted(reasons(community.run())) == [
        ("user:1", f"the talk on {DAY} was cancelled"),
        ("user:3", f"booked for {DAY}"),
    ]


def test_a_talk_with_another_speaker_is_cancelled_for_one_and_booked_for_the_other(
    community: Community,
) -> None:
    community.store.talks.put([replace(ADA, user_id="3", username="eve")])
    messages = {message.recipient: message for message in community.run()}
    assert messages["user:1"].kind == "change.cancelled"
    assert messages["user:1"].values["username"] == "ada"
    assert messages["user:3"].kind == "change.booked"


def test_a_notice_is_the_same_one_until_its_fate_is_known(community: Community) -> None:
    community.store.talks.put([MOVED])
    first = community.run()
    community.now += timedelta(hours=1)
    assert community.run() == first == community.dry_run()


def test_once_sent_there_is_nothing_left_to_say(community: Community) -> None:
    community.store.talks.put([MOVED])
    [message] = community.run()
    community.report(message, DeliveryState.SENT)
    assert (community.dry_run(), community.run(), community.run()) == ([], [], [])


def test_a_change_undone_before_it_was_announced_vanishes(community: Community) -> None:
    community.store.talks.put([MOVED])
    [message] = community.run()
    community.report(message, DeliveryState.FAILED)
    community.store.talks.put([ADA])
    assert (community.dry_run(), community.run()) == ([], [])
    assert community.state(message) == "expired"


def test_undoing_what_was_sent_is_announced_although_the_run_died_before_it_could_note_it(
    community: Community,
) -> None:
    community.store.talks.put([MOVED])
    [message] = community.run()
    community.report(message, DeliveryState.SENT)
    community.store.talks.put([ADA])
    assert reasons(community.run()) == [("user:1", "moved from 2026-11-29 to 2026-11-27")]


def test_undoing_what_may_have_arrived_waits_until_somebody_has_looked(
    community: Community,
) -> None:
    community.store.talks.put([MOVED])
    [message] = community.run()
    community.report(message, DeliveryState.CLAIMED, doubt=True)
    community.store.talks.put([ADA])
    [look] = community.run()
    assert look.key == message.key
    assert look.expires_at <= community.now
    [plan] = community.plans()
    assert (plan.state, "sends nothing" in plan.reason) == ("planned", True)
    community.report(look, DeliveryState.EXPIRED)
    assert community.run() == []
    community.store.talks.put([MOVED])
    [again] = community.run()
    assert again.key != message.key


def test_a_run_that_would_send_an_overtaken_notice_loses_against_the_one_that_closes_it(
    community: Community,
) -> None:
    community.store.talks.put([MOVED])
    [message] = community.run()
    [plan] = community.plans()
    community.store.talks.put([ADA])
    community.settle()
    claim = community.store.ledger.get([message.key])[message.key]._replace(
        state=DeliveryState.CLAIMED, revision="own"
    )
    assert not community.store.ledger.swap([DeliveryChange(plan.record, claim)])


def test_a_run_that_would_close_a_notice_leaves_it_to_the_one_that_has_claimed_it(
    community: Community,
) -> None:
    """Between the closing run's look at the ledger and its write, another one claims."""
    community.store.talks.put([MOVED])
    [message] = community.run()
    community.store.talks.put([ADA])

    def claiming(boundary: str) -> None:
        if boundary == "before ledger.swap":
            community.report(message, DeliveryState.CLAIMED, doubt=True)

    Community(stepping_store(community.store, claiming)).settle()
    assert community.state(message) == "claimed"
    [pair] = community.store.snapshots.pending()
    assert pair.entry is not None
    assert pair.entry.seen == TalkVersion(MOVED.date, MOVED.topic)


def test_what_changes_while_a_run_decides_is_left_to_the_next_one(community: Community) -> None:
    """Nothing may be sent that is not noted: if the run died then, nobody would know of it."""
    community.store.talks.put([MOVED])
    community.settle()
    community.store.talks.put([replace(MOVED, date=date(2026, 11, 30))])
    community.store.talks.delete(BOB.id)
    assert community.plans() == []
    assert len(community.run()) == 2


def test_who_opted_out_is_held_back_once_for_all_to_see_and_then_forgotten(
    community: Community,
) -> None:
    community.store.people.put([Person("p", discord_user_id="1", opted_out=frozenset({"changes"}))])
    community.store.talks.put([MOVED])
    assert len(community.dry_run()) == len(community.run()) == 1
    assert [(plan.state, plan.skip) for plan in community.plans()] == [("held_back", "opted_out")]
    assert (community.dry_run(), community.run()) == ([], [])
    community.store.people.put([Person("p", discord_user_id="1")])
    assert community.run() == []


@pytest.mark.parametrize("state", ["undeliverable", "unknown"])
def test_a_person_may_retry_what_was_given_up(community: Community, state: DeliveryState) -> None:
    community.store.talks.put([MOVED])
    [message] = community.run()
    community.report(message, state)
    assert community.run() == []
    community.report(message, DeliveryState.FAILED)
    assert community.run() == [message]


def test_expired_notices_are_closed_and_the_next_change_starts_from_what_is_known(
    community: Community,
) -> None:
    community.store.talks.put([MOVED])
    [message] = community.run()
    community.now = datetime(2026, 11, 30, 0, 1, tzinfo=UTC)
    assert community.run() == []
    assert community.state(message) == "expired"
    community.store.talks.put([replace(MOVED, date=date(2026, 12, 4))])
    assert reasons(community.run()) == [("user:1", "moved from 2026-11-27 to 2026-12-04")]


def test_topics_are_announced_only_if_wanted(community: Community) -> None:
    community.store.talks.put([replace(ADA, topic="Looms")])
    assert community.run() == []
    community.settings = replace(SETTINGS, changes_topic=True)
    community.store.talks.put([replace(ADA, topic="Cards")])
    assert reasons(community.run()) == [("user:1", "the topic was changed from 'Looms' to 'Cards'")]


def test_a_dry_run_writes_nothing(community: Community) -> None:
    community.store.talks.put([MOVED])
    before = list(community.store.snapshots.all())
    assert community.dry_run()
    assert list(community.store.snapshots.all()) == before


def test_a_dry_run_and_the_run_after_it_agree_to_the_letter(community: Community) -> None:
    community.store.talks.put([MOVED])
    [message] = community.run()
    community.report(message, DeliveryState.SENT)
    community.store.talks.put([replace(MOVED, date=date(2026, 12, 1))])
    community.store.talks.delete(BOB.id)
    assert sorted(m.key for m in community.dry_run()) == sorted(m.key for m in community.run())


def test_more_changes_than_one_page_are_all_found(community: Community) -> None:
    talks = [
        Talk(f"t{n:04}", str(100 + n), "x", "y", date(2027, 1, 1) + timedelta(days=n))
        for n in range(1100)
    ]
    community.store.talks.put(talks)
    assert len(community.dry_run()) == 1100
    assert len({message.key for message in community.run()}) == 1100


GRACE, KAZ = Speaker("8", "grace"), Speaker("9", "kaz")


def test_co_speakers_hear_of_what_concerns_them(community: Community) -> None:
    """Added: booked. Removed: cancelled. The talk itself: each of them."""
    together = replace(ADA, co_speakers=(GRACE, KAZ))
    community.store.talks.put([together])
    booked = community.run()
    assert reasons(booked) == [
        ("user:8", "booked for 2026-11-27"),
        ("user:9", "booked for 2026-11-27"),
    ]
    for message in booked:
        community.report(message, DeliveryState.SENT)
    assert community.run() == community.run() == []
    community.store.talks.put([replace(together, co_speakers=(GRACE,), date=MOVED.date)])
    expected = [
        ("user:1", "moved from 2026-11-27 to 2026-11-29"),
        ("user:8", "moved from 2026-11-27 to 2026-11-29"),
        ("user:9", "the talk on 2026-11-27 was cancelled"),
    ]
    assert sorted(reasons(community.dry_run())) == expected
    assert sorted(reasons(community.run())) == expected
    community.store.talks.delete(ADA.id)
    overtaken = [message.recipient for message in community.run()]
    assert sorted(overtaken) == ["user:1", "user:8", "user:9"]


def test_a_co_speaker_who_becomes_the_speaker_hears_nothing(community: Community) -> None:
    store = community.store
    store.talks.put([replace(ADA, co_speakers=(GRACE,))])
    [booked] = community.run()
    community.report(booked, DeliveryState.SENT)
    assert community.run() == []
    turned = replace(ADA, user_id="8", username="grace", co_speakers=(Speaker("1", "ada"),))
    store.talks.put([turned])
    assert community.run() == []
    assert {(e.user_id, e.username) for e in store.snapshots.all() if e.talk_id == ADA.id} == {
        ("1", "ada"),
        ("8", "grace"),
    }


def test_a_first_snapshot_knows_co_speakers(community: Community) -> None:
    store = open_store("sqlite:///:memory:")
    store.prepare()
    store.talks.put([replace(ADA, co_speakers=(GRACE, KAZ))])
    fresh = Community(store)
    assert fresh.run() == fresh.run() == []
    assert {entry.user_id for entry in store.snapshots.all()} == {"1", "8", "9"}
    store.close()


def test_another_start_is_a_move_and_a_second_run_says_nothing(community: Community) -> None:
    community.store.talks.put([replace(ADA, starts_at=time(19, 30))])
    [moved] = community.run()
    assert moved.reason == "moved from 2026-11-27 to 2026-11-27 19:30"
    assert moved.key == "change.moved/talk:a/user:1/2026-11-27#2"
    assert JOB.still_true
    context = community._context(settled=True)
    assert JOB.still_true(context, [moved]) == {moved.key}
    community.store.talks.put([replace(ADA, starts_at=time(20))])
    assert JOB.still_true(context, [moved]) == set()
    community.store.talks.put([replace(ADA, starts_at=time(19, 30))])
    community.report(moved, DeliveryState.SENT)
    assert community.run() == community.run() == []


def test_a_room_or_link_that_changes_is_no_change_to_announce(community: Community) -> None:
    community.store.talks.put([replace(ADA, room="Hall 2", link="https://x.example", length=45)])
    assert community.run() == []
