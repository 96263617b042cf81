"""Rooms, conversations, commands, cards, operations and tools, all in this process (see conftest.py)."""
