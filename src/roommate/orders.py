"""What the commands do, and what a reaction to a card does."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from roommate import agents, egress, repos
from roommate.broker.gate import QUESTION
from roommate.changes import Change, change
from roommate.chat import view, voice
from roommate.chat.commands import Changed, Command
from roommate.checkup import Known, examine
from roommate.desk import chat as desk
from roommate.desk import rooms
from roommate.doors.chat import ChatDoor, obey
from roommate.doors.reference import of_chat
from roommate.errors import NotPermitted, RoommateError, StateError
from roommate.house import House
from roommate.questions import Decide
from roommate.redeploy import REDEPLOY, ROLLBACK
from roommate.running import RunningTurn
from roommate.store import Card, Decided, Transaction, Waiting, Work
from roommate.store.agents import forgetting_sessions
from roommate.store.inbox import closing, counting_queued, dropping_queued
from roommate.store.rooms import setting_model
from roommate.store.turns import clearing
from roommate.words import DAEMON, Deed, DeedOutcome, Draft, EventId, Question, RoomId, UserId

log = logging.getLogger(__name__)

CARD_SECONDS = 3600
EXPIRED = "expired"
RESET_WORKSPACE = "reset-workspace"
DOCTOR_SECONDS = 30
AUDIT_LINES = 10
MOST_AUDIT_LINES = 50


class InRoom(Protocol):
    """What a command may do to the room it is said in."""

    room_id: RoomId
    running: RunningTurn | None

    async def stop_turn(self, by: UserId, along: Work[object] | None = None) -> bool: ...

    def say(self, markdown: str, thread: EventId | None = None) -> Draft: ...


Act = Callable[[Waiting, str, EventId | None], Awaitable[str | Change | None]]
"""Takes a command, with its argument and thread, and gives what to answer, or what to change and answer; None when it
dealt with the row itself. Raises NotPermitted."""


class Orders:
    def __init__(self, room: InRoom, house: House) -> None:
        self._room = room
        self._house = house
        self._acts: dict[str, Act] = {
            "help": self._help,
            "status": self._status,
            "stop": self._stop,
            "reset": self._reset,
            "model": self._model,
            "egress": self._egress,
            "repo": self._repo,
            "ask": self._ask,
            "agents": self._agents,
            "prompt": self._prompt,
            "doctor": self._doctor,
            "audit": self._audit,
            REDEPLOY: functools.partial(self._redeploy, REDEPLOY),
            ROLLBACK: functools.partial(self._redeploy, ROLLBACK),
            "version": self._version,
            "ping": self._ping,
            **{name: self._at_the_desk(name) for name in ("rooms", "who", "settings")},
        }
        self._deciders: dict[str, Decide] = {RESET_WORKSPACE: self._reset_workspace}
        self.carrying_out = 0
        """Decisions that are being carried out: no turn begins meanwhile."""

    async def obey(self, waiting: Waiting, command: Command, thread: EventId | None) -> None:
        """Do a command and answer it, together with its inbox row."""
        act, deeds = self._acts.get(command.name), []
        if act is None:
            house = self._house
            door = ChatDoor(waiting, thread, house.inbox, house.questions, self._room.say)
            await obey(house.operations, house.settings, door, waiting, command, thread)
            house.progress.wake()
            return
        try:
            said = await act(waiting, command.argument, thread)
        except NotPermitted as refusal:
            said = str(refusal)
            deeds = [self._deed(waiting, refusal.what, DeedOutcome.REFUSED, refusal.subject)]
        if isinstance(said, Change):
            if await self._house.inbox.do(self._closing(waiting, thread, said.work)) and said.after:
                await said.after()
        elif said is not None:
            await self._house.inbox.done(waiting.seq, [self._room.say(said, thread)], deeds)
        self._house.progress.wake()

    def _closing(self, waiting: Waiting, thread: EventId | None, work: Work[str | Changed]) -> Work[bool]:
        """Deal with a row by doing something, and answer what it gives: all in one transaction."""

        def deal(c: Transaction) -> tuple[Sequence[Draft], Sequence[Deed]]:
            said = work(c)
            if isinstance(said, str):
                return [self._room.say(said, thread)], []
            deed = self._deed(waiting, said.what, DeedOutcome.DONE, said.subject)
            return [self._room.say(said.text, thread)], [deed]

        return closing(waiting.seq, deal)

    async def decide(self, waiting: Waiting, target: EventId, key: str) -> None:
        """A reaction: to an open card, by somebody who may, it decides; any other means nothing."""
        house, sender, choice = self._house, waiting.incoming.sender, key.replace("\ufe0f", "")
        card = await house.cards.open(self._room.room_id, target)
        if card is None or choice not in card.choices:
            await house.inbox.done(waiting.seq)
            return
        if (refusal := self._refusal(card, choice, sender)) is not None:
            deed = self._deed(waiting, f"card.{card.what}", DeedOutcome.REFUSED, card.subject, choice)
            said = [self._room.say(refusal, card.thread)] if refusal else []
            await house.inbox.done(waiting.seq, said, [deed])
            house.progress.wake()
            return
        deed = self._deed(waiting, f"card.{card.what}", DeedOutcome.DONE, card.subject, choice)
        await self.choose(card, choice, sender, deed, waiting.seq)

    async def choose(self, card: Card, choice: str, by: UserId, deed: Deed, seq: int | None = None) -> str | None:
        """Do what a choice means, and say it in the room; None when somebody else was faster. `seq` is the inbox row
        that brought it, if any."""
        decided = Decided(card, EXPIRED if card.expired else choice, by, seq)
        return await self._carry_out(decided) if await self._house.cards.decide(decided, deed) else None

    async def go_on(self) -> None:
        """Carry out what was decided when a crash came."""
        for decided in await self._house.cards.pending(self._room.room_id):
            try:
                await self._carry_out(decided)
            except StateError:
                raise
            except Exception as error:  # people were told
                log.warning("%s", error)

    async def _carry_out(self, decided: Decided) -> str:
        """Do what was chosen, and say it; the card is open again when it cannot be done. Raises RoommateError then."""
        house, card = self._house, decided.card
        self.carrying_out += 1
        try:
            text = await self._meant(decided)
        except StateError:
            raise
        except Exception as error:
            known = isinstance(error, RoommateError)
            if not known:
                log.exception("what was chosen at card %d was not done", card.id)
            said = self._room.say(f"⚠️ {error}" if known else voice.broken(f"card {card.id}"), card.thread)
            deed = Deed(
                decided.by, DAEMON, f"card.{card.what}", DeedOutcome.FAILED, card.room_id, card.subject, str(error)
            )
            await house.cards.failed(decided, said, deed)
            raise
        else:
            await house.cards.carried_out(decided, self._room.say(text, card.thread) if text else None)
            house.questions.chosen(card, decided.choice)
            return text
        finally:
            self.carrying_out -= 1
            house.progress.wake()

    async def _meant(self, decided: Decided) -> str:
        card = decided.card
        if decided.choice == EXPIRED:
            return "That question has expired: nothing was done."
        decide = self._deciders.get(card.what) or self._house.questions.deciders[card.what]
        return await decide(card, decided.choice, decided.by) or ""

    def _deed(self, waiting: Waiting, what: str, outcome: DeedOutcome, subject: str, detail: str = "") -> Deed:
        """What the audit log says of what this message or reaction led to."""
        incoming = waiting.incoming
        return Deed(incoming.sender, incoming.event_id, what, outcome, self._room.room_id, subject, detail)

    def _refusal(self, card: Card, choice: str, who: UserId) -> str | None:
        """Why this choice of theirs does not count, empty where nobody is told; None where it does."""
        settings = self._house.settings
        if not (settings.is_operator(who) if card.operators_only else settings.is_allowed(who)):
            return ""
        if card.what == QUESTION and choice == voice.ALWAYS and not egress.may_open_for_good(settings, who):
            return egress.ONLY_OPERATORS
        return None

    async def _reset_workspace(self, card: Card, choice: str, by: UserId) -> str:
        if choice == voice.NO:
            return "Nothing was deleted."
        await self._room.stop_turn(by)
        await self._house.sandboxes.reset_workspace(self._room.room_id)
        return f"The workspace is empty now, as {by} decided."

    async def _help(self, waiting: Waiting, argument: str, thread: EventId | None) -> str:
        return voice.help_text() + "\n" + of_chat(one.operation for one in self._house.operations.known.values())

    async def _ping(self, waiting: Waiting, argument: str, thread: EventId | None) -> str:
        late = max(0, time.time() * 1000 - waiting.incoming.sent_at)
        return f"Pong: your message was here after {late:.0f} ms."

    async def _status(self, waiting: Waiting, argument: str, thread: EventId | None) -> str:
        house, running = self._house, self._room.running
        spending = await house.turns.spending(self._room.room_id)
        runs = None
        if running is not None:
            turn = running.turn
            runs = f"number {turn.id} for {turn.asked_by}, {voice.seconds(time.time() - turn.started)} so far"
        pause = house.holds.of(self._room.room_id)
        return voice.status(
            paused=pause.by if pause else "",
            running=runs,
            waiting=await house.inbox.count_queued(self._room.room_id),
            model=await self._model_name(),
            sandbox=await rooms.sandbox(house, self._room.room_id),
            turns=spending.turns,
            usage=spending.usage,
            agents=await house.agent_usages.of(self._room.room_id),
        )

    async def _stop(self, waiting: Waiting, argument: str, thread: EventId | None) -> str | None:
        if argument not in ("", "all"):
            return "`!stop` stops the running turn, `!stop all` drops the waiting messages as well."
        drop, count = dropping_queued(self._room.room_id, waiting.seq), counting_queued(self._room.room_id)

        def answer(c: Transaction, stopped: bool) -> str | Changed:
            dropped = drop(c) if argument == "all" else 0
            text = voice.stop_answer(stopped=stopped, dropped=dropped, waiting=count(c))
            return Changed(text, "stop", argument) if stopped or dropped else text

        await self._stopping(waiting, thread, answer)
        return None

    async def _stopping(
        self, waiting: Waiting, thread: EventId | None, answer: Callable[[Transaction, bool], str | Changed]
    ) -> None:
        """Stop what runs, and deal with the row in the transaction that stores how that ended; where nothing runs, in
        one of its own. `answer` is told which of the two it is."""
        stopped = self._closing(waiting, thread, lambda c: answer(c, True))
        if not await self._room.stop_turn(waiting.incoming.sender, stopped):
            await self._house.inbox.do(self._closing(waiting, thread, lambda c: answer(c, False)))

    async def _reset(self, waiting: Waiting, argument: str, thread: EventId | None) -> str | None:
        if argument == "workspace":
            question = Question(RESET_WORKSPACE, voice.reset_card(), seconds=CARD_SECONDS)
            await self._house.questions.answer_with(waiting.seq, self._room.room_id, question, thread)
            return None
        if argument:
            return "`!reset` forgets the conversation, `!reset workspace` deletes the files."
        clear, forget = clearing(self._room.room_id, thread), forgetting_sessions(self._room.room_id)

        def answer(c: Transaction, stopped: bool) -> Changed:
            turns = clear(c)
            forget(c)
            many = f"{turns} turn{'' if turns == 1 else 's'}"
            return Changed(f"Forgotten: {many} of this conversation. The files are still there.", "reset")

        await self._stopping(waiting, thread, answer)
        return None

    async def _egress(self, waiting: Waiting, argument: str, thread: EventId | None) -> str | Change:
        return await egress.obey(argument, room_id=self._room.room_id, by=waiting.incoming.sender, house=self._house)

    async def _repo(self, waiting: Waiting, argument: str, thread: EventId | None) -> str | Change:
        return await repos.obey(argument, room_id=self._room.room_id, by=waiting.incoming.sender, house=self._house)

    def _at_the_desk(self, name: str) -> Act:
        async def act(waiting: Waiting, argument: str, thread: EventId | None) -> str | Change:
            by = waiting.incoming.sender
            return await desk.obey(name, argument, room_id=self._room.room_id, by=by, house=self._house)

        return act

    async def _ask(self, waiting: Waiting, argument: str, thread: EventId | None) -> str:
        return agents.ASK_USAGE  # one that says it right is a turn

    async def _agents(self, waiting: Waiting, argument: str, thread: EventId | None) -> str | Change:
        by = waiting.incoming.sender
        return await agents.obey_agents(argument, room_id=self._room.room_id, by=by, house=self._house)

    async def _prompt(self, waiting: Waiting, argument: str, thread: EventId | None) -> str | Change:
        by = waiting.incoming.sender
        return await agents.obey_prompt(argument, room_id=self._room.room_id, by=by, house=self._house)

    async def _model(self, waiting: Waiting, argument: str, thread: EventId | None) -> str | Change:
        current = await self._model_name()
        if not argument:
            return f"This room's model is `{current}`."
        if not self._house.settings.is_operator(waiting.incoming.sender):
            raise NotPermitted(f"Only an operator can change the model; it is `{current}`.", "model", argument)
        chosen = None if argument == "default" else argument
        text = f"From the next turn on this room's model is `{chosen or self._house.settings.llm_model}`."
        return change(setting_model(self._room.room_id, chosen), text=text, what="model", subject=argument)

    async def _redeploy(self, what: str, waiting: Waiting, argument: str, thread: EventId | None) -> str | None:
        house = self._house
        asked = await house.redeploys.question(what, argument, waiting.incoming.sender)
        if isinstance(asked, str):
            return asked
        deed = self._deed(waiting, f"{what}.ask", DeedOutcome.DONE, asked.subject)
        await house.questions.answer_with(waiting.seq, self._room.room_id, asked, thread, [deed])
        return None

    async def _version(self, waiting: Waiting, argument: str, thread: EventId | None) -> str:
        return self._house.redeploys.version()

    async def _doctor(self, waiting: Waiting, argument: str, thread: EventId | None) -> str:
        house = self._house
        if not house.settings.is_operator(waiting.incoming.sender):
            raise NotPermitted("Only an operator can have everything looked at.", "doctor")
        known = Known(await house.inbox.account(), await house.outbox.pace(), True, house.silent_seconds())
        seconds = DOCTOR_SECONDS * house.settings.patience
        try:
            async with asyncio.timeout(seconds):
                return voice.checked(await examine(house.settings, known, house.sandboxes.check))
        except TimeoutError:
            return f"It took longer than {seconds:g} s: look with `roommate doctor` on the host."

    async def _audit(self, waiting: Waiting, argument: str, thread: EventId | None) -> str:
        if not self._house.settings.is_operator(waiting.incoming.sender):
            raise NotPermitted("Only an operator can see the audit log.", "audit")
        if argument and not argument.isdecimal():
            return "`!audit` shows the newest of what was done in this room, `!audit 50` more of it."
        most = min(int(argument or AUDIT_LINES), MOST_AUDIT_LINES)
        # This room's alone: other people read here, too.
        records = await self._house.audit.newest(most, self._room.room_id)
        lines = "\n".join(voice.deed(record.at, record.deed, room=False) for record in records)
        return view.block(lines) if lines else "Nothing was recorded in this room."

    async def _model_name(self) -> str:
        row = await self._house.rooms.get(self._room.room_id)
        return row.model or self._house.settings.llm_model
