"""The room's folders: which file a path of a call means, and where the hand keeps files of its own."""

# pathlib would cost time and memory at every start.
# ruff: noqa: PTH118

from __future__ import annotations

import os

from roommate.sandbox.inside.output_files import Place

WORKSPACE, HOME = "/workspace", "/home/room"


class Folders:
    def __init__(self, workspace: str, home: str) -> None:
        """Where the two are mounted."""
        self.workspace, self._home = workspace, home
        self.outputs = Place(workspace, "output")
        self.job_logs, self.job_notes = Place(home, "jobs", HOME), Place(home, "job-notes", HOME)

    def place(self, path: str) -> str:
        """From the workspace on, wherever that and the home are mounted."""
        for shown, place in ((WORKSPACE, self.workspace), (HOME, self._home)):
            if path == shown or path.startswith(shown + "/"):
                return os.path.join(place, path[len(shown) + 1 :])
        return os.path.join(self.workspace, path)
