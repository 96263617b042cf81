"""The control socket: how the command line talks to the daemon that runs (JSON-RPC 2.0 on a Unix socket).

It imports nothing heavy: `roommate status` is to be there before one has let go of the Enter key.
"""

NAME = "daemon.sock"
"""In the run folder."""
