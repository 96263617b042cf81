"""How the bot gets into its account, and stays in: passwords, login tokens, OAuth 2.0, and tokens that are renewed."""

from roommate.login.request import call
from roommate.login.session import Session

__all__ = ["Session", "call"]
