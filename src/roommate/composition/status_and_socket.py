"""What operators have of the daemon: how it is, and its socket."""

from __future__ import annotations

from roommate.administration.http_pages import Look, routes
from roommate.administration.status import Gauges
from roommate.administration.storage_health import Health
from roommate.composition.kernel import Kernel
from roommate.control.method import Method
from roommate.doors import command_line, socket
from roommate.doors.socket import SocketDoor
from roommate.monitoring.counts import Counts
from roommate.operations import Operations
from roommate.store import Audit, Vitals
from roommate.updates.at_start import Trial
from roommate.updates.releases import own


def gauges(kernel: Kernel, health: Health, trial: Trial, *, systemd: bool, since: float) -> Gauges:
    return Gauges(
        settings=kernel.settings,
        logs=kernel.logs,
        holds=kernel.holds,
        queues=Vitals(kernel.database),
        sandboxes=kernel.sandboxes,
        counts=kernel.counts,
        silent_seconds=kernel.silent_seconds,
        trouble=lambda: health.trouble,
        policy=kernel.trust.policy.look,
        on_trial=lambda: trial.on,
        systemd=systemd,
        since=since,
        encryption=kernel.encryption.counts if kernel.encryption else dict,
    )


def methods(kernel: Kernel, operations: Operations) -> dict[str, Method]:
    """What can be asked for at the control socket when the daemon has started."""
    door = SocketDoor(Audit(kernel.database), kernel.questions)
    return socket.methods(operations, door) | {command_line.NAME: command_line.method(operations, door)}


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
