"""Stand-ins for the homeserver and for Podman, in this process; tests/contracts holds them to the real ones."""
