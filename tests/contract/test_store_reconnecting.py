"""When the connection to MongoDB breaks before an answer comes, the truth is told all the same.

A proxy on loopback hands a command on, and cuts the connection instead of handing back the answer.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.domain.inbox import InboxMessage
from speakerbot.domain.occurrence import OccurrenceRecord, OccurrenceStanding
from speakerbot.domain.person import Person
from speakerbot.domain.talk import Talk
from speakerbot.errors import Unreachable
from speakerbot.ports.store import FlagWrite, Store
from speakerbot.stores import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.mongodb_server

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
TALK = Talk(f"{1:024x}", "1", "ada", "topic", NOW.date(), booked_at=NOW)


class Proxy:
    """Between a client and a server. ``cut``: the next command that holds these bytes is done, but
    its answer is lost and the connection is gone."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._clients: list[socket.socket] = []
        self.cut: bytes | None = None
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._clients.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(self._server)
        with client, server, suppress(OSError, EOFError):
            while True:
                command = _message(client)
                server.sendall(command)
                answer = _message(server)
                if self.cut and self.cut in command:
                    self.cut = None
                    self.cuts += 1
                    return
                client.sendall(answer)

    def away(self, seconds: float) -> None:
        """Nobody answers at this port until then, and whoever was connected is cut off."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in self._clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        back = threading.Timer(seconds, self._listen)
        back.daemon = True
        back.start()

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()


def _message(source: socket.socket) -> bytes:
    """One message of the wire protocol, which begins with its length."""
    length = _exactly(source, 4)
    return length + _exactly(source, int.from_bytes(length, "little") - 4)


def _exactly(source: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = source.recv(size - len(received))
        if not part:
            raise EOFError
        received += part
    return received


@pytest.fixture
def proxy(server_url: str) -> Iterator[Proxy]:
    server = urlsplit(server_url)
    opened = Proxy(server.hostname or "127.0.0.1", server.port or 27017)
    yield opened
    opened.close()


@pytest.fixture
def store(server_url: str, proxy: Proxy) -> Iterator[Store]:
    through = urlsplit(server_url)._replace(netloc=f"127.0.0.1:{proxy.port}", query="")
    with closing(open_store(through.geturl())) as opened:
        opened.prepare()
        yield opened
    assert proxy.cuts == 1, "the test lost no answer"


def _claim(name: str) -> Delivery:
    key, recipient = f"kind/talk:{name}/user:1/2026", "user:1"
    return Delivery(
        key, "kind", recipient, DeliveryState.CLAIMED, f"{name}1", "run", NOW, NOW, NOW, NOW
    )


def test_creations_whose_answer_is_lost_have_won(store: Store, proxy: Proxy) -> None:
    theirs = [_claim(f"{n}") for n in range(0, 20, 4)]
    store.ledger.swap([DeliveryChange(None, each) for each in theirs])
    ours = [_claim(f"{n}")._replace(revision=f"our{n}") for n in range(20)]
    proxy.cut = b"speakerbot_deliveries"
    won = store.ledger.swap([DeliveryChange(None, each) for each in ours])
    assert won == {each.key for each in ours} - {each.key for each in theirs}


def test_steps_whose_answer_is_lost_have_won(store: Store, proxy: Proxy) -> None:
    before = [_claim(f"{n}") for n in range(20)]
    store.ledger.swap([DeliveryChange(None, each) for each in before])
    changes = [
        DeliveryChange(each, each._replace(state=DeliveryState.SENT, revision="our"))
        for each in before[:10]
    ]
    stale = before[10]._replace(revision="stale")
    proxy.cut = b"speakerbot_deliveries"
    won = store.ledger.swap([*changes, DeliveryChange(stale, stale._replace(revision="our"))])
    assert won == {each.key for each in before[:10]}


@pytest.mark.parametrize("lost", [b"update", b"delete"])
def test_deletions_whose_answer_is_lost_have_won(store: Store, proxy: Proxy, lost: bytes) -> None:
    first, second = _claim("a"), _claim("b")
    store.ledger.swap([DeliveryChange(None, first), DeliveryChange(None, second)])
    proxy.cut = lost + b"\0\x16\0\0\0speakerbot_deliveries"
    stale = second._replace(revision="stale")
    assert store.ledger.swap([DeliveryChange(first, None), DeliveryChange(stale, None)]) == {
        first.key
    }
    assert store.ledger.get([first.key, second.key]) == {second.key: second}


def test_an_occurrence_whose_answer_is_lost_is_claimed(store: Store, proxy: Proxy) -> None:
    record = OccurrenceRecord(NOW, OccurrenceStanding.RUNNING, revision="our")
    proxy.cut = b"speakerbot_occurrences"
    assert store.occurrences.swap("hourly", None, record)
    assert not store.occurrences.swap("hourly", None, record._replace(revision="their"))


def test_an_inbox_message_whose_answer_is_lost_is_put(store: Store, proxy: Proxy) -> None:
    message = InboxMessage("k", "user:1", "Hi", NOW)
    proxy.cut = b"speakerbot_inbox"
    assert store.inbox.put(message)
    assert not store.inbox.put(replace(message, text="again"))
    assert store.inbox.get(["k"]) == {"k": message}


def test_messages_whose_answer_is_lost_are_counted_as_read(store: Store, proxy: Proxy) -> None:
    for number in range(3):
        store.inbox.put(InboxMessage(f"k{number}", "user:1", "Hi", NOW))
    proxy.cut = b"speakerbot_inbox"
    assert store.inbox.mark_read(["user:1"], None, NOW) == 3
    assert store.inbox.mark_read(["user:1"], None, NOW) == 0


@pytest.mark.parametrize("lost", [b"find", b"delete"])
def test_messages_whose_answer_is_lost_are_counted_as_erased(
    store: Store, proxy: Proxy, lost: bytes
) -> None:
    for number in range(3):
        store.inbox.put(InboxMessage(f"k{number}", "user:1", "Hi", NOW))
    proxy.cut = lost + b"\0\x11\0\0\0speakerbot_inbox"
    assert store.inbox.erase(["user:1"]) == 3


def test_slots_whose_answer_is_lost_are_given_to_nobody(store: Store, proxy: Proxy) -> None:
    first = store.limits.reserve("b", "all", NOW, 1.0, 5, ahead=0)
    proxy.cut = b"update\0\x12\0\0\0speakerbot_limits"
    second = store.limits.reserve("b", "all", NOW, 1.0, 5, ahead=0)
    third = store.limits.reserve("b", "all", NOW, 1.0, 5, ahead=0)
    assert [first, second, third] == [NOW + timedelta(seconds=n) for n in (0, 10, 15)]


def test_a_flag_whose_answer_is_lost_is_written(store: Store, proxy: Proxy) -> None:
    store.talks.put([TALK])
    proxy.cut = b"sentDayOfAt"
    assert store.talks.write_flags([FlagWrite(TALK.id, "sentDayOfAt", None, NOW)]) == {TALK.id}


def test_a_put_whose_answer_is_lost_is_made_once(store: Store, proxy: Proxy) -> None:
    proxy.cut = b"update\0\x12\0\0\0scheduledspeakers"
    store.talks.put([TALK, replace(TALK, id=f"{2:024x}", date=date(2026, 12, 1))])
    assert [talk.id for talk in store.talks.all()] == [TALK.id, f"{2:024x}"]


def test_a_question_whose_answer_is_lost_is_asked_again(store: Store, proxy: Proxy) -> None:
    store.people.put([Person("p", discord_user_id="1")])
    proxy.cut = b"speakerbot_people"
    assert store.people.by_users(["1"]).keys() == {"1"}


@pytest.mark.slow
def test_a_store_that_is_away_for_a_while_in_the_middle_of_a_run_is_waited_for(
    server_url: str, proxy: Proxy
) -> None:
    """Longer than one that was never there: it will be back, and messages depend on it."""
    through = urlsplit(server_url)._replace(netloc=f"127.0.0.1:{proxy.port}", query="")
    with closing(open_store(through.geturl())) as opened:
        opened.prepare()
        proxy.away(5)
        began = time.monotonic()
        opened.people.put([Person("p", discord_user_id="1")])
        assert 4 < time.monotonic() - began < 12
        assert opened.people.by_users(["1"]).keys() == {"1"}


@pytest.mark.slow
def test_a_store_that_stays_away_in_the_middle_of_a_run_is_given_up_in_time(
    server_url: str, proxy: Proxy
) -> None:
    query = "timeoutMS=4000"  # by default it is PATIENCE
    through = urlsplit(server_url)._replace(netloc=f"127.0.0.1:{proxy.port}", query=query)
    with closing(open_store(through.geturl())) as opened:
        opened.prepare()
        proxy.away(60)
        began = time.monotonic()
        with pytest.raises(Unreachable, match=f"{proxy.port}.*no answer"):
            opened.people.by_users(["1"])
        assert 3.5 < time.monotonic() - began < 6
