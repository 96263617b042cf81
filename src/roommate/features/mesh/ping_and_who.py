"""``ping`` and ``who``: is it there, and what does it offer?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from roommate import __version__
from roommate.domain import JsonObject
from roommate.features.mesh.methods import Method, Shape, Work


class Nothing(Shape):
    pass


def ping(load: Callable[[], int]) -> Method[Nothing]:
    """`load` is how many requests run now."""

    async def do(params: Nothing, work: Work) -> JsonObject:
        return {"version": __version__, "load": load()}

    return Method("ping", Nothing, do, shown=False, instant=True)


def who(methods: Callable[[], Sequence[str]], tools: Callable[[], Sequence[JsonObject]]) -> Method[Nothing]:
    async def do(params: Nothing, work: Work) -> JsonObject:
        return {"version": __version__, "methods": list(methods()), "tools": list(tools())}

    return Method("who", Nothing, do, shown=False, instant=True)
