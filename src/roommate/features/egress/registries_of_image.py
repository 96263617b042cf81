"""The hosts of the package registries that the rooms' image is set up for, as the image itself tells."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence

from roommate.domain import Destination
from roommate.errors import SandboxError
from roommate.features.egress.host_rules import WEB, host_name

log = logging.getLogger(__name__)

# Each client is asked for what it is configured to use, which is its own default where nothing is configured.
SCRIPT = r"""
python3 -m pip config list | grep -i index-url
python3 -I -c '
from pip._internal.models.index import PyPI
print("https://" + PyPI.netloc, "https://" + PyPI.file_storage_domain)'
npm config get registry
cat /etc/apt/sources.list /etc/apt/sources.list.d/* | grep -v '^ *#'
env | grep -iE '^(pip_(extra_)?index_url|uv_(default_index|index_url|index)|npm_config_registry)='
"""
AGAIN_SECONDS = 60.0

_URL = re.compile(r"https?://(?:[^\s/@]*@)?(\[[0-9a-f:]+\]|[\w.-]+)(?::(\d{1,5}))?", re.IGNORECASE)


class Registries:
    """Calling it gives them. `look` runs a script in a container of the image that no room has had: what a room says
    of its configuration must not widen its own way out."""

    def __init__(self, look: Callable[[str], Awaitable[str]]) -> None:
        self._look = look
        self._found: Sequence[Destination] | None = None
        self._failed = float("-inf")
        self._looking = asyncio.Lock()

    async def __call__(self) -> Sequence[Destination]:
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if self._found is None and now > self._failed + AGAIN_SECONDS:
                try:
                    self._found = destinations(await self._look(SCRIPT))
                    log.info("package registries of the image: %s", ", ".join(map(str, self._found)) or "none")
                except SandboxError as error:
                    self._failed = now
                    log.warning("the image's package registries are not known: %s", error)
            return self._found or ()


def destinations(text: str) -> list[Destination]:
    """The hosts of all the URLs in a text."""
    found = []
    for name, digits in _URL.findall(text):
        port = int(digits or 0)
        if host := host_name(name):
            found.append(Destination(host, 0 if port in WEB else port))
    return list(dict.fromkeys(found))
