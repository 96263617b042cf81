"""Which models a key reaches: asked of the provider where that speaks OpenAI's protocol, else as LiteLLM lists them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from roommate.agent import model_facts
from roommate.agent.openai_wire import OpenAIWire, ProviderError, Session
from roommate.agent.own_wire_or_litellm import listing_route
from roommate.agent.provider_errors import fault
from roommate.errors import ModelError
from roommate.net import outbound_http


async def models_of(name: str, key: str, base: str, session: Session) -> Sequence[str]:
    """Those of the provider of this model, or of one that is only ``PROVIDER/``: names as LLM_MODEL takes them, sorted.
    Raises ModelError where the provider does not tell."""
    provider, route = await asyncio.to_thread(listing_route, name, key, base)
    if route is None:
        return await asyncio.to_thread(model_facts.listed, provider)
    try:
        found = await OpenAIWire(route, session=session, params={}).listed()
    except (ProviderError, *outbound_http.NETWORK_ERRORS) as error:
        raise ModelError(fault(error, key).why) from error
    return sorted(f"{provider}/{one['id']}" for one in found if isinstance(one.get("id"), str))
