"""The hand's modules: they run inside a room's container, on the standard library of Python 3.9 or newer alone.

``roommate.sandbox.hand.program`` joins them to the one file that a container gets.
"""
