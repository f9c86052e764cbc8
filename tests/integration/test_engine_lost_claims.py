"""Another run takes a claim over while ours is being accepted.

Discord has the message then, so the ledger must say so in the end: whatever else it says lets a
later run send it a second time, or tells people that it never went.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from speakerbot.domain.delivery import Delivery, DeliveryChange, DeliveryState
from speakerbot.testing.run_harness import RunHarness

Step = Callable[[Delivery], Delivery | None]
RESULTS = 2
"""Which of a run's swaps writes the results; the first makes the claims."""


def claims_it(record: Delivery) -> Delivery:
    return record._replace(attempts=record.attempts + 1)


def fails(record: Delivery) -> Delivery:
    return record._replace(state=DeliveryState.FAILED, lease_until=None, unconfirmed_since=None)


def expires(record: Delivery) -> Delivery:
    return record._replace(state=DeliveryState.EXPIRED, lease_until=None)


def cannot_find_out(record: Delivery) -> Delivery:
    return record._replace(state=DeliveryState.UNKNOWN, lease_until=None)


def gives_it_back(_: Delivery) -> None:
    return None


def finds_our_message(record: Delivery) -> Delivery:
    return record._replace(state=DeliveryState.SENT, message_id="5")


class Others:
    """Runs that change the record right before each of our writes of results, while they last."""

    def __init__(self, harness: RunHarness, key: str, *steps: Step) -> None:
        self.harness, self.key, self.steps = harness, key, list(steps)
        self.swaps = 0

    def __call__(self, boundary: str) -> None:
        if boundary != "before ledger.swap":
            return
        self.swaps += 1
        if self.swaps < RESULTS or not self.steps:
            return
        current = self.harness.store.ledger.get([self.key]).get(self.key)
        assert current, "only the last of them may delete it"
        after = self.steps.pop(0)(current)
        if after:
            after = after._replace(revision=f"theirs.{self.swaps}", run_id="theirs")
        assert self.harness.store.ledger.swap([DeliveryChange(current, after)]) == {self.key}


@pytest.mark.parametrize(
    "steps",
    [
        (claims_it,),
        (fails,),
        (expires,),
        (cannot_find_out,),
        (gives_it_back,),
        (claims_it, fails),  # the second between our reading of the record and our insisting
        (claims_it, gives_it_back),
        (claims_it, claims_it, claims_it, claims_it, fails),
    ],
    ids=lambda steps: ", ".join(step.__name__ for step in steps),
)
def test_an_accepted_message_is_recorded_as_sent_whatever_another_run_wrote(
    harness: RunHarness, steps: tuple[Step, ...]
) -> None:
    harness.known("7", "77")
    message = harness.message("7")
    others = Others(harness, message.key, *steps)
    assert harness.run_with(others, message).states == ["sent"]
    assert not others.steps, "they did all that they were to do"
    record = harness.record(message)
    assert record.state == DeliveryState.SENT
    assert record.message_id == harness.discord.messages[0].id
    assert record.unconfirmed_since is None
    assert harness.run(message).states == ["already_sent"]
    assert len(harness.sent()) == 1


def test_what_another_run_recorded_as_sent_is_left_alone(harness: RunHarness) -> None:
    harness.known("7", "77")
    message = harness.message("7")
    assert harness.run_with(Others(harness, message.key, finds_our_message), message).states == [
        "sent"
    ]
    assert harness.record(message).run_id == "theirs"
    assert len(harness.sent()) == 1
