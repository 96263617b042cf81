"""The tool fetch_url: the text of a web page, through the room's own way out."""

from __future__ import annotations

from pathlib import Path

from roommate.errors import ToolError
from roommate.ports import Hand
from roommate.tools.arguments import FetchUrl
from roommate.tools.bounded import Bounded
from roommate.tools.outcome import Outcome
from roommate.tools.plain import shown

SECONDS = 100.0
"""With a minute in it in which people may be asked about the host."""


async def fetch(asked: FetchUrl, hand: Hand, keep: int) -> Outcome:
    """`keep` is how many bytes of it the model gets; the whole text is a file in the workspace then."""
    if not asked.url.startswith(("http://", "https://")):
        raise ToolError(f"{asked.url[:200]} is no web address: it must start with http:// or https://")
    printed = Bounded(keep * 3 // 4, keep // 4)
    # Its first line is what people read who are asked about the host.
    program = "# fetch_url\n" + Path(__file__).with_name("page.py").read_text("utf-8")
    command = ["python3", "-I", "-X", "utf8", "-c", program, asked.url]
    ended = await hand.run(command, timeout=SECONDS, on_output=printed.add, spill_after=keep)
    text = shown(printed.excerpt(), ended.spilled or "")
    if ended.timed_out:
        text += f"\n[not finished after {SECONDS:.0f} s]"
    title = text.partition("\n")[0].partition(" · http")[0]
    return Outcome(text, title[:120] or "nothing", ok=ended.code == 0)
