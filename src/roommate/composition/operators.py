"""What operators have of the daemon: how it is, its socket, a room of their own, and going to another release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from roommate.administration.http_pages import Look, routes
from roommate.administration.status import Gauges
from roommate.administration.storage_health import Health
from roommate.composition.kernel import Kernel
from roommate.control.method import Method
from roommate.domain import RoomId
from roommate.doors import command_line, socket
from roommate.doors.socket import SocketDoor
from roommate.features.redeploy.update_conversation import Redeploys
from roommate.host.flag_files import watch_flags
from roommate.logs import Logs
from roommate.monitoring.counts import Counts
from roommate.operations import Operations
from roommate.rooms.control_room import ControlRoom, newest
from roommate.rooms.questions import Questions
from roommate.rooms.turn_holds import FLAG
from roommate.store import Audit, Cards, Upgrades, Vitals
from roommate.updates.at_start import Trial
from roommate.updates.journal import FILE
from roommate.updates.releases import own


class Operators(NamedTuple):
    control: ControlRoom
    questions: Questions
    redeploys: Redeploys


async def operators(kernel: Kernel) -> Operators:
    settings, database, outbox, sender = kernel.settings, kernel.database, kernel.outbox, kernel.sender
    room_id = await newest(Upgrades(database), RoomId(settings().control_room))
    control = ControlRoom(room_id, outbox, sender, kernel.homeserver.send)
    questions = Questions(Cards(database), sender, control, lambda: settings().operator_ids)
    redeploys = Redeploys(settings, outbox, questions, sender, Audit(database), control)
    return Operators(control, questions, redeploys)


def gauges(kernel: Kernel, journal: Logs, health: Health, trial: Trial, *, systemd: bool, since: float) -> Gauges:
    return Gauges(
        settings=kernel.settings,
        journal=journal,
        holds=kernel.holds,
        queues=Vitals(kernel.database),
        sandboxes=kernel.sandboxes,
        counts=kernel.counts,
        silent_seconds=kernel.silent_seconds,
        trouble=lambda: health.trouble,
        on_trial=lambda: trial.on,
        systemd=systemd,
        since=since,
    )


def methods(operations: Operations, audit: Audit, questions: Questions) -> dict[str, Method]:
    """What can be asked for at the control socket when the daemon has started."""
    door = SocketDoor(audit, questions)
    return socket.methods(operations, door) | {command_line.NAME: command_line.method(operations, door)}


async def watch_state_dir(kernel: Kernel, redeploys: Redeploys) -> None:
    """Files there pause rooms, and tell how an update goes."""

    async def noticed(files: Mapping[str, float]) -> None:
        await kernel.holds.flagged({name: at for name, at in files.items() if name.startswith(FLAG)})
        redeploys.look()

    await watch_flags(kernel.settings().state_dir, FLAG, FILE, tell=noticed)


async def listen(address: tuple[str, int] | None, look: Look, counts: Counts) -> None:
    """Show monitors how the daemon is, where there is an address for that."""
    if address is None:
        return
    from roommate.monitoring.listener import Listener  # for those who want it

    about = release[1].about if (release := own()) else None
    await Listener(*address, routes(look, counts, about.commit[:12] if about else "")).run()


def in_a_line(kernel: Kernel) -> str:
    """How it goes, for systemd."""
    settings, silent = kernel.settings(), kernel.silent_seconds()
    if silent is None:
        return f"waiting for {settings.matrix_homeserver}"
    return f"{settings.bot}: {settings.matrix_homeserver} answered {silent:.0f} s ago"
