"""`roommate demo`: start it all, show how long it takes, then chat; or say one thing and print the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from roommate.chat import card_answers
from roommate.cli import chat_and_send, pipe_chat
from roommate.cli.chat_line_meaning import Say
from roommate.cli.progress import Steps
from roommate.demo.run import BUILDER, Demo
from roommate.domain import Account, EventId, RoomId, UserId
from roommate.errors import Transient
from roommate.host import deadlines
from roommate.settings import config
from roommate.settings.config import REHEARSAL
from roommate.user_client import Client

T = TypeVar("T")


class _ToOneBot(Client):
    """With a second bot the room is a group: what is said there calls this one, but a bare yes or no, which is for who
    asks."""

    def __init__(self, account: Account, bot: UserId) -> None:
        super().__init__(account)
        self._bot = bot

    async def say(self, room: RoomId, text: str) -> EventId:
        if card_answers.is_choice(text):
            return await super().say(room, text)
        called = {"user_ids": [self._bot]}
        return await self._send(room, "m.room.message", {"msgtype": "m.text", "body": text, "m.mentions": called})


async def run(folder: Path, *, once: str, keep: bool, stop: bool, reset: bool, mesh: bool, timeout: float) -> int:
    """One demo from its start to its end; gives the exit code. Raises RoommateError."""
    settings = config.load()
    console = Console(stderr=True, highlight=False)
    demo = Demo(folder, settings, keep=keep, mesh=mesh)
    with demo.alone():
        if reset:
            await demo.reset()
        if stop:
            await demo.stop()
            return 0
        left = False
        try:
            await demo.start(Steps(console).step)
            if not once:
                console.print(_introduction(demo, settings.llm_model))
                if mesh:
                    console.print(_of_the_other(folder))
            async with _ToOneBot(demo.me, demo.bot) as client:
                talk = _ask(client, demo, once, timeout) if once else chat_and_send.talk(client, demo.room)
                code = await _while_it_runs(demo, talk)
            left = True
        finally:
            if not (keep and left):
                await demo.stop()
        if keep:
            console.print(
                "It all goes on: [bold]scripts/demo[/] takes you back to it, [bold]scripts/demo --stop[/] ends it."
            )
        return code or 0


async def _ask(client: Client, demo: Demo, text: str, timeout: float) -> int:
    try:
        async with deadlines.within(timeout):
            answer = await pipe_chat.answer(client, demo.room, Say(text), demo.bot)
    except TimeoutError:
        raise Transient(f"no answer after {timeout:.0f} s; the daemon's log is {demo.log}") from None
    typer.echo(pipe_chat.text_of(answer))
    return pipe_chat.exit_code(answer)


async def _while_it_runs(demo: Demo, work: Awaitable[T]) -> T:
    """Do something that makes no sense any more once a server has ended. Raises StateError then."""
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(demo.watch())
        done = await work
        watch.cancel()
    return done


def _of_the_other(folder: Path) -> str:
    command = f"STATE_DIR={escape(str(folder.absolute() / 'state'))} roommate exec --peer {BUILDER} -- ls -l"
    return (
        f"A second daemon, {BUILDER}, is in the room, and the demo has had the two trust each other. Try [bold]run on "
        f"{BUILDER}: uname -n[/], or in another terminal, in this folder:\n"
        f"[bold]{command}[/]\nWhat is not uname {BUILDER} does when you have answered its card, with ✅ or yes.\n"
    )


def _introduction(demo: Demo, model: str) -> str:
    start = (
        "The model is the built-in rehearsal; try [bold]run: python3 --version[/]. LLM_MODEL and LLM_API_KEY in .env "
        "set a real one."
        if model == REHEARSAL
        else f"The model is {escape(model)}. Tell it what to do."
    )
    return (
        f"\n{start}\n[dim]Or with Element: choose the homeserver [/]{demo.url}[dim], sign in as [/]me[dim] with the "
        f"password [/]{escape(demo.password)}\n"
    )
