"""What a test may change in the loopback's world."""

from __future__ import annotations

from speakerbot.testing.discord.places import Channel, User
from speakerbot.testing.discord.records import Message
from speakerbot.testing.discord.refusals import ClosedDmCode
from speakerbot.testing.discord.state import NewDms, State


class World:
    """People and channels as a test wants them. All ids are strings of digits.

    In the open world every id may be used without adding it first. Each method has effect from
    the next request on.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def use_guild(self, guild_id: str, name: str = "Loopback") -> None:
        self._state.guild_id, self._state.guild_name = guild_id, name

    def add_user(self, user_id: str, name: str | None = None, *, bot: bool = False) -> None:
        """A member of the guild."""
        self._state.gone.discard(user_id)
        self._state.users[user_id] = User(user_id, name or f"user-{user_id}", bot=bot)

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
        self, channel_id: str, *, read: bool = False, send: bool = False, history: bool = False
    ) -> None:
        """Takes exactly these permissions from the bot; ``forbid(id)`` gives all back.

        ``read`` (View Channel): 50001 on everything. ``send``: 50013 on sending. ``history``
        (Read Message History): no error, reading gives an empty list, as Discord does.
        """
        channel = self._channel(channel_id)
        channel.visible, channel.writable, channel.history = not read, not send, not history

    def post(self, channel_id: str, author_id: str, content: str) -> Message:
        """Somebody else writes in the channel."""
        self._user(author_id)
        message = Message(self._state.next_id(), channel_id, author_id, content)
        self._state.add_message(message, self._channel(channel_id))
        return message

    def delete_message(self, message_id: str) -> None:
        """As a moderator does. Raises KeyError if there is no such message."""
        for message in reversed(self._state.messages):
            if message.id == message_id and not message.deleted:
                self._state.delete(message)
                return
        raise KeyError(message_id)

    def _user(self, user_id: str) -> User:
        return self._state.users.setdefault(user_id, User(user_id, f"user-{user_id}"))

    def _channel(self, channel_id: str) -> Channel:
        known = self._state.channels.get(channel_id)
        return known or self._state.put(Channel(channel_id, "channel", f"channel-{channel_id}"))

    def _thread(self, thread_id: str) -> Channel:
        channel = self._channel(thread_id)
        channel.kind = "thread"
        return channel
