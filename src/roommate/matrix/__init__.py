"""Matrix: everything that goes to and comes from the homeserver; the only owner of nio."""
