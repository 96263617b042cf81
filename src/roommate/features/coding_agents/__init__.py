"""Coding agents: each CLI as a command and its event stream, run in a room's container over its hand."""
