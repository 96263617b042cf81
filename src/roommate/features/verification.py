"""Verification by emoji: the bot's people compare what it shows with what their own client shows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.administration.startup_order import Phase, Service
from roommate.chat import texts
from roommate.domain import CardKind, Draft, Question, RoomId, UserId
from roommate.errors import ControlError, MatrixError, NotFound, NotPermitted, Refused
from roommate.features.feature import Feature
from roommate.matrix import render
from roommate.matrix.crypto.encryption import Encryption
from roommate.matrix.crypto.verification import SECONDS, Verification
from roommate.matrix.crypto.verifications import Ended, Verifications
from roommate.operations import Call, Params, Who, operation
from roommate.rooms.control_room import ControlRoom
from roommate.rooms.live_message_port import Progress
from roommate.rooms.questions import Questions
from roommate.settings.config import Settings
from roommate.store import Card, Outbox, Rooms
from roommate.text.printable import plain

MOST_ROOMS = 20
"""That are looked at for one in which somebody can be shown something."""
OFF = "there is no encryption here (E2EE=off, or see `roommate doctor`), so there is nothing to verify"
ASKED = (
    "I have asked {who} to verify me: accept it in that client, and compare the seven emoji that it shows "
    "with those that I show here."
)
HINT = f"{texts.YES} they match, {texts.NO} they do not."
ENDS = {
    "m.user": "was cancelled",
    "m.timeout": "has ended: nobody went on in time",
    "m.mismatched_sas": "has failed: the emoji were not the same. Somebody may be between us: trust nothing here yet",
    "m.key_mismatch": "has failed: the keys are not those that the homeserver tells. Somebody may be between us",
    "m.mismatched_commitment": "has failed: a key is not the one that was promised. Somebody may be between us",
    "m.unknown_method": "is not possible: only emoji are known to both of us",
}


class Whom(Params):
    who: Annotated[str, Field(max_length=255, title="USER", description="A Matrix id; you, without one.")] = ""


class Begun(Params):
    who: Annotated[str, Field(max_length=255, description="A Matrix id, or a device of the bot's own account.")]
    device: Annotated[str, Field(max_length=255, description="One device of that user alone.")] = ""


class OfOne(Params):
    id: Annotated[str, Field(max_length=255)]


class Compared(OfOne):
    match: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """What there is to compare, or how it ended."""

    id: str
    user: str
    emoji: Sequence[tuple[str, str]] = ()
    ended: str = ""
    verified: bool = False


@dataclass(frozen=True, slots=True)
class Verifying:
    """Implements `Witness`, too."""

    encryption: Encryption | None
    rooms: Rooms
    members: Callable[[RoomId], Awaitable[set[str]]]
    """Who has joined a room, as far as syncs tell. Raises MatrixError."""
    questions: Questions
    outbox: Outbox
    sender: Progress
    control: ControlRoom
    settings: Callable[[], Settings]

    @operation(
        "verification.ask",
        who=Who.ANYONE,
        audit="verify",
        subject=lambda params: params.who,
        chat="verify",
        socket=False,
    )
    async def ask(self, params: Whom, call: Call) -> str:
        """Begins to verify you, or another user, by emoji."""
        if params.who and call.may < Who.OPERATORS:
            raise NotPermitted("only operators can have me verify somebody else: say `!verify`", "verify")
        if call.here is None:
            raise Refused("say it in a room")
        who = UserId(params.who or call.who)
        if who not in await self.members(call.here):
            raise NotFound(f"{who} is not in this room")
        await self._running().begin(who, call.here)
        return ASKED.format(who=plain(who) if params.who else "your clients")

    @operation("verification.begin", audit="verify", subject=lambda params: params.who)
    async def begin(self, params: Begun, call: Call) -> Shown:
        """Begins to verify a user, or a device, for somebody at the host."""
        bot = self.settings().bot
        whole = params.who.startswith("@")
        user, device = (params.who, params.device) if whole else (bot, params.who)
        room = None if device or user == bot else await self._room_with(user)
        one = await self._running().begin(UserId(user), room, device or "*")
        return Shown(one.id, user)

    @operation("verification.watch", seconds=SECONDS + 20)
    async def watch(self, params: OfOne, call: Call) -> Shown:
        """Waits for the emoji of a verification."""
        one, ended = await self._running().watch(params.id)
        if one is not None:
            return Shown(params.id, one.user, one.emoji)
        return _over(params.id, ended)

    @operation("verification.confirm", seconds=SECONDS + 20, audit="verify", subject=lambda params: params.id)
    async def confirm(self, params: Compared, call: Call) -> Shown:
        """Says whether the emoji match, and waits for the end."""
        running = self._running()
        await running.confirm(params.id, match=params.match)
        return _over(params.id, await running.ended(params.id))

    def _running(self) -> Verifications:
        if self.encryption is None or not self.encryption.works:
            raise ControlError(OFF)
        return self.encryption.verifications

    async def _room_with(self, user: str) -> RoomId | None:
        """The smallest room that they are in, too."""
        rows = sorted(await self.rooms.all(), key=lambda row: (not row.encrypted, row.joined or 1000))
        for row in rows[:MOST_ROOMS]:
            try:
                if user in await self.members(row.room_id):
                    return row.room_id
            except MatrixError:
                continue
        return None

    async def decide(self, card: Card, choice: str, by: UserId) -> str:
        """Somebody has compared what the card shows."""
        if by != card.asker and not self.settings().is_operator(by):
            raise Refused("only who sees them in their own client can say whether they match, or an operator")
        if await self._running().confirm(card.subject, match=choice == texts.YES):
            return "now your client has to hear the same" if choice == texts.YES else "so nobody is verified"
        return "but that verification is over: begin anew with `!verify`"

    # ── Witness ──────────────────────────────────────────────────────────────────────────────────

    def may(self, user: str) -> bool:
        settings = self.settings()
        return user == settings.bot or settings.is_allowed(user)

    async def shown(self, one: Verification) -> RoomId | None:
        own = one.user == self.settings().bot
        room = one.room_id or (None if own else await self._room_with(one.user)) or self.control.room_id or None
        if room is None:
            return None
        about = f"Another device of my account, `{one.device}`," if own else plain(one.user)
        emoji = "\n".join(f"{number}. {sign} {name}" for number, (sign, name) in enumerate(one.emoji, 1))
        question = Question(
            CardKind.VERIFY,
            f"{about} and I are verifying each other. Does that client show the same, in this order?\n\n{emoji}",
            subject=one.id,
            operators_only=own,
            seconds=SECONDS,
            hint=HINT,
            asker=None if own else UserId(one.user),
        )
        await self.questions.put_up(room, question)
        return room

    async def shunned(self, room_id: RoomId, user: str, device: str) -> None:
        """A device is given no keys: say so once in that room, where its user's other ones can read it."""
        said = render.content(UNSIGNED.format(who=plain(user), device=plain(device)), notice=True)
        await self.outbox.put([Draft(room_id, said, once=f"unsigned {room_id} {user} {device}")])
        self.sender.wake()

    async def over(self, user: str, told_in: RoomId | None, subject: str, ended: Ended) -> None:
        if told_in is None:
            return
        await self.questions.unneeded(told_in, CardKind.VERIFY, [subject])
        if ended.code == "m.accepted":
            return
        said = render.content(said_of(user, ended), notice=True)
        await self.outbox.put([Draft(told_in, said, once=f"verification {subject}")])
        self.sender.wake()


UNSIGNED = (
    "{who}: your session `{device}` cannot read what I write here, since it was not verified by you. In that client, "
    "verify it with another one of yours, or with your recovery key. (`TRUST=cross-signed`)"
)


def said_of(user: str, ended: Ended) -> str:
    """The end of it, for people."""
    if not ended.code:
        unsigned = "" if ended.signed else " The identity of my account is kept elsewhere, so I could not sign it."
        return f"✅ Verified: {plain(user)} and I.{unsigned}"
    how = ENDS.get(ended.code, f"has ended ({plain(ended.code)})")
    why = f": {plain(ended.why)}" if ended.why and ended.code == "m.user" and not ended.theirs else ""
    by = " in that client" if ended.theirs and ended.code == "m.user" else ""
    return f"❌ The verification with {plain(user)} {how}{by}{why}."


def _over(id: str, ended: Ended | None) -> Shown:
    if ended is None:
        raise NotFound("that verification is not known: begin anew")
    return Shown(id, "", ended=said_of("that client", ended), verified=not ended.code)


def feature(verifying: Verifying) -> Feature:
    services: list[Service] = []
    if verifying.encryption is not None:
        verifying.encryption.verifications.witness = verifying
        verifying.encryption.sealing.tell = verifying.shunned
        services.append(Service(Phase.READY, verifying.encryption.verifications.run))
    return Feature([verifying], cards={CardKind.VERIFY: verifying.decide}, services=services)
