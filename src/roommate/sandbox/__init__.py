"""Rooms' containers, and the hand in each of them."""
