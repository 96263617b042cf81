"""Repositories of a forge for a room: git through the daemon, which adds the token and judges pushes; pull requests."""
