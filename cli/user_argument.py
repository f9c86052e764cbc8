"""USER, as commands take it: a Discord id, a mention, a name, or a person's own id."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import plain
from speakerbot.errors import NotFound, UsageError

if TYPE_CHECKING:
    from speakerbot.domain.person import Person
    from speakerbot.domain.talk import Speaker
    from speakerbot.ports.store import Store

User = Annotated[
    str,
    typer.Argument(
        metavar="USER", help="A Discord id, a mention (<@id>), a name, or a person's own id."
    ),
]


@dataclass(frozen=True, slots=True)
class FoundUser:
    """Whom USER names: a person, a Discord user of whom nothing else is known, or both."""

    user_id: str | None
    person: Person | None = None
    username: str | None = None
    """As one of their talks calls them."""

    @property
    def id(self) -> str:
        """How commands call them: the Discord id, else the person's own."""
        if self.user_id is not None:
            return self.user_id
        assert self.person is not None, "one of the two is known"  # noqa: S101
        return self.person.id

    @property
    def recipients(self) -> tuple[str, ...]:
        """As messages name them."""
        named = [f"user:{self.user_id}"] if self.user_id is not None else []
        return (*named, *([f"person:{self.person.id}"] if self.person else []))

    @property
    def name(self) -> str | None:
        """How messages call them, where that is known."""
        return (self.person.name if self.person else None) or self.username

    def __str__(self) -> str:
        name = self.name
        return plain(f"{name} ({self.id})" if name else self.id)


def find_user(store: Store, text: str) -> FoundUser:
    """Whom ``text`` names; an id goes before a name. A Discord id need not be known.

    Raises NotFound; UsageError naming all of them where several people have that name."""
    mention = re.fullmatch(r"<@!?([0-9]{1,20})>", text.strip())
    wanted = mention[1] if mention else text.strip()
    if person := store.people.get(wanted):
        return FoundUser(person.discord_user_id, person)
    if mention or re.fullmatch(r"[0-9]{15,20}", wanted):
        return FoundUser(wanted)  # surely no name: all there is need not be read
    name = wanted.removeprefix("@").casefold()
    users = list(_everybody(store))
    found = list({user.id: user for user in users if name in _names(user)}.values())
    if len(found) > 1:
        listed = "\n".join(f"  {user}" for user in found)
        raise UsageError(f"several people are known as {text!r}; give the id of one:\n{listed}")
    return found[0] if found else _unknown_user(text, wanted, users)


def user_id_of(option: str, user: FoundUser) -> str:
    """Their Discord id, which every speaker needs. Raises NotFound."""
    if user.user_id is None:
        raise NotFound(f"{option}: {user} has no Discord id; `people list` shows who has one")
    return user.user_id


def co_speakers(store: Store, given: Sequence[str]) -> tuple[Speaker, ...]:
    """Those whom the options --speaker name, as USER or, for people we do not know yet, ID=NAME."""
    return tuple(_co_speaker(store, text) for text in given)


def _co_speaker(store: Store, text: str) -> Speaker:
    from speakerbot.domain.talk import Speaker

    user, named, name = text.partition("=")
    found = find_user(store, user)
    user_id = user_id_of("--speaker", found)
    name = name.strip() if named else name_of(store, found)
    if not name:
        raise UsageError(
            f"--speaker {text}: it is not known how to call them; write --speaker {user_id}=NAME"
        )
    return Speaker(user_id, name)


def name_of(store: Store, user: FoundUser) -> str:
    """How messages call them, empty where neither a person nor a talk says."""
    if user.name:
        return user.name
    names = {each.user_id: each.username for each in _everybody(store)}
    return names.get(user.user_id) or ""


def _unknown_user(text: str, wanted: str, users: list[FoundUser]) -> FoundUser:
    from speakerbot.formats.ids import snowflake
    from speakerbot.text import did_you_mean

    try:
        return FoundUser(snowflake(wanted))
    except ValueError as problem:
        if wanted.isdigit():
            raise UsageError(str(problem)) from problem
        names = sorted({name for user in users for name in _names(user)})
        hint = did_you_mean(wanted.removeprefix("@").casefold(), names)
        hint = hint or "; `speakerbot people list` shows who is"
        raise NotFound(f"no person is known as {text!r}{hint}") from problem


def _everybody(store: Store) -> Iterator[FoundUser]:
    """Everybody with a name: people, and speakers of whom nothing but their talks is known."""
    people = list(store.people.all())
    yield from (FoundUser(person.discord_user_id, person) for person in people)
    by_user = {person.discord_user_id: person for person in people if person.discord_user_id}
    for talk in store.talks.all():
        for user_id, username in talk.speakers:
            if user_id:
                yield FoundUser(user_id, by_user.get(user_id), username)


def _names(user: FoundUser) -> set[str]:
    given = (user.username, user.person.name if user.person else None)
    return {name.strip().casefold() for name in given if name and name.strip()}
