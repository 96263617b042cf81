"""What a method of the control socket is, and how one is called: parameters in, a result or a flaw out."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from roommate.control import rpc
from roommate.control.rpc import Flaw, Request
from roommate.errors import RoommateError
from roommate.host import deadlines

log = logging.getLogger(__name__)


class Params(BaseModel):
    """The parameters of a method: what is not named in it is a mistake."""

    # Built when it is used first, as those of operations are.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: `uid` as the kernel says it."""

    uid: int
    pid: int
    tell: Callable[[Any], Awaitable[None]]
    """Send a piece of the answer ahead of it; returns when it is on its way."""
    after: Callable[[Callable[[], None]], None]
    """Do this when the answer is on its way: for what ends the daemon."""


class Act(Protocol):
    """Does what is asked; gives the result, in dataclasses or in what JSON has. Raises RoommateError."""

    async def __call__(self, params: Any, caller: Caller, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Method:
    act: Act
    params: type[Params] = Params
    seconds: float | None = 120.0
    """How long it may take; None for a stream."""


async def answer(methods: Mapping[str, Method], request: Request, caller: Caller, *, starting: bool) -> Any:
    """The result, as JSON has it. While the daemon is `starting`, methods may be missing still. Raises Flaw."""
    method = methods.get(request.method)
    if method is None:
        if starting:
            raise Flaw(rpc.FAILED, "the daemon is starting: try again when it is ready", of=request.id)
        raise Flaw(rpc.METHOD_NOT_FOUND, f"there is no method {request.method!r}", of=request.id)
    try:
        params = method.params.model_validate(request.named())
    except ValidationError as error:
        raise Flaw(rpc.INVALID_PARAMS, rpc.flaws_of(error), of=request.id) from None
    try:
        async with deadlines.within(method.seconds):
            return as_json(await method.act(params, caller))
    except TimeoutError:
        raise Flaw(rpc.FAILED, "it was not done in time", of=request.id) from None
    except RoommateError as error:
        raise Flaw(rpc.FAILED, str(error), {"exit_code": error.exit_code}, of=request.id) from error
    except Exception as error:
        log.exception("control: %s failed", request.method)
        raise Flaw(rpc.INTERNAL_ERROR, "something went wrong: the daemon's log has it", of=request.id) from error


def as_json(value: Any) -> Any:
    """Dataclasses as JSON objects."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    return value
