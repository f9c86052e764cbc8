"""What is done about a message now: the ledger, the Node bot, the clock and the person decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import TypeGuard
from zoneinfo import ZoneInfo

import pytest

from speakerbot.channels.discord.access import CAPABILITIES
from speakerbot.delivery.planning import CHUNK, MessagePlan, Moment, chained, rendered, weigh
from speakerbot.domain.delivery import (
    MAX_ATTEMPTS,
    Delivery,
    DeliveryChange,
    DeliveryState,
    SkipReason,
)
from speakerbot.domain.message import Decision, Edit, LookBack, Message, NodeFlag, Route, Skip
from speakerbot.domain.person import Person, QuietHours
from speakerbot.ports.store import Store
from speakerbot.stores import open_store
from speakerbot.templates import Templates

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
MOMENT = Moment(NOW, NOW, ZoneInfo("UTC"))
DM, THREAD = Route("dm", "7"), Route("thread", "70", mention="7")
MESSAGE = Message(
    "trial", "talk:1", "user:7", "2026-11-20", (DM, THREAD), "reminder.day_of", {},
    NOW - HOUR, NOW + 8 * HOUR, "it is due", opt_out="reminders",
)  # fmt: skip
RECORD = Delivery(
    MESSAGE.key,
    "trial",
    "user:7",
    DeliveryState.CLAIMED,
    "r1",
    "run1",
    NOW,
    NOW + 8 * HOUR,
    NOW,
    NOW,
    route="dm",
    target="7",
    attempts=1,
)


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store("sqlite:///:memory:")
    opened.prepare()
    yield opened
    opened.close()


def plan(store: Store, message: Message = MESSAGE, moment: Moment = MOMENT) -> MessagePlan:
    [weighed] = weigh([message], store, moment)
    assert isinstance(weighed, MessagePlan)
    return weighed


def known(store: Store, **changes: object) -> None:
    record = RECORD._replace(**changes)  # type: ignore[arg-type]
    store.ledger.swap([DeliveryChange(None, record)])


def person(store: Store, **wishes: object) -> None:
    store.people.put([Person("p7", discord_user_id="7", **wishes)])  # type: ignore[arg-type]


def test_what_nobody_has_touched_is_planned(store: Store) -> None:
    planned = plan(store)
    assert (planned.state, planned.reason, planned.record) == ("planned", "it is due", None)


def test_skips_pass_through_in_order(store: Store) -> None:
    decisions: list[Decision] = [
        Skip(SkipReason.COMPLETED, "talk:0"),
        MESSAGE,
        Skip(SkipReason.OVERTAKEN, "talk:2"),
    ]
    weighed = list(weigh(decisions, store, MOMENT))
    assert [type(each) for each in weighed] == [Skip, MessagePlan, Skip]


def test_a_stream_is_weighed_piece_by_piece(store: Store) -> None:
    read = 0

    def many() -> Iterator[Decision]:
        nonlocal read
        for number in range(10 * CHUNK):
            read += 1
            yield replace(MESSAGE, occasion=str(number))

    next(weigh(many(), store, MOMENT))
    assert read == CHUNK


@pytest.mark.parametrize(
    ("changes", "state", "skip"),
    [
        ({"state": "sent", "sent_at": NOW}, "already_sent", None),
        ({"state": "undeliverable", "error": "closed"}, "undeliverable", None),
        ({"state": "unknown", "error": "who knows"}, "unknown", None),
        ({"state": "expired"}, "expired", None),
        ({"lease_until": NOW + MINUTE}, "held_back", "in_progress"),
        ({"lease_until": NOW - MINUTE}, "planned", None),
        ({"state": "failed", "retry_at": NOW + MINUTE}, "failed", "retry_later"),
        ({"state": "failed", "retry_at": NOW - MINUTE}, "planned", None),
        ({"state": "failed", "retry_at": NOW, "unconfirmed_since": NOW - MINUTE}, "planned", None),
    ],
)
def test_the_ledger_comes_first(
    store: Store, changes: dict[str, object], state: str, skip: str
) -> None:
    known(store, **changes)
    planned = plan(store)
    assert (planned.state, planned.skip) == (state, skip)
    assert planned.record is not None


def test_what_waits_says_until_when(store: Store) -> None:
    known(store, lease_until=NOW + MINUTE)
    assert plan(store).until == NOW + MINUTE


def test_leases_go_by_the_real_time_whatever_now_says(store: Store) -> None:
    known(store, lease_until=NOW + MINUTE)
    travelled = Moment(NOW + 5 * HOUR, NOW, ZoneInfo("UTC"))
    assert plan(store, moment=travelled).skip == "in_progress"


def test_past_its_expiry_it_is_not_sent(store: Store) -> None:
    late = Moment(NOW + 8 * HOUR, NOW + 8 * HOUR, ZoneInfo("UTC"))
    assert (plan(store, moment=late).state, plan(store, moment=late).skip) == ("expired", "expired")


@pytest.mark.parametrize(("since", "state"), [(NOW, "planned"), (None, "expired")])
def test_past_its_expiry_what_may_have_arrived_is_looked_for(
    store: Store, since: datetime | None, state: str
) -> None:
    known(store, state="failed", retry_at=NOW, unconfirmed_since=since)
    late = Moment(NOW + 8 * HOUR, NOW + 8 * HOUR, ZoneInfo("UTC"))
    assert plan(store, moment=late).state == state


def flagged(seen: datetime | None, *, counts: bool) -> Message:
    return replace(MESSAGE, flag=NodeFlag("1", "sentDayOfAt", seen, counts=counts))


def test_the_node_bots_flag_means_sent_if_it_counts(store: Store) -> None:
    assert plan(store, flagged(NOW - MINUTE, counts=True)).state == "already_sent"
    assert plan(store, flagged(NOW - MINUTE, counts=False)).state == "planned"
    assert plan(store, flagged(None, counts=False)).state == "planned"


def test_a_flag_that_our_own_claim_has_set_does_not(store: Store) -> None:
    known(store, lease_until=NOW - MINUTE, flag_at=NOW - HOUR)
    assert plan(store, flagged(NOW - HOUR, counts=True)).state == "planned"
    assert plan(store, flagged(NOW - MINUTE, counts=True)).state == "already_sent"


@pytest.mark.parametrize(
    "changes",
    [
        {"lease_until": NOW - MINUTE},
        {"state": "failed", "retry_at": NOW + MINUTE},
        {"state": "failed", "retry_at": NOW - MINUTE, "unconfirmed_since": NOW - HOUR},
        {"state": "failed", "attempts": MAX_ATTEMPTS},
    ],
    ids=["its run died", "it is to be tried again", "it may have arrived", "tried too often"],
)
def test_a_record_that_the_node_bot_has_overtaken_is_told(
    store: Store, changes: dict[str, object]
) -> None:
    known(store, flag_at=NOW - HOUR, **changes)
    planned = plan(store, flagged(NOW - MINUTE, counts=True))
    assert planned.state == "already_sent"
    assert planned.reason == "the Node bot sent it at 2026-11-20 16:04 UTC"
    assert planned.overtaken == store.ledger.get([MESSAGE.key])[MESSAGE.key]
    assert planned.record is None, "we have sent nothing"


@pytest.mark.parametrize("state", ["sent", "undeliverable", "unknown", "expired"])
def test_a_record_that_is_final_stays_as_it_is(store: Store, state: str) -> None:
    known(store, state=state, flag_at=NOW - HOUR)
    planned = plan(store, flagged(NOW - MINUTE, counts=True))
    assert (planned.state, planned.overtaken) == ("already_sent", None)


def test_while_a_run_may_still_set_our_flag_its_claim_is_its_own(store: Store) -> None:
    """It will find that the Node bot was faster and give the claim back, or it is dead."""
    known(store, lease_until=NOW + MINUTE, flag_at=NOW - HOUR)
    planned = plan(store, flagged(NOW - MINUTE, counts=True))
    assert (planned.state, planned.skip, planned.until) == (
        "held_back",
        "in_progress",
        NOW + MINUTE,
    )


def test_a_flag_that_our_message_to_somebody_else_has_set_does_not_either(store: Store) -> None:
    """A talk was handed over after its first speaker had been reminded."""
    key = MESSAGE.key.replace("user:7", "user:8")
    known(store, key=key, recipient="user:8", flag_at=NOW - MINUTE)
    assert plan(store, flagged(NOW - MINUTE, counts=True)).state == "planned"


@pytest.mark.parametrize("name", ["talk:1", "trial"])
def test_what_we_have_set_at_that_instant_for_another_talk_or_kind_says_nothing_of_it(
    store: Store, name: str
) -> None:
    other = {"talk:1": "talk:2", "trial": "other"}[name]
    key = MESSAGE.key.replace(name, other).replace("user:7", "user:8")
    kind = key.partition("/")[0]
    known(store, key=key, kind=kind, recipient="user:8", flag_at=NOW - MINUTE)
    assert plan(store, flagged(NOW - MINUTE, counts=True)).state == "already_sent"


EDIT = replace(MESSAGE, edit=Edit(), opt_out=None)


@pytest.mark.parametrize(
    ("changes", "state", "skip"),
    [
        ({}, "planned", None),
        ({"edit_failures": 1, "retry_at": NOW}, "planned", None),
        ({"edit_failures": 7, "retry_at": NOW + MINUTE}, "failed", "retry_later"),
        ({"edit_failures": MAX_ATTEMPTS}, "held_back", "edit_given_up"),
        ({"state": DeliveryState.FAILED}, "held_back", "nothing_posted"),
    ],
)
def test_a_refused_edit_is_tried_again_in_time_and_given_up_in_the_end(
    store: Store, changes: dict[str, object], state: str, skip: str
) -> None:
    known(store, **{"state": DeliveryState.SENT, "error": "no", **changes})
    planned = plan(store, EDIT)
    assert (planned.state, planned.skip) == (state, skip)
    if skip == "retry_later":
        assert planned.until == NOW + MINUTE
        assert planned.reason == "edit 7 was refused: no; next 2026-11-20 16:06:00 UTC"


def test_what_was_never_posted_cannot_be_edited(store: Store) -> None:
    assert (plan(store, EDIT).state, plan(store, EDIT).skip) == ("held_back", "nothing_posted")


@pytest.mark.parametrize(
    ("opted_out", "state"),
    [("reminders", "held_back"), ("all", "held_back"), ("changes", "planned")],
)
def test_an_opt_out_is_honoured(store: Store, opted_out: str, state: str) -> None:
    person(store, opted_out=frozenset({opted_out}))
    assert plan(store).state == state


def test_nobody_can_opt_out_of_a_channels_post(store: Store) -> None:
    person(store, opted_out=frozenset({"all"}))
    message = replace(MESSAGE, opt_out=None, occasion="2026-11-21")
    states = [each.state for each in weigh([MESSAGE, message], store, MOMENT) if has_state(each)]
    assert states == ["held_back", "planned"]


def has_state(each: MessagePlan | Skip) -> TypeGuard[MessagePlan]:
    return isinstance(each, MessagePlan)


def test_who_has_no_discord_id_can_opt_out_too(store: Store) -> None:
    store.people.put(
        [
            Person("p7", discord_user_id="7", opted_out=frozenset({"all"})),
            Person("p8", opted_out=frozenset({"all"})),
        ]
    )
    people = ["user:7", "user:9", "person:p8", "person:p9"]
    messages = [replace(MESSAGE, recipient=each) for each in people]
    states = [each.state for each in weigh(messages, store, MOMENT) if has_state(each)]
    assert states == ["held_back", "planned", "held_back", "planned"]


SECOND = replace(MESSAGE, occasion="2026-11-20/2", follows=True)


@pytest.mark.parametrize(
    ("first", "planned"),
    [
        ({"state": "sent", "sent_at": NOW}, True),
        ({"lease_until": NOW - MINUTE}, True),
        ({"lease_until": NOW + MINUTE}, False),
        ({"state": "failed", "retry_at": NOW + MINUTE}, False),
        ({"state": "undeliverable"}, False),
    ],
)
def test_a_second_part_waits_until_the_first_is_sent_or_about_to_be(
    store: Store, first: dict[str, object], *, planned: bool
) -> None:
    known(store, **first)
    _, second = weigh([MESSAGE, SECOND], store, MOMENT)
    assert isinstance(second, MessagePlan)
    if planned:
        assert second.state == "planned"
    else:
        assert (second.state, second.skip) == ("held_back", "in_order")
        assert second.reason == "the message before it comes first"


def test_a_second_part_that_comes_alone_waits(store: Store) -> None:
    assert plan(store, SECOND).skip == "in_order"


def test_a_second_part_that_was_sent_needs_no_first(store: Store) -> None:
    known(store, key=SECOND.key, state="sent", sent_at=NOW)
    assert plan(store, SECOND).state == "already_sent"


def test_only_planned_parts_are_sent_one_after_another(store: Store) -> None:
    first, second = (each for each in weigh([MESSAGE, SECOND], store, MOMENT) if has_state(each))
    third = replace(second, reason="the third")
    chain, last = chained([first, second, third, first])
    assert (chain.then, last) == ((second, third), first)
    assert list(chained([second])) == [second]
    sent = replace(first, state=DeliveryState.ALREADY_SENT)
    assert list(chained([sent, second])) == [sent, second]
    held = replace(second, state=DeliveryState.HELD_BACK)
    assert list(chained([first, held])) == [first, held]
    other = replace(second, message=MESSAGE)
    assert list(chained([first, other])) == [first, other]


def test_a_post_that_somebody_may_have_made_for_us_is_planned_under_that_reserve(
    store: Store,
) -> None:
    message = replace(MESSAGE, look_back=LookBack("# Talks", NOW - HOUR))
    assert "unless the bot has posted it itself" in plan(store, message).reason
    known(store, lease_until=NOW - MINUTE)
    assert plan(store, message).reason == "it is due"


def test_what_is_only_looked_for_has_the_text_of_its_record(store: Store) -> None:
    templates = Templates({})
    left = replace(MESSAGE, template="")
    assert rendered(plan(store, left), templates).text == ""
    known(store, lease_until=NOW - MINUTE, text="as it was")
    assert rendered(plan(store, left), templates).text == "as it was"


def test_a_text_is_made_once_and_only_for_what_is_planned(store: Store) -> None:
    templates = Templates({"discord": CAPABILITIES})
    values = {"topic": "Kites", "username": "ada", "date": "2026-11-20", "starts_at": ""}
    text = rendered(plan(store, replace(MESSAGE, values=values)), templates).text
    assert text is not None
    assert "Kites" in text
    made = replace(plan(store), text="made")
    assert rendered(made, templates) == made
    held = replace(plan(store), state=DeliveryState.HELD_BACK)
    assert rendered(held, templates) == held


def test_what_cannot_be_rendered_is_failed_and_says_why(store: Store) -> None:
    templates = Templates({"discord": CAPABILITIES})
    failed = rendered(plan(store), templates)
    assert (failed.state, failed.error_class, failed.text) == ("failed", "config", None)
    assert "reminder.day_of" in failed.reason


QUIET = QuietHours(time(16), time(18))


def test_quiet_hours_defer(store: Store) -> None:
    person(store, quiet_hours=QUIET)
    held = plan(store)
    assert (held.state, held.skip) == ("held_back", "quiet_hours")
    assert held.until == datetime(2026, 11, 20, 18, tzinfo=UTC)


def test_quiet_hours_are_in_the_persons_own_zone(store: Store) -> None:
    person(store, quiet_hours=QUIET, timezone="America/New_York")
    assert plan(store).state == "planned"


def test_quiet_hours_past_the_expiry_send_anyway_or_drop(store: Store) -> None:
    person(store, quiet_hours=QUIET)
    urgent = replace(MESSAGE, expires_at=NOW + HOUR)
    assert plan(store, urgent).state == "planned"
    end = datetime(2026, 11, 20, 18, tzinfo=UTC)
    tick_would_be_late = replace(MESSAGE, expires_at=end + HOUR)
    assert plan(store, tick_would_be_late).state == "planned"
    assert plan(store, replace(MESSAGE, expires_at=end + HOUR + MINUTE)).state == "held_back"
    assert plan(store, replace(MESSAGE, expires_at=NOW + 3 * HOUR)).state == "held_back"
    dropped = plan(store, replace(urgent, waits_past_expiry=False))
    assert (dropped.state, dropped.until) == ("held_back", None)


def test_a_person_orders_their_routes(store: Store) -> None:
    person(store, routes=("thread", "dm"))
    assert plan(store).message.routes == (THREAD, DM)


def test_routes_they_did_not_name_are_left_out_unless_none_is_left(store: Store) -> None:
    person(store, routes=("thread",))
    assert plan(store).message.routes == (THREAD,)
    assert plan(store, replace(MESSAGE, routes=(DM,))).message.routes == (DM,)
