"""Sends each message exactly once, whatever crashes. Start reading at ``engine``."""
