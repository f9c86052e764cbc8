"""What a person wishes, changed: opting out and in, and how quiet hours are written."""

from __future__ import annotations

from dataclasses import replace

from speakerbot.clock import parse_clock_time
from speakerbot.people import OPT_OUT_KINDS, Person, QuietHours

SINGLE_KINDS = frozenset(OPT_OUT_KINDS) - {"all"}


def new_person(discord_user_id: str) -> Person:
    """Someone nobody had heard of. Two processes that meet them at once make the same record."""
    return Person(id=f"discord-{discord_user_id}", discord_user_id=discord_user_id)


def opted_out(person: Person, kind: str) -> Person:
    """``all`` takes the place of single kinds, and covers kinds that are yet to come."""
    if person.refuses(kind):
        return person
    kinds = {"all"} if kind == "all" else {*person.opted_out, kind}
    return replace(person, opted_out=frozenset(kinds))


def opted_in(person: Person, kind: str) -> Person:
    """``all`` ends every opt-out. A single kind while out of ``all`` leaves them out of every
    other kind there is."""
    if kind == "all":
        return replace(person, opted_out=frozenset())
    kinds = SINGLE_KINDS if "all" in person.opted_out else person.opted_out
    return replace(person, opted_out=frozenset(kinds) - {kind})


def parse_opt_outs(text: str) -> frozenset[str]:
    """Kinds separated by commas or spaces. Raises ValueError naming one that is unknown."""
    kinds = text.replace(",", " ").split()
    for kind in kinds:
        if kind not in OPT_OUT_KINDS:
            raise ValueError(f"{kind!r} is no kind; choose from {', '.join(OPT_OUT_KINDS)}")
    return frozenset(kinds)


def parse_quiet_hours(text: str) -> QuietHours:
    """``22:00-08:00``. Raises ValueError with a message for people."""
    start, _, end = text.replace("–", "-").partition("-")
    try:
        hours = QuietHours(parse_clock_time(start), parse_clock_time(end))
    except ValueError as error:
        raise ValueError(f"{text!r} are no quiet hours; write e.g. 22:00-08:00") from error
    if hours.start == hours.end:
        raise ValueError(f"{text!r} begin and end at once; to get nothing at all, opt out")
    return hours
