"""The daemon as a process: it ends when it is told to, in time, and begins again as the program that is there then."""

from __future__ import annotations

import asyncio
import atexit
import faulthandler
import logging
import os
import signal
import sys

from roommate import errors
from roommate.administration import preconditions
from roommate.composition import from_settings, release_startup
from roommate.daemon import STOP_SECONDS, Daemon
from roommate.domain import Update
from roommate.errors import ConfigError, InUse, RoommateError, StateError, TokenRevoked
from roommate.host.sd_notify import Systemd
from roommate.logs import Logs
from roommate.monitoring.alert_delivery import ENDED, LOGIN, STATE, Alerts
from roommate.settings.config import Settings
from roommate.updates.daemons import RESTART
from roommate.updates.journal import Journal

log = logging.getLogger(__name__)


def main(settings: Settings) -> int:
    """Run until SIGTERM, SIGINT or an operator ends it; gives the exit code. What is wrong is one line on stderr."""
    logs = Logs(settings)
    faulthandler.enable()  # systemd's watchdog ends what hangs with SIGABRT: the log shows where it hung
    code, again, trial = 0, False, None
    alerts = from_settings.alerts_of(settings)
    try:
        preconditions.demand(settings)
        for doubt in preconditions.doubts(settings):
            log.warning("%s", doubt)
        trial = release_startup.settle(settings)
        again = asyncio.run(_until_told(settings, logs, alerts, trial))
        if again:
            release_startup.settle(settings)
    except* RoommateError as group:
        error = errors.first(group)
        log.critical("%s%s", error, _way_back(settings) if isinstance(error, TokenRevoked) else "")
        code = error.exit_code
        if trial is not None:
            Journal(settings.state_dir).report(trial, str(error))
        elif isinstance(error, TokenRevoked):
            alerts.fire(LOGIN, f"the daemon has ended: {error}")
        elif not isinstance(error, InUse) and not (isinstance(error, ConfigError) and sys.stderr.isatty()):
            alerts.fire(STATE if isinstance(error, StateError) else ENDED, f"the daemon has ended: {error}")
    alerts.ended()
    if again:
        _begin_again()
    return code


async def _until_told(settings: Settings, logs: Logs, alerts: Alerts, trial: Update | None) -> bool:
    """Gives whether it is to begin again."""
    systemd = Systemd.of_environment()
    loop = asyncio.get_running_loop()
    again = False

    def end(restart: bool = False) -> None:
        nonlocal again
        again = restart
        (systemd.restarting if restart else systemd.stopping)()
        alerts.ended()
        # A thread that hangs (a disk, Podman) would hold the process: all that must survive it is stored already.
        signal.signal(signal.SIGALRM, lambda *_: _begin_again() if again else os._exit(0))
        signal.setitimer(signal.ITIMER_REAL, STOP_SECONDS + 0.5)
        # Then no thread is waited for any more, and an interpreter that ends has no handlers: the signal would kill it.
        atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)
        daemon.cancel()

    daemon = asyncio.create_task(Daemon(settings, systemd, logs, end, alerts, trial).run())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(RESTART, end, True)
    try:
        await daemon
    except asyncio.CancelledError:
        log.info("beginning again" if again else "stopped")
    return again


def _way_back(settings: Settings) -> str:
    """To a login, after one that is dead."""
    if settings.matrix_access_token.get_secret_value():
        return "; MATRIX_ACCESS_TOKEN needs a new one"
    if settings.matrix_password.get_secret_value():
        return "; the next start logs in with MATRIX_PASSWORD"
    return "; `roommate auth login` makes a new one"


def _begin_again() -> None:
    """Become the program that is at our own path now, as the same process: whoever watches it sees it go on.

    In an install folder that is the one of the release that runs by now, else the one that we were started with.
    """
    signal.setitimer(signal.ITIMER_REAL, 0)  # a timer outlives the program that set it
    if os.path.basename(sys.argv[0]) == "__main__.py":  # noqa: PTH119
        os.execv(sys.executable, [sys.executable, "-m", "roommate", *sys.argv[1:]])  # noqa: S606
    program = release_startup.program() or os.path.abspath(sys.argv[0])  # noqa: PTH100 — Path.resolve would follow the links
    os.execv(program, [program, *sys.argv[1:]])  # noqa: S606
