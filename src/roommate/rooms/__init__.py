"""Rooms and their conversations: what comes in, the turns that run, cards, and who may invite the bot where."""
