"""The mesh: daemons that share a room ask each other for work with signed requests."""
