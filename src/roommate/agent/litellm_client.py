"""LiteLLM itself: imported late and quietly, asked for one stream at a time, freed of what makes it slow and large."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import ctypes
import gc
import importlib
import logging
import os
import sys
import threading
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from roommate.domain import JsonObject, Usage

TAIL_SECONDS = 5.0
"""How long a whole reply waits for the token counts that come behind it."""

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


@dataclass(slots=True)
class Counts:
    """The token counts of one reply: providers send them at once, in parts, or growing with each chunk."""

    read: int = 0
    written: int = 0
    fields: JsonObject = field(default_factory=dict)

    def take(self, chunks: Iterable[Any]) -> None:
        for chunk in chunks:
            usage = chunk.get("usage") if isinstance(chunk, dict) else getattr(chunk, "usage", None)
            if usage is None:
                continue
            fields = dict(usage) if isinstance(usage, dict) else usage.model_dump(exclude_none=True)
            self.read = max(self.read, fields.get("prompt_tokens") or 0)
            self.written = max(self.written, fields.get("completion_tokens") or 0)
            self.fields |= fields


class Wire:
    """One model at its provider. Made by `connect`."""

    def __init__(self, litellm: ModuleType, name: str, api_key: str, api_base: str) -> None:
        self._litellm = litellm
        self._name = name
        self._api_key = api_key
        self._api_base = api_base
        self.provider = ""
        """LiteLLM's word for the provider; empty where it knows none."""
        self.context_tokens = 0
        """What the model reads besides what it may write, in its own tokens; 0 where LiteLLM does not know."""
        with contextlib.suppress(Exception):  # LiteLLM raises bare Exceptions for what it does not know
            self.provider = litellm.get_llm_provider(name, api_base=api_base or None)[1]
        if not self.provider and api_base:  # nearly everything that people run themselves speaks like OpenAI
            self.provider, self._name = "openai", f"openai/{name}"
        self.sees = False
        """It takes pictures, as far as LiteLLM knows."""
        with contextlib.suppress(Exception):
            self.sees = litellm.supports_vision(self._name, self.provider or None)
        with contextlib.suppress(Exception):
            facts = litellm.get_model_info(self._name)
            read = facts.get("max_input_tokens") or facts.get("max_tokens") or 0
            self.context_tokens = read - min(facts.get("max_output_tokens") or 4096, read // 8)

    async def chunks(
        self, messages: Sequence[JsonObject], tools: Sequence[JsonObject], silence: float, counts: Counts
    ) -> AsyncGenerator[Any, None]:
        """One reply, in LiteLLM's chunks (OpenAI's form); `counts` takes the token counts.

        Raises TimeoutError after `silence` seconds without a chunk, else what LiteLLM raises. Closing the generator
        closes the connection.
        """
        request: JsonObject = {"messages": messages} | ({"tools": tools} if tools else {})
        with _cancelled_means_ended():
            async with asyncio.timeout(silence):
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
                    **request,
                )
        try:
            _mend(stream)
            while True:
                with _cancelled_means_ended():
                    async with asyncio.timeout(silence):
                        chunk = await anext(stream, None)
                if chunk is None:
                    break
                yield chunk
                if chunk.choices and chunk.choices[0].finish_reason:
                    break
            # The reply is whole: where its end breaks off, only the counts are lost.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(min(TAIL_SECONDS, silence)):
                    await self._tail(stream, counts)
        finally:
            await stream.aclose()

    async def _tail(self, stream: Any, counts: Counts) -> None:
        """The token counts come behind the finish: read them off the provider's own stream.

        At the end of its own, LiteLLM puts the whole reply together once more and prices it twice, in threads (4 ms).
        """
        counts.take(stream.chunks)
        rest = stream.completion_stream
        async for piece in rest if hasattr(rest, "__aiter__") else stream:
            counts.take([piece])

    def usage(self, counts: Counts) -> Usage:
        """What the provider counted, with its price where LiteLLM knows it."""
        return Usage(counts.read, counts.written, self._cost(counts))

    def _cost(self, counts: Counts) -> float | None:
        if isinstance(told := counts.fields.get("cost"), int | float):
            return float(told)  # OpenRouter says it itself
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


async def connect(name: str, api_key: str, api_base: str) -> Wire:
    """Import LiteLLM, which takes 3 s of CPU, and look the model up; the second time costs next to nothing.

    In a daemon thread: the end of the process must not wait for an import.
    """
    done = concurrent.futures.Future[Wire]()

    def work() -> None:
        done.set_running_or_notify_cancel()
        try:
            done.set_result(Wire(import_litellm(), name, api_key, api_base))
        except Exception as error:
            done.set_exception(error)

    threading.Thread(target=work, name="litellm", daemon=True).start()
    return await asyncio.wrap_future(done)


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


def _mend(stream: Any) -> None:
    """Give LiteLLM's reader of an event stream whole lines.

    It splits them at every sign that Unicode calls the end of a line, and takes each line with ``[DONE]`` in it for the
    end: a reply that writes U+2028 or speaks of ``[DONE]`` would lose a piece (litellm 1.106, base_model_iterator.py).
    """
    source = stream.completion_stream
    if response := getattr(source, "http_response", None):
        source.streaming_response = _lines(response.aiter_text())


async def _lines(texts: AsyncIterator[str]) -> AsyncIterator[str]:
    rest = ""
    async for text in texts:
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            yield _guarded(line.removesuffix("\r"))
    if rest:
        yield _guarded(rest)


def _guarded(line: str) -> str:
    if "[DONE]" in line and line.removeprefix("data:").strip() != "[DONE]":
        return line.replace("[DONE]", "[DON\\u0045]")
    return line
