"""Results on their way into the ledger: what is written, and what another run's write leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from speakerbot.delivery.claims import Claim, Revisions, new_claim, sent, unsent
from speakerbot.delivery.planning import MessagePlan
from speakerbot.delivery.results import BATCH, Result, Results, flag_restored
from speakerbot.delivery.store_thread import StoreThread
from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.message import Edit, Message, NodeFlag, Route
from speakerbot.ports.channel import Receipt
from speakerbot.ports.store import FlagWrite, Store
from speakerbot.stores import open_store

NOW = datetime(2026, 11, 20, 16, tzinfo=UTC)
EARLIER = NOW - timedelta(days=1)
MESSAGE = Message(
    "trial", "talk:1", "user:7", "2026-11-20", (Route("dm", "7"),), "reminder.day_of", {},
    NOW, NOW, "why",
)  # fmt: skip
FLAG = NodeFlag("1", "sentDayOfAt", seen=EARLIER, counts=False)


def claim(message: Message = MESSAGE, *, flag_at: datetime | None = None) -> Claim:
    return new_claim(
        MessagePlan(message, DeliveryState.PLANNED, "why", text="hello"),
        None, run_id="ours", revision="ours.0", now=NOW, flag_at=flag_at,
        lease=timedelta(minutes=5),
    )  # fmt: skip


def accepted(claimed: Claim) -> Delivery:
    return sent(claimed.record, Receipt("77", "1"), revision="ours.1", now=NOW)


def refused(
    claimed: Claim, state: DeliveryState = DeliveryState.FAILED, unconfirmed: datetime | None = None
) -> Delivery:
    return unsent(
        claimed.record, state, revision="ours.1", now=NOW, error_class="x", error="y",
        unconfirmed_since=unconfirmed, attempts=1,
    )  # fmt: skip


@dataclass
class Bench:
    store: Store
    results: Results
    done_with: list[Claim]
    reported: list[Result] = field(default_factory=list)

    def claimed(self, message: Message = MESSAGE) -> Claim:
        made = claim(message)
        assert self.store.ledger.swap([DeliveryChange(None, made.record)])
        return made

    def taken_over(self, claimed: Claim) -> None:
        theirs = claimed.record._replace(revision="theirs.1", run_id="theirs", text="theirs")
        assert self.store.ledger.swap([DeliveryChange(claimed.record, theirs)])

    def flush(self) -> None:
        asyncio.run(self.results.flush())

    def record(self) -> Delivery:
        return self.store.ledger.get([MESSAGE.key])[MESSAGE.key]


@pytest.fixture
def bench() -> Iterator[Bench]:
    store, thread = open_store("sqlite:///:memory:"), StoreThread()
    store.prepare()
    done_with: list[Claim] = []
    reported: list[Result] = []
    revisions = Revisions("ours.later")
    results = Results(store, thread, reported.append, done_with.append, revisions, told)
    yield Bench(store, results, done_with, reported)
    thread.close()
    store.close()


def test_a_result_is_written_and_reported_once(bench: Bench) -> None:
    claimed = bench.claimed()
    bench.results.add(claimed, accepted(claimed))
    bench.flush()
    bench.flush()
    assert bench.record() == accepted(claimed)
    assert [result.after for result in bench.reported] == [accepted(claimed)]


def test_of_a_message_that_this_run_tries_again_only_the_end_is_reported(bench: Bench) -> None:
    claimed = bench.claimed()
    failed = refused(claimed)
    bench.results.add(claimed, failed, again=True)
    bench.flush()
    assert bench.record() == failed
    assert bench.reported == []
    second = replace(claimed, record=failed)
    bench.results.add(second, accepted(second)._replace(revision="ours.2"))
    bench.flush()
    assert [result.after and result.after.state for result in bench.reported] == ["sent"]


def test_a_message_that_was_refused_does_not_override_the_run_that_took_it_over(
    bench: Bench,
) -> None:
    claimed = bench.claimed()
    bench.taken_over(claimed)
    bench.results.add(claimed, refused(claimed))
    bench.flush()
    assert (bench.record().revision, bench.record().state) == ("theirs.1", "claimed")


def test_a_message_that_is_given_back_leaves_no_record_if_there_was_none(bench: Bench) -> None:
    bench.results.give_back(bench.claimed())
    bench.flush()
    assert bench.store.ledger.get([MESSAGE.key]) == {}


def test_two_edits_at_once_leave_a_text_that_nobody_knows(bench: Bench) -> None:
    claimed = bench.claimed(replace(MESSAGE, edit=Edit()))
    bench.taken_over(claimed)
    bench.results.add(claimed, accepted(claimed))
    bench.flush()
    record = bench.record()
    assert (record.text, record.run_id, record.state) == ("", "theirs", "claimed")
    assert record.revision == "ours.later.1"


def test_an_edited_post_whose_record_is_gone_gets_none(bench: Bench) -> None:
    claimed = claim(replace(MESSAGE, edit=Edit()))
    bench.results.add(claimed, accepted(claimed))
    bench.flush()
    assert bench.store.ledger.get([MESSAGE.key]) == {}


def test_a_full_batch_is_flushed(bench: Bench) -> None:
    claimed = bench.claimed()
    for _ in range(BATCH - 1):
        bench.results.add(claimed, accepted(claimed))
    assert bench.results.full is False
    bench.results.add(claimed, accepted(claimed))
    assert bench.results.full is True


def test_people_are_forgotten_once_their_last_result_is_written(bench: Bench) -> None:
    claimed = bench.claimed()
    bench.results.add(claimed, accepted(claimed))
    assert bench.done_with == []
    bench.flush()
    assert bench.done_with == [claimed]


def test_what_goes_to_no_person_is_written_too(bench: Bench) -> None:
    claimed = bench.claimed(replace(MESSAGE, routes=(Route("channel", "9"),)))
    bench.results.add(claimed, accepted(claimed))
    bench.flush()
    assert bench.record().state == "sent"


def told(_sent: Delivery) -> bool:
    """As by a direct message."""
    return True


def test_the_node_bot_gets_its_flag_back_when_no_one_is_told() -> None:
    taken = claim(replace(MESSAGE, flag=FLAG), flag_at=NOW)
    back = [FlagWrite("1", "sentDayOfAt", seen=NOW, to=EARLIER)]
    assert flag_restored(Result(taken, accepted(taken)), lambda _: False) == back


def test_the_node_bot_gets_its_flag_back_where_we_surely_did_not_send() -> None:
    taken = claim(replace(MESSAGE, flag=FLAG), flag_at=NOW)
    back = [FlagWrite("1", "sentDayOfAt", seen=NOW, to=EARLIER)]
    assert flag_restored(Result(taken, refused(taken)), told) == back
    assert flag_restored(Result(taken, refused(taken, DeliveryState.EXPIRED)), told) == back
    assert flag_restored(Result(taken, accepted(taken)), told) == []
    assert flag_restored(Result(taken, refused(taken, DeliveryState.UNKNOWN)), told) == []
    assert flag_restored(Result(taken, refused(taken, unconfirmed=NOW)), told) == [], (
        "it may have arrived"
    )


def test_a_flag_that_we_never_wrote_is_left_alone() -> None:
    untouched = claim(replace(MESSAGE, flag=FLAG))
    assert flag_restored(Result(untouched, refused(untouched)), told) == []
    flagless = claim(flag_at=NOW)
    assert flag_restored(Result(flagless, refused(flagless)), told) == []


def test_a_claim_given_back_leaves_the_flag_as_this_run_found_it() -> None:
    """An earlier run wrote it, and its message may have arrived: that flag stays."""
    ours = replace(FLAG, seen=NOW)
    taken = claim(replace(MESSAGE, flag=ours), flag_at=NOW)
    taken.record = taken.record._replace(flag_was=EARLIER)
    assert flag_restored(Result(taken, None, given_back=True), told) == []
    assert flag_restored(Result(taken, refused(taken)), told) == [
        FlagWrite("1", "sentDayOfAt", seen=NOW, to=EARLIER)
    ]
    taken = claim(replace(MESSAGE, flag=FLAG), flag_at=NOW)
    before = accepted(taken)
    assert flag_restored(Result(taken, before, given_back=True), told) == [
        FlagWrite("1", "sentDayOfAt", seen=NOW, to=EARLIER)
    ]
