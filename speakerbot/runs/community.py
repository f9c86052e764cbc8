"""A store belongs to one community: the one that first sent from it.

Two of them on one store would share keys: the second one's weekly post "was sent" by the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from speakerbot.errors import ConfigError

if TYPE_CHECKING:
    from speakerbot.ports.store import Store

MARK = "guild"


def community_of(store: Store) -> str | None:
    """The Discord id of the guild that a store belongs to; None: none yet. One query."""
    return store.marks.get(MARK)


def claim_store(store: Store, guild_id: str | None) -> None:
    """Before a run sends: takes a store without a community for its own. One query where that
    was done before; none where no guild is set. Raises ConfigError if it is another one's."""
    if guild_id is None:
        return
    owner = community_of(store)
    if owner is None and not store.marks.swap(MARK, None, guild_id):
        owner = community_of(store)  # another run was first
    if owner not in (None, guild_id):
        raise ConfigError(
            f"DISCORD_GUILD_ID is {guild_id}, and this store belongs to guild {owner} "
            f"({store.describe()}). Two communities need two databases: give this one another "
            "database name in DATABASE_URL. If it is the same community and its guild has "
            f"changed: `speakerbot store set-guild {guild_id} --yes`"
        )


def hand_over(store: Store, before: str | None, guild_id: str) -> bool:
    """From this guild to another. False: it was not this one's any more."""
    return store.marks.swap(MARK, before, guild_id)
