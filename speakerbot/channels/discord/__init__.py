"""Discord behind ``ports.channel``: the only room that imports discord."""
