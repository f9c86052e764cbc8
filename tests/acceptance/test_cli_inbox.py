"""``speakerbot inbox``, run as people run it, on inboxes as runs leave them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from speakerbot.clock import real_now, utc_text
from speakerbot.domain.inbox import InboxMessage
from speakerbot.domain.person import Person
from speakerbot.domain.talk import Talk

if TYPE_CHECKING:
    from speakerbot.ports.store import Store
    from tests.acceptance.conftest import Cli

KAZ = "802345678901234564"
NOBODY = "802345678901234999"
HOUR = timedelta(hours=1)


def message(name: str, age: timedelta, recipient: str = f"user:{KAZ}") -> InboxMessage:
    key = f"reminder.day_of/talk:{name}/{recipient}/2026-11-20"
    return InboxMessage(key, recipient, f"Your talk {name}\nis today", real_now() - age)


@pytest.fixture
def inbox(store: Store) -> list[InboxMessage]:
    """Kaz's, the newest first; the last one has been read."""
    messages = [
        message("a", timedelta(minutes=5)),
        message("b", 3 * HOUR, "person:kaz-id"),
        message("c", 50 * HOUR),
    ]
    store.people.put(
        [Person("kaz-id", KAZ, "Kaz"), Person("twin", "2", "Twin"), Person("other", None, "twin")]
    )
    for each in (*messages, message("x", HOUR, "user:2"), message("y", HOUR, "person:other")):
        assert store.inbox.put(each)
    read_at = real_now() - 2 * HOUR
    assert store.inbox.mark_read([f"user:{KAZ}"], messages[2].id, read_at) == 1
    return [*messages[:2], replace(messages[2], read_at=read_at)]


def unread(store: Store) -> set[str]:
    found = store.inbox.of(["person:kaz-id", f"user:{KAZ}"], unread_only=True)
    return {each.id for each in found}


def test_an_inbox_is_shown_newest_first_under_both_names_of_its_owner(
    cli: Cli, inbox: list[InboxMessage]
) -> None:
    document = cli.json("inbox", "show", KAZ)
    assert (document["user_id"], document["person_id"]) == (KAZ, "kaz-id")
    assert document["messages"] == [
        {
            "id": each.id,
            "key": each.key,
            "recipient": each.recipient,
            "text": each.text,
            "created_at": utc_text(each.created_at),
            "read_at": utc_text(each.read_at) if each.read_at else None,
        }
        for each in inbox
    ]
    shown = cli.json("inbox", "show", KAZ, "--unread")["messages"]
    assert [each["id"] for each in shown] == [each.id for each in inbox[:2]]


@pytest.mark.parametrize("user", [f"<@{KAZ}>", f"<@!{KAZ}>", "kaz-id", "kaz", "Kaz", "@KAZ"])
def test_its_owner_may_be_named_in_many_ways(
    cli: Cli, inbox: list[InboxMessage], user: str
) -> None:
    shown = cli.json("inbox", "show", user)
    assert (shown["user_id"], len(shown["messages"])) == (KAZ, 3)


def test_a_speaker_of_whom_only_a_talk_is_known_is_found_by_name(
    cli: Cli, store: Store, inbox: list[InboxMessage]
) -> None:
    store.talks.put([Talk("t", NOBODY, "Noor", "topic", date(2026, 11, 20))])
    assert store.inbox.put(message("z", HOUR, f"user:{NOBODY}"))
    shown = cli.json("inbox", "show", "noor")
    assert (shown["user_id"], shown["person_id"]) == (NOBODY, None)
    assert len(shown["messages"]) == 1


def test_a_name_of_several_is_an_error_that_lists_them(cli: Cli, inbox: list[InboxMessage]) -> None:
    for command in ("show", "read"):
        error = cli.error("inbox", command, "TWIN", exit_code=2)
        assert "several people are known as 'TWIN'" in error
        assert "Twin (2)" in error
        assert "twin (other)" in error
    assert len(cli.json("inbox", "show", "other")["messages"]) == 1


def test_somebody_unknown_is_an_error_that_guesses_who_was_meant(
    cli: Cli, inbox: list[InboxMessage]
) -> None:
    for command in ("show", "read"):
        error = cli.error("inbox", command, "twinn", exit_code=65)
        assert "no person is known as 'twinn'; did you mean 'twin'?" in error
    assert "`speakerbot people list`" in cli.error("inbox", "show", "zzz", exit_code=65)


def test_in_a_pipe_each_message_is_one_row_with_all_of_its_text(
    cli: Cli, inbox: list[InboxMessage]
) -> None:
    header, *rows = [line.split("\t") for line in cli.out("inbox", "show", KAZ).splitlines()]
    assert header == ["id", "created", "read", "key", "text"]
    assert [row[0] for row in rows] == [each.id for each in inbox]
    assert rows[0][2:] == ["", inbox[0].key, "Your talk a is today"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\dZ", rows[2][2])
    assert cli.out("inbox", "show", NOBODY) == "\t".join(header) + "\n"


def test_a_terminal_shows_short_ids_and_relative_times(cli: Cli, inbox: list[InboxMessage]) -> None:
    shown = cli.on_terminal("inbox", "show", KAZ)
    assert f"Inbox of Kaz ({KAZ})" in shown
    for each, came, read in zip(
        inbox, ("5 min ago", "3 h ago", "2 d ago"), ("unread", "unread", "2 h ago"), strict=True
    ):
        assert re.search(rf"{each.id[:8]} +│ {came} +│ {read} +│ {each.text[:11]}", shown)
        assert each.id not in shown
    empty = cli.on_terminal("inbox", "show", NOBODY, "--unread")
    assert f"{NOBODY} has no unread messages in" in empty


def test_a_text_cannot_steer_the_terminal(cli: Cli, store: Store) -> None:
    assert store.inbox.put(replace(message("a", HOUR), text="\x1b[31mred\x07"))
    assert "\x1b" not in cli.out("inbox", "show", KAZ)
    assert json.loads(cli.out("inbox", "show", KAZ, "--json"))["messages"][0]["text"]


def test_showing_an_inbox_makes_no_store_and_marks_nothing(
    cli: Cli, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("empty")
    nowhere = f"sqlite:///{folder / 'store.db'}"
    assert cli.json("inbox", "show", KAZ, DATABASE_URL=nowhere)["messages"] == []
    assert "unchanged" in cli.out("inbox", "read", KAZ, "--dry-run", DATABASE_URL=nowhere)
    assert list(folder.iterdir()) == []


def test_a_shown_message_stays_unread(cli: Cli, store: Store, inbox: list[InboxMessage]) -> None:
    cli.out("inbox", "show", KAZ)
    assert unread(store) == {inbox[0].id, inbox[1].id}


def test_all_that_is_unread_is_marked_as_read_once(
    cli: Cli, store: Store, inbox: list[InboxMessage]
) -> None:
    dry = cli.out("inbox", "read", "kaz", "--dry-run")
    assert dry == f"would mark 2 messages of Kaz ({KAZ}) as read\n"
    assert len(unread(store)) == 2
    assert cli.out("inbox", "read", "kaz") == f"marked 2 messages of Kaz ({KAZ}) as read\n"
    assert unread(store) == set()
    assert cli.out("inbox", "read", "kaz") == f"unchanged: Kaz ({KAZ}) has no unread messages\n"
    read_at = next(iter(store.inbox.get([inbox[2].key]).values())).read_at
    assert read_at == inbox[2].read_at, "what was read before keeps its time"
    [theirs] = store.inbox.of(["user:2"])
    assert theirs.read_at is None, "other people's stay unread"


def test_one_message_is_named_by_the_beginning_of_its_id(
    cli: Cli, store: Store, inbox: list[InboxMessage]
) -> None:
    one = inbox[1]
    begin = one.id[:8].upper()
    dry = cli.json("inbox", "read", KAZ, begin, "--dry-run")
    expected = {"user_id": KAZ, "person_id": "kaz-id", "message_id": one.id, "marked": 1}
    assert dry == {**expected, "dry_run": True}
    said = cli.out("inbox", "read", KAZ, begin)
    assert said == f"marked message {one.id[:8]} of Kaz ({KAZ}) as read\n"
    assert unread(store) == {inbox[0].id}
    again = cli.json("inbox", "read", KAZ, one.id)
    assert again == {**expected, "marked": 0, "dry_run": False}
    assert re.fullmatch(
        rf"unchanged: message {one.id[:8]} of Kaz \({KAZ}\) was read at [-0-9]+ [:0-9]+Z already\n",
        cli.out("inbox", "read", KAZ, one.id),
    )


def test_an_id_that_is_not_theirs_or_is_ambiguous_changes_nothing(
    cli: Cli, store: Store, inbox: list[InboxMessage]
) -> None:
    [theirs] = store.inbox.of(["user:2"])
    error = cli.error("inbox", "read", KAZ, theirs.id, exit_code=65)
    assert f"Kaz ({KAZ}) has no message '{theirs.id}'" in error
    near = inbox[0].id[:7] + ("0" if inbox[0].id[7] != "0" else "1")
    error = cli.error("inbox", "read", KAZ, near, exit_code=65)
    assert f"did you mean '{inbox[0].id[:8]}'?" in error
    assert "has no message ''" in cli.error("inbox", "read", KAZ, "", exit_code=65)
    assert unread(store) == {inbox[0].id, inbox[1].id}


def test_a_beginning_of_several_ids_lists_them(cli: Cli, store: Store) -> None:
    for number in range(17):  # of so many ids two begin with the same digit
        assert store.inbox.put(message(f"{number}", HOUR))
    ids = [each.id for each in store.inbox.of([f"user:{KAZ}"])]
    digit = next(each for each in "0123456789abcdef" if sum(i[0] == each for i in ids) > 1)
    error = cli.error("inbox", "read", KAZ, digit, exit_code=2)
    assert f"several messages of {KAZ} begin with '{digit}'" in error
    for each in ids:
        assert (each in error) == each.startswith(digit)
    assert len(unread(store)) == 17
