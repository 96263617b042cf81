"""What failing hooks leave for doctor, in a file that a room may have made anything of."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from roommate.sandbox import agent_hooks


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode), st.integers(0, 3))
def test_any_last_line_is_one_that_a_terminal_may_be_shown(content: bytes, megabytes: int) -> None:
    with tempfile.TemporaryDirectory(prefix="he-") as place:
        log = Path(place) / "rooms" / "one" / "files" / "spool" / "hook-errors.log"
        log.parent.mkdir(parents=True)
        with log.open("wb") as file:
            file.truncate(megabytes << 20)
            file.seek(0, os.SEEK_END)
            file.write(content)
        found = agent_hooks.examine(Path(place)).found
    assert found.isprintable()
    assert len(found) < 400
