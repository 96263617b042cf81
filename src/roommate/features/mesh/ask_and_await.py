"""A peer is asked, and its answer awaited: what the command line and the models' tools have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from roommate.domain import JsonObject
from roommate.errors import Misused
from roommate.features.mesh.asking import Asking, Order
from roommate.features.mesh.envelope import Malformed
from roommate.features.mesh.peer_choice import PeerChoice
from roommate.features.mesh.reply_output import Media, ReplyOutput, why_not
from roommate.store.mesh_asked import Asked

PUT = "share.put"
"""Its result has the hash of what we gave."""
MOST = 1 << 30
"""Bytes of output or of a file that are taken."""

Take = Callable[[str, bytes], Awaitable[None]]
"""Takes a piece of a stream, by its name."""
Told = Callable[[JsonObject], Awaitable[None]]
"""Is told that it is held, or has started."""


async def _ignored(*_: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class PeerCalls:
    choice: PeerChoice
    asking: Asking
    media: Media

    async def begin(self, order: Order) -> Asked:
        """Raises ControlError, Misused."""
        try:
            return await self.asking.ask(order)
        except Malformed as error:
            raise Misused(f"that cannot be asked: {error}") from error

    async def finish(
        self, asked: Asked, take: Take = _ignored, told: Told = _ignored, *, most: int = MOST
    ) -> JsonObject:
        """Its result, after all that came before; what is begun here is cancelled when nobody waits for it any more.
        Raises PeerError."""
        output, over = ReplyOutput(self.media, most), False
        try:
            async with contextlib.aclosing(self.asking.follow(asked.id)) as bodies:
                async for body in bodies:
                    if body["kind"] == "result":
                        over = True
                        if asked.method != PUT:  # its hash is that of what was given
                            output.check(body)
                        return body
                    if error := why_not(asked.peer_name, body):
                        over = True
                        raise error
                    await told(body)
                    async with contextlib.aclosing(output.pieces(body)) as pieces:
                        async for stream, piece in pieces:
                            await take(stream, piece)
            raise AssertionError("a reply ends with its last word")
        finally:
            if not over:
                self.asking.leave(asked.id)
