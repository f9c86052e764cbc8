"""Who and what exists, and everything that was sent."""

from __future__ import annotations

from typing import Any, Literal

from speakerbot.testing.discord.clock import LoopbackClock
from speakerbot.testing.discord.places import Channel, User
from speakerbot.testing.discord.records import Deletion, DmOpened, Edit, Message, Record
from speakerbot.testing.discord.snowflakes import Snowflakes

BOT_ID = "1400000000000000000"
GUILD_ID = "1400000000000000001"
NewDms = Literal["open", "too_fast", "quarantined"]


class State:
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
        self.bot = User(BOT_ID, "speakerbot", bot=True)
        self.users: dict[str, User] = {BOT_ID: self.bot}
        self.channels: dict[str, Channel] = {}
        self.gone: set[str] = set()
        """Ids of users and channels that were deleted."""
        self.messages: list[Message] = []
        self.dms_opened: list[DmOpened] = []
        self.news: list[Record] = []
        """What changed since the last request was put on record."""
        self._dms: dict[str, Channel] = {}
        self._clock = clock
        self._snowflakes = Snowflakes()

    def user(self, user_id: str) -> User | None:
        """None if there is nobody of that id."""
        if user_id in self.gone:
            return None
        user = self.users.get(user_id)
        if user is None and not self.strict:
            user = self.users[user_id] = User(user_id, f"user-{user_id}")
        return user

    def channel(self, channel_id: str) -> Channel | None:
        """None if there is no such channel."""
        if channel_id in self.gone:
            return None
        channel = self.channels.get(channel_id)
        if channel is None and not self.strict:
            channel = self.put(Channel(channel_id, "channel", f"channel-{channel_id}"))
        return channel

    def put(self, channel: Channel) -> Channel:
        """Adds it, or replaces the one with its id."""
        self.gone.discard(channel.id)
        self.channels[channel.id] = channel
        if channel.user_id is not None:
            self._dms[channel.user_id] = channel
        return channel

    def dm_of(self, user_id: str) -> Channel | None:
        """The direct messages with a user, if they were opened and still exist."""
        dm = self._dms.get(user_id)
        return None if dm is None or dm.id in self.gone else dm

    def open_dm(self, user_id: str) -> Channel:
        opened = DmOpened(self.next_id(), user_id, self._clock.now())
        self.news.append(opened)
        return self.restore_dm(opened)

    def restore_dm(self, opened: DmOpened) -> Channel:
        self._snowflakes.seen(opened.channel_id)
        self.dms_opened.append(opened)
        return self.put(Channel(opened.channel_id, "dm", user_id=opened.user_id))

    def next_id(self) -> str:
        return self._snowflakes.next(self._clock.now_ns())

    def add_message(self, message: Message, channel: Channel) -> None:
        """The message is in the channel from now on. Sending takes a thread out of the archive."""
        self.news.append(message)
        self.messages.append(message)
        channel.messages.append(message)
        channel.last_message_id = message.id
        channel.archived = False
        channel.acquainted = channel.acquainted or message.author_id == self.bot.id

    def restore_message(self, message: Message) -> None:
        """One that an earlier process accepted."""
        known = self.channels.get(message.channel_id)
        channel = known or self.put(Channel(message.channel_id, "channel"))
        self._snowflakes.seen(message.id)
        self.add_message(message, channel)
        if message.deleted:
            channel.messages.remove(message)

    def edit(self, message: Message, content: str, extras: dict[str, Any] | None) -> None:
        edit = Edit(message.id, self._clock.now(), content, extras)
        message.apply(edit)
        self.news.append(edit)

    def delete(self, message: Message) -> None:
        message.deleted = True
        self.channels[message.channel_id].messages.remove(message)
        self.news.append(Deletion(message.id, self._clock.now()))
