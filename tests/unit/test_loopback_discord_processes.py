"""The loopback in another process: steered by its client, on record through a kill."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from speakerbot.testing.discord import (
    NO_LIMITS,
    Bucket,
    DiscordMessage,
    DiscordWorld,
    DmOpened,
    Fault,
    LoopbackClient,
    LoopbackDiscord,
    LoopbackSettings,
    MessageEdit,
    RecordedRequest,
    created_at,
    loopback_process,
    read_record,
)


def ask(base_url: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    address = urlsplit(base_url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=10)
    try:
        headers = {"Authorization": "Bot t"}
        connection.request(method, address.path + path, json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"null")
    finally:
        connection.close()


def send(base_url: str, content: str, channel: str = "5", **more: Any) -> tuple[int, Any]:
    body = {"content": content, "enforce_nonce": True, **more}
    return ask(base_url, "POST", f"/channels/{channel}/messages", body)


def test_another_process_is_steered_and_read_through_its_client() -> None:
    with loopback_process(LoopbackSettings(global_limit=None)) as discord:
        client, url = discord.client, discord.base_url
        _, dm = ask(url, "POST", "/users/@me/channels", {"recipient_id": "42"})
        client.change(DiscordWorld.close_dms, "42")
        client.change(DiscordWorld.forbid, "6", send=True)
        client.inject(Fault(kind="error", on="create_message", channel_id="7"))
        statuses = [send(url, "hello", channel)[0] for channel in (dm["id"], "6", "7", "5")]
        assert statuses == [403, 403, 500, 200]
        assert [(m.channel_id, m.content) for m in client.messages()] == [("5", "hello")]
        assert [opened.user_id for opened in client.dms_opened()] == ["42"]
        assert [r.status for r in client.requests()] == [200, *statuses]
        counts = client.counts()
        assert counts.by_operation["create_message"] == {"403": 2, "500": 1, "200": 1}
        assert (counts.rate_limited, counts.invalid_requests) == (0, 2)


def test_every_kind_of_fault_can_be_injected_from_another_process() -> None:
    with loopback_process(NO_LIMITS) as discord:
        discord.client.change(DiscordWorld.close_dms, "42", code=50278, refuse_opening=True)
        discord.client.change(DiscordWorld.allow_emoji, "123456789012345678")
        discord.client.change(DiscordWorld.exhaust_threads)
        discord.client.inject(
            Fault(kind="error", status=418, code=77, message="New", accepted=True, via=False),
            Fault(kind="error", status=404, body="empty", nth=2),
            Fault(kind="rate_limit", retry_after=None, nth=3),
        )
        answers = [send(discord.base_url, str(n)) for n in range(3)]
        assert answers[0] == (418, {"message": "New", "code": 77})
        assert answers[1] == (404, None)
        assert answers[2][0] == 429
        assert [m.content for m in discord.client.messages()] == ["0"]
        refused = ask(discord.base_url, "POST", "/users/@me/channels", {"recipient_id": "42"})
        assert (refused[0], refused[1]["code"]) == (403, 50278)


@pytest.mark.parametrize("shift", [-600.0, 600.0])
def test_its_clock_may_differ_from_the_machines(shift: float) -> None:
    with LoopbackDiscord().running_in_thread() as discord:
        LoopbackClient(discord.base_url).use(LoopbackSettings(clock_shift=shift))
        _, sent = send(discord.base_url, "hello")
        for told in (date_header(discord), created_at(sent["id"])):
            assert abs((told - datetime.now(UTC)).total_seconds() - shift) < 30


def test_the_date_follows_the_clock_that_is_pushed_forward() -> None:
    with LoopbackDiscord().running_in_thread() as discord:
        discord.clock.advance(timedelta(hours=5))
        assert (date_header(discord) - datetime.now(UTC)).total_seconds() > 17_900


def test_the_shift_may_be_set_as_it_starts() -> None:
    with LoopbackDiscord(LoopbackSettings(clock_shift=-600)).running_in_thread() as discord:
        assert (date_header(discord) - datetime.now(UTC)).total_seconds() < -570


def date_header(discord: LoopbackDiscord) -> datetime:
    connection = HTTPConnection("127.0.0.1", discord.port, timeout=10)
    try:
        connection.request("GET", "/api/v10/users/@me", headers={"Authorization": "Bot t"})
        return parsedate_to_datetime(connection.getresponse().headers["Date"])
    finally:
        connection.close()


def test_settings_and_clock_of_another_process_can_be_changed() -> None:
    with LoopbackDiscord().running_in_thread() as discord:
        client = LoopbackClient(discord.base_url)
        wanted = LoopbackSettings(message_bucket=Bucket(1, 60.0), nonce_window=5)
        client.use(wanted)
        assert client.settings() == wanted == discord.settings
        assert [send(discord.base_url, "hello")[0] for _ in range(2)] == [200, 429]
        client.advance(timedelta(minutes=1))
        assert send(discord.base_url, "hello")[0] == 200


def test_a_client_that_asks_for_nonsense_is_told_so() -> None:
    with LoopbackDiscord().running_in_thread() as discord:
        client = LoopbackClient(discord.base_url)
        with pytest.raises(ValueError, match="Invalid enum value 'closed'"):
            client.change(DiscordWorld.set_new_dms, "closed")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="404"):
            client.change(DiscordWorld.delete_message, "404")
        with pytest.raises(ValueError, match="cannot go back"):
            client.advance(timedelta(seconds=-1))
        with pytest.raises(ValueError, match="Invalid enum value 50009"):
            client.change(DiscordWorld.close_dms, "42", code=50009)  # type: ignore[arg-type]


def test_a_kill_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    with loopback_process(NO_LIMITS, record=record) as discord:
        url = discord.base_url
        _, dm = ask(url, "POST", "/users/@me/channels", {"recipient_id": "42"})
        _, sent = send(url, "hello", dm["id"], nonce="n")
        ask(url, "PATCH", f"/channels/{dm['id']}/messages/{sent['id']}", {"content": "edited"})
        discord.client.inject(Fault(kind="lost_response"))
        with pytest.raises(ConnectionError):
            send(url, "lost", "5")
        discord.kill()
    kinds = [type(record) for record in read_record(record)]
    assert kinds == [
        DmOpened,
        RecordedRequest,
        DiscordMessage,
        RecordedRequest,
        MessageEdit,
        RecordedRequest,
        DiscordMessage,
        RecordedRequest,
    ]
    assert [m.content for m in read_record(record) if isinstance(m, DiscordMessage)] == [
        "edited",
        "lost",
    ]


def test_what_is_on_record_exists_again(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    with LoopbackDiscord(NO_LIMITS, record=record).running_in_thread() as first:
        _, dm = ask(first.base_url, "POST", "/users/@me/channels", {"recipient_id": "42"})
        _, sent = send(first.base_url, "hello", dm["id"], nonce="n")
        _, oops = send(first.base_url, "oops", dm["id"])
        ask(first.base_url, "DELETE", f"/channels/{dm['id']}/messages/{oops['id']}")
    with LoopbackDiscord(NO_LIMITS, record=record).running_in_thread() as again:
        url = again.base_url
        assert ask(url, "POST", "/users/@me/channels", {"recipient_id": "42"})[1]["id"] == dm["id"]
        assert send(url, "hello", dm["id"], nonce="n")[1]["id"] == sent["id"]
        _, history = ask(url, "GET", f"/channels/{dm['id']}/messages")
        assert [message["content"] for message in history] == ["hello"]
        assert ask(url, "GET", f"/channels/{dm['id']}")[1]["last_message_id"] == oops["id"]
        assert [message.content for message in again.messages] == ["hello", "oops"]


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    with LoopbackDiscord(NO_LIMITS, record=record).running_in_thread() as discord:
        send(discord.base_url, "hello")
    whole = read_record(record)
    record.write_bytes(record.read_bytes()[:-10])
    assert read_record(record) == whole[:-1]


def test_a_taken_port_is_said_in_one_line() -> None:
    with LoopbackDiscord().running_in_thread() as discord:
        command = [sys.executable, "-m", "speakerbot.testing.discord", "--port", str(discord.port)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert str(discord.port) in ended.stderr
    assert "Traceback" not in ended.stderr
