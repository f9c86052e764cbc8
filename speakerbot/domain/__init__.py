"""The domain: frozen records and pure decisions. No store, no network, no clock."""
