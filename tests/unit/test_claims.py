"""Claims: which routes are left, what is given back, whose revisions are whose."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from speakerbot.channels.discord.access import bot_of, discord, nonce_of
from speakerbot.delivery.claims import (
    Claim,
    Revisions,
    found,
    longest_send,
    new_claim,
    next_route,
    restored,
    routes_of,
    sent,
    unsent,
)
from speakerbot.delivery.planning import MessagePlan
from speakerbot.delivery.transitions import FIRST_RETRY, LAST_RETRY, backoff, sent_by_node_bot
from speakerbot.domain.delivery import Delivery, DeliveryState
from speakerbot.domain.message import Message, NodeFlag, Route
from speakerbot.ports.channel import ChannelAccess, Posted, Receipt

NOW = datetime(2026, 11, 20, 16, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DM = Route("dm", "7")
THREAD = Route("thread", "70", mention="7")
MESSAGE = Message(
    "trial", "talk:1", "user:7", "2026-11-20", (DM, THREAD), "reminder.day_of", {}, NOW, NOW, "why"
)


ACCESS = discord("1234", "", rate=45.0, new_dm_every=MINUTE)


def claim(
    record: Delivery | None = None,
    message: Message = MESSAGE,
    access: ChannelAccess | None = ACCESS,
) -> Claim:
    return new_claim(
        MessagePlan(message, DeliveryState.PLANNED, "why", record=record, text="hello"),
        access,
        run_id="run",
        revision="run.1",
        now=NOW,
        flag_at=None,
        lease=5 * MINUTE,
    )


def test_a_first_claim_covers_its_lease_and_names_its_first_route() -> None:
    record = claim().record
    assert (record.state, record.attempts, record.lease_until) == ("claimed", 1, NOW + 5 * MINUTE)
    assert (record.route, record.target, record.text) == ("dm", "7", "hello")
    assert record.unconfirmed_since == NOW, "from now on it may have arrived"
    assert claim().unconfirmed_since is None, "but not by an earlier attempt"


def test_a_mention_is_part_of_the_text_on_record() -> None:
    record = claim(message=replace(MESSAGE, routes=(THREAD,))).record
    assert record.text == "<@7> hello"


def test_a_retry_goes_on_from_the_route_it_had_reached() -> None:
    assert claim().routes() == (DM, THREAD)
    failed = claim().record._replace(state=DeliveryState.FAILED, route="thread", target="70")
    assert claim(failed).routes() == (THREAD,)
    elsewhere = failed._replace(target="71")
    assert claim(elsewhere).routes() == (DM, THREAD)


def test_a_claim_names_the_bot_and_the_nonce_of_its_first_route() -> None:
    record = claim().record
    assert (record.bot, record.nonce) == (bot_of("1234"), nonce_of(MESSAGE.key, DM))
    nowhere = claim(message=replace(MESSAGE, routes=()), access=None).record
    assert (nowhere.bot, nowhere.nonce, nowhere.route, nowhere.text) == ("", "", "", "hello")
    routeless = claim(message=replace(MESSAGE, routes=())).record
    assert (routeless.nonce, routeless.route, routeless.text) == ("", "", "hello")


def test_the_route_of_an_earlier_attempt_counts_although_none_leads_there_now() -> None:
    before = claim().record._replace(state=DeliveryState.FAILED)
    plan = claim(before, replace(MESSAGE, routes=(THREAD,))).plan
    assert routes_of(plan) == (THREAD, DM)
    assert next_route(plan) == THREAD
    assert routes_of(claim(before).plan) == (DM, THREAD)
    assert routes_of(claim().plan) == (DM, THREAD)
    nowhere_yet = before._replace(route="", target="")
    assert routes_of(claim(nowhere_yet).plan) == (DM, THREAD)


def test_the_next_route_is_the_one_that_an_earlier_attempt_had_reached() -> None:
    before = claim().record._replace(state=DeliveryState.FAILED, route="thread", target="70")
    assert next_route(claim(before).plan) == THREAD
    assert next_route(claim().plan) == DM
    assert next_route(claim(message=replace(MESSAGE, routes=())).plan) is None


def test_giving_back_leaves_what_was_there_under_a_new_revision() -> None:
    revisions = Revisions("another")
    assert restored(None, revisions) is None
    before = claim().record
    again = restored(before, revisions)
    assert again is not None
    assert again.revision != before.revision
    assert again._replace(revision=before.revision) == before


def test_revisions_never_repeat_within_a_run_or_between_runs() -> None:
    one, two = Revisions("a"), Revisions("b")
    made = [revisions.next() for _ in range(50) for revisions in (one, two)]
    assert len(set(made)) == 100


def test_a_sent_record_is_free_of_what_went_before() -> None:
    before = claim().record._replace(
        error="no answer", error_class="transient", retry_at=NOW, service_faults=3
    )
    record = sent(before, Receipt("77", "1"), revision="run.2", now=NOW + MINUTE)
    assert (record.revision, record.updated_at) == ("run.2", NOW + MINUTE)
    assert (record.state, record.sent_at, record.message_id) == ("sent", NOW + MINUTE, "1")
    assert (record.error, record.error_class, record.retry_at, record.unconfirmed_since) == (
        "", "", None, None,
    )  # fmt: skip
    assert (record.lease_until, record.service_faults) == (None, 0)


def test_a_post_that_stood_there_was_due_and_sent_when_it_was_made() -> None:
    post = Posted("5", "their text", NOW - MINUTE)
    record = found(claim().record, post, revision="run.2", now=NOW, channel_id="9")
    assert record.found
    assert (record.due_at, record.sent_at, record.updated_at) == (NOW - MINUTE, NOW - MINUTE, NOW)
    assert (record.text, record.message_id, record.channel_id) == ("their text", "5", "9")


def test_an_unsent_record_holds_no_lease() -> None:
    record = unsent(
        claim().record, DeliveryState.FAILED, revision="run.2", now=NOW + MINUTE,
        error_class="x", error="y", attempts=1,
    )  # fmt: skip
    assert (record.revision, record.updated_at) == ("run.2", NOW + MINUTE)
    assert (record.lease_until, record.unconfirmed_since) == (None, None)


def test_an_error_is_kept_short() -> None:
    record = unsent(
        claim().record,
        DeliveryState.FAILED,
        revision="r",
        now=NOW,
        error_class="x",
        error="y" * 999,
        attempts=1,
    )
    assert len(record.error) == 300


@given(st.integers(0, 60))
def test_waits_between_tries_grow_to_half_an_hour(attempts: int) -> None:
    wait = backoff(attempts)
    assert FIRST_RETRY / 2 <= wait <= LAST_RETRY
    assert backoff(attempts + 3) >= wait / 2 or wait > LAST_RETRY / 2


@given(st.text(min_size=1), st.sampled_from(["dm", "thread", "channel"]))
def test_a_nonce_fits_discord_and_depends_on_key_and_route_alone(key: str, name: str) -> None:
    route = Route(name, "7")
    nonce = nonce_of(key, route)
    assert len(nonce) == 24
    assert nonce == nonce_of(key, replace(route, mention="9", configured=True))
    assert nonce != nonce_of(key + "x", route)
    assert nonce != nonce_of(key, replace(route, target="8"))


@given(st.timedeltas(timedelta(seconds=1), timedelta(days=1)))
def test_a_lease_covers_two_of_the_longest_requests(lease: timedelta) -> None:
    assert longest_send(lease) * 2 <= lease + timedelta.resolution


def test_a_flag_of_the_node_bot_is_remembered() -> None:
    flag = NodeFlag("1", "sentDayOfAt", NOW - MINUTE, counts=False)
    assert claim(message=replace(MESSAGE, flag=flag)).record.flag_was == NOW - MINUTE


def test_what_the_node_bot_sent_instead_says_so_and_nothing_of_our_try() -> None:
    open_record = claim().record._replace(
        state=DeliveryState.FAILED, retry_at=NOW, service_faults=3, error="503", error_class="down"
    )
    change = sent_by_node_bot(open_record, NOW + MINUTE, NOW + 2 * MINUTE)
    assert change.before == open_record
    after = change.after
    assert after is not None
    assert after.found
    assert (after.sent_at, after.updated_at) == (NOW + MINUTE, NOW + 2 * MINUTE)
    assert (after.route, after.target, after.text, after.error, after.error_class) == ("",) * 5
    assert (after.lease_until, after.retry_at, after.unconfirmed_since) == (None, None, None)
    assert (after.service_faults, after.message_id) == (0, "")
    assert after.revision != open_record.revision
    assert sent_by_node_bot(open_record, NOW, NOW).after.revision != after.revision  # type: ignore[union-attr]
