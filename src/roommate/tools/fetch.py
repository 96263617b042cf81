"""The tool fetch_url: the text of a web page, through the room's own way out."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from roommate.errors import ToolError
from roommate.tools.arguments import Arguments, Text
from roommate.tools.bounded import Bounded
from roommate.tools.outcome import Outcome
from roommate.tools.sanitized_text import shown
from roommate.tools.tool import Call, tool

SECONDS = 100.0
"""With a minute in it in which people may be asked about the host."""


class FetchUrl(Arguments):
    """Read a web page as text. People may be asked first whether its host is allowed."""

    url: Text = Field(description="The address, with http:// or https://")


async def fetch(asked: FetchUrl, call: Call) -> Outcome:
    """Of a long page the whole text is a file in the workspace."""
    keep = call.ports.keep
    if not asked.url.startswith(("http://", "https://")):
        raise ToolError(f"{asked.url[:200]} is no web address: it must start with http:// or https://")
    printed = Bounded(keep * 3 // 4, keep // 4)
    # Its first line is what people read who are asked about the host.
    program = "# fetch_url\n" + Path(__file__).with_name("fetch_program.py").read_text("utf-8")
    command = ["python3", "-I", "-X", "utf8", "-c", program, asked.url]
    ended = await call.hand.run(
        command, timeout=SECONDS, on_output=printed.add, spill_after=keep, clock=call.ports.clock
    )
    text = shown(printed.excerpt(), ended.spilled or "")
    if ended.timed_out:
        text += f"\n[not finished after {SECONDS:.0f} s]"
    title = text.partition("\n")[0].partition(" · http")[0]
    return Outcome(text, title[:120] or "nothing", ok=ended.code == 0)


TOOLS = (tool("fetch_url", FetchUrl, fetch, title=("url",), looks=True),)
