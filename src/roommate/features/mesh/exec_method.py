"""``exec``: a program in the room's container, or in one of its own, for a peer."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated

from pydantic import Field, field_validator

from roommate.domain import Exit, Hand, JsonObject, Session
from roommate.errors import RoommateError, ToolError
from roommate.features.mesh.methods import Method, Shape, Stream, Work
from roommate.features.mesh.output_pieces import OutputPieces, sending
from roommate.features.mesh.policy_file import Place
from roommate.features.mesh.resolve_paths_in_room import WORKSPACE, hand_in
from roommate.host import deadlines
from roommate.rooms.sandboxes_port import Sandboxes

Size = Annotated[int, Field(ge=1, le=9999)]


class Terminal(Shape):
    rows: Size
    columns: Size
    term: Annotated[str, Field(pattern=r"^[A-Za-z0-9._+-]{1,64}$")] = "xterm-256color"


class Exec(Shape):
    argv: Annotated[list[Annotated[str, Field(max_length=16_384)]], Field(min_length=1, max_length=512)]
    cwd: Annotated[str, Field(max_length=4096)] = WORKSPACE
    env: Annotated[dict[str, Annotated[str, Field(max_length=16_384)]], Field(default_factory=dict)]
    timeout: Annotated[int, Field(ge=1, le=86_400)] | None = None
    """Seconds."""
    pty: Terminal | None = None
    stdin: bool = False
    """Input follows."""
    place: Place = "room"
    output_bytes: Annotated[int, Field(ge=1)] | None = None
    """The most that is wanted of its output."""

    @field_validator("argv", "cwd", "env")
    @classmethod
    def _no_nul(cls, value: object) -> object:
        texts = (
            [*value, *value.values()] if isinstance(value, Mapping) else [value] if isinstance(value, str) else value
        )
        if any("\0" in text for text in texts):  # type: ignore[attr-defined]
            raise ValueError("no text may have a NUL")
        return value


def exec_method(sandboxes: Sandboxes) -> Method[Exec]:
    async def do(params: Exec, work: Work) -> JsonObject:
        judged = [work.facts.executable, *params.argv[1:]]
        place = hand_in(params.place, sandboxes, work.room_id, work.facts.outside)
        async with place as hand, sending(work) as pieces:
            if params.stdin or params.pty:
                ended = await _talked_to(hand, judged, params, work, pieces)
            else:
                ended = await hand.run(
                    judged,
                    cwd=work.facts.folder,
                    called=work.facts.called,
                    env=params.env,
                    timeout=work.seconds,
                    on_output=lambda piece: pieces.take("out", piece),
                    on_errors=lambda piece: pieces.take("err", piece),
                )
        return {
            "exit": ended.code,
            "signal": ended.signal,
            "ms": int(ended.seconds * 1000),
            "timed_out": ended.timed_out,
            **pieces.summary,
        }

    return Method("exec", Exec, do)


async def _talked_to(hand: Hand, judged: list[str], params: Exec, work: Work, pieces: OutputPieces) -> Exit:
    """One that has input, or a terminal."""
    env, size = dict(params.env), None
    if params.pty:
        env["TERM"] = params.pty.term
        size = params.pty.rows, params.pty.columns
    at, called = work.facts.folder, work.facts.called
    session = hand.session(judged, terminal=size, cwd=at, env=env, apart=size is None, called=called)
    output: Stream = "pty" if params.pty else "out"
    feeding = asyncio.create_task(_feed(session, work))
    began = asyncio.get_running_loop().time()
    try:
        async with deadlines.within(work.seconds):
            return await session.finish(
                lambda piece: pieces.take(output, piece), lambda piece: pieces.take("err", piece)
            )
    except TimeoutError:
        return Exit(None, None, True, asyncio.get_running_loop().time() - began)
    finally:
        feeding.cancel()
        await asyncio.wait([feeding])
        with suppress(asyncio.CancelledError, RoommateError):  # how it ended `finish` tells
            feeding.result()


async def _feed(session: Session, work: Work) -> None:
    """What the asker types goes in, until the program has ended; what it does not take is lost with it."""
    with suppress(ToolError):
        while True:
            match await work.inputs.get():
                case {"kind": "data", "data": str(text)}:
                    with suppress(binascii.Error):
                        await session.write(base64.b64decode(text, validate=True))
                case {"kind": "end"}:
                    session.end()
                case {"kind": "resize", "rows": int(rows), "columns": int(columns)}:
                    if 1 <= rows <= 9999 and 1 <= columns <= 9999:
                        await session.resize(rows, columns)
                case {"kind": "signal", "number": int(number)}:
                    if 1 <= number <= 64:
                        await session.signal(number)
