"""A run: what a job decides, wrapped, locked to its occurrence, reported. Start at ``service``."""
