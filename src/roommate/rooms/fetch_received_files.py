"""Files that people send into a room: fetched beside what else happens there, placed in its workspace, and told of."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from roommate.chat import texts
from roommate.domain import Draft, EventId, Hand, Rank, RoomId, SentFile
from roommate.errors import HandLost, ModelError, RoommateError, StateError, ToolError, Transient
from roommate.matrix import render
from roommate.matrix.error_mapping import back_off
from roommate.rooms.bot_answers import Replies
from roommate.rooms.file_placement import place, safe_name
from roommate.rooms.prompt_pictures import LARGEST as LARGEST_PICTURE
from roommate.rooms.sandboxes_port import Sandboxes
from roommate.store import ReceivedFile, ReceivedFiles, again_at
from roommate.text.amounts import size
from roommate.tools.image_headers import measure
from roommate.tools.send_file import whole

log = logging.getLogger(__name__)

FOLDER = ("inbox",)
SMALLER = (".roommate", "inbox")
"""Where pictures lie that were made smaller for the model."""

TRIES = 8
LONGEST_WAIT = 20.0
STATE_RETRY_SECONDS = 5.0
HEAD = 256 << 10
"""Bytes at its beginning that tell what kind of picture a file is."""
LONGEST_SIDE = 8000
"""Pixels of a picture that providers take."""
LARGEST_VOICE = 25 << 20
DOWNLOADS = 2
"""Files of a room that come in at the same time: they may be of a homeserver that gives them slowly, or not at all."""

Transcribe = Callable[[str, bytes], Awaitable[str]]
"""What somebody says in a file, by its name and content. Raises ModelError."""


class Media(Protocol):
    """See matrix/media_download.py."""

    def pieces(self, file: SentFile, most: int) -> AsyncGenerator[bytes, None]: ...

    def thumbnail(self, file: SentFile, most: int) -> AsyncGenerator[bytes, None]: ...


@dataclass(frozen=True, slots=True)
class FileNeeds:
    """What files of all rooms need."""

    files: ReceivedFiles
    media: Media
    sandboxes: Sandboxes
    replies: Replies
    largest: Callable[[], int]
    """Bytes of a file that is taken; 0 takes none."""
    transcribe: Callable[[], Transcribe | None]
    at_once: asyncio.Semaphore
    """Downloads that run at the same time."""


class FileIntake:
    """Of one room. Its tasks run in `tasks`; `news` is called with the thread when a file is there: a message that
    waited for it can go on, and a turn that runs there may be told."""

    def __init__(
        self, room_id: RoomId, tasks: asyncio.TaskGroup, news: Callable[[EventId | None], None], needs: FileNeeds
    ) -> None:
        self._room_id, self._tasks, self._news, self._needs = room_id, tasks, news, needs
        self._turns = asyncio.Semaphore(DOWNLOADS)
        self._under_way: dict[int, asyncio.Task[None]] = {}

    async def look(self) -> None:
        """Fetch what somebody waits for; and no longer what nobody does."""
        coming = {file.id: file for file in await self._needs.files.coming(self._room_id)}
        for number in self._under_way.keys() - coming.keys():
            self._under_way[number].cancel()
        for number, file in coming.items():
            if number not in self._under_way:
                self._under_way[number] = self._tasks.create_task(self._take_in(file))

    def halt(self) -> None:
        """What is under way is taken up again by the next `look`."""
        for task in self._under_way.values():
            task.cancel()

    async def _take_in(self, file: ReceivedFile) -> None:
        try:
            try:
                async with self._turns, self._needs.at_once:
                    await self._bring(file)
            except RoommateError as error:
                log.warning("the file of %s did not come in: %s", file.event_id, error)
                await self._fail(file, str(error))
            except Exception:
                log.exception("the file of %s did not come in", file.event_id)
                await self._fail(file, "something went wrong inside of Roommate, and its log has it")
        finally:
            self._under_way.pop(file.id, None)
        self._needs.replies.wake()
        self._news(file.thread)

    async def _bring(self, file: ReceivedFile) -> None:
        """Fetch, place and store. Raises RoommateError, when nothing more can be tried."""
        for failed in range(1, TRIES + 1):
            try:
                hand = await self._needs.sandboxes.hand(self._room_id)
                path, count, picture = await self._place(hand, file)
                break
            except (Transient, HandLost) as error:
                if failed == TRIES:
                    raise
                log.info("%s; trying again", error)
                await asyncio.sleep(max(back_off(failed, LONGEST_WAIT), getattr(error, "retry_after", None) or 0.0))
        heard, said = await self._heard(hand, file, path) if file.sent.voice else ("", [])
        sign, files = self._sign(file.event_id), self._needs.files
        await _stored(lambda: files.placed(file, path, count, picture, sign=sign, heard=heard, said=said))

    async def _place(self, hand: Hand, file: ReceivedFile) -> tuple[str, int, str]:
        """Where it lies, how many bytes it has, and where the picture lies that a model is shown."""
        sent, draft = file.sent, f".{hashlib.sha256(file.event_id.encode()).hexdigest()[:24]}.part"
        largest = self._needs.largest()
        if not largest:
            raise ToolError("I take no files here (an operator can set INBOX_FILE_MB)")
        used, limit = await self._needs.sandboxes.disk(self._room_id)
        if limit is not None and sent.size > (left := max(0, limit - used)):
            raise ToolError(f"it has {size(sent.size)}, and this room's disk has {size(left)} left")
        head, count = bytearray(), 0

        async def seen(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            nonlocal count
            async for piece in pieces:
                head.extend(piece[: HEAD - len(head)])
                count += len(piece)
                yield piece

        async with contextlib.aclosing(self._needs.media.pieces(sent, largest)) as pieces:
            name = await place(hand, FOLDER, safe_name(sent.name, sent.mimetype), draft, seen(pieces))
        path, picture = "/".join((*FOLDER, name)), ""
        if measured := measure(bytes(head)):
            fits = count <= LARGEST_PICTURE and max(measured.width, measured.height) <= LONGEST_SIDE
            picture = path if fits else await self._smaller(hand, file, draft)
        return path, count, picture

    async def _smaller(self, hand: Hand, file: ReceivedFile, draft: str) -> str:
        """Where a picture lies that was made small enough; nowhere, where the homeserver does not do that."""
        try:
            async with contextlib.aclosing(self._needs.media.thumbnail(file.sent, LARGEST_PICTURE)) as pieces:
                name = await place(hand, SMALLER, draft.strip(".").replace("part", "view"), draft, pieces)
        except RoommateError as error:
            log.info("the picture of %s is too large for the model: %s", file.event_id, error)
            return ""
        return "/".join((*SMALLER, name))

    async def _heard(self, hand: Hand, file: ReceivedFile, path: str) -> tuple[str, list[Draft]]:
        """What somebody says in it, and how people see that; nothing where nobody can tell."""
        if (transcribe := self._needs.transcribe()) is None:
            return "", []
        try:
            text = (await transcribe(path, await whole(hand, path, LARGEST_VOICE))).strip()
        except (ModelError, ToolError) as error:
            log.warning("the voice message of %s was not transcribed: %s", file.event_id, error)
            said = texts.not_transcribed(path, str(error))
        else:
            said = texts.heard(text) if text else texts.not_transcribed(path, "nobody speaks in it")
            return text, [self._notice(file, said)]
        return "", [self._notice(file, said)]

    async def _fail(self, file: ReceivedFile, why: str) -> None:
        said = self._notice(file, texts.file_failed(file.sent.name, why), once=again_at(file.event_id))
        await _stored(lambda: self._needs.files.failed(file, [said]))

    def _notice(self, file: ReceivedFile, markdown: str, once: str | None = None) -> Draft:
        content = render.content(markdown, notice=True, thread=file.thread, reply_to=file.event_id)
        return Draft(self._room_id, content, once=once)

    def _sign(self, event: EventId) -> Draft:
        """The reaction that shows people that their file is there."""
        relation = {"rel_type": "m.annotation", "event_id": event, "key": texts.PLACED}
        once = f"file:{event}"
        return Draft(self._room_id, {"m.relates_to": relation}, Rank.SIGN, event_type="m.reaction", once=once)


async def _stored(write: Callable[[], Awaitable[object]]) -> None:
    """As soon as the disk takes it."""
    while True:
        try:
            await write()
        except StateError as error:
            log.error("%s; trying again", error)
            await asyncio.sleep(STATE_RETRY_SECONDS)
        else:
            return
