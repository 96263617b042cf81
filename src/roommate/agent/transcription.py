"""What somebody says in a recording, by a model that writes it down."""

from __future__ import annotations

from roommate.agent.litellm_client import connect
from roommate.agent.provider_errors import fault
from roommate.errors import ModelBusy
from roommate.host import deadlines

SECONDS = 120.0


async def transcribe(model: str, name: str, content: bytes, *, api_key: str, api_base: str) -> str:
    """The words in `content`, by a `model` with this LiteLLM name; `name` tells the kind of file. Raises ModelError."""
    wire = await connect(model, api_key, api_base, {})
    try:
        async with deadlines.within(SECONDS):
            return await wire.transcribe(name, content)
    except TimeoutError:
        raise ModelBusy(f"The provider of {model} did not answer in {SECONDS:.0f} s.") from None
    except Exception as error:  # LiteLLM raises whatever a provider's answer makes it raise
        raise fault(error, api_key).error from error
