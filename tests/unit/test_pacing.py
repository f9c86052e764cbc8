"""Even pacing: slots are waited for, missed ones are not made up for, a stop ends every wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import pairwise
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speakerbot.clock import Clock
from speakerbot.delivery.circuit_breakers import ChannelStopped
from speakerbot.delivery.pacing import LONGEST_PAUSE, Pacer
from speakerbot.stores.send_slots import Reservation

CLOCK = Clock()


class Slots:
    """One bot's slots, as a store keeps them."""

    def __init__(self, ahead: int = 0) -> None:
        self.ahead = ahead
        self.next_free: int | None = None
        self.reservations = 0

    async def reserve(self, interval: float, count: int) -> timedelta:
        self.reservations += 1
        now = CLOCK.real()
        wanted = Reservation.of(now, interval, count, self.ahead)
        first, self.next_free = wanted.take(self.next_free)
        return first - now


def paced(
    talk: Callable[[Pacer, asyncio.Event], Awaitable[None]],
    slots: Slots,
    interval: float,
) -> None:
    async def run() -> None:
        stop = asyncio.Event()
        pacer = Pacer(slots.reserve, interval, ahead=slots.ahead, stop=stop)
        await talk(pacer, stop)

    asyncio.run(run())


def test_slots_come_evenly_and_few_reservations_are_made() -> None:
    slots = Slots()

    async def talk(pacer: Pacer, stop: asyncio.Event) -> None:
        begin = monotonic()
        for _ in range(40):
            await pacer.slot()
        assert 0.35 < monotonic() - begin < 1.5

    paced(talk, slots, 0.01)
    assert slots.reservations <= 6


def test_a_few_may_go_at_once_after_a_pause() -> None:
    async def talk(pacer: Pacer, stop: asyncio.Event) -> None:
        begin = monotonic()
        for _ in range(4):
            await pacer.slot()
        assert monotonic() - begin < 0.5

    paced(talk, Slots(ahead=4), 1.0)


def test_without_an_interval_nobody_waits_or_asks() -> None:
    slots = Slots()

    async def talk(pacer: Pacer, stop: asyncio.Event) -> None:
        for _ in range(1000):
            await pacer.slot()

    paced(talk, slots, 0.0)
    assert slots.reservations == 0


def test_two_processes_together_keep_the_pace_of_one() -> None:
    slots = Slots()

    async def run() -> None:
        stop = asyncio.Event()
        pacers = [Pacer(slots.reserve, 0.01, ahead=0, stop=stop) for _ in range(2)]
        begin = monotonic()

        async def take(pacer: Pacer) -> None:
            for _ in range(25):
                await pacer.slot()

        await asyncio.gather(*map(take, pacers))
        assert monotonic() - begin > 0.25

    asyncio.run(run())


def test_missed_slots_are_not_made_up_for() -> None:
    """A process that slept through its slots would otherwise send them all at once."""

    async def talk(pacer: Pacer, stop: asyncio.Event) -> None:
        await pacer.slot()
        await asyncio.sleep(0.3)
        begin = monotonic()
        for _ in range(20):
            await pacer.slot()
        assert monotonic() - begin > 0.12

    paced(talk, Slots(), 0.01)


def test_a_stop_ends_every_wait_at_once() -> None:
    async def talk(pacer: Pacer, stop: asyncio.Event) -> None:
        await pacer.slot()
        waits = [asyncio.create_task(pacer.slot()) for _ in range(3)]
        await asyncio.sleep(0)
        stop.set()
        begin = monotonic()
        results = await asyncio.gather(*waits, return_exceptions=True)
        assert monotonic() - begin < 0.5
        assert [type(result) for result in results] == [ChannelStopped] * 3

    paced(talk, Slots(), 5.0)


def test_after_a_rate_limit_everybody_waits_and_then_queues_up_again() -> None:
    """All at once they would be refused again."""

    async def talk(pacer: Pacer, stop: asyncio.Event) -> None:
        begin = monotonic()
        taken: list[float] = []

        async def take() -> None:
            await pacer.slot()
            taken.append(monotonic() - begin)

        waits = [asyncio.create_task(take()) for _ in range(10)]
        pacer.slow_down(0.3, everywhere=True)
        await asyncio.gather(*waits)
        assert min(taken) >= 0.29
        assert max(taken) - min(taken) > 0.09

    paced(talk, Slots(), 0.01)


def test_sixteen_rate_limits_at_once_are_one_incident() -> None:
    async def talk(pacer: Pacer, stop: asyncio.Event) -> None:
        for _ in range(16):
            pacer.slow_down(0.0, everywhere=False)
        assert pacer.interval == pytest.approx(0.01 * 1.25)

    paced(talk, Slots(), 0.01)


def test_the_pace_recovers_within_the_run() -> None:
    async def talk(pacer: Pacer, stop: asyncio.Event) -> None:
        pacer.slow_down(0.0, everywhere=False)
        pacer._recovers_at = 0.0  # 20 s later
        await pacer.slot()
        assert pacer.interval == 0.01

    paced(talk, Slots(), 0.01)


def test_a_pause_that_is_too_long_ends_the_run() -> None:
    async def talk(pacer: Pacer, stop: asyncio.Event) -> None:
        pacer.slow_down(LONGEST_PAUSE * 10, everywhere=True)
        with pytest.raises(ChannelStopped) as caught:
            await pacer.slot()
        assert caught.value.reason == "rate_limited"
        assert caught.value.rest > timedelta(minutes=9)

    paced(talk, Slots(), 0.01)


@given(
    rate=st.integers(1, 49),
    steps=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 20)), min_size=1, max_size=60),
)
def test_no_second_holds_more_slots_than_the_limit(rate: int, steps: list[tuple[int, int]]) -> None:
    """Whoever reserves blocks of whatever size, whenever (times in hundredths of a second)."""
    ahead, interval = max(0, 50 - rate - 1), 1 / rate
    now = CLOCK.real()
    next_free: int | None = None
    slots: list[int] = []
    for wait, count in steps:
        now += timedelta(milliseconds=10 * wait)
        wanted = Reservation.of(now, interval, count, ahead)
        _, next_free = wanted.take(next_free)
        first = next_free - wanted.span
        present = wanted.present
        slots += [max(present, first + round(n * interval * 1e6)) for n in range(count)]
    assert all(one <= two for one, two in pairwise(slots))
    in_second = Counter[int]()
    for begin in slots:
        in_second[begin] = sum(begin <= slot < begin + 1_000_000 for slot in slots)
    assert max(in_second.values()) <= 50
