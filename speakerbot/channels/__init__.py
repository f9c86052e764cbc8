"""Where messages go. One adapter a service."""
