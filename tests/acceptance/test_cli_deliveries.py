"""``speakerbot deliveries``, run as people run it, on a ledger as runs leave it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from speakerbot.clock import real_now
from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState, standing
from speakerbot.domain.run import Run
from speakerbot.domain.talk import Talk
from speakerbot.ports.store import Store
from speakerbot.testing.discord import NO_LIMITS, LoopbackDiscord

if TYPE_CHECKING:
    from tests.acceptance.conftest import Cli

HOUR = timedelta(hours=1)


def record(name: str, state: DeliveryState, **fields: Any) -> Delivery:
    now = real_now()
    made = Delivery(
        key=f"reminder.day_of/talk:{name}/user:1/2026-11-21",
        kind="reminder.day_of",
        recipient="user:1",
        state=state,
        revision=f"r-{name}",
        run_id="run-1",
        due_at=now - HOUR,
        expires_at=now + HOUR,
        created_at=now - HOUR,
        updated_at=now - HOUR,
        route="thread",
        target="55",
        text="Hi kaz!\nSee you",
        attempts=3,
    )
    return made._replace(**fields)


def key(name: str) -> str:
    return f"reminder.day_of/talk:{name}/user:1/2026-11-21"


@pytest.fixture
def ledger(store: Store) -> Store:
    """One record of each kind; the younger, the later it stands here."""
    now = real_now()
    records = [
        record("sent", DeliveryState.SENT, sent_at=now - HOUR),
        record("failed", DeliveryState.FAILED, retry_at=now + HOUR, error="Discord answered 503"),
        record("doubt", DeliveryState.FAILED, retry_at=now + HOUR, unconfirmed_since=now - HOUR),
        record("late", DeliveryState.FAILED, retry_at=now, expires_at=now - timedelta(minutes=1)),
        record("expired", DeliveryState.EXPIRED, expires_at=now - timedelta(minutes=1)),
        record("under", DeliveryState.UNDELIVERABLE, error="dm: closed; thread: gone"),
        record("unknown", DeliveryState.UNKNOWN, unconfirmed_since=now - HOUR),
        record("claimed", DeliveryState.CLAIMED, lease_until=now + HOUR),
        record(
            "lost",
            DeliveryState.CLAIMED,
            lease_until=now - timedelta(minutes=1),
            unconfirmed_since=now - HOUR,
        ),
    ]
    records = [
        one._replace(updated_at=now - HOUR + timedelta(seconds=number))
        for number, one in enumerate(records)
    ]
    store.ledger.swap([DeliveryChange(None, one) for one in records])
    store.runs.put(Run("run-1", "reminders", now, now))
    return store


def stored(store: Store, name: str) -> Delivery:
    return store.ledger.get([key(name)])[key(name)]


def names(document: dict[str, Any]) -> dict[str, str]:
    return {
        one["key"].split("/")[1].removeprefix("talk:"): one["status"]
        for one in document["deliveries"]
    }


def test_list_shows_the_newest_first_as_people_should_read_them(cli: Cli, ledger: Store) -> None:
    document = cli.json("deliveries", "list")
    assert list(names(document).items()) == [
        ("lost", "claimed"),
        ("claimed", "claimed"),
        ("unknown", "unknown"),
        ("under", "undeliverable"),
        ("expired", "expired"),
        ("late", "expired"),
        ("doubt", "failed"),
        ("failed", "failed"),
        ("sent", "sent"),
    ]
    assert len(cli.json("deliveries", "list", "--limit", "2")["deliveries"]) == 2


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("failed", ["doubt", "failed"]),
        ("expired", ["expired", "late"]),
        ("claimed", ["lost", "claimed"]),
        ("undeliverable", ["under"]),
        ("unknown", ["unknown"]),
        ("sent", ["sent"]),
    ],
)
def test_list_can_be_narrowed_to_what_is_shown(
    cli: Cli, ledger: Store, status: str, expected: list[str]
) -> None:
    assert list(names(cli.json("deliveries", "list", "--status", status))) == expected


def test_time_travel_moves_what_counts_as_expired(cli: Cli, ledger: Store) -> None:
    later = (real_now() + 2 * HOUR).isoformat()
    assert names(cli.json("deliveries", "list", "--status", "failed", "--now", later)) == {}


def test_no_list_holds_the_text_of_a_message(cli: Cli, ledger: Store) -> None:
    for args in ([], ["--json"]):
        assert "Hi kaz" not in cli.out("deliveries", "list", *args)
    assert cli.json("deliveries", "show", key("sent"))["text"] == "Hi kaz!\nSee you"
    assert "text\tHi kaz! See you\n" in cli.out("deliveries", "show", key("sent"))


def test_a_pipe_gets_one_row_a_delivery(cli: Cli, ledger: Store) -> None:
    header, *rows = cli.out("deliveries", "list").splitlines()
    assert len(rows) == 9
    assert {len(row.split("\t")) for row in rows} == {len(header.split("\t"))}


def test_a_talk_shows_its_deliveries(cli: Cli, ledger: Store) -> None:
    cli.file(
        "talks.jsonl",
        '{"_id": "under", "discordUserId": "802345678901234564", "discordUsername": "kaz",'
        ' "topic": "Agents", "scheduledDate": {"$date": "2026-11-21T00:00:00Z"}}',
    )
    cli.out("talks", "import", "talks.jsonl")
    shown = cli.json("talks", "show", "under")
    assert names(shown) == {"under": "undeliverable"}
    assert key("under") in cli.out("talks", "show", "under")


def test_retry_has_a_failed_one_tried_at_once_by_its_route(cli: Cli, ledger: Store) -> None:
    said = cli.out("deliveries", "retry", key("failed"))
    assert said.startswith(f"the next `speakerbot run reminders` sends {key('failed')}")
    after = stored(ledger, "failed")
    assert (after.state, after.attempts, after.route, after.target) == ("failed", 0, "thread", "55")
    assert after.revision != "r-failed"
    assert standing(after, real_now()) == "planned"


def test_retry_keeps_the_doubt_of_one_that_may_have_arrived(cli: Cli, ledger: Store) -> None:
    before = stored(ledger, "doubt")
    said = cli.out("deliveries", "retry", key("doubt"))
    assert "it may have arrived: that run looks for it first" in said
    after = stored(ledger, "doubt")
    assert after.unconfirmed_since == before.unconfirmed_since
    assert after.route == "thread"
    assert standing(after, real_now()) == "planned"


def test_retry_of_one_given_up_begins_at_its_first_route(cli: Cli, ledger: Store) -> None:
    assert "its first route" in cli.out("deliveries", "retry", key("under"))
    after = stored(ledger, "under")
    assert (after.route, after.target) == ("", "")
    assert standing(after, real_now()) == "planned"


def test_retry_of_an_unknown_one_is_a_persons_decision(cli: Cli, ledger: Store) -> None:
    said = cli.out("deliveries", "retry", key("unknown"))
    assert "if it did arrive, this sends it a second time" in said
    after = stored(ledger, "unknown")
    assert after.unconfirmed_since is None
    assert standing(after, real_now()) == "planned"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("sent", "nothing is sent twice"),
        ("claimed", "run run-1 is sending it at this moment"),
        ("lost", "the next run looks whether it arrived"),
        ("late", "its time was over at"),
        ("expired", "its time was over at"),
    ],
)
def test_retry_refuses_what_must_not_be_sent_again(
    cli: Cli, ledger: Store, name: str, problem: str
) -> None:
    before = stored(ledger, name)
    error = cli.error("deliveries", "retry", key(name), exit_code=2)
    assert "cannot be tried again" in error
    assert problem in error
    assert stored(ledger, name) == before


def test_retry_is_never_past_the_expiry(cli: Cli, ledger: Store) -> None:
    later = (real_now() + 2 * HOUR).isoformat()
    for name in ("failed", "under", "unknown"):
        error = cli.error("deliveries", "retry", key(name), "--now", later, exit_code=2)
        assert "its time was over at" in error


def test_retry_of_all_counts_what_it_leaves_alone(cli: Cli, ledger: Store) -> None:
    said = cli.out("deliveries", "retry", "--status", "failed")
    assert said == (
        "2 failed messages will be tried again by the next run of their job\n"
        "left alone, past their expiry: 1\n"
    )
    assert stored(ledger, "failed").attempts == 0
    assert stored(ledger, "late").attempts == 3


def test_retry_of_more_than_one_batch_takes_each_once(cli: Cli, store: Store) -> None:
    """Each one retried becomes the newest: the walk must not meet it again."""
    now = real_now()
    many = [
        record(f"t{number}", DeliveryState.FAILED, updated_at=now - timedelta(seconds=number))
        for number in range(1200)
    ]
    store.ledger.swap([DeliveryChange(None, one) for one in many])
    said = cli.out("deliveries", "retry", "--status", "failed")
    assert said.startswith("1,200 failed messages will be tried again")
    assert all(one.attempts == 0 for one in store.ledger.list(limit=2000))


@pytest.mark.parametrize("args", [[key("failed")], ["--status", "failed"]])
def test_a_dry_run_of_retry_changes_nothing(cli: Cli, ledger: Store, args: list[str]) -> None:
    assert " would " in cli.out("deliveries", "retry", *args, "--dry-run")
    assert stored(ledger, "failed").revision == "r-failed"


def test_retry_wants_either_a_key_or_a_status(cli: Cli) -> None:
    for args in ([], [key("failed"), "--status", "failed"]):
        assert "say which" in cli.error("deliveries", "retry", *args, exit_code=2)


@pytest.mark.parametrize("command", ["show", "retry"])
def test_an_unknown_key_is_an_error_that_says_where_to_look(cli: Cli, command: str) -> None:
    error = cli.error("deliveries", command, "no/such/key", exit_code=65)
    assert "there is no delivery 'no/such/key'; `speakerbot deliveries list`" in error


def test_times_are_utc_and_end_in_z(cli: Cli, ledger: Store) -> None:
    shown = cli.json("deliveries", "show", key("sent"))
    for field in ("due_at", "expires_at", "sent_at", "updated_at"):
        assert shown[field].endswith("Z")
        assert datetime.fromisoformat(shown[field]).utcoffset() == timedelta()


def test_who_opens_their_dms_again_gets_the_message_after_a_retry_and_once(
    cli: Cli, store: Store
) -> None:
    """The whole way: refused for good, a person's retry, the next run, and a run after that."""
    today = real_now().replace(hour=17, minute=0)
    store.talks.put([Talk("t1", "1", "kaz", "Agents", today.date())])
    run = ("run", "reminders", "--now", today.isoformat())
    with LoopbackDiscord(NO_LIMITS).running_in_thread() as discord:
        discord.world.close_dms("1")
        cli.env |= {"DISCORD_TOKEN": "token", "DISCORD_API_BASE": discord.base_url}
        assert cli.json(*run)["counts"]["undeliverable"] == 1
        discord.world.reopen_dms("1")
        assert cli.json(*run)["counts"]["sent"] == 0, "what was given up stays so by itself"
        [given_up] = cli.json("deliveries", "list", "--now", today.isoformat())["deliveries"]
        cli.out("deliveries", "retry", given_up["key"], "--now", today.isoformat())
        assert cli.json(*run)["counts"]["sent"] == 1
        assert cli.json(*run)["counts"]["already_sent"] == 1
        assert len(discord.messages) == 1
