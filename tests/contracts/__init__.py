"""What the homeserver and the sandbox promise, demanded of the real ones and of those that stand for them."""
