"""What each answer to a request means for the message."""
# ruff: noqa: ARG002  # the fake takes all that the port gives

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import CapturingLogger

from speakerbot.clock import Clock, real_now
from speakerbot.delivery.attempt import Attempt
from speakerbot.delivery.claims import Claim, Revisions, new_claim
from speakerbot.delivery.destinations import Destinations
from speakerbot.delivery.endings import Endings
from speakerbot.delivery.guard import Guard
from speakerbot.delivery.pacing import Pacer
from speakerbot.delivery.posts import Posts
from speakerbot.delivery.recovery import Recovery
from speakerbot.delivery.refusals import (
    ClaimLost,
    Misconfigured,
    RefusalClass,
    Refused,
    RunStopped,
)
from speakerbot.ledger import MAX_ATTEMPTS, Delivery
from speakerbot.messages import Message, Route
from speakerbot.planning import Plan
from speakerbot.ports import Breaker, Posted

NOW = datetime(2026, 11, 20, 16, tzinfo=UTC)
HOUR = timedelta(hours=1)
LEASE = timedelta(minutes=5)
DM = Route("dm", "7")
THREAD = Route("thread", "70", mention="7")
FALLBACK = Route("channel", "400", mention="7", configured=True)
MESSAGE = Message(
    "trial", "talk:1", "user:7", "2026-11-20", (DM, THREAD), "reminder.day_of", {},
    NOW - HOUR, NOW + HOUR, "why",
)  # fmt: skip


def clock(later: timedelta = timedelta(), offset: timedelta = timedelta()) -> Clock:
    """It is so much later than NOW; decisions are made at another time still."""
    return Clock(skew=NOW + later - real_now(), offset=offset)


@dataclass
class Discord:
    """Refuses what it is told to; remembers what was asked of it."""

    refusals: dict[str, list[Refused]] = field(default_factory=dict)
    """By channel id, in order; once they are used up it accepts."""
    history: str | Refused | None = None
    asked: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def refuse(self, channel_id: str, why: RefusalClass, **more: bool) -> None:
        self.refusals.setdefault(channel_id, []).append(Refused(why, f"it is {why}", **more))

    async def open_dm(self, user_id: str) -> str:
        self.asked.append(f"open {user_id}")
        return "77"

    async def send(self, channel_id: str, text: str, *, nonce: str, mention: str | None) -> str:
        self.asked.append(f"send {channel_id}")
        self.texts.append(text)
        if waiting := self.refusals.get(channel_id):
            raise waiting.pop(0)
        return "1"

    async def find(
        self, channel_id: str, text: str, *, nonce: str, since: datetime, known: Collection[str]
    ) -> str | None:
        self.asked.append(f"find {channel_id}")
        if isinstance(self.history, Refused):
            raise self.history
        return self.history

    def posts(self, channel_id: str, *, since: datetime) -> AsyncIterator[Posted]:
        raise AssertionError("no post is looked for here")

    async def edit(self, channel_id: str, message_id: str, text: str) -> None:
        raise AssertionError("nothing is edited here")

    async def unarchive(self, thread_id: str) -> None:
        self.asked.append(f"wake {thread_id}")


@dataclass
class Desk:
    """An Attempt with everything around it."""

    discord: Discord = field(default_factory=Discord)
    swaps: list[tuple[Delivery, Delivery]] = field(default_factory=list)
    taken_over: bool = False
    guard: Guard = field(
        default_factory=lambda: Guard(asyncio.Event(), lambda: 0, CapturingLogger())
    )

    def deliver(self, claim: Claim, at: Clock | None = None) -> Delivery:
        return asyncio.run(self._attempt(at or clock()).deliver(claim))

    def _attempt(self, clock: Clock) -> Attempt:
        pacer = Pacer(_unpaced, 0.0, ahead=0, stop=self.guard.stop, clock=clock)
        revisions = Revisions("run")
        endings = Endings(revisions, clock)
        destinations = Destinations(
            self.discord, pacer=pacer, new_dms=pacer, clock=clock,
            save_dm=_not_saved, save_breaker=_not_saved,
        )  # fmt: skip
        destinations.expect("7", "77")
        return Attempt(
            self.discord,
            destinations,
            pacer,
            Posts(self.discord, pacer, _nothing, revisions, self.guard, clock),
            Recovery(self.discord, destinations, pacer, _nothing, endings, clock),
            endings,
            self._swap,
            revisions,
            self.guard,
            clock,
            LEASE,
        )

    async def _swap(self, before: Delivery, after: Delivery) -> bool:
        self.swaps.append((before, after))
        return not self.taken_over


async def _unpaced(_: float, __: int) -> datetime:
    raise AssertionError("nothing is paced here")


async def _not_saved(_: str, __: str | Breaker) -> None:
    pass


async def _nothing(_: str) -> set[str]:
    return set()


@pytest.fixture
def desk() -> Desk:
    return Desk()


def claim(message: Message = MESSAGE, before: Delivery | None = None) -> Claim:
    plan = Plan(message, "planned", "why", record=before)
    return new_claim(
        plan, "hello", run_id="run", revision="run.0", now=NOW, flag_at=None, lease=LEASE,
        dm_channels={"7": "77"},
    )  # fmt: skip


def in_doubt(since: datetime, **changes: str) -> Claim:
    before = replace(claim().record, doubt_since=since, lease_until=NOW - HOUR)
    return claim(before=replace(before, **changes))  # type: ignore[arg-type]


def test_an_accepted_message_is_sent_by_its_first_route(desk: Desk) -> None:
    record = desk.deliver(claim())
    assert (record.state, record.route, record.channel_id, record.message_id) == (
        "sent", "dm", "77", "1",
    )  # fmt: skip
    assert desk.discord.asked == ["send 77"]
    assert desk.swaps == [], "the claim covered it already"


def test_a_refused_recipient_goes_the_next_route_with_a_mention(desk: Desk) -> None:
    desk.discord.refuse("77", "recipient")
    record = desk.deliver(claim())
    assert (record.state, record.route, record.text) == ("sent", "thread", "<@7> hello")
    [(_, noted)] = desk.swaps
    assert (noted.route, noted.target, noted.text) == ("thread", "70", "<@7> hello")


def test_without_a_route_left_it_is_undeliverable(desk: Desk) -> None:
    desk.discord.refuse("77", "recipient")
    desk.discord.refuse("70", "recipient")
    record = desk.deliver(claim())
    assert (record.state, record.error_class) == ("undeliverable", "recipient")
    assert record.error == "dm: it is recipient; thread: it is recipient"


def test_a_missing_permission_may_be_mended_in_time(desk: Desk) -> None:
    desk.discord.refuse("77", "recipient")
    desk.discord.refuse("70", "permission")
    record = desk.deliver(claim())
    assert (record.state, record.error_class) == ("failed", "permission")
    assert record.retry_at is not None


def test_a_message_without_any_route_is_undeliverable(desk: Desk) -> None:
    record = desk.deliver(claim(replace(MESSAGE, routes=())))
    assert (record.state, record.error) == ("undeliverable", "there is no route to try")


@pytest.mark.parametrize("maybe", [True, False])
def test_a_transient_failure_waits_and_keeps_its_doubt_if_there_is_any(
    desk: Desk, maybe: bool
) -> None:
    desk.discord.refuse("77", "transient", maybe_accepted=maybe)
    record = desk.deliver(claim())
    assert (record.state, record.attempts) == ("failed", 1)
    assert (record.doubt_since is not None) is maybe
    assert desk.discord.asked == ["send 77"], "the next route is for those who refuse this one"


@pytest.mark.parametrize(("maybe", "state"), [(True, "unknown"), (False, "undeliverable")])
def test_the_last_try_decides(desk: Desk, maybe: bool, state: str) -> None:
    desk.discord.refuse("77", "transient", maybe_accepted=maybe)
    last = replace(claim().record, state="failed", attempts=MAX_ATTEMPTS - 1, doubt_since=None)
    assert desk.deliver(claim(before=last)).state == state


def test_a_text_that_discord_rejects_is_not_tried_again(desk: Desk) -> None:
    desk.discord.refuse("77", "rejected")
    record = desk.deliver(claim())
    assert (record.state, record.error_class) == ("undeliverable", "rejected")


def test_known_to_discord_by_its_nonce_means_sent(desk: Desk) -> None:
    desk.discord.refuse("77", "already_sent")
    assert desk.deliver(claim()).state == "sent"


def test_refused_new_dms_count_no_try(desk: Desk) -> None:
    desk.discord.refuse("77", "new_dms")
    record = desk.deliver(claim())
    assert (record.state, record.attempts) == ("failed", 0)


@pytest.mark.parametrize("why", ["bot", "token", "unreachable"])
def test_what_concerns_the_whole_bot_stops_the_run(desk: Desk, why: RefusalClass) -> None:
    desk.discord.refuse("77", why)
    with pytest.raises(RunStopped) as caught:
        desk.deliver(claim())
    assert caught.value.reason == why


def test_a_sleeping_thread_is_woken_once(desk: Desk) -> None:
    desk.discord.refuse("70", "archived")
    assert desk.deliver(claim(replace(MESSAGE, routes=(THREAD,)))).state == "sent"
    assert desk.discord.asked == ["send 70", "wake 70", "send 70"]


def test_one_that_sleeps_on_is_given_up(desk: Desk) -> None:
    desk.discord.refuse("70", "archived")
    desk.discord.refuse("70", "archived")
    assert desk.deliver(claim(replace(MESSAGE, routes=(THREAD,)))).state == "undeliverable"


def test_a_dm_channel_that_is_gone_is_opened_anew_once(desk: Desk) -> None:
    desk.discord.refuse("77", "recipient", gone=True)
    assert desk.deliver(claim()).state == "sent"
    assert desk.discord.asked == ["send 77", "open 7", "send 77"]


def test_a_channel_of_the_settings_that_refuses_is_no_fault_of_the_message(desk: Desk) -> None:
    desk.discord.refuse("400", "permission")
    with pytest.raises(Misconfigured):
        desk.deliver(claim(replace(MESSAGE, routes=(FALLBACK,))))
    with pytest.raises(Misconfigured):
        desk.deliver(claim(replace(MESSAGE, routes=(FALLBACK,))))
    assert desk.discord.asked == ["send 400"], "nor is it asked again in this run"


def test_a_claim_that_does_not_cover_the_request_is_renewed_first(desk: Desk) -> None:
    late = clock(LEASE - timedelta(seconds=30))
    assert desk.deliver(claim(), late).state == "sent"
    [(before, after)] = desk.swaps
    assert before.lease_until is not None
    assert after.lease_until is not None
    assert after.lease_until - before.lease_until > timedelta(minutes=4)
    assert after.doubt_since == before.doubt_since


def test_a_claim_that_was_taken_over_sends_nothing(desk: Desk) -> None:
    desk.taken_over = True
    with pytest.raises(ClaimLost):
        desk.deliver(claim(), clock(LEASE))
    assert desk.discord.asked == []


def test_what_is_too_late_is_not_sent(desk: Desk) -> None:
    record = desk.deliver(claim(), clock(offset=2 * HOUR))
    assert (record.state, record.error_class) == ("expired", "expired")
    assert desk.discord.asked == []


def test_in_fresh_doubt_the_same_text_goes_again(desk: Desk) -> None:
    assert desk.deliver(in_doubt(NOW, text="hello as it was")).state == "sent"
    assert desk.discord.asked == ["send 77"]
    assert desk.discord.texts == ["hello as it was"]


def test_in_old_doubt_it_is_looked_for(desk: Desk) -> None:
    desk.discord.history = "55"
    record = desk.deliver(in_doubt(NOW - HOUR))
    assert (record.state, record.message_id, record.channel_id) == ("sent", "55", "77")
    assert desk.discord.asked == ["find 77"]


def test_doubt_from_the_future_is_old_too(desk: Desk) -> None:
    """A clock that went backwards: nobody knows how long ago it was."""
    desk.deliver(in_doubt(NOW + HOUR))
    assert desk.discord.asked == ["find 77", "send 77"]


def test_what_is_not_there_is_sent_with_the_present_text(desk: Desk) -> None:
    assert desk.deliver(in_doubt(NOW - HOUR, text="hello as it was")).state == "sent"
    assert desk.discord.asked == ["find 77", "send 77"]
    assert desk.discord.texts == ["hello"]


@pytest.mark.parametrize(
    ("why", "state"),
    [("permission", "unknown"), ("recipient", "unknown"), ("transient", "failed")],
)
def test_where_nobody_can_look_it_is_not_sent(desk: Desk, why: RefusalClass, state: str) -> None:
    desk.discord.history = Refused(why, "no")
    record = desk.deliver(in_doubt(NOW - HOUR))
    assert record.state == state
    assert desk.discord.asked == ["find 77"]
    assert state == "unknown" or record.doubt_since == NOW - HOUR


def test_a_refusal_in_fresh_doubt_is_looked_into_before_the_next_route(desk: Desk) -> None:
    desk.discord.refuse("77", "recipient")
    desk.discord.history = "55"
    record = desk.deliver(in_doubt(NOW))
    assert (record.state, record.message_id) == ("sent", "55")
    assert desk.discord.asked == ["send 77", "find 77"]


def test_so_is_a_rejected_text(desk: Desk) -> None:
    desk.discord.refuse("77", "rejected")
    desk.discord.history = "55"
    assert desk.deliver(in_doubt(NOW)).message_id == "55"


def test_past_its_time_doubt_is_still_settled(desk: Desk) -> None:
    late = clock(offset=2 * HOUR)
    desk.discord.history = "55"
    assert desk.deliver(in_doubt(NOW), late).state == "sent"
    desk.discord.history = None
    assert desk.deliver(in_doubt(NOW), late).state == "expired"
    assert desk.discord.asked == ["find 77", "find 77"]
