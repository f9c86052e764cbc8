"""The requests that the bot makes at Discord. Each message carries a nonce, which alone makes
discord.py's own retries safe."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from discord.http import Route as RestRoute
from discord.utils import snowflake_time, time_snowflake

from speakerbot.channels.discord.error_codes import (
    EVENT_OVER,
    NO_ACCESS,
    NO_PERMISSION,
    NOT_OURS,
    TOO_MANY_EVENTS,
    UNKNOWN_EVENT,
)
from speakerbot.channels.discord.rest import DiscordRest, id_of
from speakerbot.domain.message import ROLE
from speakerbot.domain.server_event import (
    FIELDS,
    EventDetails,
    EventField,
    EventStatus,
    ServerEvent,
)
from speakerbot.ports.channel import Posted, Ready, RefusalClass, Refused
from speakerbot.text import name_custom_emoji

PAGE = 100
MOST_PAGES = 20
CLOCK_SKEW = timedelta(minutes=5)
"""Discord's clock dates messages, ours dated the claim: look a little further back."""

LONGEST_CLOCK_ERROR = timedelta(days=1)
NO_HISTORY = "the bot may not read the message history there"


class DiscordApi(DiscordRest):
    """``async with DiscordApi(...) as api``. Each method is one request, or reads page by page, and
    raises Refused; ``pace`` is awaited before each of them."""

    async def open_dm(self, user_id: str) -> str:
        """The DM channel with a user, made if needed; asking again is harmless."""
        route = RestRoute("POST", "/users/@me/channels")
        channel = await self.ask(route, json={"recipient_id": user_id})
        return id_of(channel)

    async def send(
        self,
        channel_id: str,
        text: str,
        *,
        nonce: str,
        mention: str | None,
        ready: Ready,
    ) -> str:
        """Returns the message's id as soon as it is accepted. Within Discord's nonce window sending
        again returns the first message. ``mention`` is the one user, or role, it may notify."""
        body = {
            "content": text,
            "nonce": nonce,
            "enforce_nonce": True,
            "allowed_mentions": _allowed(mention),
        }
        route = RestRoute("POST", "/channels/{channel_id}/messages", channel_id=channel_id)
        return id_of(await self.ask(route, once=True, ready=ready, json=body))

    async def find(
        self,
        channel_id: str,
        text: str,
        *,
        nonce: str,
        since: datetime,
        known: Collection[str],
        author: str | None,
    ) -> str | None:
        """The id of this message among those of ``author`` (None: our own) there from ``since`` on;
        None: it is not there. ``known`` are ids of other messages, which may have the same text.
        Raises Refused with ``TARGET`` where it may not look."""
        since = min(since, datetime.now(UTC)) - CLOCK_SKEW
        async for message in self._by(author or await self.my_id(), channel_id, since):
            if message["id"] not in known and _is_it(message, text, nonce):
                return str(message["id"])
        return None

    async def posts(self, channel_id: str, *, since: datetime) -> AsyncIterator[Posted]:
        """Our own messages there back to ``since``, newest first."""
        async for message in self._by(await self.my_id(), channel_id, since):
            at = snowflake_time(int(message["id"]))
            if at >= since:
                yield Posted(message["id"], message["content"], at)

    async def _by(
        self, author: str, channel_id: str, since: datetime
    ) -> AsyncIterator[dict[str, str]]:
        """The author's messages there, newest first: at least to ``since``, and to the end of that
        page, in case the clock that ``since`` was read from was wrong."""
        before: str | None = None
        for _ in range(MOST_PAGES):
            page = await self._history(channel_id, before)
            if not page and before is None and await self._holds_something(channel_id, since):
                page = await self._history(channel_id, None)  # it has just arrived
                if not page:
                    raise Refused(RefusalClass.TARGET, NO_HISTORY)
            for message in page:
                if message["author"] == author:
                    yield message
            if len(page) < PAGE or int(page[-1]["id"]) < time_snowflake(since):
                return
            before = page[-1]["id"]
        raise Refused(
            RefusalClass.TARGET, f"more than {PAGE * MOST_PAGES} messages to look through"
        )

    async def _holds_something(self, channel_id: str, since: datetime) -> bool:
        """Whether the channel, whose history was empty, has a message of ``since`` or later that we
        may read. Where we may not read the history, Discord answers with an empty list: then its
        last message tells. It may also have been deleted. Raises Refused."""
        channel = await self.ask(RestRoute("GET", "/channels/{channel_id}", channel_id=channel_id))
        last = channel.get("last_message_id") if isinstance(channel, dict) else None
        if not (isinstance(last, str) and last.isascii() and last.isdigit()):
            return False
        if int(last) < time_snowflake(since - LONGEST_CLOCK_ERROR):
            return False
        route = RestRoute(
            "GET",
            "/channels/{channel_id}/messages/{message_id}",
            channel_id=channel_id,
            message_id=last,
        )
        try:
            await self.ask(route)
        except Refused as refusal:
            if refusal.why == RefusalClass.ALREADY_SENT:  # 10008, unknown message: it is deleted
                return False
            raise
        return True

    async def edit(self, channel_id: str, message_id: str, text: str) -> None:
        route = RestRoute(
            "PATCH",
            "/channels/{channel_id}/messages/{message_id}",
            channel_id=channel_id,
            message_id=message_id,
        )
        try:
            await self.ask(route, json={"content": text, "allowed_mentions": {"parse": []}})
        except Refused as refusal:
            if refusal.why == RefusalClass.ALREADY_SENT:  # 10008, unknown message
                raise Refused(RefusalClass.DELETED, "the post does not exist any more") from refusal
            if refusal.code == NOT_OURS:
                raise Refused(RefusalClass.NOT_OURS, refusal.detail) from refusal
            raise

    async def reactions(self, channel_id: str, message_id: str) -> dict[str, tuple[int, bool]]:
        """By emoji, how many people have put it under a message, and whether we are one of them."""
        route = RestRoute(
            "GET",
            "/channels/{channel_id}/messages/{message_id}",
            channel_id=channel_id,
            message_id=message_id,
        )
        message = await self.ask(route)
        try:
            return {
                str(each["emoji"]["name"]): (int(each["count"]), bool(each["me"]))
                for each in message.get("reactions") or ()
                if each["emoji"].get("id") is None  # a custom one may have any name
            }
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            detail = "Discord's answer does not say who has reacted"
            raise Refused(RefusalClass.SERVICE, detail) from error

    async def has_reacted(self, channel_id: str, message_id: str, emoji: str, user_id: str) -> bool:
        """Whether this user has put the emoji there, however many others have: Discord lists them
        by id."""
        route = RestRoute(
            "GET",
            "/channels/{channel_id}/messages/{message_id}/reactions/{emoji}",
            channel_id=channel_id,
            message_id=message_id,
            emoji=emoji,
        )
        params = {"limit": str(PAGE)}
        if user_id.isascii() and user_id.isdigit() and int(user_id):
            params["after"] = str(int(user_id) - 1)
        users = await self.ask(route, params=params)
        try:
            return any(str(user["id"]) == user_id for user in users)
        except (LookupError, TypeError) as error:
            detail = "Discord's answer is not a list of users"
            raise Refused(RefusalClass.SERVICE, detail) from error

    async def put_reaction(self, channel_id: str, message_id: str, emoji: str) -> None:
        """Ours; putting it again changes nothing."""
        route = RestRoute(
            "PUT",
            "/channels/{channel_id}/messages/{message_id}/reactions/{emoji}/@me",
            channel_id=channel_id,
            message_id=message_id,
            emoji=emoji,
        )
        await self.ask(route, empty=True)

    async def events(self, guild_id: str, likely_me: str) -> list[ServerEvent]:
        """All that are scheduled or running there. ``likely_me``: the bot that most likely made
        those that name a talk; only if it did not, Discord is asked which bot we are."""
        with _about_events():
            answer = await self.ask(_events_of(guild_id))
        try:
            listed = [(_event(each), str(each.get("creator_id"))) for each in answer]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            detail = "Discord's answer is not a list of events"
            raise Refused(RefusalClass.SERVICE, detail) from error
        makers = {creator for event, creator in listed if event.talk_id}
        me = likely_me if likely_me in makers or not makers else await self.my_id()
        return [event._replace(ours=creator == me) for event, creator in listed]

    async def make_event(self, guild_id: str, details: EventDetails, ready: Ready) -> ServerEvent:
        """Doing so again makes another one: it is never repeated where no clear answer came."""
        body = {
            **_parts(FIELDS, details),
            "entity_type": EXTERNAL,
            "privacy_level": GUILD_ONLY,
            "channel_id": None,
        }
        route = _events_of(guild_id, "POST")
        with _about_events():
            made = await self.ask(route, once=True, ready=ready, blind=False, json=body)
        return _made(made)

    async def update_event(
        self,
        guild_id: str,
        event_id: str,
        fields: Sequence[EventField],
        details: EventDetails,
        ready: Ready,
    ) -> ServerEvent:
        """Gives it these fields, and leaves all others."""
        route = _event_at(guild_id, event_id, "PATCH")
        with _about_events():
            return _made(await self.ask(route, ready=ready, json=_parts(fields, details)))

    async def remove_event(self, guild_id: str, event_id: str) -> None:
        """One that is gone already is content with that."""
        try:
            with _about_events():
                await self.ask(_event_at(guild_id, event_id, "DELETE"), empty=True)
        except Refused as refusal:
            if refusal.code != UNKNOWN_EVENT:
                raise

    async def unarchive(self, thread_id: str) -> None:
        route = RestRoute("PATCH", "/channels/{channel_id}", channel_id=thread_id)
        await self.ask(route, json={"archived": False})

    async def _history(self, channel_id: str, before: str | None) -> list[dict[str, str]]:
        params = {"limit": str(PAGE), **({"before": before} if before else {})}
        route = RestRoute("GET", "/channels/{channel_id}/messages", channel_id=channel_id)
        page = await self.ask(route, params=params)
        try:
            return [
                {
                    "id": str(int(each["id"])),
                    "author": str(each["author"]["id"]),
                    "content": str(each["content"]),
                    "nonce": str(each.get("nonce") or ""),
                }
                for each in page
            ]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            detail = "Discord's answer is not a list of messages"
            raise Refused(RefusalClass.SERVICE, detail) from error


EXTERNAL, GUILD_ONLY = 3, 2
"""An event that takes place outside Discord; it has only this privacy level."""
_STATUSES = {1: EventStatus.SCHEDULED, 2: EventStatus.RUNNING}


def _events_of(guild_id: str, method: str = "GET") -> RestRoute:
    return RestRoute(method, "/guilds/{guild_id}/scheduled-events", guild_id=guild_id)


def _event_at(guild_id: str, event_id: str, method: str) -> RestRoute:
    path = "/guilds/{guild_id}/scheduled-events/{event_id}"
    return RestRoute(method, path, guild_id=guild_id, event_id=event_id)


def _parts(fields: Sequence[EventField], details: EventDetails) -> dict[str, Any]:
    """These fields as Discord wants them."""
    parts: dict[EventField, dict[str, Any]] = {
        "name": {"name": details.name},
        "description": {"description": details.description},
        "place": {"entity_metadata": {"location": details.place}},
        "time": {
            "scheduled_start_time": details.starts_at.isoformat(),
            "scheduled_end_time": details.ends_at.isoformat(),
        },
    }
    return {name: value for field in fields for name, value in parts[field].items()}


def _event(answer: Any) -> ServerEvent:
    """Whether it is ours is not known yet. Raises what a strange answer does."""
    place = (answer.get("entity_metadata") or {}).get("location")
    begin = datetime.fromisoformat(answer["scheduled_start_time"])
    end = answer.get("scheduled_end_time")
    details = EventDetails(
        name=str(answer["name"]),
        description=str(answer.get("description") or ""),
        place=str(place or ""),
        starts_at=begin.astimezone(UTC),
        ends_at=(datetime.fromisoformat(end) if end else begin).astimezone(UTC),
    )
    status = _STATUSES.get(answer["status"], EventStatus.OVER)
    return ServerEvent(str(int(answer["id"])), details, status, ours=False)


def _made(answer: Any) -> ServerEvent:
    """Of the bot that has just written it."""
    try:
        return _event(answer)._replace(ours=True)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        detail = "Discord's answer is not an event"
        raise Refused(RefusalClass.SERVICE, detail, maybe_accepted=True) from error


@contextmanager
def _about_events() -> Iterator[None]:
    """Says of a refusal what it means for events. Raises Refused."""
    try:
        yield
    except Refused as refusal:
        if refusal.code == NO_PERMISSION:
            detail = (
                "the bot may not manage events there: give its role the permissions Create Events "
                "and Manage Events"
            )
            raise Refused(RefusalClass.TARGET, detail, code=refusal.code) from refusal
        if refusal.code == NO_ACCESS:
            detail = "the bot is not in that server: invite it there"
            raise Refused(RefusalClass.TARGET, detail, code=refusal.code) from refusal
        if refusal.code in (TOO_MANY_EVENTS, EVENT_OVER):  # not for what it says
            raise Refused(RefusalClass.RECIPIENT, refusal.detail, code=refusal.code) from refusal
        raise


def _allowed(mention: str | None) -> dict[str, list[str]]:
    """``allowed_mentions`` that permit this one mention, and no other, whatever the text holds."""
    if mention and mention.startswith(ROLE):
        return {"parse": [], "roles": [mention.removeprefix(ROLE)]}
    return {"parse": [], "users": [mention] if mention else []}


def _is_it(message: dict[str, str], text: str, nonce: str) -> bool:
    """By nonce where Discord still tells it, else by content: it often does not."""
    if message["nonce"]:
        return message["nonce"] == nonce
    return _as_stored(message["content"]) == _as_stored(text)


def _as_stored(text: str) -> str:
    """As Discord may have rewritten it: trimmed, custom emoji that the bot cannot use by name."""
    return name_custom_emoji(text).strip()
