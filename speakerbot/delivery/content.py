"""The texts of planned messages: made before anything is claimed, off the event loop and out of the
store's way.

Most come from a template and what the job decided. A job may name a source of more, such as a
language model: it is asked for several messages at once, may take its time, and may fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from speakerbot.delivery.planning import MessagePlan, rendered
from speakerbot.domain.delivery import NO_CONTENT, DeliveryState

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from speakerbot.domain.message import Message
    from speakerbot.templates import Templates

Content = Callable[["Message"], Awaitable[Mapping[str, Any]]]
"""Values to add to the message's own before its text is rendered. What it raises fails that message
alone, until a later run."""

LONGEST = timedelta(seconds=10)
"""That asking for one message's content may take."""
AT_ONCE = 32
"""Messages whose content is asked for at the same time."""


@dataclass(slots=True)
class Contents:
    """One per run. ``executor`` renders: a slow template holds up nothing but texts."""

    templates: Templates
    source: Content | None
    executor: Executor
    longest: timedelta = LONGEST

    @property
    def batch(self) -> int | None:
        """How many messages to make at once; None: as many as come."""
        return AT_ONCE if self.source else None

    async def made(self, plans: list[MessagePlan]) -> list[MessagePlan]:
        """The plans with their texts, in order. One whose text cannot be made is FAILED without a
        try."""
        if self.source:
            plans = list(await asyncio.gather(*map(self._filled, plans)))
        return await self.rendered(plans)

    async def rendered(self, plans: list[MessagePlan]) -> list[MessagePlan]:
        """The same, of plans whose values are complete."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.executor, self._rendered, plans)

    def _rendered(self, plans: list[MessagePlan]) -> list[MessagePlan]:
        return [rendered(plan, self.templates) for plan in plans]

    async def _filled(self, plan: MessagePlan) -> MessagePlan:
        """With the values of its source; what a claim has stored already is not asked for again."""
        if plan.state != DeliveryState.PLANNED or self.source is None or not plan.message.template:
            return plan
        if plan.record is not None and plan.record.text:
            return replace(plan, text=self._stored(plan))
        try:
            async with asyncio.timeout(self.longest.total_seconds()):
                values = await self.source(plan.message)
        except TimeoutError:
            return _failed(plan, f"no content within {self.longest.total_seconds():g} s")
        except Exception as error:
            return _failed(plan, f"no content: {error or type(error).__name__}")
        message = replace(plan.message, values={**plan.message.values, **values})
        return replace(plan, message=message)

    def _stored(self, plan: MessagePlan) -> str:
        """The text of an earlier claim, without the mention of its route."""
        record = plan.record
        text = record.text if record else ""
        for route in plan.message.routes:
            if record and (route.name, route.target) == (record.route, record.target):
                rules = self.templates.channels[route.channel]
                return text.removeprefix(rules.addressed("", route.mention))
        return text


def _failed(plan: MessagePlan, why: str) -> MessagePlan:
    return replace(plan, state=DeliveryState.FAILED, reason=why, error_class=NO_CONTENT)
