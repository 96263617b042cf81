"""What can be said of a model's name before LiteLLM, whose import takes seconds, is asked for a reply."""

from __future__ import annotations

import difflib
import os

from roommate.agent.direct_to_coding_agent_model import DIRECT
from roommate.agent.litellm_client import models_beside, provider_of
from roommate.agent.own_wire_or_litellm import NEED_A_KEY
from roommate.settings.config import AGENTS, REHEARSAL
from roommate.text.printable import one_line

LONGEST_SHOWN = 100
"""Characters of a name."""

UNKNOWN_PROVIDER = (
    "{what} is {name!r}, whose provider LiteLLM does not know: write PROVIDER/MODEL, such as "
    "gemini/gemini-2.5-flash, or openai/MODEL with LLM_API_BASE"
)

KEYLESS = frozenset(
    {"azure", "bedrock", "hosted_vllm", "litellm_proxy", "lm_studio", "ollama", "ollama_chat", "vertex_ai"}
)
"""More that need not be looked up."""


def problem(name: str, key: str, base: str, what: str = "LLM_MODEL") -> str:
    """Why no reply can come from the model of this name, in a line; empty when one may. `what` says where the name
    stands. Blocks, for seconds where LiteLLM must be asked."""
    if name == REHEARSAL:
        return ""
    shown = one_line(name, LONGEST_SHOWN)
    if name.startswith(DIRECT):
        agent = name.removeprefix(DIRECT)
        return "" if agent in AGENTS else f"{what} is {shown!r}: there are {', '.join(DIRECT + one for one in AGENTS)}"
    if base:  # what is not known is taken to speak like OpenAI there
        return ""
    provider, _, model = name.partition("/")
    if provider not in NEED_A_KEY.keys() | KEYLESS or not model:
        provider = provider_of(name) if not name.endswith("/") else ""
    if not provider:
        return UNKNOWN_PROVIDER.format(what=what, name=shown)
    if key or not (places := NEED_A_KEY.get(provider)) or any(os.environ.get(place) for place in places):
        return ""
    place = "LLM_API_KEY" if what == "LLM_MODEL" else places[0]
    return f"{place}: it must be the key of {provider}, which {what} names ({what} is {shown!r})"


def doubt(name: str, base: str) -> str:
    """What speaks for a slip of the pen, in a line: others of its provider are on LiteLLM's list, and it is not. Empty
    where nothing does. Blocks as `problem` does."""
    if name == REHEARSAL or name.startswith(DIRECT) or base:
        return ""
    if provider_of(name) not in NEED_A_KEY:  # at others people have models of their own
        return ""
    listed = models_beside(name)
    if not listed or name in listed:
        return ""
    near = difflib.get_close_matches(name, listed, n=3, cutoff=0.7)
    return f"LiteLLM has no {name!r} on its list" + (f"; it has {' and '.join(near)}" if near else "")
