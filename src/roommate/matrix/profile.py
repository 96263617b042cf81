"""How the bot's account looks to people: its name and its picture, set where they are not as they should be."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from pathlib import Path

from roommate.errors import MatrixError
from roommate.host import durable_files
from roommate.matrix.homeserver import Homeserver
from roommate.settings.config import AS_IT_IS

log = logging.getLogger(__name__)

DEFAULT_NAME = "Roommate"
DEFAULT_PICTURE = Path(__file__).with_name("roommate.png")
LARGEST = 1 << 20
_KINDS = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}


async def present(homeserver: Homeserver, kept: Path, name: str, picture: str) -> None:
    """Have the account show this `name`, and the picture in that file. Without one: ours, where the account has none
    of its own. What was uploaded is remembered in the file `kept`. Whatever goes wrong is a line in the log."""
    try:
        await _show_name(homeserver, name)
        await _show_picture(homeserver, kept, picture)
    except (MatrixError, OSError, ValueError) as error:
        log.warning("how the bot's account looks was not changed: %s", error)


async def _show_name(homeserver: Homeserver, name: str) -> None:
    has = homeserver.me.display_name
    own = has.casefold() not in ("", homeserver.me.user_id[1:].partition(":")[0].casefold())
    wanted = name or (has if own else DEFAULT_NAME)
    if wanted not in (has, AS_IT_IS):
        await homeserver.set_display_name(wanted)
        log.info("the bot's account is called %s now", wanted)


async def _show_picture(homeserver: Homeserver, kept: Path, picture: str) -> None:
    if picture == AS_IT_IS:
        return
    has = await homeserver.avatar()
    if has and not picture:
        return
    file = Path(picture) if picture else DEFAULT_PICTURE
    content, kind = await asyncio.to_thread(_read, file)
    digest = hashlib.sha256(content).hexdigest()
    if has and await asyncio.to_thread(_remembered, kept) == {"sha256": digest, "uri": has}:
        return
    uri = await homeserver.upload(content, kind, file.name)
    await homeserver.set_avatar(uri)
    await asyncio.to_thread(durable_files.replace, kept, json.dumps({"sha256": digest, "uri": uri}).encode())
    log.info("the bot's account has the picture %s now", file)


def _read(file: Path) -> tuple[bytes, str]:
    """The picture, and its type. Raises OSError, ValueError."""
    with file.expanduser().open("rb") as opened:
        content = opened.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"BOT_AVATAR {file} is larger than 1 MiB")
    for start, kind in _KINDS.items():
        if content.startswith(start):
            return content, kind
    raise ValueError(f"BOT_AVATAR {file} is no PNG, JPEG, GIF or WebP")


def _remembered(kept: Path) -> object:
    try:
        return json.loads(kept.read_text())
    except (OSError, ValueError):
        return None
