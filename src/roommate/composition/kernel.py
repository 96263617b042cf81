"""What everything else is plugged into. It is for who composes: a part is given what it uses of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from roommate.features.egress.gate import Gate
from roommate.features.hooks.watcher import Spool
from roommate.features.mesh.trust import Trust
from roommate.logs import Logs
from roommate.matrix.crypto.encryption import Encryption
from roommate.matrix.display_names import DisplayNames
from roommate.matrix.homeserver import Homeserver
from roommate.matrix.intake import Intake
from roommate.matrix.sender import Sender
from roommate.monitoring.counts import Counts
from roommate.rooms.background_jobs import BackgroundJobs
from roommate.rooms.control_room import ControlRoom
from roommate.rooms.questions import Questions
from roommate.rooms.residents import Residents
from roommate.rooms.turn_holds import Holds
from roommate.rooms.turns_awaiting_people import WaitingTurns
from roommate.sandbox.room_containers import RoomSandboxes
from roommate.settings.config import Settings
from roommate.store import Database, Outbox


@dataclass(frozen=True, slots=True)
class Kernel:
    settings: Callable[[], Settings]
    """As they are now: an operator may change some of them while the daemon runs."""
    database: Database
    homeserver: Homeserver
    encryption: Encryption | None
    """None while the operator wants none."""
    names: DisplayNames
    waiting: WaitingTurns
    intake: Intake
    outbox: Outbox
    sender: Sender
    sandboxes: RoomSandboxes
    spool: Spool
    control: ControlRoom
    questions: Questions
    gate: Gate
    """Who decides where rooms may connect to."""
    residents: Residents
    jobs: BackgroundJobs
    holds: Holds
    counts: Counts
    logs: Logs
    trust: Trust
    """Who this daemon is to others, and whom it believes."""
    on_trial: bool
    """This release began on trial: see updates/at_start.py."""
    mesh_news: asyncio.Event
    """Set when a sync has brought something for the mesh."""

    def silent_seconds(self) -> float | None:
        """Since the homeserver last answered a sync; None before the first."""
        return self.intake.silent_seconds
