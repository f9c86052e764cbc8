"""DM channels are opened once per person, at their own pace, and remembered before use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from speakerbot.clock import Clock
from speakerbot.delivery.dm_channels import NEW_DMS_REST, Destinations
from speakerbot.delivery.pacing import Pacer
from speakerbot.domain.message import Route
from speakerbot.ports.channel import Channel, RefusalClass, Refused
from speakerbot.ports.store import Breaker

DM = Route("dm", "7")


@dataclass
class Opens:
    """A channel of which only opening is used, and what was written down."""

    opened: list[str] = field(default_factory=list)
    saved: dict[str, str] = field(default_factory=dict)
    breakers: dict[str, Breaker] = field(default_factory=dict)
    refusal: Refused | None = None

    async def open_dm(self, user_id: str) -> str:
        if self.refusal:
            raise self.refusal
        self.opened.append(user_id)
        return f"{user_id}-{len(self.opened)}"

    async def save_dm(self, user_id: str, channel_id: str) -> None:
        self.saved[user_id] = channel_id

    async def save_breaker(self, name: str, breaker: Breaker) -> None:
        self.breakers[name] = breaker


def visited(
    talk: Callable[[Destinations, Opens], Awaitable[None]], clock: Clock | None = None
) -> None:
    async def no_slot(_: float, __: int) -> timedelta:
        raise AssertionError("nothing is paced here")

    async def run() -> None:
        opens, time = Opens(), clock or Clock()
        pacer = Pacer(no_slot, 0.0, ahead=0, stop=asyncio.Event())
        channel: Channel = opens  # type: ignore[assignment]  # the rest is not called
        destinations = Destinations(
            channel,
            pacer=pacer,
            new_dms=pacer,
            clock=time,
            save_dm=opens.save_dm,
            save_breaker=opens.save_breaker,
        )
        await talk(destinations, opens)

    asyncio.run(run())


def test_a_thread_is_its_own_address() -> None:
    async def talk(destinations: Destinations, opens: Opens) -> None:
        assert await destinations.find(Route("thread", "70")) == "70"
        assert opens.opened == []

    visited(talk)


def test_a_known_channel_is_used_and_an_unknown_one_opened_once() -> None:
    async def talk(destinations: Destinations, opens: Opens) -> None:
        destinations.expect("8", "88")
        assert await destinations.find(Route("dm", "8")) == "88"
        destinations.expect("7", None)
        assert not destinations.knows("7")
        assert await destinations.find(DM) == await destinations.find(DM) == "7-1"
        assert opens.saved == {"7": "7-1"}
        assert destinations.knows("7")

    visited(talk)


def test_a_person_is_dropped_only_when_all_their_messages_are_through() -> None:
    async def talk(destinations: Destinations, opens: Opens) -> None:
        destinations.expect("7", "77")
        destinations.expect("7", "77")
        destinations.done_with("7")
        assert await destinations.find(DM) == "77"
        destinations.done_with("7")
        assert not destinations.knows("7")

    visited(talk)


def test_a_channel_that_is_gone_is_opened_anew_but_stays_known() -> None:
    """Something may have been sent there."""

    async def talk(destinations: Destinations, opens: Opens) -> None:
        assert not destinations.forget(DM)
        assert not destinations.forget(Route("thread", "7"))
        destinations.expect("7", "77")
        assert destinations.forget(DM)
        assert destinations.knows("7")
        assert await destinations.find(DM) == "7-1"
        assert opens.saved == {"7": "7-1"}

    visited(talk)


def test_what_was_learned_in_the_run_beats_an_older_reading_of_the_store() -> None:
    async def talk(destinations: Destinations, opens: Opens) -> None:
        destinations.expect("7", None)
        await destinations.find(DM)
        destinations.expect("7", "old")
        assert await destinations.find(DM) == "7-1"

    visited(talk)


def test_after_a_refusal_no_channel_is_opened_for_minutes() -> None:
    async def talk(destinations: Destinations, opens: Opens) -> None:
        await destinations.rest(Refused(RefusalClass.NEW_DMS, "too fast"))
        first = opens.breakers["new_dms"]
        await destinations.rest(Refused(RefusalClass.NEW_DMS, "too fast"))
        assert opens.breakers["new_dms"] is first
        with pytest.raises(Refused) as caught:
            await destinations.find(DM)
        assert caught.value.why == "new_dms"
        assert 0 < caught.value.retry_after <= NEW_DMS_REST.total_seconds()
        assert opens.opened == []

    visited(talk)


def test_a_rest_of_an_earlier_run_is_kept_until_it_is_over() -> None:
    clock = Clock()

    async def talk(destinations: Destinations, opens: Opens) -> None:
        destinations.new_dms_rest_until = clock.real() + timedelta(minutes=1)
        with pytest.raises(Refused):
            await destinations.find(DM)
        destinations.new_dms_rest_until = clock.real() - timedelta(minutes=1)
        assert await destinations.find(DM)

    visited(talk, clock)


def test_opening_leaves_no_doubt_about_a_message() -> None:
    async def talk(destinations: Destinations, opens: Opens) -> None:
        opens.refusal = Refused(RefusalClass.SERVICE, "no answer", maybe_accepted=True)
        with pytest.raises(Refused) as caught:
            await destinations.find(DM)
        assert not caught.value.maybe_accepted
        assert opens.saved == {}

    visited(talk)


def test_a_refused_opening_is_passed_on() -> None:
    async def talk(destinations: Destinations, opens: Opens) -> None:
        opens.refusal = Refused(RefusalClass.RECIPIENT, "closed")
        with pytest.raises(Refused) as caught:
            await destinations.find(replace(DM))
        assert caught.value.why == "recipient"

    visited(talk)
