"""`roommate demo`: the whole of Roommate on one machine, with a homeserver of its own."""
