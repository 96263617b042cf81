"""A person's client: what `roommate chat`, `send` and the demo use to be in a room, over the client-server API."""

from roommate.user_client.client import Client, login
from roommate.user_client.timeline import Post, Reacted, Timeline

__all__ = ["Client", "Post", "Reacted", "Timeline", "login"]
