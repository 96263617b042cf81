"""What a peer asks for runs once at most, and has one end, whenever the daemon that does it is killed."""

from __future__ import annotations

import os

from tests.conftest import MakeDaemon, MakePerson
from tests.mesh import crash


async def test_kill_9_of_the_answering_daemon(daemon: MakeDaemon, person: MakePerson) -> None:
    """A short run; `python -m tests.mesh.crash --points 100` is the long one."""
    seed = int.from_bytes(os.urandom(3))
    asker, answerer = await daemon(start=False), await daemon(start=False)
    verdict = await crash.run(asker, answerer, await person("alice"), points=6, seed=seed)
    assert verdict.kept, f"seed {seed}: {verdict}"
