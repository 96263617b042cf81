"""LiteLLM itself: imported late and quietly, asked for one stream at a time, freed of what makes it slow and large."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import ctypes
import gc
import importlib
import json
import logging
import os
import sys
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from roommate.agent.own_wire_or_litellm import LOCAL, OWN_BASES
from roommate.agent.wire import TAIL_SECONDS, CallPiece, Counts, Piece
from roommate.domain import JsonObject, Usage
from roommate.host import deadlines, own_thread

_SWITCHES = {
    "LITELLM_MODE": "PRODUCTION",  # else the import puts every line of .env into our environment
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else the import fetches a price list
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",  # else a call fetches a list
    "REPEATED_STREAMING_CHUNK_LIMIT": "2000",  # 100 equal pieces end a reply: a hex dump of zeros has more
    # OpenAI and all that speak like it, by LiteLLM's own HTTP handler as for every other provider, instead of OpenAI's
    # SDK: 1.5 ms a call, 15 MB and 0.3 s at the first call.
    "EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER": "True",
}

_IMPORTED_BY_THE_FIRST_CALL = (
    "litellm.proxy.openai_files_endpoints.common_utils",
    "litellm.llms.vertex_ai.vertex_ai_partner_models.anthropic.transformation",
    "litellm._service_logger",
    "anyio._backends._asyncio",
)
"""What would stop the event loop for 0.15 s in the first call; here it is only a matter of time, never of working."""


class LiteLLMWire:
    """One model at its provider; implements `Wire`. Made by `connect`."""

    def __init__(
        self, litellm: ModuleType, name: str, api_key: str, api_base: str, params: Mapping[str, Any] | None = None
    ) -> None:
        self._litellm = litellm
        self._name = name
        self._api_key = api_key
        self._api_base = api_base
        self._params = params or {}
        self.provider = ""
        self.context_tokens = 0
        with contextlib.suppress(Exception):  # LiteLLM raises bare Exceptions for what it does not know
            self.provider = litellm.get_llm_provider(name, api_base=api_base or None)[1]
        if not self.provider and api_base:  # nearly everything that people run themselves speaks like OpenAI
            self.provider, self._name = "openai", f"openai/{name}"
        chat = (self.provider in OWN_BASES or self.provider in LOCAL) and self.provider != "openrouter"
        self._kept = ("reasoning_content",) if chat else ("thinking_blocks",)
        self.sees = False
        with contextlib.suppress(Exception):
            self.sees = litellm.supports_vision(self._name, self.provider or None)
        with contextlib.suppress(Exception):
            facts = litellm.get_model_info(self._name)
            read = facts.get("max_input_tokens") or facts.get("max_tokens") or 0
            self.context_tokens = read - min(facts.get("max_output_tokens") or 4096, read // 8)

    async def pieces(
        self, messages: Sequence[JsonObject], tools: Sequence[JsonObject], silence: float, counts: Counts
    ) -> AsyncGenerator[Piece, None]:
        """See `Wire`."""
        # Copies: LiteLLM changes what it is given, and ours are asked with again.
        said = [_copied(message) for message in messages]
        request: JsonObject = {"messages": said} | ({"tools": copy.deepcopy(tools)} if tools else {})
        with _cancelled_means_ended():
            async with deadlines.within(silence):
                stream = await self._litellm.acompletion(
                    model=self._name,
                    stream=True,
                    stream_options={"include_usage": True},
                    api_key=self._api_key or ("none" if self._api_base else None),
                    api_base=self._api_base or None,
                    timeout=2 * silence,  # ours comes first
                    num_retries=0,
                    max_retries=0,
                    drop_params=True,
                    _skip_mcp_handler=True,  # else every call with tools imports an MCP server: 24 MB, half a second
                    **self._params,
                    **request,
                )
        try:
            details: list[Any] = []
            _mend(stream, details if self.provider == "openrouter" else None)
            while True:
                with _cancelled_means_ended():
                    async with deadlines.within(silence):
                        chunk = await anext(stream, None)
                if details:
                    yield Piece(kept={"reasoning_details": details.copy()})
                    details.clear()
                if chunk is None:
                    break
                if chunk.choices:
                    yield (piece := _piece(chunk.choices[0], self._kept))
                    if piece.finish:
                        break
            # The reply is whole: where its end breaks off, only the counts are lost.
            with contextlib.suppress(Exception):
                async with deadlines.within(min(TAIL_SECONDS, silence)):
                    await self._tail(stream, counts)
        finally:
            await stream.aclose()

    async def transcribe(self, name: str, content: bytes) -> str:
        """What is said in a recording. Raises what LiteLLM raises."""
        with _cancelled_means_ended():
            answer = await self._litellm.atranscription(
                model=self._name,
                file=(name, content),
                api_key=self._api_key or ("none" if self._api_base else None),
                api_base=self._api_base or None,
                max_retries=1,
            )
        return str(answer.text or "")

    async def _tail(self, stream: Any, counts: Counts) -> None:
        """The token counts come behind the finish: read them off the provider's own stream.

        At the end of its own, LiteLLM puts the whole reply together once more and prices it twice, in threads (4 ms).
        """
        for chunk in stream.chunks:
            counts.take(_usage_of(chunk))
        rest = stream.completion_stream
        async for chunk in rest if hasattr(rest, "__aiter__") else stream:
            counts.take(_usage_of(chunk))

    def usage(self, counts: Counts) -> Usage:
        return Usage(counts.read, counts.written, self._cost(counts), min(counts.cached, counts.read))

    def _cost(self, counts: Counts) -> float | None:
        if counts.cost is not None:
            return counts.cost
        try:
            usage = self._litellm.Usage(
                **counts.fields | {"prompt_tokens": counts.read, "completion_tokens": counts.written}
            )
            known = self._litellm.cost_per_token(
                model=self._name, custom_llm_provider=self.provider, usage_object=usage
            )
        except Exception:  # LiteLLM raises bare Exceptions for a model that it does not know
            return None
        return float(sum(known)) or None  # its list says 0 where it has no price


def _usage_of(chunk: Any) -> Any:
    return chunk.get("usage") if isinstance(chunk, dict) else getattr(chunk, "usage", None)


def _copied(message: JsonObject) -> JsonObject:
    return {
        name: [{**one, **({"function": {**one["function"]}} if "function" in one else {})} for one in value]
        if isinstance(value, list)
        else value
        for name, value in message.items()
    }


def _piece(choice: Any, kept: Sequence[str]) -> Piece:
    delta = choice.delta
    return Piece(
        text=delta.content or "",
        calls=tuple(
            CallPiece(call.index, call.id or "", call.function.name or "", call.function.arguments or "")
            for call in delta.tool_calls or ()
        ),
        thought=getattr(delta, "reasoning_content", None) or "",
        kept={name: _plain(value) for name in kept if (value := getattr(delta, name, None))},
        finish=choice.finish_reason or "",
    )


def _plain(value: Any) -> Any:
    return [dict(block) for block in value] if isinstance(value, list) else value


async def connect(name: str, api_key: str, api_base: str, params: Mapping[str, Any]) -> LiteLLMWire:
    """Import LiteLLM, which takes 3 s of CPU, and look the model up; the second time costs next to nothing.

    The end of the process must not wait for an import.
    """
    return await own_thread.run(lambda: LiteLLMWire(import_litellm(), name, api_key, api_base, params), "litellm")


def provider_of(name: str) -> str:
    """LiteLLM's word for the provider of the model of this name; empty where it knows none. Blocks while it imports."""
    litellm = import_litellm()
    with contextlib.suppress(Exception):  # LiteLLM raises bare Exceptions for what it does not know
        return str(litellm.get_llm_provider(name)[1])
    return ""


def models_beside(name: str) -> frozenset[str]:
    """The models on LiteLLM's list that are of the same provider, as this name is written; none where it has no list.
    Blocks while it imports."""
    provider = provider_of(name)
    listed = import_litellm().models_by_provider.get(provider, ())
    before = f"{provider}/" if name.startswith(f"{provider}/") else ""
    return frozenset(before + str(one).removeprefix(f"{provider}/") for one in listed)


def import_litellm() -> ModuleType:
    """LiteLLM, with everything switched off that looks around, reports, counts or prints."""
    os.environ.update(_SWITCHES)
    with _gently() if "litellm" not in sys.modules else contextlib.nullcontext():
        import litellm
        import litellm.main

        for late in _IMPORTED_BY_THE_FIRST_CALL:
            with contextlib.suppress(ImportError):
                importlib.import_module(late)
    litellm.suppress_debug_info = True
    litellm.disable_token_counter = True
    litellm.disable_streaming_logging = True
    litellm.enable_anthropic_prompt_caching = True
    litellm.main.encoding = _NoTokenizer()
    with contextlib.suppress(AttributeError):  # a word of Anthropic's that it takes for the reply's own end
        litellm.litellm_core_utils.core_helpers._FINISH_REASON_MAP["model_context_window_exceeded"] = "length"
    warnings.filterwarnings("ignore", message="Pydantic serializer warnings")
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "httpx"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    module: ModuleType = litellm
    return module


@contextlib.contextmanager
def _gently() -> Iterator[None]:
    """An import of 2000 modules beside a running event loop.

    It makes a million objects: without collecting while it runs it takes 15 % less, and frozen they are never looked at
    again, where each full collection would stop the event loop for 0.2 s. A shorter switch interval gives the event
    loop its turn sooner. The freed memory goes back to the system, which malloc alone does not do.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(interval / 10)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        sys.setswitchinterval(interval)
        with contextlib.suppress(OSError, AttributeError):  # not a glibc
            ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextlib.contextmanager
def _cancelled_means_ended() -> Iterator[None]:
    """Raise the CancelledError that what is awaited in here took and did not give on.

    LiteLLM reads the body of a refusal within `asyncio.wait_for`: up to Python 3.11 that loses a cancel that comes
    together with the result (python/cpython#86296), and a stopped turn would ask again.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    finally:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError


class _NoTokenizer:
    """Stands for the tokenizer that LiteLLM hands to every provider: loading it takes 45 MB and 0.2 s.

    It would count replies that come without counts and without streaming; ours are streamed.
    """

    def encode(self, text: str, **_: Any) -> range:
        return range(len(text) // 4)


def _mend(stream: Any, details: list[Any] | None) -> None:
    """Give LiteLLM's reader of an event stream whole lines; `details` takes OpenRouter's `reasoning_details`.

    It splits them at every sign that Unicode calls the end of a line, and takes each line with ``[DONE]`` in it for the
    end: a reply that writes U+2028 or speaks of ``[DONE]`` would lose a piece (litellm 1.106, base_model_iterator.py).
    A piece without text that holds the signature of a thought is left out (streaming_handler.py).
    """
    source = stream.completion_stream
    if response := getattr(source, "http_response", None):
        source.streaming_response = _lines(response.aiter_text(), details)


async def _lines(texts: AsyncIterator[str], details: list[Any] | None) -> AsyncIterator[str]:
    rest = ""
    async for text in texts:
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            if details is not None and '"reasoning_details"' in line:
                with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
                    details += json.loads(line.removeprefix("data:"))["choices"][0]["delta"]["reasoning_details"]
            yield _guarded(line.removesuffix("\r"))
    if rest:
        yield _guarded(rest)


def _guarded(line: str) -> str:
    if "[DONE]" in line and line.removeprefix("data:").strip() != "[DONE]":
        return line.replace("[DONE]", "[DON\\u0045]")
    return line
