"""The terminal chat: a room scrolls by, and what runs right now is drawn anew above the line one writes on."""

from __future__ import annotations

import asyncio
import contextlib
import time

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import ANSI, AnyFormattedText, StyleAndTextTuples
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import BufferControl, ConditionalContainer, FormattedTextControl, HSplit, Layout, Window
from prompt_toolkit.layout.dimension import Dimension
from prompt_toolkit.layout.processors import BeforeInput
from rich.console import Console, RenderableType
from rich.text import Text

from roommate.cli import render_posts
from roommate.cli.chat_line_meaning import Leave, React, Say, Tell, intent
from roommate.cli.terminal_erasing import ErasingApplication
from roommate.domain import EventId, JsonObject, RoomId, UserId
from roommate.errors import MatrixError
from roommate.user_client import Client, Post, Reacted, Timeline

BACK = 20
"""Messages from before that are shown at the start."""

STOP = "!stop"
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
FRAME_SECONDS = 0.1
AGAIN_SECONDS = 5.0
"""How long a second Ctrl-C leaves."""
ROOM_BELOW_LIVE = 6
"""Lines of the terminal that a live message leaves to what is below and above of it."""


class TerminalChat:
    """One person in one room at one terminal. `run` returns when they leave."""

    def __init__(self, client: Client, room: RoomId) -> None:
        self._client = client
        self._room = room
        self._me = client.account.user_id
        self._timeline = Timeline()
        self._live: dict[EventId, Post] = {}
        self._outbox: asyncio.Queue[Say | React] = asyncio.Queue()
        self._away: MatrixError | None = None
        self._console = Console()
        self._buffer = Buffer(multiline=True, history=InMemoryHistory(), accept_handler=self._accept)
        self._bots: set[UserId] = set()
        self._interrupted = -AGAIN_SECONDS
        self._app = ErasingApplication(
            layout=self._layout(), key_bindings=self._keys(), erase_when_done=True, refresh_interval=FRAME_SECONDS
        )

    async def run(self) -> None:
        """Until /quit, Ctrl-D or a second Ctrl-C. Raises MatrixError when the room cannot be followed any more."""
        async with asyncio.TaskGroup() as group:
            work = [group.create_task(task) for task in (self._follow(), self._deliver())]
            await self._app.run_async()
            for task in work:
                task.cancel()

    # ── what one sees ────────────────────────────────────────────────────────────────────────────

    def _layout(self) -> Layout:
        live = Window(FormattedTextControl(self._draw_live), dont_extend_height=True)
        status = Window(FormattedTextControl(self._draw_status), height=2, dont_extend_height=True)
        prompt = BeforeInput("› ", style="bold ansicyan")
        line = Window(
            BufferControl(self._buffer, input_processors=[prompt]),
            height=Dimension(min=1, max=8),
            dont_extend_height=True,
            wrap_lines=True,
        )
        is_live = Condition(lambda: bool(self._live))
        return Layout(HSplit([ConditionalContainer(live, is_live), status, line]), focused_element=line)

    def _draw_live(self) -> AnyFormattedText:
        size = self._app.output.get_size()
        drawn = "".join(
            render_posts.ansi(render_posts.post_look(post, self._me), size.columns) for post in self._live.values()
        )
        lines = drawn.rstrip("\n").split("\n")
        most = max(3, size.rows - ROOM_BELOW_LIVE)
        if len(lines) > most:
            lines = [f"\x1b[2m  … {len(lines) - most + 1} lines above\x1b[0m", *lines[-most + 1 :]]
        return ANSI("\n".join(lines))

    def _draw_status(self) -> StyleAndTextTuples:
        if self._away is not None:
            return [("ansired", f"\n{self._away} — trying again")]
        busy = {post.sender for post in self._live.values()} | (self._timeline.typing - {self._me})
        again = "Ctrl-C once more leaves, and so does Ctrl-D"
        if self._asks_again:
            return [("ansiyellow", f"\n{again}")]
        if busy:
            frame = FRAMES[int(time.monotonic() / FRAME_SECONDS) % len(FRAMES)]
            names = ", ".join(render_posts.name_of(user) for user in sorted(busy))
            return [("ansigreen", f"\n{frame} {names} at work"), ("ansibrightblack", "   Ctrl-C or !stop stops")]
        return [("ansibrightblack", "\nEnter sends · Alt-Enter new line · !help · /help · Ctrl-D leaves")]

    def _print(self, *looks: RenderableType) -> None:
        """Let something scroll by, above what is drawn anew.

        Not by way of run_in_terminal: it gives the terminal back meanwhile, which then takes what is typed for itself.
        """
        if not self._app.is_running:
            self._console.print(*looks, sep="\n")
            return
        output = self._app.output
        self._app.erase()
        output.write_raw("".join(render_posts.ansi(shown, output.get_size().columns) for shown in looks))
        output.flush()
        self._app.renderer.reset()
        self._app.invalidate()

    # ── what happens in the room ─────────────────────────────────────────────────────────────────

    async def _follow(self) -> None:
        caught_up = False
        async with contextlib.aclosing(self._client.follow(self._room, BACK, self._set_away)) as events:
            async for event in events:
                if event:
                    await self._take(event, caught_up)
                    continue
                if not caught_up:
                    caught_up = True
                    self._print(
                        *(
                            render_posts.post_look(post, self._me)
                            for post in self._timeline.posts.values()
                            if not post.live
                        )
                    )
                self._app.invalidate()

    async def _take(self, event: JsonObject, caught_up: bool) -> None:
        seen = self._timeline.take(event)
        if isinstance(seen, Post) and seen.msgtype == "m.notice":
            self._bots.add(seen.sender)
        if isinstance(seen, Post):
            was_live = self._live.pop(seen.event_id, None) is not None
            if seen.live:
                self._live[seen.event_id] = seen
            elif caught_up and (was_live or not self._is_from_here(event)):
                self._print(render_posts.post_look(seen, self._me))
        elif isinstance(seen, Reacted) and caught_up and seen.sender != self._me:
            self._print(render_posts.reaction_look(seen))
        elif event["type"] == "m.room.redaction":
            self._live = {key: post for key, post in self._live.items() if key in self._timeline.posts}

    def _is_from_here(self, event: JsonObject) -> bool:
        """We sent it ourselves, from this very device: it stands there since it was written."""
        return event["sender"] == self._me and "transaction_id" in event.get("unsigned", {})

    def _set_away(self, why: MatrixError | None) -> None:
        if why is not self._away:
            self._away = why
            self._app.invalidate()

    # ── what one does ────────────────────────────────────────────────────────────────────────────

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("enter")
        def _(event: KeyPressEvent) -> None:
            self._buffer.validate_and_handle()

        @keys.add("escape", "enter")
        def _(event: KeyPressEvent) -> None:
            self._buffer.insert_text("\n")

        @keys.add("c-c")
        def _(event: KeyPressEvent) -> None:
            self._interrupt()

        @keys.add("c-d")
        def _(event: KeyPressEvent) -> None:
            event.app.exit()

        return keys

    @property
    def _asks_again(self) -> bool:
        return time.monotonic() - self._interrupted < AGAIN_SECONDS

    def _interrupt(self) -> None:
        """Ctrl-C: stop what runs, empty the line; a second one leaves."""
        if self._asks_again:
            self._app.exit()
            return
        self._interrupted = time.monotonic()
        self._buffer.reset()
        if self._live or self._timeline.typing & self._bots:
            self._print(render_posts.own_look(STOP))
            self._outbox.put_nowait(Say(STOP))
        self._app.invalidate()

    def _accept(self, buffer: Buffer) -> bool:
        match intent(buffer.text):
            case None:
                pass
            case Leave():
                self._app.exit()
            case Tell(text):
                self._print(Text(text, "dim"))
            case Say(text) as say:
                self._print(render_posts.own_look(text))
                self._outbox.put_nowait(say)
            case React() as react:
                self._outbox.put_nowait(react)
        return False

    async def _deliver(self) -> None:
        while True:
            doing = await self._outbox.get()
            try:
                match doing:
                    case Say(text):
                        await self._client.say(self._room, text)
                    case React(key):
                        await self._react(key)
            except MatrixError as error:
                self._print(Text(f"not sent: {error}", "red"))

    async def _react(self, key: str) -> None:
        card = self._timeline.newest_card(not_of=self._me)
        if card is None:
            self._print(Text("There is no question to answer.", "dim"))
            return
        await self._client.react(self._room, card.event_id, key)
        self._print(render_posts.reaction_look(Reacted(self._me, key, card)))
