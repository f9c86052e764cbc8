"""Who and what exists in the loopback's guild, what a test may change of it, what people see."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import msgspec

from speakerbot.testing.discord.clock import LoopbackClock, Snowflakes
from speakerbot.testing.discord.records import (
    DiscordMessage,
    DmOpened,
    EventStatus,
    LoopbackRecord,
    MessageDeletion,
    MessageEdit,
    ReactionChange,
    ScheduledEvent,
)
from speakerbot.testing.discord.responses import ClosedDmCode

ChannelKind = Literal["dm", "channel", "thread"]
DmState = Literal["open", "closed", "cannot_be_opened"]
BOT_ID = "1400000000000000000"
GUILD_ID = "1400000000000000001"
NewDms = Literal["open", "too_fast", "quarantined"]


@dataclass(slots=True)
class LoopbackUser:
    id: str
    name: str
    bot: bool = False
    dms: DmState = "open"
    closed_code: ClosedDmCode = 50007
    """The answer while they are not open."""
    member: bool = True
    """Of the guild."""
    blocks_bot: bool = False


@dataclass(slots=True)
class LoopbackChannel:
    id: str
    kind: ChannelKind
    name: str = ""
    user_id: str | None = None
    """Whose direct messages these are."""
    parent_id: str | None = None
    """Of a thread."""
    acquainted: bool = False
    """The bot has written here before."""
    visible: bool = True
    writable: bool = True
    history: bool = True
    reactable: bool = True
    """The bot may put a reaction that no one has put yet."""
    managed: bool = False
    """The bot may delete messages and reactions of others."""
    archived: bool = False
    sends_unarchive: bool = True
    locked: bool = False
    messages: list[DiscordMessage] = field(default_factory=list)
    """Oldest first, without deleted ones."""
    last_message_id: str | None = None
    """Of the last message that was sent here, deleted or not."""

    def find(self, message_id: str) -> DiscordMessage | None:
        begin = bisect_left(self.messages, int(message_id), key=lambda message: int(message.id))
        found = self.messages[begin : begin + 1]
        return found[0] if found and found[0].id == message_id else None


class GuildState:
    """One guild, one bot. Ids are strings of digits, as in Discord's JSON.

    In the open world (the default) a user or channel exists as soon as its id is used: an unknown
    channel is a text channel of the guild. With ``strict``, only what was added exists.
    """

    def __init__(self, clock: LoopbackClock, *, strict: bool = False) -> None:
        self.strict = strict
        self.guild_id = GUILD_ID
        self.guild_name = "Loopback"
        self.new_dms: NewDms = "open"
        self.threads_exhausted = False
        """The guild has as many active threads as it may have."""
        self.usable_emoji: set[str] = set()
        """Ids of the custom emoji that the bot may use."""
        self.creates_events = True
        self.manages_events = True
        """Those of others too."""
        self.events: dict[str, ScheduledEvent] = {}
        """By id, in the order they were made in; also those that are over or deleted."""
        self.bot = LoopbackUser(BOT_ID, "speakerbot", bot=True)
        self.users: dict[str, LoopbackUser] = {BOT_ID: self.bot}
        self.channels: dict[str, LoopbackChannel] = {}
        self.gone: set[str] = set()
        """Ids of users and channels that were deleted."""
        self.messages: list[DiscordMessage] = []
        self.dms_opened: list[DmOpened] = []
        self.news: list[LoopbackRecord] = []
        """What changed since the last request was put on record."""
        self._dms: dict[str, LoopbackChannel] = {}
        self._clock = clock
        self._snowflakes = Snowflakes()

    def user(self, user_id: str) -> LoopbackUser | None:
        """None if no user has that id."""
        if user_id in self.gone:
            return None
        user = self.users.get(user_id)
        if user is None and not self.strict:
            user = self.users[user_id] = LoopbackUser(user_id, f"user-{user_id}")
        return user

    def channel(self, channel_id: str) -> LoopbackChannel | None:
        """None if there is no such channel."""
        if channel_id in self.gone:
            return None
        channel = self.channels.get(channel_id)
        if channel is None and not self.strict:
            channel = self.put(LoopbackChannel(channel_id, "channel", f"channel-{channel_id}"))
        return channel

    def put(self, channel: LoopbackChannel) -> LoopbackChannel:
        """Adds it, or replaces the one with its id."""
        self.gone.discard(channel.id)
        self.channels[channel.id] = channel
        if channel.user_id is not None:
            self._dms[channel.user_id] = channel
        return channel

    def dm_of(self, user_id: str) -> LoopbackChannel | None:
        """The direct messages with a user, if they were opened and still exist."""
        dm = self._dms.get(user_id)
        return None if dm is None or dm.id in self.gone else dm

    def open_dm(self, user_id: str) -> LoopbackChannel:
        opened = DmOpened(self.next_id(), user_id, self._clock.now())
        self.news.append(opened)
        return self.restore_dm(opened)

    def restore_dm(self, opened: DmOpened) -> LoopbackChannel:
        self._snowflakes.seen(opened.channel_id)
        self.dms_opened.append(opened)
        return self.put(LoopbackChannel(opened.channel_id, "dm", user_id=opened.user_id))

    def next_id(self) -> str:
        return self._snowflakes.next(self._clock.now_ns())

    def add_message(self, message: DiscordMessage, channel: LoopbackChannel) -> None:
        """The message is in the channel from now on. Sending takes a thread out of the archive."""
        self.news.append(message)
        self.messages.append(message)
        channel.messages.append(message)
        channel.last_message_id = message.id
        channel.archived = False
        channel.acquainted = channel.acquainted or message.author_id == self.bot.id

    def restore_message(self, message: DiscordMessage) -> None:
        """One that an earlier process accepted."""
        known = self.channels.get(message.channel_id)
        channel = known or self.put(LoopbackChannel(message.channel_id, "channel"))
        self._snowflakes.seen(message.id)
        self.add_message(message, channel)
        if message.deleted:
            channel.messages.remove(message)

    def put_event(self, event: ScheduledEvent) -> ScheduledEvent:
        """Adds it, or replaces the one with its id."""
        self._snowflakes.seen(event.id)
        self.events[event.id] = event
        self.news.append(event)
        return event

    def pass_events(self) -> None:
        """Events begin and end by themselves."""
        now = self._clock.now()
        for event in [event for event in self.events.values() if event.is_open]:
            if event.at(now) is not event:
                self.put_event(event.at(now))

    def edit(self, message: DiscordMessage, content: str, extras: dict[str, Any] | None) -> None:
        edit = MessageEdit(message.id, self._clock.now(), content, extras)
        message.apply(edit)
        self.news.append(edit)

    def delete(self, message: DiscordMessage) -> None:
        message.deleted = True
        self.channels[message.channel_id].messages.remove(message)
        self.news.append(MessageDeletion(message.id, self._clock.now()))

    def react(self, message: DiscordMessage, emoji: str, user_id: str, *, added: bool) -> None:
        """With ``added`` False, takes the reaction away."""
        change = ReactionChange(message.id, self._clock.now(), emoji, user_id, added)
        message.react(change)
        self.news.append(change)


class DiscordWorld:
    """People and channels as a test wants them. All ids are strings of digits.

    In the open world every id may be used without adding it first. Each method has effect from
    the next request on.
    """

    def __init__(self, state: GuildState) -> None:
        self._state = state

    def use_guild(self, guild_id: str, name: str = "Loopback") -> None:
        self._state.guild_id, self._state.guild_name = guild_id, name

    def add_user(self, user_id: str, name: str | None = None, *, bot: bool = False) -> None:
        """A member of the guild."""
        self._state.gone.discard(user_id)
        self._state.users[user_id] = LoopbackUser(user_id, name or f"user-{user_id}", bot=bot)

    def delete_user(self, user_id: str) -> None:
        """10013 wherever the user is asked for."""
        self._state.gone.add(user_id)

    def close_dms(
        self, user_id: str, *, refuse_opening: bool = False, code: ClosedDmCode = 50007
    ) -> None:
        """Discord answers 50007 or 50278 on sending; with ``refuse_opening`` already on opening
        the channel (50007 with status 400 then)."""
        user = self._user(user_id)
        user.dms, user.closed_code = "cannot_be_opened" if refuse_opening else "closed", code

    def reopen_dms(self, user_id: str) -> None:
        self._user(user_id).dms = "open"

    def block_bot(self, user_id: str) -> None:
        """As ``close_dms``, and 90001 on reacting in their direct messages or to what they wrote.
        It does not end."""
        self.close_dms(user_id)
        self._user(user_id).blocks_bot = True

    def leave_guild(self, user_id: str) -> None:
        """50278 on sending to them, 10007 when the guild is asked for them."""
        user = self._user(user_id)
        user.dms, user.closed_code, user.member = "closed", 50278, False

    def set_new_dms(self, new_dms: NewDms) -> None:
        """``too_fast`` 40003 or ``quarantined`` 20026: for opening a channel with somebody new,
        and for a first message in one. ``open`` ends it."""
        self._state.new_dms = new_dms

    def add_dm(self, user_id: str, channel_id: str) -> None:
        """A channel with somebody the bot has written to before, as a stored id names it."""
        self._user(user_id)
        channel = self._channel(channel_id)
        channel.kind, channel.user_id, channel.acquainted = "dm", user_id, True
        self._state.put(channel)

    def add_channel(self, channel_id: str, name: str | None = None) -> None:
        channel = self._state.put(self._channel(channel_id))
        channel.name = name or channel.name

    def add_thread(self, thread_id: str, parent_id: str, name: str | None = None) -> None:
        thread = self._state.put(self._thread(thread_id))
        thread.name, thread.parent_id = name or f"thread-{thread_id}", parent_id

    def delete_channel(self, channel_id: str) -> None:
        """Channel, thread or direct messages: 10003 from now on."""
        self._channel(channel_id)
        self._state.gone.add(channel_id)

    def archive(self, thread_id: str, *, sends_unarchive: bool = True) -> None:
        """Sending un-archives it, as Discord does; otherwise 50083 until it is patched."""
        thread = self._thread(thread_id)
        thread.archived, thread.sends_unarchive = True, sends_unarchive

    def lock(self, thread_id: str, *, locked: bool = True) -> None:
        """160005 on sending."""
        self._thread(thread_id).locked = locked

    def exhaust_threads(self, *, exhausted: bool = True) -> None:
        """160006 on taking a thread out of the archive, by a patch or by sending."""
        self._state.threads_exhausted = exhausted

    def allow_emoji(self, emoji_id: str) -> None:
        """The bot may use this custom emoji. All others are stored by name, as ``:party:``."""
        self._state.usable_emoji.add(emoji_id)

    def forbid(
        self,
        channel_id: str,
        *,
        read: bool = False,
        send: bool = False,
        history: bool = False,
        react: bool = False,
    ) -> None:
        """Takes exactly these permissions from the bot; ``forbid(id)`` gives all back.

        ``read`` (View Channel): 50001 on everything. ``send``: 50013 on sending. ``history``
        (Read Message History): no error, reading gives an empty list, as Discord does; 50001 on a
        single message and on reactions. ``react`` (Add Reactions): 50013 on a reaction that no one
        put before.
        """
        channel = self._channel(channel_id)
        channel.visible, channel.writable, channel.history = not read, not send, not history
        channel.reactable = not react

    def allow_managing(self, channel_id: str, *, allowed: bool = True) -> None:
        """Manage Messages: the bot may delete messages and reactions of others in it."""
        self._channel(channel_id).managed = allowed

    def post(self, channel_id: str, author_id: str, content: str) -> DiscordMessage:
        """Somebody else writes in the channel."""
        self._user(author_id)
        message = DiscordMessage(self._state.next_id(), channel_id, author_id, content)
        self._state.add_message(message, self._channel(channel_id))
        return message

    def delete_message(self, message_id: str) -> None:
        """As a moderator does. Raises KeyError if there is no such message."""
        self._state.delete(self._message(message_id))

    def react(self, message_id: str, user_id: str, emoji: str) -> None:
        """Somebody puts a reaction: an emoji, or ``name:id``. Raises KeyError if there is no such
        message."""
        self._user(user_id)
        self._state.react(self._message(message_id), emoji, user_id, added=True)

    def take_reaction(self, message_id: str, user_id: str, emoji: str) -> None:
        """Theirs, or, as a moderator does, another's or the bot's. Raises KeyError if there is no
        such message."""
        self._state.react(self._message(message_id), emoji, user_id, added=False)

    def forbid_events(self, *, create: bool = False, manage: bool = False) -> None:
        """Takes exactly these permissions from the bot; ``forbid_events()`` gives both back.

        ``create`` (Create Events): 50013 on events of its own, unless it may manage all.
        ``manage`` (Manage Events): 50013 on events of others.
        """
        self._state.creates_events, self._state.manages_events = not create, not manage

    def add_event(
        self,
        creator_id: str,
        name: str,
        starts_at: datetime,
        ends_at: datetime,
        *,
        location: str = "Discord",
        description: str | None = None,
    ) -> ScheduledEvent:
        """Somebody makes an event by hand. Times are aware."""
        self._user(creator_id)
        return self._state.put_event(
            ScheduledEvent(
                self._state.next_id(),
                self._state.guild_id,
                creator_id,
                name,
                description,
                location,
                starts_at,
                ends_at,
            )
        )

    def edit_event(
        self,
        event_id: str,
        *,
        name: str | None = None,
        description: str | None = None,
        location: str | None = None,
        starts_at: datetime | None = None,
        ends_at: datetime | None = None,
    ) -> None:
        """A person edits these fields. Raises KeyError if there is no such event."""
        fields = {
            "name": name,
            "description": description,
            "location": location,
            "starts_at": starts_at,
            "ends_at": ends_at,
        }
        self._change_event(event_id, **{key: value for key, value in fields.items() if value})

    def set_event_status(self, event_id: str, status: EventStatus) -> None:
        """A person starts, ends or cancels it. Raises KeyError if there is no such event."""
        self._change_event(event_id, status=status)

    def delete_event(self, event_id: str) -> None:
        """A person deletes it. Raises KeyError if there is no such event."""
        self._change_event(event_id, deleted=True)

    def show_interest(self, event_id: str, user_id: str) -> None:
        """Raises KeyError if there is no such event."""
        interested = self._state.events[event_id].interested
        self._change_event(event_id, interested=(*interested, user_id))

    def _change_event(self, event_id: str, **changes: Any) -> None:
        self._state.pass_events()
        event = self._state.events[event_id]
        if event.deleted:
            raise KeyError(event_id)
        self._state.put_event(msgspec.structs.replace(event, **changes))

    def _message(self, message_id: str) -> DiscordMessage:
        for message in reversed(self._state.messages):
            if message.id == message_id and not message.deleted:
                return message
        raise KeyError(message_id)

    def _user(self, user_id: str) -> LoopbackUser:
        return self._state.users.setdefault(user_id, LoopbackUser(user_id, f"user-{user_id}"))

    def _channel(self, channel_id: str) -> LoopbackChannel:
        known = self._state.channels.get(channel_id)
        return known or self._state.put(
            LoopbackChannel(channel_id, "channel", f"channel-{channel_id}")
        )

    def _thread(self, thread_id: str) -> LoopbackChannel:
        channel = self._channel(thread_id)
        channel.kind = "thread"
        return channel


@dataclass(frozen=True, slots=True)
class TranscriptLine:
    """One message: who wrote it, and what happened to it."""

    author: str
    message: DiscordMessage


@dataclass(frozen=True, slots=True)
class Conversation:
    """One channel with its messages, oldest first."""

    kind: ChannelKind
    channel_id: str
    name: str
    """Of the channel or thread; of the other person in direct messages."""
    user_id: str | None
    """The other person in direct messages."""
    lines: tuple[TranscriptLine, ...]


def transcript(state: GuildState) -> tuple[Conversation, ...]:
    """Channels in the order of their first message; deleted messages are left out."""
    ids = dict.fromkeys(m.channel_id for m in state.messages if not m.deleted)
    return tuple(_conversation(channel_id, state) for channel_id in ids)


def _conversation(channel_id: str, state: GuildState) -> Conversation:
    channel = state.channels[channel_id]
    name = channel.name if channel.user_id is None else _name(channel.user_id, state)
    lines = tuple(TranscriptLine(_name(m.author_id, state), m) for m in channel.messages)
    return Conversation(channel.kind, channel_id, name, channel.user_id, lines)


def _name(user_id: str, state: GuildState) -> str:
    user = state.users.get(user_id)
    return user.name if user else f"user-{user_id}"
