"""What `roommate --help` shows in which panel, and in which order: what is needed first stands first."""

from __future__ import annotations

from typer.core import TyperGroup

PANELS = {
    "Begin": ("demo", "init", "doctor", "image", "chat", "send"),
    "The daemon": (
        *("run", "start", "stop", "restart", "reload", "status", "logs", "settings", "auth"),
        *("usage", "audit", "backup", "restore", "update", "rollback", "version"),
    ),
    "Rooms": (
        *("rooms", "turns", "queue", "approvals", "schedules", "sandbox", "workspace", "model", "prompt"),
        *("room", "egress", "repo", "agents", "verbose", "thread"),
    ),
    "Encryption": ("recovery", "verify", "devices"),
    "Other daemons": (
        *("identity", "introduce", "trust", "policy", "peers", "ping", "who"),
        *("exec", "call", "share", "requests"),
    ),
}


class Panels(TyperGroup):
    """The commands of `roommate`."""

    def list_commands(self, ctx: object) -> list[str]:
        """All that there are, in the order of their panels; one that stands in none comes last."""
        for panel, names in PANELS.items():
            for name in self.commands.keys() & set(names):
                setattr(self.commands[name], "rich_help_panel", panel)  # noqa: B010 — Typer's own commands alone declare it
        placed = [name for names in PANELS.values() for name in names if name in self.commands]
        return [*placed, *(name for name in self.commands if name not in placed)]
