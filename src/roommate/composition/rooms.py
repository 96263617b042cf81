"""A room, with all that it works with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from roommate.chat.commands import names_of
from roommate.composition.from_settings import transcriber
from roommate.composition.kernel import Kernel
from roommate.domain import CardKind, HookEvent, RoomId
from roommate.doors.chat import ChatCommands
from roommate.features.coding_agents.agent_clis import AGENT_CLIS
from roommate.features.hooks.reports import Hooks
from roommate.matrix import profile
from roommate.matrix.media_download import Media
from roommate.operations import Operations
from roommate.rooms.bot_answers import Replies
from roommate.rooms.bot_loop_guard import BotLoopGuard
from roommate.rooms.card_decisions import Becomes, CardDecisions
from roommate.rooms.fetch_received_files import FileIntake, FileNeeds
from roommate.rooms.membership import Membership
from roommate.rooms.message_meaning import Meanings
from roommate.rooms.prompt_from_message import Prompts
from roommate.rooms.questions import Decide
from roommate.rooms.reactions_from_people import ReactionMeanings
from roommate.rooms.room import Room
from roommate.rooms.room_upgrades import RoomUpgrades
from roommate.rooms.running_turn import TurnNeeds
from roommate.rooms.turns_side_by_side import Conversations
from roommate.store import Cards, Inbox, Ipc, MessageReactions, ReceivedFiles, RepliedMessages, Rooms, Upgrades

DOWNLOADS = 32
"""Files that come in at the same time, of all rooms."""


def room_maker(
    kernel: Kernel,
    needs: TurnNeeds,
    deciders: Mapping[CardKind, Decide],
    prompts: Mapping[str, Becomes],
    operations: Operations,
) -> Callable[[RoomId], Room]:
    settings, database, homeserver, sender = kernel.settings, kernel.database, kernel.homeserver, kernel.sender
    questions = kernel.questions
    inbox, rooms, cards, ipc, moves = (
        Inbox(database),
        Rooms(database),
        Cards(database),
        Ipc(database),
        Upgrades(database),
    )
    files = ReceivedFiles(database)
    replies = Replies(inbox, kernel.outbox, sender)
    membership = Membership(
        homeserver, rooms, moves, replies, settings, kernel.silent_seconds, kernel.sandboxes.lacking
    )
    decisions = CardDecisions(
        cards, questions, replies, deciders, prompts, settings, kernel.names.of, kernel.trust.peers.accounts
    )
    commands = ChatCommands(operations, inbox, questions, replies, lambda who: settings().is_operator(who))
    upgrades = RoomUpgrades(
        moves,
        rooms,
        homeserver,
        membership,
        replies,
        sender,
        kernel.sandboxes,
        kernel.holds,
        kernel.control,
        kernel.residents,
    )

    asked = Prompts(RepliedMessages(database), files, homeserver.whole_event, lambda: settings().bot)
    file_needs = FileNeeds(
        files=files,
        media=Media(homeserver),
        sandboxes=kernel.sandboxes,
        replies=replies,
        largest=lambda: settings().inbox_file_mb << 20,
        transcribe=lambda: transcriber(settings()),
        at_once=asyncio.Semaphore(DOWNLOADS),
    )

    def names() -> tuple[str, ...]:
        return names_of(homeserver.me.user_id, homeserver.me.display_name)

    def make(room_id: RoomId) -> Room:
        return Room(
            room_id,
            inbox=inbox,
            rows=rooms,
            replies=replies,
            holds=kernel.holds,
            name=kernel.names.of,
            meanings=Meanings(settings, names, kernel.outbox.is_ours, rooms.has_turns, AGENT_CLIS),
            commands=commands,
            loops=BotLoopGuard(lambda: settings().loop_limit),
            cards=decisions,
            membership=membership,
            upgrades=upgrades,
            sandboxes=kernel.sandboxes,
            conversations=lambda room, tasks, news: Conversations(room, tasks, news, needs, inbox, ipc.of_turn),
            reactions=ReactionMeanings(MessageReactions(database), inbox, replies, settings, kernel.counts),
            prompts=asked,
            files=lambda room, tasks, news: FileIntake(room, tasks, news, file_needs),
            hooks=lambda room, again: Hooks(room, again, ipc, cards, kernel.spool, questions, sender),
            breath=lambda: settings().same_prompt_seconds,
        )

    return make


async def heard(kernel: Kernel, room_id: RoomId, found: Sequence[tuple[str, HookEvent]]) -> None:
    """Keep what hooks in a room report, and wake it."""
    await Ipc(kernel.database).commit(room_id, found)
    kernel.residents.wake(room_id)


async def present_account(kernel: Kernel) -> None:
    """Have people see the bot as the settings say."""
    settings = kernel.settings()
    kept = settings.state_dir / "avatar.json"
    await profile.present(kernel.homeserver, kept, settings.bot_display_name, settings.bot_avatar)


async def contain(kernel: Kernel) -> None:
    """Keep the containers of the rooms that the bot is in."""
    await kernel.sandboxes.run(await Rooms(kernel.database).joined())
