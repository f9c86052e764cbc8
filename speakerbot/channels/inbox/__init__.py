"""The web inbox as a channel: rows in the store, which people read when they look."""
