"""Connections of a room that end in the daemon: which ports there are, and HTTP on them."""
