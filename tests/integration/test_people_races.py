"""Several processes change the same person at the same moment, and no preference is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from speakerbot.domain import person as preferences
from speakerbot.domain.person import OPT_OUT_KINDS
from speakerbot.stores import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = sorted(set(OPT_OUT_KINDS) - {"all"})
USERS = [str(number) for number in range(100, 150)]
COMMAND = Path(sys.executable).parent / "speakerbot"
OPT = f"""
import sys
from functools import partial
from speakerbot.domain import person as people
from speakerbot.stores import open_store

url, kind, change = sys.argv[1:]
changed = getattr(people, change)
with_store = open_store(url)
print("ready", flush=True)
sys.stdin.readline()
for user in {USERS}:
    update = lambda person: changed(person, kind)
    with_store.people.change(user, update, partial(people.new_person, user))
"""


@pytest.fixture(params=["sqlite", pytest.param("mongodb", marks=pytest.mark.mongodb_server)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty, prepared store that several processes can open."""
    if request.param == "sqlite":
        address = f"sqlite:///{tmp_path / 'store.db'}"
        _prepare(address)
        yield address
        return
    from pymongo import MongoClient

    server = os.environ.get("SPEAKERBOT_TEST_MONGODB_URI")
    if not server:
        pytest.skip("SPEAKERBOT_TEST_MONGODB_URI names no MongoDB server")
    name = f"speakerbot_test_{uuid4().hex}"
    address = urlsplit(server)._replace(path=f"/{name}").geturl()
    _prepare(address)
    yield address
    with MongoClient[dict[str, Any]](server) as client:
        client.drop_database(name)


def _prepare(address: str) -> None:
    with closing(open_store(address)) as store:
        store.prepare()


def _race(url: str, change: str) -> None:
    """One process for each kind; all of them begin at the same moment."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", OPT, url, kind, change],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for kind in KINDS
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    for racer in racers:
        _, errors = racer.communicate(timeout=120)
        assert (racer.returncode, errors) == (0, "")


def _opted_out(url: str) -> dict[str | None, list[str]]:
    with closing(open_store(url)) as store:
        return {each.discord_user_id: sorted(each.opted_out) for each in store.people.all()}


def test_opt_outs_of_new_people_all_count(url: str) -> None:
    _race(url, "opted_out")
    assert _opted_out(url) == dict.fromkeys(USERS, KINDS)


def test_opt_ins_at_the_same_moment_all_count(url: str) -> None:
    with closing(open_store(url)) as store:
        new = map(preferences.new_person, USERS)
        store.people.put([preferences.opted_out(person, "all") for person in new])
    _race(url, "opted_in")
    assert _opted_out(url) == {user: [] for user in USERS}


def test_the_commands_themselves_lose_no_opt_out(url: str) -> None:
    env = {**os.environ, "DATABASE_URL": url, "SPEAKERBOT_ENV_FILE": ""}
    opting = [
        subprocess.Popen(
            [COMMAND, "people", "opt-out", "100", kind],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for kind in KINDS
    ]
    for each in opting:
        _, errors = each.communicate(timeout=120)
        assert each.returncode == 0, errors
    assert _opted_out(url) == {"100": KINDS}
