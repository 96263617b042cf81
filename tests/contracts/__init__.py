"""What homeserver, sandbox and model promise, demanded of the real ones and of those that stand for them."""
