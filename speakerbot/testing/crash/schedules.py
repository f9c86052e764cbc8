"""What goes wrong, and when: a schedule is data, and a seed makes always the same one."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Literal

import msgspec

from speakerbot.testing.discord import Fault
from speakerbot.testing.discord.faults import FaultKind
from speakerbot.testing.discord.routing import Operation

VARIANTS = 24
STEPS = 50
"""About as many boundaries has a run of the small worlds."""
SHORT_LEASE = 2.0
FAULTS: tuple[FaultKind, ...] = (
    "error", "error", "html", "rate_limit", "reset", "lost_response", "lost_response", "hang",
)  # fmt: skip
OPERATIONS: tuple[Operation, ...] = (
    "create_message", "create_message", "create_message", "create_message",
    "create_dm", "list_messages", "get_my_user", "get_channel", "update_channel",
)  # fmt: skip
Gap = Literal["none", "lease", "window"]


class CrashProcess(msgspec.Struct, frozen=True, omit_defaults=True):
    """One run of the job, and how it dies, if it does: at its nth boundary, after some seconds, or
    as soon as Discord leaves a request unanswered (see CrashRound.faults)."""

    kill_at: int | None = None
    kill_after: float | None = None
    kill_unanswered: bool = False


class CrashRound(msgspec.Struct, frozen=True, omit_defaults=True):
    """Processes that run side by side, and what goes wrong with their requests."""

    processes: tuple[CrashProcess, ...]
    gap: Gap = "none"
    """How much time passes before them: ``lease`` ends claims but not Discord's memory of nonces,
    ``window`` both."""
    faults: tuple[Fault, ...] = ()


class CrashSchedule(msgspec.Struct, frozen=True, omit_defaults=True):
    """Rounds, one after another; afterwards everything is left to run its course."""

    rounds: tuple[CrashRound, ...]
    variant: int = 0
    """Of the world."""
    lease: float = 300.0
    """Seconds."""
    history_nonces: bool = False
    """Whether Discord shows nonces when messages are read back."""
    forgetful: bool = False
    """Discord forgets nonces at once, so that claims alone keep two runs apart. Not together with
    the gap ``lease``, nor with errors that discord.py answers by sending again."""

    def text(self) -> str:
        """As ``--schedule`` takes it."""
        return msgspec.json.encode(self).decode()


def read(text: str) -> CrashSchedule:
    """Raises msgspec.ValidationError."""
    return msgspec.json.decode(text, type=CrashSchedule)


def of_seed(seed: int) -> CrashSchedule:
    """A schedule at random: one to four rounds of one or two processes, most of which die."""
    random = Random(seed)  # noqa: S311  # repeatable
    forgetful = random.random() < 0.3
    lease = 300.0 if forgetful else random.choice((SHORT_LEASE, 300.0))
    # A request that hangs ends with its time-out, which is long where the lease is.
    kinds = FAULTS if lease == SHORT_LEASE else tuple(kind for kind in FAULTS if kind != "hang")
    if forgetful:
        kinds = tuple(kind for kind in kinds if kind != "error")
    gaps: tuple[Gap, ...] = ("none", "window") if forgetful else ("none", "lease", "window")
    rounds = random.randint(1, 4)
    return CrashSchedule(
        rounds=tuple(_round(random, kinds, gaps if n else ("none",)) for n in range(rounds)),
        variant=random.randrange(VARIANTS),
        lease=lease,
        history_nonces=random.random() < 0.3,
        forgetful=forgetful,
    )


def _round(random: Random, kinds: Sequence[FaultKind], gaps: Sequence[Gap]) -> CrashRound:
    return CrashRound(
        processes=tuple(_process(random) for _ in range(random.choice((1, 1, 2)))),
        gap=random.choice(gaps),
        faults=tuple(_fault(random, kinds) for _ in range(random.choice((0, 0, 1, 2)))),
    )


def _process(random: Random) -> CrashProcess:
    how = random.random()
    if how < 0.6:
        return CrashProcess(kill_at=random.randint(1, STEPS))
    return CrashProcess(kill_after=random.uniform(0.01, 0.12)) if how < 0.85 else CrashProcess()


def _fault(random: Random, kinds: Sequence[FaultKind]) -> Fault:
    kind = random.choice(kinds)
    return Fault(
        kind=kind,
        on=random.choice(OPERATIONS),
        nth=random.randint(1, 4),
        accepted=kind != "rate_limit" and random.random() < 0.5,
        # 500 makes discord.py sleep and try again: one second each time.
        status=random.choices((503, 500, 502), (8, 1, 1))[0],
        html=random.random() < 0.2,
        retry_after=random.uniform(0.02, 0.2),
    )
