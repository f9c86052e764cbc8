"""What goes wrong, and when: a schedule is data, and a seed makes always the same one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Literal

import msgspec

from speakerbot.testing.discord import Fault
from speakerbot.testing.discord.faults import FaultBody, FaultKind
from speakerbot.testing.discord.routing import Operation

VARIANTS = 48
STEPS = (18, 30, 55)
"""About as many boundaries have runs of the small worlds."""
WRITES = (14, 25)
"""About as many of them are before or after a write to the store."""
SHORT_LEASE = 2.0
LONG_LEASE = 300.0
MOST_CLOCKS_DIFFER = 120.0
"""Seconds that a process's clock is ahead or behind at the most."""
RUN_TAKES = 0.15
"""Seconds, about."""
NODE_BOT_BEGINS, MINUTE_IS_OVER = 30.0, 150.0
"""Seconds after the beginning of the Node bot's minute."""

REFUSALS = (
    (403, 50007), (403, 50278), (403, 50299), (403, 0), (404, 0), (404, 10013), (404, 10003),
    (405, 0), (403, 50001), (403, 50013), (400, 50033), (400, 50035), (400, 200000), (400, 0),
    (413, 0), (403, 99999), (409, 77777), (400, 160006), (403, 160005), (400, 50083),
)  # fmt: skip
"""Status and JSON code of answers that refuse a message or its target for good."""
STOPS = ((401, 0), (403, 40001), (401, 50014), (403, 20026), (403, 40002), (403, 40333))
"""Answers after which the bot stops, and nothing may be lost by it."""
TROUBLE = ((503, 0), (503, 130000), (520, 0), (599, 1), (400, 40003), (403, 40062), (500, 0))
"""Answers that say nothing about the message."""
BARE_STATUSES = (200, 400, 401, 403, 404, 405, 413, 501, 503, 520, 530)
"""Of answers whose body is not Discord's JSON."""
BARE_BODIES: tuple[FaultBody, ...] = ("html", "empty", "truncated", "cut_off")
RETRY_AFTERS = (0.02, 0.1, 0.2, 3600.0, 86400.0, 1e12, None)
OPERATIONS: tuple[Operation, ...] = (
    "create_message", "create_message", "create_message", "create_message",
    "create_dm", "list_messages", "get_message", "get_my_user", "get_channel", "update_channel",
)  # fmt: skip
REPEATED_BY_DISCORDPY = (500, 502, 504)
"""Statuses after which discord.py sleeps and sends again."""

Gap = Literal["none", "lease", "window", "end", "minute"]
FaultFamily = Literal["trouble", "bare", "silent", "hang", "limited", "refusal", "stop"]
Every = Literal["minute", "hour", "day"]
EventKind = Literal["cancel", "move", "hand_over", "opt_out", "node_bot"]
EVENTS: tuple[EventKind, ...] = ("cancel", "move", "hand_over", "opt_out")


class CrashProcess(msgspec.Struct, frozen=True, omit_defaults=True):
    """One run of the job, and what it suffers: SIGKILL at its nth boundary, after some seconds, or
    as soon as Discord leaves a request unanswered (see CrashRound.faults); SIGTERM; a store that
    raises; a machine that stops for a while; a wrong clock."""

    kill_at: int | None = None
    kill_after: float | None = None
    kill_unanswered: bool = False
    term_at: int | None = None
    """SIGTERM comes at its nth boundary."""
    raise_at: int | None = None
    """The store raises at the nth boundary of its own: before a write has effect, or after it."""
    raises: int = 1
    """At so many of them in a row."""
    stall_at: int | None = None
    """At its nth boundary its machine stops, until so many seconds of the Node bot's minute ..."""
    stall_until: float = 0.0
    """... are over."""
    clock_ahead: float = 0.0
    """Seconds that its clock is ahead; negative: behind."""


class WorldEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """Somebody changes what is to be sent, or the Node bot sends it itself."""

    what: EventKind
    which: int
    """Which talk or person of the world."""
    after: float | None = None
    """Seconds after the round's processes have started; None: before that."""


class Outage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Every request fails like this until Discord's clock has advanced by so many hours."""

    fault: Fault
    hours: float


class CrashRound(msgspec.Struct, frozen=True, omit_defaults=True):
    """Processes that run side by side, and what goes wrong with their requests."""

    processes: tuple[CrashProcess, ...]
    gap: Gap = "none"
    """How much time passes before them: ``lease`` ends claims but not Discord's memory of nonces,
    ``window`` both, ``end`` everything: what was to be sent has expired; ``minute``: until about
    the Node bot's minute. A run may sleep until that is over: its round needs the event
    ``node_bot``."""
    into_minute: float = 0.0
    """With the gap ``minute``: seconds of it that are over then; negative: that are still to come
    until it begins."""
    faults: tuple[Fault, ...] = ()
    events: tuple[WorldEvent, ...] = ()
    outage: Outage | None = None


class CrashSchedule(msgspec.Struct, frozen=True, omit_defaults=True):
    """Rounds, one after another; afterwards everything is left to run its course."""

    rounds: tuple[CrashRound, ...]
    variant: int = 0
    """Of the world."""
    lease: float = LONG_LEASE
    """Seconds."""
    history_nonces: bool = False
    """Whether Discord shows nonces when messages are read back."""
    forgetful: bool = False
    """Discord forgets nonces at once, so that claims alone keep two runs apart. Not together with
    the gap ``lease``, nor with errors that discord.py answers by sending again."""
    every: Every = "hour"
    """How often the job's schedule has an occurrence. ``day``: all is to be sent by one."""
    share: bool = True
    """Whether two processes may work on one occurrence."""

    def text(self) -> str:
        """As ``--schedule`` takes it."""
        return msgspec.json.encode(self).decode()

    @property
    def stops(self) -> bool:
        """Discord stops the bot for a while: a message may go by another channel."""
        return any(_stops(fault) for each in self.rounds for fault in each.faults)

    @property
    def refuses(self) -> bool:
        """Discord refuses for good what it should not: a message may go another way, or not at
        all."""
        return any(_refuses(fault) for each in self.rounds for fault in each.faults)


def _stops(fault: Fault) -> bool:
    return (fault.status, fault.code or 0) in STOPS


def _refuses(fault: Fault) -> bool:
    known = (fault.status, fault.code) in REFUSALS
    return fault.kind == "error" and fault.shape == "json" and known


def read(text: str) -> CrashSchedule:
    """Raises msgspec.ValidationError."""
    return msgspec.json.decode(text, type=CrashSchedule)


def plays_on_mongodb(seed: int) -> bool:
    """Every fourth one does, where there is a server."""
    return seed % 4 == 3


def of_seed(seed: int) -> CrashSchedule:
    """A schedule at random: one to four rounds of one or two processes, most of which die."""
    random = Random(seed)  # noqa: S311  # repeatable
    return _Draw(random).schedule()


def around_node_bot(seed: int) -> CrashSchedule:
    """A schedule at random of which one round lies in the Node bot's minute, or begins so shortly
    before it that its runs come into it anywhere, mostly with some rounds before it and after it.
    All clocks are right, and no data changes meanwhile."""
    random = Random(f"node bot {seed}")  # noqa: S311  # repeatable
    drawn = of_seed(random.randrange(10**9))
    rounds = [_undisturbed(each) for each in drawn.rounds]
    at = random.choice((0, random.randint(0, len(rounds))))
    before = [msgspec.structs.replace(each, gap="none") for each in rounds[:at]]
    minute = _around_minute(random, random.choice(rounds))
    return msgspec.structs.replace(
        drawn, rounds=(*before, minute, *rounds[at:]), lease=LONG_LEASE, variant=seed % VARIANTS
    )


def _around_minute(random: Random, like: CrashRound) -> CrashRound:
    begins_before = random.random() < 0.6
    processes = like.processes
    if random.random() < 0.5:
        processes = (*processes[:1], CrashProcess())
    if begins_before:
        processes = tuple(_stalled(random, each) for each in processes)
    return msgspec.structs.replace(
        like,
        processes=processes,
        gap="minute",
        into_minute=random.uniform(-RUN_TAKES, 0.0) if begins_before else random.uniform(0, 115),
        events=(WorldEvent("node_bot", 0, after=random.uniform(0.0, 2 * RUN_TAKES)),),
    )


def _stalled(random: Random, process: CrashProcess) -> CrashProcess:
    """Most of them stop, until the minute begins, or the Node bot has, or it is over; many suffer
    nothing else."""
    if random.random() < 0.3:
        return process
    until = random.choice((0.0, NODE_BOT_BEGINS, NODE_BOT_BEGINS, MINUTE_IS_OVER))
    return msgspec.structs.replace(
        random.choice((process, CrashProcess())),
        stall_at=random.randint(1, random.choice(STEPS)),
        stall_until=until + random.uniform(0.0, RUN_TAKES),
    )


_INSTEAD: Mapping[Operation | None, Operation] = {
    "create_message": "create_guild_scheduled_event",
    "create_dm": "list_guild_scheduled_events",
    "list_messages": "list_guild_scheduled_events",
    "get_message": "update_guild_scheduled_event",
    "get_channel": "update_guild_scheduled_event",
    "update_channel": "delete_guild_scheduled_event",
}


def about_events(seed: int) -> CrashSchedule:
    """A schedule at random for a job that sends no message, but changes events of a server."""
    drawn = of_seed(seed)
    rounds = [
        msgspec.structs.replace(
            each,
            gap="window" if each.gap == "end" else each.gap,
            faults=tuple(
                replace(fault, on=_INSTEAD.get(fault.on, fault.on)) for fault in each.faults
            ),
        )
        for each in drawn.rounds
    ]
    return msgspec.structs.replace(drawn, rounds=tuple(rounds))


def _undisturbed(each: CrashRound) -> CrashRound:
    return CrashRound(
        tuple(msgspec.structs.replace(process, clock_ahead=0.0) for process in each.processes),
        # The claims of a schedule with a long lease and a short memory must not end early.
        gap="none" if each.gap in ("lease", "end") else each.gap,
        faults=tuple(fault for fault in each.faults if fault.kind != "hang"),
    )


class _Draw:
    """What one seed draws."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._forgetful = random.random() < 0.3
        self._lease = LONG_LEASE if self._forgetful else random.choice((SHORT_LEASE, LONG_LEASE))
        # Clocks further apart than a lease would end the claims of runs that live.
        self._clocks_differ = self._lease == LONG_LEASE and random.random() < 0.3
        self._events = random.random() < 0.35
        self._refusals = random.random() < 0.25
        self._ends = random.random() < 0.08

    def schedule(self) -> CrashSchedule:
        random = self._random
        count = random.randint(1, 4)
        rounds = [self._round(self._gap() if number else "none") for number in range(count)]
        if self._ends:
            rounds.append(self._round("end"))
        # What begins later than the day's one occurrence would be left out.
        later = self._events or self._ends
        outage = (
            Outage(self._outage_fault(), random.uniform(0.1, 3)) if self._chance(0.15) else None
        )
        at = random.randrange(count)
        rounds[at] = msgspec.structs.replace(rounds[at], outage=outage)
        return CrashSchedule(
            rounds=tuple(rounds),
            variant=random.randrange(VARIANTS),
            lease=self._lease,
            history_nonces=self._chance(0.3),
            forgetful=self._forgetful,
            every=random.choice(("minute", "hour") if later else ("minute", "hour", "day")),
            share=self._chance(0.75),
        )

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def _gap(self) -> Gap:
        gaps: tuple[Gap, ...] = ("none", "lease", "window")
        return self._random.choice(("none", "window") if self._forgetful else gaps)

    def _round(self, gap: Gap) -> CrashRound:
        random = self._random
        return CrashRound(
            processes=tuple(self._process() for _ in range(random.choice((1, 1, 2)))),
            gap=gap,
            faults=tuple(self._fault() for _ in range(random.choice((0, 0, 1, 2)))),
            # What is begun when all is over has expired already.
            events=() if gap == "end" else tuple(self._some_events()),
        )

    def _process(self) -> CrashProcess:
        random = self._random
        ahead = random.uniform(-1, 1) * MOST_CLOCKS_DIFFER if self._clocks_differ else 0.0
        how = random.random()
        if how < 0.45:
            return CrashProcess(kill_at=random.randint(1, random.choice(STEPS)), clock_ahead=ahead)
        if how < 0.65:
            return CrashProcess(kill_after=random.uniform(0.01, 0.12), clock_ahead=ahead)
        if how < 0.75:
            return CrashProcess(term_at=random.randint(1, random.choice(STEPS)), clock_ahead=ahead)
        if how < 0.87:
            at = random.randint(1, random.choice(WRITES))
            raises = random.choice((1, 1, 2, 99))
            return CrashProcess(raise_at=at, raises=raises, clock_ahead=ahead)
        return CrashProcess(clock_ahead=ahead)

    def _some_events(self) -> Iterator[WorldEvent]:
        if self._events:
            yield from (self._event() for _ in range(self._random.choice((0, 1, 2))))

    def _event(self) -> WorldEvent:
        random = self._random
        after = random.uniform(0.0, 0.1) if self._chance(0.4) else None
        return WorldEvent(random.choice(EVENTS), random.randrange(4), after)

    def _outage_fault(self) -> Fault:
        kinds: tuple[FaultKind, ...] = ("error", "html", "reset", "lost_response", "rate_limit")
        kind = self._random.choice(kinds)
        html = self._chance(0.5)
        return Fault(kind=kind, status=503, html=html, retry_after=3600.0, times=None)

    def _fault(self) -> Fault:
        random, on = self._random, self._random.choice(OPERATIONS)
        nth, accepted = random.randint(1, 4), self._chance(0.5)
        match self._family():
            case "bare":
                status, body = random.choice(BARE_STATUSES), random.choice(BARE_BODIES)
                return Fault(
                    kind="error", on=on, nth=nth, status=status, body=body, accepted=accepted
                )
            case "silent":
                silent: Sequence[FaultKind] = ("reset", "lost_response", "lost_response")
                return Fault(kind=random.choice(silent), on=on, nth=nth, accepted=accepted)
            case "hang":
                return Fault(kind="hang", on=on, nth=nth, accepted=accepted)
            case "limited":
                after = random.choice(RETRY_AFTERS)
                html = self._chance(0.5)
                return Fault(kind="rate_limit", on=on, nth=nth, retry_after=after, html=html)
            case "refusal":
                return self._answer(REFUSALS, on, nth)
            case "stop":
                return self._answer(STOPS, on, nth)
            case "trouble":
                return self._answer(TROUBLE, on, nth, accepted=accepted)

    def _family(self) -> FaultFamily:
        weights: dict[FaultFamily, int] = {
            "trouble": 3,
            "bare": 3,
            "silent": 3,
            "limited": 1,
            "stop": 1,
        }
        if self._lease == SHORT_LEASE:
            # A request that hangs ends with its time-out, which is long where the lease is.
            weights["hang"] = 1
        if self._refusals:
            weights["refusal"] = 4
        return self._random.choices(list(weights), list(weights.values()))[0]

    def _answer(
        self,
        answers: Sequence[tuple[int, int]],
        on: Operation,
        nth: int,
        *,
        accepted: bool = False,
    ) -> Fault:
        status, code = self._random.choice(answers)
        if self._forgetful and status in REPEATED_BY_DISCORDPY:
            status = 503
        # Only a fault of the server's own leaves open whether it did what was asked.
        accepted = accepted and status >= 500
        return Fault(kind="error", on=on, nth=nth, status=status, code=code, accepted=accepted)
