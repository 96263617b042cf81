"""A room's own settings: shown, set, taken away, and taken over from its devcontainer.json."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

from pydantic import Field

from roommate.chat import texts
from roommate.domain import CardKind, Hand, Question, RoomId, UserId
from roommate.errors import ImageError, Misused, SandboxError, ToolError
from roommate.features.room_settings import devcontainer, values
from roommate.features.room_settings.devcontainer import Devcontainer
from roommate.features.room_settings.values import ENV
from roommate.operations import Ask, Call, Change, OfRoom, Table, Unchanged, Who, operation
from roommate.rooms.bot_answers import notice
from roommate.rooms.questions import Decide
from roommate.settings.config import Settings
from roommate.store import Card, Database, Transaction, outbox
from roommate.store.room_settings import RoomSettings, setting, unsetting
from roommate.text.printable import block, one_line, plain, span

log = logging.getLogger(__name__)

CARD_SECONDS = 86_400
SHOWN = 300
HINT = "`!room set NAME VALUE` sets one, `!room unset NAME` takes it away (operators)."


class Setting(OfRoom):
    name: Annotated[str, Field(title="NAME", description="Such as memory, timeout, setup, env.DEBUG.")]
    value: Annotated[str, Field(min_length=1, title="VALUE", description="What it is to be.")]


class Named(OfRoom):
    name: Annotated[str, Field(title="NAME|all", description="Such as memory; `env.` is every variable.")]


@dataclass(frozen=True, slots=True)
class Shown:
    """`of_all`: it is as in all rooms."""

    name: str
    value: str
    about: str
    of_all: bool


@dataclass(frozen=True, slots=True)
class Changed:
    """`remade`: the container that ran is stopped for it, and so many background jobs have `ended` with it."""

    text: str
    remade: bool = False
    ended: int = 0


class Containers(Protocol):
    """What changes with a setting."""

    async def hand(self, room_id: RoomId) -> Hand: ...

    def up(self, room_id: RoomId) -> bool: ...

    async def stop(self, room_id: RoomId) -> None: ...

    async def fits(self, image: str) -> None:
        """Raises SandboxError where no room can have a container of this image."""
        ...


def _listed(found: Sequence[Shown]) -> str:
    lines = [
        f"- **{one.name}**: {_value(one.value)} — {one.about}{'' if one.of_all else ' · this room’s own'}"
        for one in found
    ]
    return "\n".join([*lines, "", HINT])


def _value(value: str) -> str:
    if not value:
        return "none"
    return span(one_line(value, SHOWN)) if "\n" not in value else f"\n\n{block(value)}\n\n"


def _table(found: Sequence[Shown]) -> Table:
    return Table([(one.name, one_line(one.value, 80), "" if one.of_all else "own") for one in found])


def _said(changed: Changed) -> str:
    if not changed.remade:
        return changed.text
    jobs = f" {changed.ended} background job{'s' if changed.ended != 1 else ''} ended with it." if changed.ended else ""
    return f"{changed.text} The container is stopped, and made anew by the next call: what ran in it has ended.{jobs}"


class RoomSettingOperations:
    def __init__(
        self, rows: RoomSettings, settings: Callable[[], Settings], containers: Containers, wake: Callable[[], None]
    ) -> None:
        """`wake` is called when the outbox has something new."""
        self._rows, self._settings, self._containers, self._wake = rows, settings, containers, wake

    @operation("room.show", reads=_listed, terminal=_table, who=Who.ANYONE, chat="room", cli="room show")
    async def show(self, params: OfRoom, call: Call) -> Sequence[Shown]:
        """Shows a room's own settings: timeout, image, memory, CPUs, setup, environment."""
        found, settings = await self._rows.of(call.its_room), self._settings()
        of_kinds = [
            Shown(name, found.get(name, kind.of_all(settings)), kind.about, name not in found)
            for name, kind in values.KINDS.items()
        ]
        return [*of_kinds, *(Shown(n, v, values.kind(n).about, False) for n, v in found.items() if n.startswith(ENV))]

    @operation(
        "room.set",
        reads=_said,
        who=Who.OPERATORS,
        audit="room.set",
        subject=lambda params: params.name,
        chat="room set",
        cli="room set",
    )
    async def set(self, params: Setting, call: Call) -> Change[Changed]:
        """Sets one for a room: `memory 4G`, `timeout 600`, `setup pip install -r requirements.txt`, `env.DEBUG 1`."""
        name, value = params.name, values.read(params.name, params.value)
        if name == "image":
            await self._fits(value)
        if (
            name.startswith(ENV)
            and values.variables({*await self._rows.of(call.its_room)} - {name}) >= values.MOST_VARIABLES
        ):
            raise Misused(f"Nothing was changed: a room has {values.MOST_VARIABLES} variables at most.")
        text = f"This room's {name} is {_value(value)} now."
        detail = one_line(value, 200) if name != "setup" else f"{len(value)} characters"
        return await self._changing(
            call, name, setting(call.its_room, name, value), text, f"It is {_value(value)} already.", detail
        )

    @operation(
        "room.unset",
        reads=_said,
        who=Who.OPERATORS,
        audit="room.unset",
        subject=lambda params: params.name,
        chat="room unset",
        cli="room unset",
    )
    async def unset(self, params: Named, call: Call) -> Change[Changed]:
        """Takes one away: then it is as in all rooms. `all` takes every one."""
        name, room_id = params.name, call.its_room
        if name == "all":
            names = [*values.KINDS, ENV]

            def work(c: Transaction) -> bool:
                return sum(unsetting(room_id, one)(c) for one in names) > 0

            return await self._changing(
                call, "image", work, "This room is as all rooms now.", "Nothing is set for this room."
            )
        if name != ENV:
            values.kind(name)
        there = f"{name} is not set for this room"
        text = f"This room's {name} is as in all rooms now."
        return await self._changing(call, name, unsetting(room_id, name), text, f"{there}; `!room` shows what is.")

    @operation(
        "room.devcontainer",
        who=Who.OPERATORS,
        audit="room.devcontainer",
        chat="room devcontainer",
        cli="room devcontainer",
    )
    async def devcontainer(self, params: OfRoom, call: Call) -> Ask:
        """Takes over image and setup of the workspace's devcontainer.json, after asking in the room."""
        found = await devcontainer.find(await self._containers.hand(call.its_room))
        if not found.image and not found.setup:
            raise Misused(f"It names no image and no setup: there is nothing to take over.{_about(found)}")
        if found.image:
            await self._fits(found.image)
        parts = [f"Take this over from the workspace's `devcontainer.json`?{_about(found)}"]
        if found.image:
            parts.append(f"The image of this room's container: {span(found.image)}, which this host has.")
        if found.setup:
            parts.append(f"What runs when the container is made:\n\n{block(found.setup)}")
        return Ask(
            Question(
                CardKind.DEVCONTAINER, "\n\n".join(parts), found.digest, operators_only=True, seconds=CARD_SECONDS,
                hint="The container is made anew then, and what runs in it ends.",
            )
        )  # fmt: skip

    async def _fits(self, image: str) -> None:
        """Raises Misused."""
        try:
            await self._containers.fits(image)
        except ImageError as error:
            raise Misused(
                f"Nothing was changed: a room cannot have the image {image}: {error}. Rooms get images that this host "
                f"has: `podman pull {image}` there first, or build it, with python3 in it."
            ) from None

    async def _changing(
        self, call: Call, name: str, work: Callable[[Transaction], bool], text: str, same: str, detail: str = ""
    ) -> Change[Changed]:
        room_id = call.its_room
        remakes = values.kind(name).remakes if name != ENV else True
        stops = remakes and self._containers.up(room_id)
        done = Changed(text, stops, await jobs(self._containers, room_id) if stops else 0)

        def changing(c: Transaction) -> Changed | Unchanged[Changed]:
            if not work(c):
                return Unchanged(Changed(same))
            if call.here is None:  # who asks from the host is not in the room
                outbox.insert(c, [notice(room_id, f"{plain(call.name)} has changed this room. {_said(done)}")])
            return done

        async def after() -> None:
            self._wake()
            if stops:
                await stopping(self._containers, room_id)

        return Change(changing, after, detail=detail, room_id=room_id)


async def jobs(containers: Containers, room_id: RoomId) -> int:
    """Background jobs that run there."""
    with contextlib.suppress(SandboxError, ToolError, TimeoutError):
        hand = await containers.hand(room_id)
        return sum(job.exit is None for job in await hand.jobs())
    return 0


async def stopping(containers: Containers, room_id: RoomId) -> None:
    """What was set counts from the next call on. A container that cannot be stopped now is at the next start."""
    try:
        await containers.stop(room_id)
    except SandboxError as problem:
        log.warning("the container of %s goes on as it was: %s", room_id, problem)


def _about(found: Devcontainer) -> str:
    """What is only shown."""
    parts = []
    if found.ports:
        ports = ", ".join(span(port) for port in found.ports)
        parts.append(f"Its programs listen at {ports}: nothing outside of the room reaches them.")
    if found.passed_over:
        parts.append(f"Not taken over: {', '.join(found.passed_over)}; operators make images.")
    return "".join(f" {part}" for part in parts)


def deciding(database: Database, containers: Containers) -> Decide:
    """Takes over what was shown, unless the file says something else by now."""

    async def decide(card: Card, choice: str, by: UserId) -> str:
        if choice == texts.NO:
            return "nothing was changed"
        found = await devcontainer.find(await containers.hand(card.room_id))
        if found.digest != card.subject:
            raise Misused("the file says something else by now: `!room devcontainer` shows it again")
        if found.image:
            await containers.fits(found.image)
        taken = {"image": found.image, "setup": found.setup}

        def work(c: Transaction) -> bool:
            return sum(setting(card.room_id, name, value)(c) for name, value in taken.items() if value) > 0

        changed = await database.run(work)
        if not changed:
            return "it was so already"
        ended = await jobs(containers, card.room_id)
        await stopping(containers, card.room_id)
        return _said(Changed("taken over.", True, ended))

    return decide
