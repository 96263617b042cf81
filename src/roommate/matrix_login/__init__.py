"""How the bot gets into its account, and stays in: passwords, login tokens, OAuth 2.0, and tokens that are renewed."""

from roommate.matrix_login.http_request import call
from roommate.matrix_login.token_refresh import Session

__all__ = ["Session", "call"]
