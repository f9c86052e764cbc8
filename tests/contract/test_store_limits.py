"""What processes of one bot share: send slots, breakers, known DM channels."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import time_machine

from speakerbot.clock import real_now
from speakerbot.ports.store import Breaker, Store
from speakerbot.stores import open_store

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
EVERY = 1 / 45


def _after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_after_a_pause_so_many_slots_may_lie_in_the_past(store: Store) -> None:
    assert store.limits.reserve("b", "all", NOW, 0.5, 4, ahead=5) == _after(-2.5)
    assert store.limits.reserve("b", "all", NOW, 0.5, 1, ahead=5) == _after(-0.5)
    assert store.limits.reserve("b", "all", NOW, 0.5, 10, ahead=5) == NOW
    assert store.limits.reserve("b", "all", NOW, 0.5, 1, ahead=5) == _after(5)
    assert store.limits.reserve("b", "all", _after(60), 0.5, 1, ahead=0) == _after(60)


def test_slots_are_even_and_their_rate_does_not_drift(store: Store) -> None:
    firsts = [store.limits.reserve("b", "all", NOW, EVERY, 45, ahead=0) for _ in range(30)]
    assert firsts == [_after(second) for second in range(30)]
    single = [store.limits.reserve("b", "one", NOW, EVERY, 1, ahead=0) for _ in range(45)]
    gaps = {later - earlier for earlier, later in pairwise(single)}
    assert gaps == {timedelta(microseconds=22222)}


def test_bots_and_lanes_do_not_share_slots(store: Store) -> None:
    for bot, lane in (("b", "all"), ("b", "dm"), ("c", "all")):
        assert store.limits.reserve(bot, lane, NOW, 1.0, 5, ahead=0) == NOW


def test_slots_that_a_clock_gone_wrong_has_taken_hold_nobody_up(store: Store) -> None:
    store.limits.reserve("b", "all", NOW + timedelta(days=365), 1.0, 1, ahead=0)
    assert store.limits.reserve("b", "all", NOW, 1.0, 1, ahead=0) == NOW
    assert store.limits.reserve("b", "all", NOW, 1.0, 1, ahead=0) == _after(1)


def test_a_queue_of_a_minute_and_more_of_ones_own_is_kept(store: Store) -> None:
    store.limits.reserve("b", "all", NOW, 1.0, 55, ahead=0)
    assert store.limits.reserve("b", "all", NOW, 1.0, 30, ahead=0) == _after(55)
    assert store.limits.reserve("b", "all", NOW, 1.0, 30, ahead=0) == _after(85)


def test_without_an_interval_nothing_is_paced(store: Store) -> None:
    for _ in range(3):
        assert store.limits.reserve("b", "dm", NOW, 0.0, 5, ahead=0) == NOW


def test_breakers_are_kept_by_bot_and_closed_by_none(store: Store) -> None:
    first, second = Breaker(_after(300), "quarantine"), Breaker(_after(600), "budget", 9000)
    store.limits.set_breaker("b", "new_dms", first)
    store.limits.set_breaker("b", "invalid.requests/10m", second)
    store.limits.set_breaker("b1", "new_dms", second)
    store.limits.reserve("b", "all", NOW, 1.0, 1, ahead=0)
    assert store.limits.breakers("b") == {"new_dms": first, "invalid.requests/10m": second}
    store.limits.set_breaker("b", "new_dms", second)
    store.limits.set_breaker("b", "invalid.requests/10m", None)
    store.limits.set_breaker("b", "unknown", None)
    assert store.limits.breakers("b") == {"new_dms": second}
    assert store.limits.breakers("c") == {}


def test_dm_channels_are_remembered_by_bot_and_forgotten(store: Store) -> None:
    store.limits.remember_dms("b", {f"{n}": f"c{n}" for n in range(600)})
    store.limits.remember_dms("c", {"1": "other"})
    store.limits.remember_dms("b", {"1": "new", "2": None, "9999": None})
    assert store.limits.dm_channels("b", ["1", "2", "3", "9999"]) == {"1": "new", "3": "c3"}
    assert len(store.limits.dm_channels("b", [f"{n}" for n in range(1000)])) == 599
    assert store.limits.dm_channels("d", ["1"]) == {}
    store.limits.remember_dms("b", {})


def test_the_stores_clock_and_ours_are_the_same_here(store: Store) -> None:
    try:
        error = store.clock_error()
    except NotImplementedError:
        pytest.skip("mongomock answers no commands")
    assert abs(error) < timedelta(seconds=10)


@pytest.mark.mongodb_server
def test_machines_whose_clocks_are_minutes_apart_take_turns(server_url: str) -> None:
    with closing(open_store(server_url)) as store:
        store.prepare()
        taken = []
        for apart in (timedelta(), timedelta(seconds=90), timedelta(seconds=-90)):
            with time_machine.travel(datetime.now(UTC) + apart, tick=True):
                now = real_now() - store.clock_error()
                taken.append(store.limits.reserve("b", "all", now, 1.0, 1, ahead=0))
    assert [later - earlier for earlier, later in pairwise(taken)] == [timedelta(seconds=1)] * 2
