"""Every error Roommate raises on purpose, one tree. Borders map foreign errors into it with ``raise … from exc``.

::

    RoommateError
    ├── ConfigError            a setting is missing or wrong; the process ends with exit code 78
    ├── StateError             the state folder is unusable, or from a newer version
    │   └── InUse              another daemon runs on it
    ├── MatrixError
    │   ├── Transient          the homeserver is away or busy: try again after `retry_after` seconds
    │   ├── Refused            the homeserver said no to this one thing: trying again changes nothing
    │   └── TokenRevoked       the access token is dead; the process ends with exit code 77
    ├── ModelError
    │   ├── ModelAuth          the provider does not take the key
    │   ├── ModelContext       the history is longer than the model can read
    │   ├── ModelBusy          still 429, 5xx or unreachable after every retry
    │   └── ModelRefused       the provider does not take this request
    ├── SandboxError
    │   ├── EngineError        Podman is not there or cannot do it
    │   ├── ImageError         the image is missing or unfit (no python3)
    │   ├── HandLost           the room's hand died while a call was in flight
    │   └── NoSuchPlace        this host gives no such place to run something in
    ├── UpdateError            another release cannot be had, or is not fit to run
    ├── PeerError              another daemon did not do what it was asked
    │   ├── PeerRefused        it said no; exit code 77
    │   └── PeerLost           it did not answer, or its answer does not count; exit code 255
    ├── ForgeError             the forge is away, or says no
    ├── ProgramFailed          a program of the operator's, such as ALERT_COMMAND, did not do its work
    ├── ToolError              what a tool tells the model when it could not do its work
    ├── NotPermitted           somebody asked for what only others may do
    ├── Misused                what was asked is not written as it has to be; the command line ends with exit code 2
    ├── NotFound               there is no room, turn or question of that name
    └── ControlError           the daemon did not do what it was asked at its control socket
        └── NotRunning         there is no daemon to ask; the process ends with exit code 3

Every message is one line for a person, says what happened and, where there is a way, what to do about it.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would load typing, and `roommate status` is to be there at once
if TYPE_CHECKING:
    from typing import TypeVar

    E = TypeVar("E", bound=BaseException)

LONGEST_RETRY = 300.0
"""Seconds. Who is told to come back in a year asks again before: one odd answer must not make us deaf for good."""


class RoommateError(Exception):
    """The root; ``exit_code`` is what the process ends with when nothing can be done about it."""

    exit_code = 1


class ConfigError(RoommateError):
    exit_code = 78  # EX_CONFIG of sysexits.h


class StateError(RoommateError):
    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class InUse(StateError):
    pass


class MatrixError(RoommateError):
    pass


class Transient(MatrixError):
    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = None if retry_after is None else min(max(0.0, retry_after), LONGEST_RETRY)
        """Seconds the homeserver asked us to wait (from a 429), at most LONGEST_RETRY; or None."""


class Refused(MatrixError):
    def __init__(self, message: str, errcode: str = "") -> None:
        super().__init__(message)
        self.errcode = errcode
        """The Matrix error code, such as ``M_FORBIDDEN``."""


class TokenRevoked(MatrixError):
    exit_code = 77  # EX_NOPERM of sysexits.h

    def __init__(self, message: str, *, soft: bool = False) -> None:
        super().__init__(message)
        self.soft = soft
        """The token has run out, and the device is still there: who logs in again is the same device."""


class ModelError(RoommateError):
    pass


class ModelAuth(ModelError):
    pass


class ModelContext(ModelError):
    pass


class ModelBusy(ModelError):
    pass


class ModelRefused(ModelError):
    pass


class SandboxError(RoommateError):
    pass


class EngineError(SandboxError):
    pass


class ImageError(SandboxError):
    pass


class HandLost(SandboxError):
    pass


class NoSuchPlace(SandboxError):
    pass


class UpdateError(RoommateError):
    pass


class PeerError(RoommateError):
    pass


class PeerRefused(PeerError):
    exit_code = 77  # EX_NOPERM of sysexits.h


class PeerLost(PeerError):
    exit_code = 255  # as ssh(1) has it


class ForgeError(RoommateError):
    pass


class ProgramFailed(RoommateError):
    pass


class ToolError(RoommateError):
    """What people may read of it, too, is the message; the `advice` is for the model alone."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


class NotPermitted(RoommateError):
    def __init__(self, message: str, what: str, subject: str = "") -> None:
        super().__init__(message)
        self.what = what
        """As `Deed` has it: what would have been done, such as ``egress.add``."""
        self.subject = subject


class Misused(RoommateError):
    exit_code = 2


class NotFound(RoommateError):
    pass


class ControlError(RoommateError):
    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class NotRunning(ControlError):
    def __init__(self, message: str) -> None:
        super().__init__(message, exit_code=3)


def first(group: BaseExceptionGroup[E]) -> E:
    """The first error of a group, however deep the task groups it went through."""
    error: E | BaseExceptionGroup[E] = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
