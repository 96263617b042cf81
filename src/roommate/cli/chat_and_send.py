"""`roommate chat` and `roommate send`: being in a room, through the daemon or as oneself."""

from __future__ import annotations

import json
import sys

import typer

from roommate.cli import chat_via_daemon, pipe_chat
from roommate.cli.chat_accounts import account_for, forget
from roommate.cli.chat_line_meaning import Say
from roommate.domain import RoomId
from roommate.errors import TokenRevoked
from roommate.user_client import Client


async def chat(room: str, homeserver: str, user: str) -> None:
    """Chat until the person leaves. Raises RoommateError."""
    client = await _client(homeserver, user)
    try:
        async with client:
            await talk(client, await client.enter(room))
    except TokenRevoked:
        forget(client.account)
        raise


async def talk(client: Client, room: RoomId) -> None:
    """At a terminal with live messages, else line by line."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        from roommate.cli.chat import TerminalChat

        await TerminalChat(client, room).run()
    else:
        await pipe_chat.talk(client, room, sys.stdin, sys.stdout)


async def send(room: str, text: str, *, wait: bool, homeserver: str, user: str, as_json: bool) -> int:
    """Say it; print the answer with `wait`. The exit code: 1 when the turn failed. Raises RoommateError."""
    client = await _client(homeserver, user)
    try:
        return await _send(client, room, text, wait=wait, as_json=as_json)
    except TokenRevoked:
        forget(client.account)
        raise


async def _client(homeserver: str, user: str) -> Client:
    """Through the daemon where one runs here, for an operator; as oneself where one says who that is."""
    if not homeserver and not user and chat_via_daemon.daemon_runs():
        return chat_via_daemon.ThroughDaemon()
    return Client(await account_for(homeserver, user))


async def _send(client: Client, room: str, text: str, *, wait: bool, as_json: bool) -> int:
    async with client:
        room_id = await client.enter(room)
        if not wait:
            event_id = await client.say(room_id, text)
            typer.echo(json.dumps({"event_id": event_id}) if as_json else event_id)
            return 0
        answer = await pipe_chat.answer(client, room_id, Say(text))
    if as_json:
        found = {"event_id": answer.event_id, "sender": answer.sender, "body": answer.body, "state": answer.state}
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        typer.echo(pipe_chat.text_of(answer))
    return pipe_chat.exit_code(answer)
