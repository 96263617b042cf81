"""A feature of a test's own, found at every door: chat, the control socket, the command line, the texts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import pytest
import typer
from pydantic import Field
from typer.core import TyperGroup
from typer.testing import CliRunner

from roommate.chat.commands import parse
from roommate.cli import declared_commands
from roommate.control.method import Caller, Method, answer
from roommate.control.rpc import Flaw, Request
from roommate.domain import Draft, EventId, Incoming, Message, RoomId, RoomState, SyncBatch, UserId
from roommate.doors import command_line, reference
from roommate.doors.chat import ChatDoor, obey
from roommate.doors.socket import SocketDoor, methods
from roommate.errors import ToolError
from roommate.operations import (
    Call,
    Change,
    OfRoom,
    Operations,
    Params,
    Table,
    Unchanged,
    Who,
    changing,
    operation,
    operations_of,
)
from roommate.rooms.questions import Questions
from roommate.store import Audit, Database, Inbox, Rooms, Transaction
from roommate.store.rooms import setting_prompt

ROOM, OTHER = RoomId("!room:x"), RoomId("!other:x")
ALICE, BOB = UserId("@alice:x"), UserId("@bob:x")


class OfLamp(OfRoom):
    color: Annotated[str, Field(title="COLOR", description="Such as red.")]


@dataclass(frozen=True, slots=True)
class Lit:
    color: str


def _lit(lit: Lit) -> str:
    if lit.color == "unreadable":
        raise ValueError("a mistake of ours")
    return f"It is **{lit.color}** now."


class Lamps:
    """The toy."""

    @operation(
        "lamps.light",
        reads=_lit,
        who=Who.OPERATORS,
        audit="lamp",
        subject=lambda params: params.color,
        chat="lamp",
        cli="lamps light",
    )
    async def light(self, params: OfLamp, call: Call) -> Change[Lit]:
        """Lights the lamp of a room."""
        if params.color == "black":
            raise ToolError("there is no black light")
        if params.color != "as it is":
            return changing([setting_prompt(call.its_room, params.color)], Lit(params.color))

        def work(c: Transaction) -> Unchanged[Lit]:
            return Unchanged(Lit("as it was"))

        return Change(work)

    @operation(
        "lamps.list",
        reads=lambda found: f"{len(found)} lamps",
        terminal=lambda found: Table([(one.color,) for one in found], ("color",)),
        who=Who.ANYONE,
        chat="lamps",
        cli="lamps ls",
    )
    async def list(self, params: Params, call: Call) -> Sequence[Lit]:
        """Shows all lamps."""
        return [Lit("red"), Lit("blue")]


class House:
    """What a daemon has of all this."""

    def __init__(self, database: Database) -> None:
        self.database, self.inbox = database, Inbox(database)
        self.rooms, self.audit = Rooms(database), Audit(database)
        self.operations = Operations(self.inbox.do, self.inbox.note, self._find, lambda: [ALICE])
        self.operations.add(one.of(Lamps()) for one in operations_of(Lamps))
        self.questions = cast("Questions", None)  # nothing is asked here
        self.door = SocketDoor(self.audit, self.questions)
        self.methods: Mapping[str, Method] = methods(self.operations, self.door)
        self.methods = {**self.methods, command_line.NAME: command_line.method(self.operations, self.door)}
        self.count = 0

    async def _find(self, named: str) -> RoomId:
        return (await self.rooms.find(named)).room_id

    async def say(self, text: str, sender: UserId = ALICE) -> str:
        """What the bot answers."""
        self.count += 1
        incoming = Incoming(EventId(f"${self.count}"), ROOM, sender, 1, Message(text))
        rooms = tuple(RoomState(room, "join", joined=2) for room in (ROOM, OTHER))
        await self.inbox.commit(SyncBatch(f"s{self.count}", rooms, (incoming,)))
        [waiting] = await self.inbox.waiting(ROOM)

        def notice(markdown: str, thread: EventId | None) -> Draft:
            return Draft(ROOM, {"body": markdown})

        door = ChatDoor(waiting, None, self.inbox, self.questions, notice)
        command = parse(text)
        assert command
        before = len(await self.texts())
        may = Who.OPERATORS if sender == ALICE else Who.ANYONE
        await obey(self.operations, may, door, waiting, command, None)
        assert not await self.inbox.waiting(ROOM), "it is dealt with"
        return "\n".join((await self.texts())[before:])

    async def ask(self, method: str, **params: Any) -> Any:
        """What the socket answers."""

        async def tell(piece: Any) -> None: ...

        request = Request(jsonrpc="2.0", method=method, params=params, id=1)
        return await answer(self.methods, request, Caller(0, 1, tell, lambda act: None), starting=False)

    async def deeds(self) -> Sequence[tuple[str, str, str, str, str]]:
        records = await self.audit.newest(100)
        return [(one.who, one.what, one.outcome, one.subject, one.detail) for one in (row.deed for row in records)]

    async def texts(self) -> Sequence[str]:
        rows = await self.database.run(lambda c: c.execute("SELECT content FROM outbox ORDER BY id").fetchall())
        return [json.loads(row[0])["body"] for row in rows]

    async def light(self) -> str | None:
        return (await self.rooms.get(ROOM)).prompt


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    database = Database.open(tmp_path)
    yield House(database)
    await database.close()


async def test_in_chat(house: House) -> None:
    assert await house.say("!lamp red") == "It is **red** now."
    assert await house.light() == "red"
    assert await house.say("!lamp blue", BOB) == "Only an operator can use `!lamp`: ask `@alice:x`."
    assert await house.say("!lamp black") == "⚠️ there is no black light"
    assert await house.say("!lamp as it is") == "It is **as it was** now."
    assert await house.say("!lamp") == "- `!lamp COLOR` lights the lamp of a room (operators)"
    assert await house.say("!lamp", BOB) == await house.say("!lamp")
    assert await house.say("!LAMPS", BOB) == "2 lamps"
    assert await house.say("!lmap red") == "I do not know `!lmap`. Did you mean `!lamp`? `!help` lists what I know."
    assert await house.light() == "red"
    assert await house.deeds() == [
        (ALICE, "lamp", "done", "red", ""),
        (BOB, "lamp", "refused", "blue", ""),
        (ALICE, "lamp", "failed", "black", "there is no black light"),
    ]


async def test_what_cannot_be_answered_is_not_done(house: House) -> None:
    with pytest.raises(ValueError, match="a mistake of ours"):
        await house.say("!lamp unreadable")
    assert await house.light() is None
    assert await house.deeds() == []
    assert len(await house.inbox.waiting(ROOM)) == 1


async def test_at_the_control_socket(house: House) -> None:
    await house.say("!lamps")
    nowhere = "the bot is in no room 'Nowhere'"
    assert await house.ask("lamps.light", room="!room", color="red") == {"color": "red"}
    assert await house.light() == "red"
    assert await house.ask("lamps.light", room=ROOM, color="as it is") == {"color": "as it was"}
    for params, code, why in (
        ({"color": "red"}, -32602, "room: field required"),
        ({"room": ROOM, "color": "red", "dim": True}, -32602, "dim: extra inputs are not permitted"),
        ({"room": ROOM, "color": "black"}, -32000, "there is no black light"),
        ({"room": "Nowhere", "color": "red"}, -32000, nowhere),
    ):
        with pytest.raises(Flaw) as flaw:
            await house.ask("lamps.light", **params)
        assert (flaw.value.code, why in str(flaw.value)) == (code, True), flaw.value
    assert [(who, *rest) for who, *rest in await house.deeds()] == [
        ("uid 0", "lamp", "done", "red", ""),
        ("uid 0", "lamp", "failed", "black", "there is no black light"),
        ("uid 0", "lamp", "failed", "red", f"{nowhere}: `roommate rooms ls` shows those that it is in"),
    ]


async def test_on_the_command_line(house: House) -> None:
    await house.say("!lamps")
    shown = await house.ask("operations.cli", arguments=["lamps", "light", "!room", "red"])
    assert (shown["markdown"], shown["as_json"]) == ("It is **red** now.", False)
    shown = await house.ask("operations.cli", arguments=["lamps", "ls"])
    assert json.loads(json.dumps(shown["table"])) == {"rows": [["red"], ["blue"]], "heads": ["color"]}
    shown = await house.ask("operations.cli", arguments=["lamps", "ls", "--json"])
    assert (shown["as_json"], shown["result"]) == (True, [{"color": "red"}, {"color": "blue"}])
    usage = r"COLOR is missing \(usage: roommate lamps light ROOM COLOR \[--json\]\)"
    for arguments, why in (
        (["lamps", "light", ROOM], usage),
        (["lamps", "dance"], "there is no `roommate lamps dance`"),
    ):
        with pytest.raises(Flaw, match=why) as flaw:
            await house.ask("operations.cli", arguments=arguments)
        assert flaw.value.data == {"exit_code": 2}


def test_in_the_texts() -> None:
    declared_here = operations_of(Lamps)
    assert "- `!lamps` shows all lamps" in reference.of_chat(declared_here)
    assert "| `roommate lamps light ROOM COLOR` | lights the lamp of a room |" in reference.cli_table(declared_here)
    app = typer.Typer()
    app.callback()(lambda: None)
    declared_commands.add_to(app, {}, reference.for_help(declared_here))
    shown = CliRunner().invoke(app, ["lamps", "light", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    assert "Lights the lamp of a room." in shown
    assert "Such as red." in shown
    assert "--json" in shown
    typed = {"_ROOMMATE_COMPLETE": "complete_bash", "COMP_WORDS": "roommate lamps l", "COMP_CWORD": "2"}
    completed = CliRunner().invoke(app, [], prog_name="roommate", env=typed).output
    assert completed.split() == ["light", "ls"]


def test_help_says_of_every_word_what_it_is() -> None:
    def silent(group: TyperGroup, *words: str) -> Iterator[str]:
        for name, command in group.commands.items():
            if not command.get_short_help_str():
                yield " ".join((*words, name))
            if isinstance(command, TyperGroup):
                yield from silent(command, *words, name)

    app = typer.Typer()
    declared_commands.add_to(app, {name: typer.Typer() for name in ("sandbox", "workspace", "recovery", "share")})
    everything = typer.main.get_command(app)
    assert isinstance(everything, TyperGroup)
    assert [*silent(everything)] == []
    identity = everything.commands["identity"]
    assert isinstance(identity, TyperGroup)
    assert [*identity.commands] == ["rotate"]
    assert "--json" in {option for one in identity.params for option in one.opts}, "it is a command as well"
