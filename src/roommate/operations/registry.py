"""All operations by name, and the one way to do one: what it takes, who may, what it does, what is written down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from roommate.control.rpc import flaws_of
from roommate.domain import DeedOutcome, RoomId
from roommate.errors import Misused, NotPermitted, RoommateError, StateError
from roommate.operations.caller import Call, Settled
from roommate.operations.operation import Ask, Bound, Change, Operation, Params, Unchanged, Who
from roommate.store import Transaction, Work

Store = Callable[[Work[bool]], Awaitable[bool]]
"""Does some work in a transaction."""


class Operations:
    """Those of the features that were added."""

    def __init__(
        self,
        store: Store,
        note: Store,
        find: Callable[[str], Awaitable[RoomId]],
        operators: Callable[[], Sequence[str]],
    ) -> None:
        """`note` stores what only tells of something: a power cut in that moment may take it. `find` gives the room
        that is meant by a name; raises NotFound."""
        self._store, self._note = store, note
        self._find = find
        self._operators = operators
        self.known: dict[str, Bound] = {}

    def add(self, bound: Iterable[Bound]) -> None:
        self.known |= {one.operation.name: one for one in bound}

    async def perform(self, name: str, given: Params | Mapping[str, Any], call: Call) -> Any:
        """The result; None where the door has told why there is none.

        Raises what the door raises then. What is wrong with the state is left to the caller: nothing was done.
        """
        bound = self.known[name]
        operation = bound.operation
        subject = ""
        try:
            params = given if isinstance(given, Params) else read(operation, given)
            subject = operation.subject(params)
            if call.may < operation.who:
                raise self._refusal(operation)
            if named := getattr(params, "room", ""):
                call = replace(call, room=call.here if named == call.here else await self._find(named))
            doing = call.deed(operation.audit, subject=subject) if operation.audit else None
            acted = await operation.act(bound.feature, params, replace(call, doing=doing))
            if isinstance(acted, Ask):
                question = acted.question
                deeds = [call.deed(operation.audit, subject=question.subject)] if operation.audit else []
                return await call.door.ask(question, call.its_room, deeds)
            return await self._settle(operation, acted, call, subject)
        except StateError:
            raise
        except RoommateError as error:
            refused = isinstance(error, NotPermitted)
            outcome, detail = (DeedOutcome.REFUSED, "") if refused else (DeedOutcome.FAILED, str(error))
            written = not isinstance(error, Misused) and (operation.audit or refused)
            deeds = [call.deed(operation.audit or operation.name, outcome, subject, detail)] if written else []
            await call.door.fail(error, deeds)
            return None

    async def _settle(self, operation: Operation[Any, Any, Any], acted: Any, call: Call, subject: str) -> Any:
        """Do what is to be changed, and write down that it was done."""
        change = acted if isinstance(acted, Change) else None
        changes = operation.audit and not isinstance(acted, Unchanged)
        if change is None and not changes and not call.door.stores:
            return acted.result if isinstance(acted, Unchanged) else acted
        deed = call.deed(operation.audit, subject=subject)
        if change is not None:
            about = replace(call, room=change.room_id or call.room)
            subject = subject if change.subject is None else change.subject
            deed = about.deed(operation.audit, subject=subject, detail=change.detail)
        result: Any = None

        def settling(work: Work[Any]) -> Work[bool]:
            def deal(c: Transaction) -> Settled:
                nonlocal result
                result = work(c)
                if isinstance(result, Unchanged):
                    result = result.result
                    return Settled(operation, result)
                return Settled(operation, result, [deed] if operation.audit else [])

            return call.door.settling(deal)

        if change is None:
            await (self._store if call.door.stores else self._note)(settling(lambda c: acted))
            return result
        done = await (change.carrier or self._store)(settling(change.work))
        if done and change.after:
            await change.after()
        return result

    def _refusal(self, operation: Operation[Any, Any, Any]) -> NotPermitted:
        form = f"`!{operation.chat[0].words}`" if operation.chat else f"`{operation.name}`"
        if operation.who is Who.HOST:
            return NotPermitted(f"Only who is at the host can use {form}.", operation.name)
        operators = ", ".join(f"`{one}`" for one in self._operators())
        whom = f"ask {operators}" if operators else "there is none, `OPERATORS` is not set"
        return NotPermitted(f"Only an operator can use {form}: {whom}.", operation.name)


def read(operation: Operation[Any, Any, Any], raw: Mapping[str, Any]) -> Any:
    """The parameters. Raises Misused."""
    try:
        return operation.params.model_validate(raw)
    except ValidationError as error:
        raise Misused(flaws_of(error)) from None
