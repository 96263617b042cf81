"""Models for the coding agents of a room: their requests go through the daemon, which adds the key and counts."""
