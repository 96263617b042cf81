"""The door for programs of the host: each operation is a method of the control socket."""

from __future__ import annotations

import pwd
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from roommate.control.method import Caller, Method
from roommate.domain import Deed, Question, RoomId
from roommate.errors import RoommateError
from roommate.operations import Call, Operations, Settled, Who
from roommate.rooms.questions import Questions
from roommate.store import Audit, Transaction, Work, audit

SOCKET = "socket"
"""Where a deed came from."""


@dataclass(frozen=True, slots=True)
class Asked:
    """It is a question to the room now."""

    approval: int


class SocketDoor:
    stores = False

    def __init__(self, audit: Audit, questions: Questions) -> None:
        self._audit = audit
        self._questions = questions

    def settling(self, deal: Work[Settled]) -> Work[bool]:
        def work(c: Transaction) -> bool:
            audit.insert(c, deal(c).deeds)
            return True

        return work

    async def ask(self, question: Question, room_id: RoomId, deeds: Sequence[Deed]) -> Asked:
        return Asked(await self._questions.put_up(room_id, question, deeds=deeds))

    async def fail(self, error: RoommateError, deeds: Sequence[Deed]) -> None:
        for deed in deeds:
            await self._audit.record(deed)
        raise error

    def call(self, caller: Caller) -> Call:
        return Call(
            who=f"uid {caller.uid}",
            name=name_of(caller),
            via=SOCKET,
            may=Who.HOST,
            door=self,
            asked_at=time.time(),
            tell=caller.tell,
        )


def name_of(caller: Caller) -> str:
    """Who it is, for people in the rooms."""
    try:
        return f"{pwd.getpwuid(caller.uid).pw_name} on the host"
    except KeyError:
        return f"user {caller.uid} on the host"


def methods(operations: Operations, door: SocketDoor) -> dict[str, Method]:
    """By name."""

    def method(name: str) -> Method:
        async def act(params: Any, caller: Caller) -> Any:
            return await operations.perform(name, params, door.call(caller))

        operation = operations.known[name].operation
        return Method(act, operation.params, operation.seconds)

    return {name: method(name) for name, bound in operations.known.items() if bound.operation.socket}
