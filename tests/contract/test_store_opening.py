"""Opening a store: which one, what is made, what is refused and how that is said."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from speakerbot.domain.talk import Talk
from speakerbot.errors import ConfigError, StoreCorrupt, StoreLocked, StoreTooNew
from speakerbot.stores import open_store

if TYPE_CHECKING:
    from pathlib import Path

TALK = Talk("a", "1", "ada", "topic", date(2026, 11, 20))


def _url(path: Path) -> str:
    return f"sqlite:///{path}"


def _filled(path: Path) -> Path:
    with closing(open_store(_url(path))) as store:
        store.prepare()
        store.talks.put([TALK])
    return path


def _everything_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_relative_address_is_relative_to_where_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(open_store("sqlite:///data/store.db")) as store:
        store.prepare()
        assert store.describe() == f"SQLite store {tmp_path / 'data' / 'store.db'}"
    assert (tmp_path / "data" / "store.db").exists()


def test_a_new_file_and_its_folder_are_their_owners_only(tmp_path: Path) -> None:
    path = _filled(tmp_path / "new" / "store.db")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_store_keeps_what_was_put_and_leaves_one_file(tmp_path: Path) -> None:
    path = _filled(tmp_path / "st öre?#%20.db")
    with closing(open_store(_url(path))) as store:
        store.prepare()
        assert list(store.talks.all()) == [TALK]
    assert [each.name for each in tmp_path.iterdir()] == ["st öre?#%20.db"]


@pytest.mark.parametrize("url", ["sqlite://:memory:", "sqlite:///:memory:"])
def test_a_store_in_memory_is_its_own(url: str) -> None:
    with closing(open_store(url)) as first, closing(open_store(url, read_only=True)) as second:
        first.prepare()
        first.talks.put([TALK])
        assert list(second.talks.all()) == []


@pytest.mark.parametrize("url", ["", "store.db", "postgres://me:secret@host/db", "sqlite:///"])
def test_an_unknown_kind_is_named_with_the_kinds_that_are_known(url: str) -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL") as caught:
        open_store(url)
    assert "secret" not in str(caught.value)
    assert "sqlite:///" in str(caught.value)


def test_reading_a_missing_store_shows_an_empty_one_and_makes_nothing(tmp_path: Path) -> None:
    with closing(open_store(_url(tmp_path / "a" / "b.db"), read_only=True)) as store:
        store.check()
        assert list(store.talks.all()) == []
        assert str(tmp_path) in store.describe()
    assert list(tmp_path.iterdir()) == []


def test_reading_an_empty_file_shows_an_empty_store_and_leaves_it(tmp_path: Path) -> None:
    (tmp_path / "store.db").touch()
    with closing(open_store(_url(tmp_path / "store.db"), read_only=True)) as store:
        assert list(store.talks.all()) == []
    assert _everything_in(tmp_path) == {"store.db": b""}


def test_reading_changes_and_leaves_nothing(tmp_path: Path) -> None:
    path = _filled(tmp_path / "store.db")
    before = _everything_in(tmp_path)
    with closing(open_store(_url(path), read_only=True)) as store:
        assert list(store.talks.all()) == [TALK]
        with pytest.raises(ConfigError, match="readonly"):
            store.talks.delete(TALK.id)
    assert _everything_in(tmp_path) == before


def test_reading_sees_what_a_writer_that_died_had_committed(tmp_path: Path) -> None:
    """And leaves the repair of it to the next writer."""
    path = tmp_path / "store.db"
    dying = (
        "import os\nfrom datetime import date\nfrom speakerbot.stores import open_store\n"
        "from speakerbot.domain.talk import Talk\n"
        f"store = open_store({_url(path)!r})\nstore.prepare()\n"
        "store.talks.put([Talk('a', '1', 'ada', 'topic', date(2026, 11, 20))])\nos._exit(0)"
    )
    subprocess.run([sys.executable, "-c", dying], check=True)
    before = _everything_in(tmp_path)
    assert before.keys() == {"store.db", "store.db-wal", "store.db-shm"}
    with closing(open_store(_url(path), read_only=True)) as store:
        assert list(store.talks.all()) == [TALK]
    after = _everything_in(tmp_path)
    for name in ("store.db", "store.db-wal"):
        assert after[name] == before[name]


def test_reading_works_beside_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(open_store(_url(path))) as writer:
        writer.prepare()
        with closing(open_store(_url(path), read_only=True)) as reader, writer.at_once():
            writer.talks.put([TALK])
            assert list(reader.talks.all()) == []


def _not_a_database(path: Path) -> None:
    path.write_bytes(b"discordUserId,topic\n1,hello\n" * 200)


def _damaged(path: Path) -> None:
    whole = _filled(path).read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))


def _truncated(path: Path) -> None:
    path.write_bytes(_filled(path).read_bytes()[:5000])


def _of_another_application(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE songs (title TEXT)")


def _marked_by_another_application(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA application_id = 7")
        other.execute("PRAGMA user_version = 1")


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        _not_a_database,
        _damaged,
        _truncated,
        _of_another_application,
        _marked_by_another_application,
    ],
)
def test_what_is_not_a_sound_store_of_ours_is_refused_and_left_as_it_is(
    make: Any, read_only: bool, tmp_path: Path
) -> None:
    path = tmp_path / "store.db"
    make(path)
    before = _everything_in(tmp_path)
    with pytest.raises(StoreCorrupt, match=r"store\.db.*left as it is") as caught:
        _use(path, read_only=read_only)
    assert caught.value.exit_code == 78
    assert _everything_in(tmp_path) == before


def _use(path: Path, *, read_only: bool) -> None:
    with closing(open_store(_url(path), read_only=read_only)) as store:
        store.check()
        list(store.talks.all())
        list(store.ledger.list())


def test_a_folder_or_a_file_that_cannot_be_made_is_a_wrong_setting(tmp_path: Path) -> None:
    for path in (tmp_path, _filled(tmp_path / "store.db") / "inside.db"):
        with pytest.raises(ConfigError, match="DATABASE_URL"):
            open_store(_url(path))


def test_a_newer_programs_file_is_refused(tmp_path: Path) -> None:
    path = _filled(tmp_path / "store.db")
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 99")
    for read_only in (False, True):
        with closing(open_store(_url(path), read_only=read_only)) as store:
            for ask in (store.check, store.prepare):
                with pytest.raises(StoreTooNew, match=r"store\.db.*version 99.*Update"):
                    ask()


def test_a_file_that_stays_locked_is_named_after_the_wait(tmp_path: Path) -> None:
    path = _filled(tmp_path / "store.db")
    with (
        closing(open_store(_url(path))) as holder,
        closing(open_store(_url(path), lock_timeout=0.2)) as waiting,
        holder.at_once(),
    ):
        began = time.monotonic()
        with pytest.raises(StoreLocked, match=r"store\.db.*0\.2 s") as caught:
            waiting.talks.delete(TALK.id)
        assert 0.2 <= time.monotonic() - began < 5
        assert list(waiting.talks.all()) == [TALK]
    assert caught.value.exit_code == 75


def test_all_writes_at_once_become_none_when_one_fails(tmp_path: Path) -> None:
    with closing(open_store(_url(_filled(tmp_path / "store.db")))) as store:
        with pytest.raises(ConfigError):
            _fail_in_the_middle(store)
        assert list(store.talks.all()) == [TALK]
        assert store.limits.dm_channels("b", ["2"]) == {}


def test_a_refusal_inside_at_once_undoes_only_its_own_call(tmp_path: Path) -> None:
    with closing(open_store(_url(_filled(tmp_path / "store.db")))) as store:
        with store.at_once():
            store.limits.remember_dms("b", {"1": "c"})
            with pytest.raises(ConfigError):
                _fail_in_the_middle(store)
        assert store.limits.dm_channels("b", ["1", "2"]) == {"1": "c"}
        assert list(store.talks.all()) == [TALK]


def _fail_in_the_middle(store: Any) -> None:
    with store.at_once():
        store.talks.delete(TALK.id)
        store.limits.remember_dms("b", {"2": "c"})
        raise ConfigError("stop")


def test_talks_in_a_file_may_change_dates_with_one_another(tmp_path: Path) -> None:
    other = replace(TALK, id="b", date=date(2026, 11, 27))
    with closing(open_store(_url(_filled(tmp_path / "store.db")))) as store:
        store.talks.put([other])
        store.talks.put([replace(TALK, date=other.date), replace(other, date=TALK.date)])
        assert [talk.id for talk in store.talks.all()] == ["b", "a"]


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import speakerbot.stores", ("sqlite3", "pymongo", "bson")),
        (
            "import speakerbot.stores as s; s.open_store('sqlite:///:memory:').prepare()",
            ("pymongo", "bson", "cronsim", "asyncio"),
        ),
    ],
)
def test_only_the_driver_in_use_is_imported(statement: str, absent: tuple[str, ...]) -> None:
    script = f"import sys; {statement}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not set(absent) & set(ran.stdout.split())
