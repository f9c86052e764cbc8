"""The guild's announcement channel."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from speakerbot.ports.store import Store

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)


def test_a_guilds_channel_is_set_and_replaced(store: Store) -> None:
    assert store.guilds.channel("g1") is None
    store.guilds.set_channel("g1", "c1", by="u1", at=NOW)
    store.guilds.set_channel("g1", "c2", by="u2", at=NOW + timedelta(minutes=1))
    assert store.guilds.channel("g1") == "c2"


def test_all_guilds_come_with_the_node_bots_names(store: Store) -> None:
    store.guilds.set_channel("g2", "c2", by="u2", at=NOW)
    store.guilds.set_channel("g1", "c1", by="u1", at=NOW)
    first, second = store.guilds.all()
    assert first == {
        "guildId": "g1",
        "proactiveAnnouncementsChannelId": "c1",
        "updatedAt": NOW,
        "updatedBy": "u1",
    }
    assert second["guildId"] == "g2"
